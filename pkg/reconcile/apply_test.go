package reconcile_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"bulkhead/drivers/nftables"
	"bulkhead/drivers/nftables/ruleset"
	"bulkhead/pkg/apply"
	"bulkhead/pkg/driver"
	"bulkhead/pkg/plan"
	"bulkhead/pkg/reconcile"
)

func quiet(string, ...any) {}

// without gives the state without one element of a set: what a device holds that
// reports success and did something else.
func without(t *testing.T, set string) func(driver.State) driver.State {
	return func(want driver.State) driver.State {
		s := want.(*nftables.State)
		tb := *s.Table()
		tb.Sets = slices.Clone(tb.Sets)
		for i := range tb.Sets {
			if tb.Sets[i].Name == set && len(tb.Sets[i].Elements) > 0 {
				tb.Sets[i].Elements = tb.Sets[i].Elements[1:]
				return &nftables.State{Site: s.Site, Ruleset: &ruleset.Ruleset{Tables: []ruleset.Table{tb}}}
			}
		}
		t.Fatalf("there is no element in %s", set)
		return nil
	}
}

// Two devices are planned, applied and proved, and a second run has nothing to do.
func TestApplyBoth(t *testing.T) {
	b := newBench(t, files())
	r := b.plan(t)
	if len(r.Jobs) != 2 || len(r.Plan.Flows) == 0 || r.Plan.Blocked() != "" {
		t.Fatalf("%d jobs, %d flows, blocked: %s", len(r.Jobs), len(r.Plan.Flows), r.Plan.Blocked())
	}
	for _, f := range r.Plan.Flows {
		if !slices.Equal(f.Points, []string{"gw-a", "gw-b"}) {
			t.Errorf("one change at two points is not one row: %v", f.Points)
		}
	}
	out, err := apply.Run(context.Background(), r.Jobs, quiet)
	if err != nil || len(out) != 2 || !out[0].Applied || !out[1].Applied {
		t.Fatalf("%+v %v", out, err)
	}
	again := b.plan(t)
	if len(again.Jobs) != 0 || again.Plan.HasChanges() || len(again.Plan.Flows) != 0 || again.Plan.Points[0].Status != plan.InSync || !again.Plan.Points[0].Before.Proved {
		t.Errorf("a second plan is not empty: %+v", again.Plan.Points)
	}
}

// A device that says yes and holds something else is found by the read-back; it
// gets its previous state again, and the error names a packet and a rule.
func TestDeviceThatLies(t *testing.T) {
	b := newBench(t, files())
	b.fakes["gw-a"].lie = without(t, "svc")
	r := b.plan(t)
	out, err := apply.Run(context.Background(), r.Jobs, quiet)
	if !errors.Is(err, apply.ErrNotProved) {
		t.Fatalf("error %v", err)
	}
	for _, want := range []string{"10.0.1.10 -> 10.0.2.10 tcp/5432", "web-to-db", "the previous state was put back", `point "gw-a"`} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error does not name %q: %v", want, err)
		}
	}
	if len(out) != 1 || out[0].Applied || !out[0].Undone || out[0].Unknown || b.fakes["gw-b"].applied != 0 {
		t.Errorf("%+v; the second device was applied to %d times", out, b.fakes["gw-b"].applied)
	}
	if got := b.fakes["gw-a"].state.(*nftables.State).Table(); got != nil {
		t.Errorf("the device still holds our table")
	}
}

// A device that fails after it wrote something gets its previous state again.
func TestDeviceFailsHalfWay(t *testing.T) {
	b := newBench(t, files())
	b.fakes["gw-a"].writeErr = errors.New("connection reset")
	out, err := apply.Run(context.Background(), b.plan(t).Jobs, quiet)
	if err == nil || errors.Is(err, apply.ErrNotProved) || !strings.Contains(err.Error(), "connection reset; the previous state was put back") {
		t.Fatalf("error %v", err)
	}
	if !out[0].Undone || b.fakes["gw-a"].state.(*nftables.State).Table() != nil {
		t.Errorf("%+v", out[0])
	}
}

// A device that cannot be put back is told apart from one that was.
func TestDeviceCannotBePutBack(t *testing.T) {
	for name, breaks := range map[string]func(*fake){
		"write": func(f *fake) { f.refuseOff = true },
		"read":  func(f *fake) { f.onApply = func() { f.readErr = driver.ErrUnreachable } },
	} {
		b := newBench(t, files())
		f := b.fakes["gw-a"]
		f.writeErr = driver.ErrUnreachable // lost in the middle: nobody knows how far it got
		breaks(f)
		out, err := apply.Run(context.Background(), b.plan(t).Jobs, quiet)
		if err == nil || !strings.Contains(err.Error(), "could not be put back") || !out[0].Unknown || out[0].Undone {
			t.Errorf("%s: %+v %v", name, out, err)
		}
	}
}

// The second of two devices lies: the first goes back, too, and both are told.
func TestSecondDeviceFails(t *testing.T) {
	b := newBench(t, files())
	b.fakes["gw-b"].lie = without(t, "svc")
	out, err := apply.Run(context.Background(), b.plan(t).Jobs, quiet)
	if err == nil || !strings.HasPrefix(err.Error(), "device device of gw-b: ") {
		t.Fatalf("error %v", err)
	}
	if len(out) != 2 || !out[0].Undone || !out[1].Undone || out[1].Error == "" {
		t.Errorf("%+v", out)
	}
	for name, f := range b.fakes {
		if f.state.(*nftables.State).Table() != nil {
			t.Errorf("%s still holds our table", name)
		}
	}
}

// An operator who gives up between two devices, or in the middle of one, leaves
// every device as it was.
func TestInterrupted(t *testing.T) {
	b := newBench(t, files())
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	b.fakes["gw-a"].onApply = stop
	r := b.plan(t)
	// The fake reads without looking at the context: its change is proved.
	out, err := apply.Run(ctx, r.Jobs, quiet)
	if !errors.Is(err, context.Canceled) || len(out) != 2 || !out[0].Undone || out[1].Applied || b.fakes["gw-b"].applied != 0 || b.fakes["gw-a"].state.(*nftables.State).Table() != nil {
		t.Errorf("%+v %v", out, err)
	}
	b = newBench(t, files())
	b.fakes["gw-a"].writeErr = context.Canceled
	if out, err = apply.Run(context.Background(), b.plan(t).Jobs, quiet); !errors.Is(err, context.Canceled) || !out[0].Undone {
		t.Errorf("%+v %v", out, err)
	}
}

// A device that cannot be reached does not keep the others from being planned, and
// what it would have dropped counts as uncovered.
func TestUnreachableDevice(t *testing.T) {
	b := newBench(t, files())
	b.fakes["gw-a"].readErr = driver.ErrUnreachable
	r := b.plan(t)
	if len(r.Jobs) != 1 || r.Jobs[0].Device != "device of gw-b" {
		t.Fatalf("%d jobs", len(r.Jobs))
	}
	if p := r.Plan.Points[0]; p.Status != plan.Unreachable || p.Error == "" || r.Plan.Points[1].Status != plan.Changes {
		t.Errorf("%+v", r.Plan.Points)
	}
	b.fakes["gw-b"].readErr = driver.ErrUnreachable
	text, err := plan.JSON(b.plan(t).Plan)
	if err != nil || strings.Contains(string(text), ": null") {
		t.Errorf("lists are null (%v):\n%s", err, text)
	}
}

// A source that fails stops everything: without it the inventory is not complete.
func TestSourceFails(t *testing.T) {
	f := files()
	f["bulkhead.yaml"] += "sources:\n  far: {type: neighbor, settings: {netns: bulkhead-no-such-netns}}\n"
	if _, err := load(t, f); err == nil || !strings.Contains(err.Error(), `source "far"`) || !strings.Contains(err.Error(), "not complete") {
		t.Errorf("error %v", err)
	}
}

// A run of some points does not list the flows of the others as uncovered, and says
// that it did not look.
func TestOnlySomePoints(t *testing.T) {
	f := files()
	f["bulkhead.yaml"] = strings.Replace(siteText, "b: {interfaces: [eth2], prefixes: [10.0.2.0/24]}", "c: {interfaces: [eth2], prefixes: [10.0.3.0/24]}", 1)
	b := newBench(t, f)
	covered := len(b.plan(t).Plan.Uncovered)
	r, err := b.site.RunOnce(context.Background(), b.devices, reconcile.Options{Only: []string{"gw-a"}})
	if err != nil {
		t.Fatal(err)
	}
	p := r.Plan
	if len(r.Jobs) != 1 || len(p.Points) != 1 || len(p.Uncovered) != covered {
		t.Errorf("%d jobs, %d points, %d rows uncovered; with all points %d", len(r.Jobs), len(p.Points), len(p.Uncovered), covered)
	}
	if !slices.ContainsFunc(p.Warnings, func(w string) bool { return strings.Contains(w, "gw-b was not looked at") }) {
		t.Errorf("the plan does not say that gw-b was not looked at: %v", p.Warnings)
	}
}
