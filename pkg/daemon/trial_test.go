package daemon_test

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"bulkhead/drivers"
	"bulkhead/pkg/daemon"
	"bulkhead/pkg/store"
)

// site is a daemon of a site directory, which is ended with the test.
func site(t *testing.T, dir string, st *store.Store) *daemon.Daemon {
	t.Helper()
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
	for end := time.Now().Add(10 * time.Second); d.View().Site == nil; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the daemon does not begin")
		}
	}
	return d
}

// The loss of a source is accepted through a running daemon: first the plan that it
// makes is made and shown, and it is applied by its ID and no other.
func TestAcceptALostSource(t *testing.T) {
	ns := filepath.Join(t.TempDir(), "ns")
	if err := os.Symlink("/proc/self/ns/net", ns); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write(t, dir, "bulkhead.yaml", "name: t\nsources:\n  near: {type: neighbor, stale_after: 1h, settings: {netns: "+ns+"}}\n")
	st := openStore(t, t.TempDir())
	d := site(t, dir, st)
	h := d.Handler(show, &caller{daemon.Permissions()})
	ask := func(path, body string, status int) (out daemon.PassAnswer) {
		t.Helper()
		w := call(h, "POST", path, body)
		if w.Code != status {
			t.Fatalf("%s %s: %d %s", path, body, w.Code, w.Body)
		}
		if err := json.Unmarshal(w.Body.Bytes(), &out); err != nil {
			t.Fatal(err)
		}
		return out
	}
	ask("/v1/apply", `{}`, 200) // what the source says is known from now on
	if err := os.Remove(ns); err != nil {
		t.Fatal(err)
	}
	good := func() time.Time {
		list, err := st.Sources()
		if err != nil || len(list) != 1 {
			t.Fatal(list, err)
		}
		return list[0].LastGood
	}
	before := good()
	usual := ask("/v1/plan", ``, 200)
	if len(usual.Plan.Sources) != 1 || usual.Plan.Sources[0].State != "frozen" {
		t.Fatalf("the usual plan: %+v", usual.Plan.Sources)
	}
	accepted := ask("/v1/plan", `{"accept": ["source-lost"]}`, 200)
	if len(accepted.Plan.Sources) != 1 || accepted.Plan.Sources[0].State != "accepted" || accepted.Plan.ID == usual.Plan.ID {
		t.Fatalf("the plan that accepting makes: %+v", accepted.Plan.Sources)
	}
	if n := audited(t, st, "accept"); n != 0 {
		t.Fatalf("a plan accepted the loss %d times", n)
	}
	if s := d.View().Site.Sources; s[0].State != "frozen" {
		t.Errorf("a plan is in force: %+v", s)
	}
	ask("/v1/apply", `{"accept": ["source-lost"], "reason": "it is gone"}`, 409)
	ask("/v1/apply", `{"accept": ["source-lost"], "reason": "it is gone", "plan": "`+usual.Plan.ID+`"}`, 409)
	if n := audited(t, st, "accept"); n != 0 {
		t.Fatalf("the loss was accepted %d times, by a plan that nobody has seen", n)
	}
	if done := ask("/v1/apply", `{"accept": ["source-lost"], "reason": "it is gone", "plan": "`+accepted.Plan.ID+`"}`, 200); done.Result != "in sync" {
		t.Errorf("%+v", done)
	}
	if n := audited(t, st, "accept"); n != 1 {
		t.Errorf("the audit log says %d times that the loss was accepted", n)
	}
	if after := good(); !after.After(before) {
		t.Errorf("what is known of the source is still of %s", after)
	}
}

// Every answer that the description gives a schema for has one, and who may call is
// said where OpenAPI says such things.
func TestDescription(t *testing.T) {
	spec, err := daemon.Describe()
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(spec)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"security":[{},{"bearer":[]}]`, `"timeout"`, `"/v1/take-back"`, `"/v1/history/{id}"`} {
		if !strings.Contains(string(text), want) {
			t.Errorf("the description lacks %s", want)
		}
	}
	if strings.Contains(string(text), "x-unix") {
		t.Error("a field of our own says what OpenAPI has words for")
	}
}
