package daemon

import (
	"fmt"
	"net/http"
	"strconv"
	"time"

	"bulkhead/inventory"
	"bulkhead/pkg/apply"
	"bulkhead/pkg/compile"
	"bulkhead/pkg/controller"
	"bulkhead/pkg/diag"
	"bulkhead/pkg/reconcile"
)

// Show gives what the API shows of a site that commands show as well, so that the
// two cannot differ.
type Show struct {
	// Groups and Assets give those that are named, or all.
	Groups  func(s *reconcile.Site, names []string) (any, error)
	Assets  func(s *reconcile.Site, ids []string) ([]inventory.Asset, error)
	Explain func(s *reconcile.Site, devices []*reconcile.Device, from, to, service string) (any, error)
	// Beside gives what commands print beside their result: what is doubtful in the site
	// directory and, if sources is set, in what its sources say.
	Beside func(s *reconcile.Site, sources bool) string
}

// Noted is what an answer says beside, for whoever reads the same of a command.
type Noted struct {
	Notes string `json:"notes,omitempty"`
}

// site gives what is in force, once there is anything.
func (a *API) site() (*View, error) {
	v := a.d.View()
	if v.Site == nil {
		return nil, refuse(http.StatusServiceUnavailable, "the site is not worked out yet")
	}
	return v, nil
}

func (a *API) status(*request) (any, error) {
	v, err := a.site()
	if err != nil {
		return nil, err
	}
	out := StatusAnswer{FormatVersion: format, Site: v.Site.Config.Settings.Name, Directory: a.d.dir, Started: v.Started, Trouble: v.Trouble,
		BadSite: v.BadSite, BadSince: v.BadSince, RolledBack: v.RolledBack, Problem: v.Problem, State: v.State, OnTrial: v.OnTrial, Quarantined: append([]reconcile.Quarantine{}, v.Site.Quarantined...)}
	if v.Pass != nil {
		out.Result, out.Why, out.At, out.Plan = v.Pass.Result, v.Pass.Why, v.At, v.Pass.Plan.ID
	}
	return out, nil
}

func (a *API) inventory(r *request) (any, error) {
	v, err := a.site()
	if err != nil {
		return nil, err
	}
	assets, err := a.show.Assets(v.Site, r.URL.Query()["id"])
	if err != nil {
		return nil, a.wrong(v, err)
	}
	inv := v.Site.Inventory // in the form of `bulkhead assets -o json`
	return a.noted(v, map[string]any{"assets": list(assets), "evidence": list(inv.Evidence), "conflicts": list(inv.Conflicts)}), nil
}

// wrong is a question that there is no answer to.
func (a *API) wrong(v *View, err error) error {
	return &problem{http.StatusBadRequest, &besides{err, a.notes(v)}}
}

// noted adds to an answer what a command would say beside.
func (a *API) noted(v *View, answer map[string]any) map[string]any {
	answer["formatVersion"] = format
	if notes := a.notes(v); notes != "" {
		answer["notes"] = notes
	}
	return answer
}

// notes is what a command would say beside, and where what is in force is not what the
// site directory says.
func (a *API) notes(v *View) string {
	notes := a.show.Beside(v.Site, true)
	if v.BadSite != "" {
		notes += fmt.Sprintf("the site directory is not in use since %s, the last good one is: %s\n", v.BadSince.Format(time.RFC3339), diag.Safe(v.BadSite))
	}
	return notes + rolledBackNote(v)
}

func rolledBackNote(v *View) string {
	if v.RolledBack == "" {
		return ""
	}
	return fmt.Sprintf("what apply %s enforced is in force, and not what the site directory says, until that changes\n", v.RolledBack)
}

// list is never null.
func list[T any](s []T) []T { return append([]T{}, s...) }

func (a *API) groups(r *request) (any, error) {
	v, err := a.site()
	if err != nil {
		return nil, err
	}
	var rows any
	v.Site.Matrix.Exclusive(func() { rows, err = a.show.Groups(v.Site, r.URL.Query()["name"]) })
	if err != nil {
		return nil, a.wrong(v, err)
	}
	return a.noted(v, map[string]any{"groups": rows}), nil
}

func (a *API) explain(r *request) (any, error) {
	v, err := a.site()
	if err != nil {
		return nil, err
	}
	q := r.URL.Query()
	var e any
	v.Site.Matrix.Exclusive(func() { e, err = a.show.Explain(v.Site, v.Devices, q.Get("src"), q.Get("dst"), q.Get("service")) })
	if err != nil {
		return nil, a.wrong(v, err)
	}
	return a.noted(v, map[string]any{"flow": e}), nil
}

func (a *API) coverage(*request) (any, error) {
	v, err := a.site()
	if err != nil {
		return nil, err
	}
	rows := []compile.Uncovered{}
	if v.Pass != nil {
		rows = append(rows, v.Pass.Plan.Uncovered...)
	}
	return map[string]any{"formatVersion": format, "uncovered": rows}, nil
}

func passAnswer(p *controller.Pass) PassAnswer {
	out := PassAnswer{FormatVersion: format, Result: p.Result, Why: p.Why, Plan: p.Plan, Outcomes: []apply.Outcome{}}
	if p.Apply != nil {
		out.Apply, out.Outcomes = p.Apply.Apply.ID, append(out.Outcomes, p.Apply.Outcomes...)
		if p.Result == controller.OnTrial {
			out.Until = p.Apply.Apply.Deadline
		}
	}
	return out
}

func (a *API) lastPass(*request) (any, error) {
	v := a.d.View()
	if v.Pass == nil {
		return nil, refuse(http.StatusNotFound, "no plan was made yet")
	}
	return passAnswer(v.Pass), nil
}

func (a *API) history(r *request) (any, error) {
	limit := 100
	if text := r.URL.Query().Get("limit"); text != "" {
		var err error
		if limit, err = strconv.Atoi(text); err != nil || limit < 0 {
			return nil, refuse(http.StatusBadRequest, "limit is %q: it is a number, and 0 is all", text)
		}
	}
	rows, err := controller.History(a.d.o.Store, limit, true, a.d.o.Now())
	return map[string]any{"formatVersion": format, "applies": rows}, err
}
