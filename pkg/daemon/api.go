package daemon

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"bulkhead/pkg/apply"
	"bulkhead/pkg/controller"
	"bulkhead/pkg/plan"
	"bulkhead/pkg/reconcile"
	"bulkhead/pkg/store"
)

// Permission is what somebody may do over the API.
type Permission string

// The permissions. They imply each other in no way.
const (
	PermView     Permission = "view"     // read everything
	PermPlan     Permission = "plan"     // have a plan made
	PermApprove  Permission = "approve"  // approve a plan
	PermApply    Permission = "apply"    // apply, accept brakes, roll back
	PermOverride Permission = "override" // quarantine, release, open
)

// Permissions lists all.
func Permissions() []Permission {
	return []Permission{PermView, PermPlan, PermApprove, PermApply, PermOverride}
}

// API answers for a daemon.
type API struct {
	d    *Daemon
	show Show
	auth Authenticator
}

// route is one operation. Every one names the permission that it needs.
type route struct {
	method, path string
	perm         Permission
	doc          string
	// in is a value of the body's type, nil for none; out of the answer's.
	in, out any
	do      func(a *API, r *request) (any, error)
}

// request is a call by somebody who may make it.
type request struct {
	*http.Request
	who  Identity
	body any
}

// problem is an error that says with which status it is answered.
type problem struct {
	status int
	err    error
}

func (p *problem) Error() string { return p.err.Error() }
func (p *problem) Unwrap() error { return p.err }

// besides is an error of a call with what the command would say beside.
type besides struct {
	error
	notes string
}

func (b *besides) Unwrap() error { return b.error }

func refuse(status int, format string, args ...any) error {
	return &problem{status, fmt.Errorf(format, args...)}
}

// maxBody bounds what a call may send, in bytes.
const maxBody = 64 << 10

// StatusAnswer tells how the daemon is.
type StatusAnswer struct {
	FormatVersion string                 `json:"formatVersion"`
	Site          string                 `json:"site"`
	Directory     string                 `json:"directory"` // of the site
	Started       time.Time              `json:"started"`
	Result        controller.Result      `json:"result,omitempty"` // of the last pass that looked at a device
	Why           string                 `json:"why,omitempty"`
	At            time.Time              `json:"at,omitzero"`
	Plan          string                 `json:"plan,omitempty"`
	Trouble       map[string]string      `json:"trouble"` // by device
	BadSite       string                 `json:"badSite,omitempty"`
	BadSince      time.Time              `json:"badSince,omitzero"`
	RolledBack    string                 `json:"rolledBack,omitempty"` // the apply that was gone back to
	Problem       string                 `json:"problem,omitempty"`
	State         string                 `json:"state,omitempty"`   // why nothing can be written to it
	OnTrial       *store.Apply           `json:"onTrial,omitempty"` // what waits to be confirmed, or break-glass
	Quarantined   []reconcile.Quarantine `json:"quarantined"`
}

// The bodies of calls.
type (
	// PlanCall has a plan made.
	PlanCall struct {
		Accept []string `json:"accept,omitempty"` // as if these brakes were accepted: with source-lost, what sources lost is gone
		Points []string `json:"points,omitempty"` // only these; none is all
	}
	// ApplyCall has a pass made now.
	ApplyCall struct {
		Accept []string `json:"accept,omitempty"` // brakes
		Reason string   `json:"reason,omitempty"` // wanted with accept
		Plan   string   `json:"plan,omitempty"`   // only this one; "" is whatever it is
		Points []string `json:"points,omitempty"` // only these; none is all
		// Confirm is false for a change that somebody has to confirm; else it is confirmed as
		// soon as it is proved.
		Confirm *bool  `json:"confirm,omitempty"`
		Timeout string `json:"timeout,omitempty"` // how long it is on trial, as "90s"; "0" for good at once; "" is what the site says
	}
	// ApproveCall has the plan applied that somebody else made. Accepting needs the
	// permission to apply, too.
	ApproveCall struct {
		Accept []string `json:"accept,omitempty"` // brakes
		Reason string   `json:"reason,omitempty"` // wanted with accept
	}
	// TrialCall ends a trial.
	TrialCall struct {
		Apply string `json:"apply,omitempty"` // the apply that is meant; "" is the one on trial
	}
	// TrialAnswer tells what became of it.
	TrialAnswer struct {
		FormatVersion string      `json:"formatVersion"`
		Apply         store.Apply `json:"apply"`
	}
	// RollbackCall goes back to what an apply enforced; "" is the one before the last.
	RollbackCall struct {
		Apply  string   `json:"apply,omitempty"`
		Accept []string `json:"accept,omitempty"`
		Reason string   `json:"reason"`
	}
	// OverrideCall is for a time and a reason.
	OverrideCall struct {
		For    string `json:"for,omitempty"` // as "15m"
		Reason string `json:"reason"`
	}
	// DoneAnswer tells what a call did.
	DoneAnswer struct {
		FormatVersion string    `json:"formatVersion"`
		Done          string    `json:"done"`
		Until         time.Time `json:"until,omitzero"`
		// Waits names devices where it is not in force before the next pass.
		Waits []string `json:"waits"`
	}
	// PassAnswer is a pass.
	PassAnswer struct {
		FormatVersion string            `json:"formatVersion"`
		Result        controller.Result `json:"result"`
		Why           string            `json:"why,omitempty"`
		Apply         string            `json:"apply,omitempty"`
		Until         time.Time         `json:"until,omitzero"` // when the devices go back, unless it is confirmed
		Outcomes      []apply.Outcome   `json:"outcomes"`
		Plan          *plan.Plan        `json:"plan"`
		Noted
	}
)

const format = "1.0"

func routes() []route {
	return []route{
		{"GET", "/v1/status", PermView, "how the daemon and its devices are", nil, StatusAnswer{}, (*API).status},
		{"GET", "/v1/inventory", PermView, "the assets, as merged from all sources", nil, map[string]any{}, (*API).inventory},
		{"GET", "/v1/groups", PermView, "the groups with their members", nil, map[string]any{}, (*API).groups},
		{"GET", "/v1/explain", PermView, "what decides a flow: src, dst, service", nil, map[string]any{}, (*API).explain},
		{"GET", "/v1/coverage", PermView, "flows that policy drops and no point does", nil, map[string]any{}, (*API).coverage},
		{"GET", "/v1/plan", PermView, "the plan of the last pass", nil, PassAnswer{}, (*API).lastPass},
		{"GET", "/v1/history", PermView, "the applies, newest first", nil, map[string]any{}, (*API).history},
		{"GET", "/v1/history/{id}", PermView, "one apply in full: who, why, what was accepted, its points, steps and plan", nil, map[string]any{}, (*API).past},
		{"GET", "/v1/plans/{id}", PermView, "a plan that is kept, or the one of the last pass", nil, map[string]any{}, (*API).keptPlan},
		{"GET", "/metrics", PermView, "for Prometheus", nil, nil, nil},
		{"GET", "/v1/openapi.json", PermView, "this description", nil, map[string]any{}, (*API).openAPI},
		{"POST", "/v1/plan", PermPlan, "make a plan now, and change nothing", PlanCall{}, PassAnswer{}, (*API).planNow},
		{"POST", "/v1/plans/{id}/approve", PermApprove, "approve the plan that waits, and have it applied", ApproveCall{}, PassAnswer{}, (*API).approve},
		{"POST", "/v1/apply", PermApply, "make a pass now", ApplyCall{}, PassAnswer{}, (*API).apply},
		{"POST", "/v1/confirm", PermApply, "make permanent what is on trial", TrialCall{}, TrialAnswer{}, (*API).confirm},
		{"POST", "/v1/take-back", PermApply, "put back what was before the change that is on trial", TrialCall{}, TrialAnswer{}, (*API).takeBack},
		{"POST", "/v1/rollback", PermApply, "go back to what an earlier apply enforced, and stay there until the site directory changes", RollbackCall{}, PassAnswer{}, (*API).rollback},
		{"POST", "/v1/history/prune", PermApply, "forget applies that need not be kept", PruneCall{}, PruneAnswer{}, (*API).pruneNow},
		{"POST", "/v1/assets/{id}/quarantine", PermOverride, "cut an asset off, whatever policy says", OverrideCall{}, DoneAnswer{}, (*API).quarantine},
		{"POST", "/v1/assets/{id}/release", PermOverride, "end an asset's quarantine", OverrideCall{}, DoneAnswer{}, (*API).release},
		{"POST", "/v1/points/{name}/open", PermOverride, "break-glass: a point drops nothing for a time", OverrideCall{}, DoneAnswer{}, (*API).open},
		{"POST", "/v1/points/{name}/close", PermOverride, "end break-glass before its time", OverrideCall{}, DoneAnswer{}, (*API).closePoint},
	}
}

// Handler answers calls.
func (d *Daemon) Handler(show Show, auth Authenticator) http.Handler {
	a := &API{d, show, auth}
	mux := http.NewServeMux()
	for _, r := range routes() {
		mux.Handle(r.method+" "+r.path, a.guarded(&r))
	}
	return http.MaxBytesHandler(mux, maxBody)
}

// guarded lets those call a route who may.
func (a *API) guarded(rt *route) http.Handler {
	metrics := promhttp.HandlerFor(a.d.metrics.registry, promhttp.HandlerOpts{})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		who, err := a.auth.Identify(r)
		if err != nil {
			a.refused(r, "somebody", err)
			w.Header().Set("WWW-Authenticate", "Bearer")
			answer(w, http.StatusUnauthorized, errorBody(err))
			return
		}
		if !slices.Contains(who.Permissions, rt.perm) {
			err := fmt.Errorf("%s has not the permission %q that %s %s needs", who.Name, rt.perm, rt.method, rt.path)
			a.refused(r, who.Name, err)
			answer(w, http.StatusForbidden, errorBody(err))
			return
		}
		if rt.do == nil {
			metrics.ServeHTTP(w, r)
			return
		}
		req := &request{Request: r, who: who}
		out, err := a.call(rt, req)
		if err != nil {
			status := http.StatusInternalServerError
			var p *problem
			if errors.As(err, &p) {
				status = p.status
			}
			answer(w, status, errorBody(err))
			return
		}
		answer(w, http.StatusOK, out)
	})
}

func (a *API) call(rt *route, r *request) (any, error) {
	if rt.in != nil {
		switch rt.in.(type) {
		case PlanCall:
			r.body = &PlanCall{}
		case TrialCall:
			r.body = &TrialCall{}
		case PruneCall:
			r.body = &PruneCall{}
		case ApplyCall:
			r.body = &ApplyCall{}
		case ApproveCall:
			r.body = &ApproveCall{}
		case RollbackCall:
			r.body = &RollbackCall{}
		case OverrideCall:
			r.body = &OverrideCall{}
		}
		dec := json.NewDecoder(r.Body)
		dec.DisallowUnknownFields()
		if err := dec.Decode(r.body); err != nil && !(errors.Is(err, io.EOF) && optional(rt.in)) {
			return nil, refuse(http.StatusBadRequest, "the body is not what %s %s takes: %w", rt.method, rt.path, err)
		}
		if dec.More() {
			return nil, refuse(http.StatusBadRequest, "there is something after the body")
		}
	}
	return rt.do(a, r)
}

// optional reports whether a body may be left out: where nothing in it has to be said.
func optional(in any) bool {
	switch in.(type) {
	case PlanCall, ApproveCall, TrialCall, PruneCall:
		return true
	}
	return false
}

// refused writes down who was turned away.
func (a *API) refused(r *http.Request, who string, why error) {
	a.d.o.Log.Warn("a call was refused", "who", who, "from", r.RemoteAddr, "call", r.Method+" "+r.URL.Path, "why", why)
	if _, err := a.d.o.Store.AppendAudit(store.Entry{Who: who, From: r.RemoteAddr, Action: "refused", Object: r.Method + " " + r.URL.Path, Reason: why.Error(), Result: "refused"}); err != nil {
		a.d.o.Log.Error("cannot write the audit log", "error", err)
	}
}

// CodeBadSite says, beside the error, that the site directory is not in use as it is.
const CodeBadSite = "bad-site"

var errBadSite = errors.New("the site directory is not in use, the last good one stays in force")

// CodeNothingOnTrial says, beside the error, that nothing waits to be confirmed.
const CodeNothingOnTrial = "nothing-on-trial"

func errorBody(err error) map[string]any {
	out := map[string]any{"formatVersion": format, "error": err.Error()}
	if errors.Is(err, apply.ErrNothingOnTrial) {
		out["code"] = CodeNothingOnTrial
	}
	var b *besides
	if errors.As(err, &b) && b.notes != "" {
		out["notes"] = b.notes
	}
	if errors.Is(err, errBadSite) {
		out["code"] = CodeBadSite
	}
	return out
}

func answer(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false) // as commands write it
	_ = enc.Encode(v)        // who hung up gets nothing
}

// reasonOf wants words.
func reasonOf(text string) (string, error) {
	if text = strings.TrimSpace(text); text == "" {
		return "", refuse(http.StatusBadRequest, "a reason is wanted: others have to read why")
	}
	return text, nil
}
