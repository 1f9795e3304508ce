package daemon_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"bulkhead/drivers"
	"bulkhead/inventory"
	"bulkhead/pkg/daemon"
	"bulkhead/pkg/reconcile"
	"bulkhead/pkg/store"
)

// caller is whoever the test says.
type caller struct{ may []daemon.Permission }

func (c *caller) Identify(r *http.Request) (daemon.Identity, error) {
	if c.may == nil {
		return daemon.Identity{}, errors.New("nobody")
	}
	return daemon.Identity{Name: "eva", Permissions: c.may}, nil
}

const noPoints = `name: t
points: {}
`

func openStore(t testing.TB, dir string) *store.Store {
	t.Helper()
	st, err := store.Open(dir, "t", nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = st.Close() })
	return st
}

// write makes a file of a site, at once: a daemon that looks meanwhile sees the old one or
// the new one, and not the half.
func write(t testing.TB, dir, name, text string) {
	t.Helper()
	name = filepath.Join(dir, name)
	err := os.MkdirAll(filepath.Dir(name), 0o700)
	f, tempErr := os.CreateTemp(filepath.Dir(dir), "write")
	if err = errors.Join(err, tempErr); err != nil {
		t.Fatal(err)
	}
	_, err = f.WriteString(text)
	if err = errors.Join(err, f.Close(), os.Rename(f.Name(), name)); err != nil {
		t.Fatal(err)
	}
}

var show = daemon.Show{
	Groups:  func(*reconcile.Site, []string) (any, error) { return []string{}, nil },
	Assets:  func(s *reconcile.Site, _ []string) ([]inventory.Asset, error) { return s.Inventory.Assets, nil },
	Beside:  func(*reconcile.Site, bool) string { return "" },
	Explain: func(*reconcile.Site, []*reconcile.Device, string, string, string) (any, error) { return "because", nil },
}

// running is a daemon of a site without devices, and its handler.
func running(t testing.TB, who daemon.Authenticator) (http.Handler, *store.Store) {
	t.Helper()
	dir := t.TempDir()
	write(t, dir, "bulkhead.yaml", noPoints)
	write(t, dir, "policy.yaml", "assets:\n  web: {kind: vm, addresses: [10.0.1.20]}\n")
	st := openStore(t, t.TempDir())
	d := daemon.New(daemon.Options{Dir: dir, Kinds: drivers.Kinds(), Store: st, Interval: time.Hour}, "test", "here")
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- d.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	for end := time.Now().Add(10 * time.Second); d.View().Site == nil && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
	return d.Handler(show, who), st
}

func call(h http.Handler, method, path, body string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(method, path, strings.NewReader(body)))
	return w
}

func audited(t *testing.T, st *store.Store, action string) int {
	t.Helper()
	all, err := st.Audit(0, 0)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, e := range all {
		if e.Action == action {
			n++
		}
	}
	return n
}

// Every route of the description wants one permission: without it, and with all
// others, it is refused and written down; nobody at all gets 401.
func TestEveryRouteWantsItsPermission(t *testing.T) {
	who := &caller{}
	h, st := running(t, who)
	spec, err := daemon.Describe()
	if err != nil {
		t.Fatal(err)
	}
	fill := strings.NewReplacer("{id}", "web", "{name}", "gw")
	routes := 0
	for path, ops := range spec["paths"].(map[string]map[string]any) {
		for method, op := range ops {
			routes++
			perm, ok := op.(map[string]any)["x-permission"].(daemon.Permission)
			if !ok || !slices.Contains(daemon.Permissions(), perm) {
				t.Fatalf("%s %s names the permission %q", method, path, perm)
			}
			before := audited(t, st, "refused")
			who.may = nil
			if w := call(h, strings.ToUpper(method), fill.Replace(path), "{}"); w.Code != http.StatusUnauthorized {
				t.Errorf("%s %s by nobody: %d", method, path, w.Code)
			}
			who.may = slices.DeleteFunc(daemon.Permissions(), func(p daemon.Permission) bool { return p == perm })
			if w := call(h, strings.ToUpper(method), fill.Replace(path), "{}"); w.Code != http.StatusForbidden {
				t.Errorf("%s %s without %q: %d", method, path, perm, w.Code)
			}
			if got := audited(t, st, "refused") - before; got != 2 {
				t.Errorf("%s %s: %d of 2 refusals were written down", method, path, got)
			}
			who.may = []daemon.Permission{perm}
			if w := call(h, strings.ToUpper(method), fill.Replace(path), "{}"); w.Code == http.StatusForbidden || w.Code == http.StatusUnauthorized {
				t.Errorf("%s %s with %q: %d %s", method, path, perm, w.Code, w.Body)
			}
		}
	}
	if routes < 21 {
		t.Errorf("%d routes were looked at", routes)
	}
}

// What is asked wrongly is answered with what is wrong, and changes nothing.
func TestBadCalls(t *testing.T) {
	who := &caller{daemon.Permissions()}
	h, _ := running(t, who)
	for _, c := range []struct {
		method, path, body string
		status             int
		says               string
	}{
		{"POST", "/v1/assets/web/quarantine", `{}`, 400, "reason"},
		{"POST", "/v1/assets/web/quarantine", `{"reason": "x", "for": "soon"}`, 400, "15m"},
		{"POST", "/v1/assets/web/quarantine", `{"reason": "x", "for": "100000h"}`, 409, "at most"},
		{"POST", "/v1/assets/nobody/quarantine", `{"reason": "x"}`, 409, "no asset"},
		{"POST", "/v1/assets/web/release", `{"reason": "x"}`, 409, "not in quarantine"},
		{"POST", "/v1/points/gw/open", `{"reason": "x"}`, 409, "no point"},
		{"POST", "/v1/apply", `{"accept": ["first-enforcement"]}`, 400, "reason"},
		{"POST", "/v1/apply", `{"what": 1}`, 400, "unknown field"},
		{"POST", "/v1/apply", `{} {}`, 400, "after the body"},
		{"POST", "/v1/apply", `[`, 400, "body"},
		{"POST", "/v1/apply", `{"plan": "0000"}`, 409, "stale"},
		{"POST", "/v1/plans/0000/approve", ``, 409, "stale"},
		{"POST", "/v1/rollback", `{"reason": "x"}`, 409, "no apply before"},
		{"POST", "/v1/plan", `{"points": ["gw"]}`, 400, "no point"},
		{"POST", "/v1/plan", `{"point": ["gw"]}`, 400, "unknown field"},
		{"POST", "/v1/apply", `{"points": ["gw"]}`, 400, "no point"},
		{"POST", "/v1/apply", `{"timeout": "1s"}`, 400, "from 5s"},
		{"POST", "/v1/apply", `{"timeout": "soon"}`, 400, "90s"},
		{"POST", "/v1/apply", `{"accept": ["source-lost"], "reason": "x"}`, 409, "POST /v1/plan"},
		{"POST", "/v1/confirm", ``, 409, "nothing-on-trial"},
		{"POST", "/v1/confirm", `{"apply": "a2"}`, 409, "no change is on trial"},
		{"POST", "/v1/take-back", `{}`, 409, "no change is on trial"},
		{"POST", "/v1/history/prune", `{"keepWithin": "long"}`, 400, "90d"},
		{"POST", "/v1/history/prune", `{"keepLast": 1}`, 400, "a rollback needs 2"},
		{"GET", "/v1/history?limit=-1", ``, 400, "0 is all"},
		{"GET", "/v1/history/a2", ``, 404, "the history lists them"},
		{"GET", "/v1/plans/p2", ``, 404, "the history lists them"},
		{"GET", "/v1/nothing", ``, 404, ""},
		{"DELETE", "/v1/plan", ``, 405, ""},
	} {
		w := call(h, c.method, c.path, c.body)
		if w.Code != c.status || !strings.Contains(w.Body.String(), c.says) {
			t.Errorf("%s %s %s: %d %s", c.method, c.path, c.body, w.Code, w.Body)
		}
	}
	if w := call(h, "POST", "/v1/apply", `{"reason": "`+strings.Repeat("x", 1<<20)+`"}`); w.Code != 400 && w.Code != 413 {
		t.Errorf("a megabyte: %d", w.Code)
	}
}

// Good calls, in the form that is described.
func TestGoodCalls(t *testing.T) {
	who := &caller{daemon.Permissions()}
	h, st := running(t, who)
	for _, path := range []string{"/v1/status", "/v1/inventory", "/v1/groups", "/v1/explain?src=a&dst=b&service=c", "/v1/coverage", "/v1/history", "/v1/openapi.json"} {
		w := call(h, "GET", path, "")
		var body map[string]any
		if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil || w.Code != 200 || body["formatVersion"] != "1.0" && body["openapi"] != "3.1.0" {
			t.Errorf("%s: %d %v %s", path, w.Code, err, w.Body)
		}
		if path != "/v1/inventory" && strings.Contains(w.Body.String(), ": null") {
			t.Errorf("%s: lists are null: %s", path, w.Body)
		}
	}
	if w := call(h, "GET", "/v1/plan", ""); w.Code != 404 { // there is nothing to plan for
		t.Errorf("/v1/plan: %d", w.Code)
	}
	if w := call(h, "POST", "/v1/plan", ""); w.Code != 200 || !strings.Contains(w.Body.String(), `"result": "in sync"`) {
		t.Errorf("a plan: %d %s", w.Code, w.Body)
	}
	if w := call(h, "POST", "/v1/history/prune", `{"keepWithin": "1d12h"}`); w.Code != 200 || !strings.Contains(w.Body.String(), `"applies": 0`) {
		t.Errorf("pruning: %d %s", w.Code, w.Body)
	}
	if w := call(h, "GET", "/metrics", ""); w.Code != 200 || !strings.Contains(w.Body.String(), "bulkhead_site_good 1") {
		t.Errorf("metrics: %d %s", w.Code, w.Body)
	}
	if w := call(h, "POST", "/v1/assets/web/quarantine", `{"reason": "scans", "for": "1h"}`); w.Code != 200 || audited(t, st, "quarantine") != 1 {
		t.Errorf("quarantine: %d %s", w.Code, w.Body)
	}
	for end := time.Now().Add(10 * time.Second); ; {
		if w := call(h, "GET", "/v1/status", ""); strings.Contains(w.Body.String(), `"asset": "web"`) {
			break
		}
		if time.Now().After(end) {
			t.Fatal("the status does not show the quarantine")
		}
	}
	if w := call(h, "POST", "/v1/assets/web/release", `{"reason": "done"}`); w.Code != 200 || audited(t, st, "release") != 1 {
		t.Errorf("release: %d %s", w.Code, w.Body)
	}
}

// A token is known by its digest, and by nothing that resembles it.
func TestTokens(t *testing.T) {
	digest := sha256.Sum256([]byte("open sesame"))
	tokens, err := daemon.ReadTokens(strings.NewReader("# who may\n\nci " + hex.EncodeToString(digest[:]) + " view,plan\n"))
	if err != nil {
		t.Fatal(err)
	}
	ask := func(header string) (daemon.Identity, error) {
		r := httptest.NewRequest("GET", "/v1/status", nil)
		if header != "" {
			r.Header.Set("Authorization", header)
		}
		return tokens.Identify(r)
	}
	who, err := ask("Bearer open sesame")
	if err != nil || who.Name != "ci" || !slices.Equal(who.Permissions, []daemon.Permission{daemon.PermView, daemon.PermPlan}) {
		t.Errorf("%+v %v", who, err)
	}
	for _, bad := range []string{"", "Bearer", "Bearer ", "Bearer open", "Basic open sesame", "Bearer " + hex.EncodeToString(digest[:])} {
		if who, err := ask(bad); err == nil {
			t.Errorf("%q is %+v", bad, who)
		}
	}
	for _, bad := range []string{"", "ci", "ci 00 view", "ci " + hex.EncodeToString(digest[:]) + " root"} {
		if _, err := daemon.ReadTokens(strings.NewReader(bad)); err == nil {
			t.Errorf("%q is a list of tokens", bad)
		}
	}
}

// Whatever is sent, the answer is a status and, of our own routes, JSON; nothing
// panics, and nothing is done that was not allowed.
func FuzzAPI(f *testing.F) {
	f.Add("POST", "v1/apply", `{"accept": ["x"], "reason": "y"}`, uint8(31))
	f.Add("POST", "v1/assets/web/quarantine", `{"reason": "y", "for": "1m"}`, uint8(16))
	f.Add("POST", "v1/assets/%2e%2e/release", `{"reason": "y"}`, uint8(31))
	f.Add("GET", "v1/explain?src=a&dst=%00&service=tcp/1", ``, uint8(1))
	f.Add("POST", "v1/plans/x/approve", `{`, uint8(4))
	f.Add("POST", "v1/plan", `{"accept": ["source-lost"], "points": ["x"]}`, uint8(2))
	f.Add("POST", "v1/apply", `{"confirm": false, "timeout": "90s"}`, uint8(8))
	f.Add("POST", "v1/confirm", `{"apply": "a2"}`, uint8(8))
	f.Add("POST", "v1/take-back", ``, uint8(8))
	f.Add("GET", "v1/history/a2", ``, uint8(1))
	f.Add("GET", "v1/plans/%2f", ``, uint8(1))
	who := &caller{}
	h, _ := running(f, who)
	f.Fuzz(func(t *testing.T, method, path, body string, may uint8) {
		who.may = []daemon.Permission{}
		for i, p := range daemon.Permissions() {
			if may>>i&1 == 1 {
				who.may = append(who.may, p)
			}
		}
		r, err := http.NewRequest(method, "http://x/"+path, strings.NewReader(body))
		if err != nil {
			return
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code < 200 || w.Code > 599 {
			t.Fatalf("status %d", w.Code)
		}
		if w.Header().Get("Content-Type") == "application/json" {
			if b, _ := io.ReadAll(w.Body); !json.Valid(b) {
				t.Fatalf("%s %s: no JSON: %q", method, path, b)
			}
		}
		if method == "POST" && len(who.may) == 0 && w.Code/100 == 2 {
			t.Fatalf("%s %s was done without a permission", method, path)
		}
	})
}

// Every metric of ours is in the documentation, and nothing else is.
func TestMetricsAreDocumented(t *testing.T) {
	h, _ := running(t, &caller{daemon.Permissions()})
	page, err := os.ReadFile("../../docs/daemon.md")
	if err != nil {
		t.Fatal(err)
	}
	text := call(h, "GET", "/metrics", "").Body.String()
	// Those with labels show only once they have counted something.
	for _, name := range []string{"bulkhead_passes_total", "bulkhead_applies_total", "bulkhead_drift_total", "bulkhead_point_in_sync", "bulkhead_source_current", "bulkhead_brakes"} {
		text += "\n# TYPE " + name + " x"
	}
	for _, line := range strings.Split(text, "\n") {
		f := strings.Fields(line)
		if len(f) < 3 || f[1] != "TYPE" || !strings.HasPrefix(f[2], "bulkhead_") {
			continue
		}
		if !strings.Contains(string(page), "`"+f[2]+"`") && !strings.Contains(string(page), "`"+f[2]+"{") {
			t.Errorf("docs/daemon.md does not say what %s is", f[2])
		}
	}
	for _, word := range strings.FieldsFunc(string(page), func(r rune) bool { return !(r == '_' || r >= 'a' && r <= 'z') }) {
		if strings.HasPrefix(word, "bulkhead_") && !strings.Contains(text, " "+word+" ") {
			t.Errorf("docs/daemon.md tells of %s, which there is not", word)
		}
	}
}

// Who may only approve accepts no brake by it, and who accepts one says why.
func TestApprovingWithABrake(t *testing.T) {
	who := &caller{[]daemon.Permission{daemon.PermView, daemon.PermApprove}}
	h, _ := running(t, who)
	for _, x := range []struct {
		body string
		more daemon.Permission
		code int
	}{
		{`{"accept": ["removed-points"], "reason": "meant"}`, "", 403},
		{`{"accept": ["removed-points"]}`, daemon.PermApply, 400},
		{`{"accept": ["removed-points"], "reason": "meant"}`, "", 409}, // no such plan
		{``, "", 409},
	} {
		if x.more != "" {
			who.may = append(who.may, x.more)
		}
		if w := call(h, "POST", "/v1/plans/0123/approve", x.body); w.Code != x.code {
			t.Errorf("%s: %d %s", x.body, w.Code, w.Body)
		}
	}
}
