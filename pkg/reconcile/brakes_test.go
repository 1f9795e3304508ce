package reconcile_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"bulkhead/inventory"
	"bulkhead/pkg/apply"
	"bulkhead/pkg/plan"
	"bulkhead/pkg/policy/policytest"
	"bulkhead/pkg/reconcile"
	"bulkhead/pkg/store"
)

const brakeSite = `name: t
points:
  gw-a: {driver: fake, zones: {a: {interfaces: [eth1], prefixes: [10.0.1.0/24]}, b: {interfaces: [eth2], prefixes: [10.0.2.0/24]}}}
failsafe:
  - {point: gw-a, from: [10.0.1.9], to: [10.0.1.1], service: tcp/22}
observe_learn: 0s
limits: {first_enforcement: accept}
`

// brakePolicy is five web servers that reach three databases.
func brakePolicy() string {
	var b strings.Builder
	b.WriteString("assets:\n")
	for i := range 5 {
		fmt.Fprintf(&b, "  web-%d: {kind: vm, addresses: [10.0.1.%d], labels: {role: web}}\n", i, 20+i)
	}
	for i := range 3 {
		fmt.Fprintf(&b, "  db-%d: {kind: vm, addresses: [10.0.2.%d], labels: {role: db}}\n", i, 20+i)
	}
	return b.String() + `groups:
  web: {where: 'labels.role == "web"', isolate: both}
  db: {where: 'labels.role == "db"', isolate: both}
  servers: {groups: [web, db]}
policies:
  - {name: web-to-db, from: web, to: db, services: [tcp/5432], action: allow}
  - {name: ping, from: any, to: any, services: [icmp/echo-request], action: allow}
`
}

// state is a store with one apply of a site.
func state(t *testing.T) *store.Store {
	t.Helper()
	st, err := store.Open(t.TempDir(), "t", func() time.Time { return policytest.Epoch })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	return st
}

// keep writes an apply down, as the executor does.
func keep(t *testing.T, st *store.Store, s *reconcile.Site, whole bool, end store.State) store.Apply {
	t.Helper()
	b, err := s.Snapshot(whole)
	if err != nil {
		t.Fatal(err)
	}
	snap, err := st.PutSnapshot(b)
	if err != nil {
		t.Fatal(err)
	}
	a, err := st.BeginApply(store.Apply{Who: "test", Snapshot: snap.ID}, nil)
	if err == nil {
		err = st.FinishApply(a.ID, end, nil)
	}
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// carry makes the devices hold what a plan says, and hands them on to another site.
func carry(t *testing.T, from, to *bench) {
	t.Helper()
	for _, j := range from.plan(t).Jobs {
		if err := j.Driver.Apply(context.Background(), j.Change); err != nil {
			t.Fatal(err)
		}
	}
	for name, f := range from.fakes {
		if to.fakes[name] != nil {
			to.fakes[name].state = f.state
		}
	}
}

func brakesOf(p *plan.Plan) []string {
	var out []string
	for _, b := range p.Brakes {
		out = append(out, b.Name+": "+b.Saw)
	}
	return out
}

// wantBrakes holds the brakes of a plan to a list of names, each with a part of what
// it saw.
func wantBrakes(t *testing.T, what string, p *plan.Plan, want ...string) {
	t.Helper()
	got := brakesOf(p)
	ok := len(got) == len(want)
	for i := range want {
		name, saw, _ := strings.Cut(want[i], ": ")
		ok = ok && i < len(got) && strings.HasPrefix(got[i], name+": ") && strings.Contains(got[i], saw)
	}
	if !ok {
		t.Errorf("%s: held by\n  %s\nwanted\n  %s", what, strings.Join(got, "\n  "), strings.Join(want, "\n  "))
	}
}

func last(st *store.Store) func() (*reconcile.Baseline, string, error) {
	return func() (*reconcile.Baseline, string, error) { return reconcile.LastApplied(st) }
}

func run(t *testing.T, b *bench, opt reconcile.Options) *plan.Plan {
	t.Helper()
	r, err := b.site.RunOnce(context.Background(), b.devices, opt)
	if err != nil {
		t.Fatal(err)
	}
	return r.Plan
}

// Each change of a site is held by the brake that is named for it, and by no other;
// and by none at all where nobody knows what was applied before.
func TestBrakes(t *testing.T) {
	edit := func(old, by string) func(site, policy string) (string, string) {
		return func(site, policy string) (string, string) {
			a, b := strings.Replace(site, old, by, 1), strings.Replace(policy, old, by, 1)
			if a == site && b == policy {
				t.Fatalf("%q is in neither file", old)
			}
			return a, b
		}
	}
	allow := func(rest string) func(site, policy string) (string, string) {
		return edit("policies:\n", "policies:\n  - {name: new, "+rest+", action: allow}\n")
	}
	// webs takes the last n web servers out of the inventory.
	webs := func(n int) func(site, policy string) (string, string) {
		return func(site, policy string) (string, string) {
			lines := strings.Split(policy, "\n")
			return site, strings.Join(slices.Delete(lines, 6-n, 6), "\n")
		}
	}
	for _, c := range []struct {
		name  string
		edit  func(site, policy string) (string, string)
		want  []string
		alone bool // held without a state, too
	}{
		{"a service more", allow("from: web, to: db, services: [tcp/443]"), nil, false},
		{"a service for everybody", allow("from: any, to: any, services: [tcp/443]"), []string{"any-to-any: tcp/443 is newly allowed"}, false},
		{"a service for one family", allow("from: every4, to: any, services: [tcp/443]"), []string{"any-to-any: tcp/443"}, false},
		{"a service for everybody of a cell", allow("from: any, to: any, services: [tcp/443], same: [role]"), nil, false},
		{"a service for everybody, to be looked at", allow("from: any, to: any, services: [tcp/443], mode: observe"), nil, false},
		{"the same for everybody, by another name", edit("name: ping,", "name: echo,"), nil, false},
		{"another service for everybody", edit("[icmp/echo-request]", "[icmp/timestamp-request]"), []string{"newly-denied: device of gw-a (point gw-a) would deny ", "any-to-any: icmp/13"}, false},
		{"most of it off", edit("  - {name: ping, from: any, to: any, services: [icmp/echo-request], action: allow}\n", "  - {name: none, from: servers, to: any, services: any, action: deny}\n  - {name: neither, from: any, to: servers, services: any, action: deny}\n"), []string{"newly-denied: more than 20 % (newly_denied_percent)"}, true},
		{"one of five", webs(1), nil, false},
		{"two of five", webs(2), []string{"assets-lost: 1 group has lost more than 30 % of the assets that they had (assets_lost_percent): web 2 of 5"}, false},
		{"all of five", webs(5), []string{"assets-lost: 5 of 8 assets are no longer in the inventory", "assets-lost: 2 groups have lost more than 30 %"}, false},
		{"a mistyped group", edit(`'labels.role == "web"'`, `'labels.role == "wbe"'`), []string{"assets-lost: 2 groups have lost more than 30 % of the assets that they had (assets_lost_percent): servers 5 of 8, web 5 of 5"}, false},
		{"a looser group", edit("isolate: both}\n  servers", "isolate: ingress}\n  servers"), []string{"default-action: group db isolates less: both before, ingress now"}, false},
		{"a group that isolated is gone", edit("  db: {where: 'labels.role == \"db\"', isolate: both}\n  servers: {groups: [web, db]}\n", "  dbs: {where: 'labels.role == \"db\"'}\n  db: {groups: [dbs]}\n  servers: {groups: [web, db]}\n"), []string{"default-action: group db isolates less: both before, none now"}, false},
		{"a default for strangers", edit("groups:\n", "groups:\n  unknown: {isolate: both}\n"), []string{"newly-denied: ", "default-action: the default of the built-in group unknown is touched: none before, both now"}, false},
		{"no way in", edit("  - {point: gw-a, from: [10.0.1.9], to: [10.0.1.1], service: tcp/22}\n", "  []\n"), []string{"failsafe-touched: no longer failsafe as it was: point gw-a: tcp/22 from 10.0.1.9 to 10.0.1.1"}, false},
		{"another way in", edit("from: [10.0.1.9]", "from: [10.0.1.8]"), []string{"failsafe-touched: "}, false},
		{"one more way in", edit("failsafe:\n", "failsafe:\n  - {point: gw-a, from: [10.0.1.8], to: [10.0.1.1], service: tcp/22}\n"), nil, false},
	} {
		site, policy := brakeSite, strings.Replace(brakePolicy(), "groups:\n", "groups:\n  every4: {prefixes: [0.0.0.0/0]}\n", 1)
		old := newBench(t, map[string]string{"bulkhead.yaml": site, "policy.yaml": policy})
		site, policy = c.edit(site, policy)
		b := newBench(t, map[string]string{"bulkhead.yaml": site, "policy.yaml": policy})
		carry(t, old, b)
		st := state(t)
		a := keep(t, st, old.site, true, store.Confirmed)
		p := run(t, b, reconcile.Options{Last: last(st)})
		wantBrakes(t, c.name, p, c.want...)
		if p.HasChanges() && (p.Baseline.Apply != a.ID || p.Baseline.Why != "") {
			t.Errorf("%s: the plan compares with %+v", c.name, p.Baseline)
		}
		alone := run(t, b, reconcile.Options{})
		if c.alone {
			wantBrakes(t, c.name+", alone", alone, c.want...)
		} else if slices.ContainsFunc(alone.Brakes, func(x plan.Brake) bool { return x.Name != reconcile.BrakeNewlyDenied }) || alone.HasChanges() && alone.Baseline.Why == "" {
			t.Errorf("%s, alone: %q, compares with %+v", c.name, brakesOf(alone), alone.Baseline)
		}
	}
}

// A plan that changes nothing is held by nothing, and does not look for what to
// compare with.
func TestBrakesOfNothing(t *testing.T) {
	old := newBench(t, map[string]string{"bulkhead.yaml": brakeSite, "policy.yaml": brakePolicy()})
	carry(t, old, old)
	p := run(t, old, reconcile.Options{Last: func() (*reconcile.Baseline, string, error) { return nil, "", errors.New("asked") }})
	if p.HasChanges() || len(p.Brakes) > 0 {
		t.Errorf("%q", brakesOf(p))
	}
}

// A state that cannot be read is no state that says nothing.
func TestBrakesBlind(t *testing.T) {
	b := newBench(t, map[string]string{"bulkhead.yaml": brakeSite, "policy.yaml": brakePolicy()})
	_, err := b.site.RunOnce(context.Background(), b.devices, reconcile.Options{Last: func() (*reconcile.Baseline, string, error) { return nil, "", errors.New("torn") }})
	if err == nil || !strings.Contains(err.Error(), "torn") {
		t.Error(err)
	}
}

// Compared is the last confirmed apply of all points: not one of some, not one that
// failed, not one of an older version, which kept only the inventory.
func TestLastApplied(t *testing.T) {
	st := state(t)
	b := newBench(t, map[string]string{"bulkhead.yaml": brakeSite, "policy.yaml": brakePolicy()})
	none := func(want string) {
		t.Helper()
		got, why, err := reconcile.LastApplied(st)
		if got != nil || err != nil || !strings.Contains(why, want) {
			t.Errorf("%+v %q %v", got, why, err)
		}
	}
	none("no apply of all points has been confirmed yet")
	keep(t, st, b.site, false, store.Confirmed)
	keep(t, st, b.site, true, store.Failed)
	keep(t, st, b.site, true, store.Partial)
	none("no apply of all points has been confirmed yet")
	good := keep(t, st, b.site, true, store.Confirmed)
	keep(t, st, b.site, false, store.Confirmed)
	keep(t, st, b.site, true, store.Undone)
	got, why, err := reconcile.LastApplied(st)
	if err != nil || why != "" || got == nil || len(got.IDs) != 8 {
		t.Fatalf("%+v %q %v", got, why, err)
	}
	if p := run(t, b, reconcile.Options{Last: last(st)}); p.Baseline.Apply != good.ID || !p.Baseline.At.Equal(policytest.Epoch) {
		t.Errorf("%+v", p.Baseline)
	}
	for text, want := range map[string]string{
		`{"assets":[],"evidence":[],"conflicts":[]}`: "of an older version",
		`{"baseline":{"formatVersion":"7.0"}}`:       "7.0",
		`[]`:                                         "no inventory",
	} {
		st := state(t)
		snap, err := st.PutSnapshot([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		a, err := st.BeginApply(store.Apply{Who: "test", Snapshot: snap.ID}, nil)
		if err = errors.Join(err, st.FinishApply(a.ID, store.Confirmed, nil)); err != nil {
			t.Fatal(err)
		}
		got, why, err := reconcile.LastApplied(st)
		if got != nil || !strings.Contains(fmt.Sprint(why, err), want) {
			t.Errorf("%s: %+v %q %v", text, got, why, err)
		}
	}
}

// Closing what somebody opened on a device is held by no brake, also where the site
// changes at the same time, and where the whole table is gone.
func TestBrakesLeaveRepairsAlone(t *testing.T) {
	old := newBench(t, map[string]string{"bulkhead.yaml": brakeSite, "policy.yaml": brakePolicy()})
	policy := strings.Replace(brakePolicy(), "policies:\n", "policies:\n  - {name: new, from: web, to: db, services: [tcp/443], action: allow}\n", 1)
	b := newBench(t, map[string]string{"bulkhead.yaml": brakeSite, "policy.yaml": policy})
	carry(t, old, b)
	was := b.fakes["gw-a"].state
	written, err := b.kind.Encode(was)
	if err != nil {
		t.Fatal(err)
	}
	opt := reconcile.Options{Enforced: map[string]bool{"gw-a": true}, Confirmed: func(string) (*apply.Record, time.Time, error) {
		return &apply.Record{Fingerprint: was.Fingerprint(), State: written}, policytest.Epoch, nil
	}}
	// Somebody opens everything: a site without isolation.
	open := newBench(t, map[string]string{"bulkhead.yaml": brakeSite, "policy.yaml": strings.ReplaceAll(brakePolicy(), "isolate: both", "isolate: none")})
	carry(t, old, open)
	carry(t, open, b)
	wantBrakes(t, "opened", run(t, b, opt))
	if p := run(t, b, reconcile.Options{Enforced: opt.Enforced}); len(p.Brakes) != 1 || p.Brakes[0].Name != reconcile.BrakeNewlyDenied {
		t.Errorf("the case is none: without what was confirmed it is held by %q", brakesOf(p))
	}
	b.fakes["gw-a"].state = b.kindEmpty()
	wantBrakes(t, "lost", run(t, b, opt))
	opt.Confirmed = func(string) (*apply.Record, time.Time, error) { return nil, time.Time{}, errors.New("torn") }
	if _, err := b.site.RunOnce(context.Background(), b.devices, opt); err == nil {
		t.Error("what was confirmed cannot be read, and nobody says so")
	}
}

// What sources lost is named by a brake where somebody accepted it, and where what
// is gone would open something.
func TestSourceBrakes(t *testing.T) {
	b := newBench(t, map[string]string{"bulkhead.yaml": brakeSite, "policy.yaml": brakePolicy()})
	b.site.Sources = []inventory.Standing{
		{Source: "a", State: inventory.SourceAccepted, Why: "it failed: x"},
		{Source: "b", State: inventory.SourceStale, Why: "it failed: y"},
		{Source: "c", State: inventory.SourceFrozen, Why: "it failed: z"},
		{Source: "d", State: inventory.SourceCurrent},
		{Source: "e/part", State: inventory.SourceMissing, Why: "it failed: w"},
	}
	p := run(t, b, reconcile.Options{})
	wantBrakes(t, "nothing is permitted newly", p, `source-lost: source "a": it failed: x; that is accepted`, `source-missing: source "e/part" is missing: it failed: w; nothing is known of it from before; the plan is made as if there were nothing`)
	if len(p.Sources) != 4 {
		t.Errorf("the plan names %+v", p.Sources)
	}
	more := newBench(t, map[string]string{"bulkhead.yaml": brakeSite, "policy.yaml": strings.Replace(brakePolicy(), "policies:\n", "policies:\n  - {name: new, from: web, to: db, services: [tcp/443], action: allow}\n", 1)})
	carry(t, b, more)
	more.site.Sources = b.site.Sources
	wantBrakes(t, "something is permitted newly", run(t, more, reconcile.Options{}), "source-lost: ", `stale-source: source "b" is stale`, "source-missing: ")
}

// Cutting an asset off is held by no brake, and neither is letting it out again: it
// is done in a hurry.
func TestBrakesLeaveQuarantineAlone(t *testing.T) {
	text := map[string]string{"bulkhead.yaml": strings.Replace(brakeSite, "first_enforcement: accept", "first_enforcement: accept, newly_denied_percent: 5", 1), "policy.yaml": brakePolicy()}
	until := func(ids ...string) (out []reconcile.Quarantine) {
		for _, id := range ids {
			out = append(out, reconcile.Quarantine{Asset: id, Until: policytest.Epoch.Add(time.Hour)})
		}
		return out
	}
	steps := [][]reconcile.Quarantine{nil, until("web-0"), until("web-0", "web-1", "web-2"), until("web-0"), nil}
	var before *bench
	st := state(t)
	for i, q := range steps {
		b := newBench(t, text, q...)
		if before != nil {
			carry(t, before, b)
			p := run(t, b, reconcile.Options{Last: last(st)})
			if !p.HasChanges() {
				t.Fatalf("step %d changes nothing", i)
			}
			wantBrakes(t, fmt.Sprintf("step %d", i), p)
		}
		keep(t, st, b.site, true, store.Confirmed)
		before = b
	}
}
