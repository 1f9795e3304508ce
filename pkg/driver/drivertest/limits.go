package drivertest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"bulkhead/internal/tries"
	"bulkhead/pkg/driver"
	"bulkhead/pkg/prove"
)

// A plan that needs more than a budget or the device has room for is refused as a
// whole, before the first write, and what is enforced stays.
func checkBudget(t testing.TB, f *Factory) {
	b := newBench(t, f)
	p := f.Placements[0]
	kept := b.play(t, p, f.chapter("everybody may use https"))
	used := b.render(t, newGoal(t, f.before().site.world(), p.Points(web())), kept).Usage
	if len(used) == 0 {
		t.Fatalf("no resource is counted: a plan cannot say how full the device is")
	}
	for _, u := range used {
		if u.Limit > 0 && u.Used > u.Limit {
			t.Fatalf("%d %s are used of %d", u.Used, u.Resource, u.Limit)
		}
	}
	g := newGoal(t, f.before().site.world(), p.Points(web()))
	g.want.Budget = f.Budget
	r, err := b.s.Driver().Render(g.want, kept)
	if err == nil {
		c := b.diff(t, kept, r.State)
		err = b.s.Driver().Apply(context.Background(), c)
	}
	if !errors.Is(err, driver.ErrRefused) {
		t.Fatalf("a budget of %v was overdrawn: %v", f.Budget, err)
	}
	if b.read(t).Fingerprint() != kept.Fingerprint() {
		t.Fatalf("the change was refused, and the device has changed")
	}
}

// What a device cannot express is enumerated, flow by flow: what is enforced is
// what policy says, but for exactly those flows (#14). The operator chooses by
// point which way it goes; without a word from him nothing is ever wider.
func checkResidue(t testing.TB, f *Factory) {
	more := []Placement{Leased(), Managed()}
	for i := range more {
		if f.Plug != nil {
			more[i] = f.Plug(more[i])
		}
	}
	for _, p := range append(more, f.Placements...) {
		if !fits(f, p) {
			continue
		}
		for _, way := range tries.Some([]driver.Inexact{driver.Refuse, driver.Narrow, driver.Widen}) {
			b := newBench(t, f)
			g := newGoal(t, f.before().site.world(), p.Points(web()))
			g.want.Inexact = map[string]driver.Inexact{}
			for _, point := range g.want.Points {
				g.want.Inexact[point.Name] = way
			}
			b.bring(t, g)
			r := b.render(t, g, b.read(t))
			d := b.decode(t, b.read(t))
			for _, res := range r.Residue {
				if res.Wider && way != driver.Widen && !slices.Contains(f.Inherent, res.Kind) {
					t.Fatalf("%s: more is permitted than policy says, and nobody asked for it: %s", p.Name, res.Text)
				}
				if res.Point == "" || res.Kind == "" || res.Text == "" || len(res.Flows) == 0 {
					t.Fatalf("%s: a residue does not say what it is: %+v", p.Name, res)
				}
			}
			for i := range r.Residue {
				phantom(t, fmt.Sprintf("%s, %q", p.Name, way), g, d, r.Residue, i)
			}
		}
	}
}

// fits reports whether the factory's devices take an endpoint at all.
func fits(f *Factory, p Placement) bool {
	for _, point := range f.Placements[0].Points(web()) {
		if point.Transit {
			return p.Name == f.Placements[0].Name
		}
	}
	return true
}

// phantom demands of every set of flows of a residue that it is needed: without it
// the device differs from policy. A list that names too much hides what matters.
func phantom(t tb, says string, g *goal, d *driver.Decoded, all []driver.Residue, i int) {
	t.Helper()
	flows := all[i].Flows
	for _, k := range failures(len(flows)) {
		less := append([]driver.Residue(nil), all...)
		less[i].Flows = append(append([]driver.Flows(nil), flows[:k]...), flows[k+1:]...)
		if difference(g, d, less) == "" {
			t.Fatalf("%s: the device does what policy says for flows that are listed as residue: %+v", says, flows[k])
		}
		if !slices.ContainsFunc(prove.Device(g.want.View.Matrix, g.want.Points, d, less...), func(r prove.Result) bool { return !r.Proved && len(r.Wrong) > 0 }) {
			t.Fatalf("%s: the proof accepts flows that are no residue: %+v", says, flows[k])
		}
	}
}
