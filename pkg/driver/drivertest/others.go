package drivertest

import (
	"bytes"
	"context"
	"errors"
	"testing"

	"bulkhead/internal/tries"
	"bulkhead/pkg/driver"
)

// What others have on the device is theirs: through first enforcement, changes and
// removal their bytes stay as they are, also where their names nearly are ours.
// And it must not look like a change of ours.
func checkForeign(t testing.TB, f *Factory) {
	for _, p := range f.Placements {
		b := newBench(t, f)
		b.s.AddForeign()
		want := b.s.Foreign()
		if len(want) == 0 {
			t.Fatalf("the factory of %s put nothing of others on the device", f.Name)
		}
		none := newGoal(t, office().world(), nil)
		for _, g := range []*goal{none, newGoal(t, f.before().site.world(), p.Points(web())), newGoal(t, f.after().site.world(), p.Points(web())), none} {
			b.bring(t, g)
			if got := b.s.Foreign(); !bytes.Equal(got, want) {
				t.Fatalf("%s: what others have has changed from\n%s\nto\n%s", p.Name, want, got)
			}
		}
	}
	// Others may also write between our read and our apply. That does not concern us,
	// or it is said to have moved; it is never an excuse to fail for good.
	b := newBench(t, f)
	g := newGoal(t, f.before().site.world(), f.Placements[0].Points(web()))
	have := b.read(t)
	c := b.diff(t, have, b.render(t, g, have).State)
	b.s.AddForeign()
	if err := b.s.Driver().Apply(context.Background(), c); err != nil && !errors.Is(err, driver.ErrMoved) {
		t.Fatalf("others wrote meanwhile, and the change failed for another reason: %v", err)
	}
	b.bring(t, g)
}

// An object of somebody else that lets through what we must drop makes the point
// not proved, or the plan refused; and it is still not ours to touch.
func checkRival(t testing.TB, f *Factory) {
	b := newBench(t, f)
	g := newGoal(t, f.before().site.world(), f.Placements[0].Points(web()))
	residue := b.render(t, g, b.bring(t, g)).Residue
	b.s.AddRival()
	if wrong(g, b.decode(t, b.read(t)), residue) == "" {
		t.Fatalf("somebody else lets through what policy denies, and the point is proved")
	}
	// A first plan beside it must see it too.
	b = newBench(t, f)
	b.s.AddRival()
	dump := []byte(nil)
	if b.s.Foreign != nil {
		dump = b.s.Foreign()
	}
	have := b.read(t)
	r, err := b.s.Driver().Render(g.want, have)
	switch {
	case err != nil && !errors.Is(err, driver.ErrRefused):
		t.Fatalf("somebody else is in the way, and the error does not say that the change is refused: %v", err)
	case err == nil && wrong(g, b.decode(t, r.State), r.Residue) == "":
		t.Fatalf("somebody else lets through what policy denies, and the plan is proved")
	}
	if b.s.Foreign != nil && !bytes.Equal(dump, b.s.Foreign()) {
		t.Fatalf("what others have has changed")
	}
}

// Somebody changes what we installed. The next run finds it, by the proof or by
// the plan, and repairs it.
func checkDrift(t testing.TB, f *Factory) {
	for _, p := range f.Placements {
		b := newBench(t, f)
		b.looks = 0 // what somebody else broke lies between nothing
		g := newGoal(t, f.before().site.world(), p.Points(web()))
		b.bring(t, g)
		if len(b.decode(t, b.read(t)).Installed) == 0 {
			continue // nothing of ours is there to be changed
		}
		for n := range tries.Of(7) {
			said := b.s.Tamper(n)
			now := b.read(t)
			r := b.render(t, g, now)
			broken := wrong(g, b.decode(t, now), r.Residue) != ""
			change := b.diff(t, now, r.State)
			if !broken && change.Empty() {
				t.Fatalf("%s: nobody noticed: %s", p.Name, said)
			}
			if broken && change.Empty() {
				t.Fatalf("%s: found and not repaired: %s", p.Name, said)
			}
			b.bring(told{t, p.Name + ": after " + said}, g)
		}
	}
}

// A plan is made for a device as it was read. If what concerns us has changed
// since, it is not carried out, and nothing of it is.
func checkMoved(t testing.TB, f *Factory) {
	b := newBench(t, f)
	b.looks = 0
	p := f.Placements[0]
	next := newGoal(t, f.after().site.world(), p.Points(web()))
	for n := range tries.Of(4) {
		b.play(t, p, f.before())
		have := b.read(t)
		c := b.diff(t, have, b.render(t, next, have).State)
		said := b.s.Tamper(n)
		moved := b.read(t).Fingerprint()
		if moved == have.Fingerprint() {
			t.Fatalf("the fingerprint does not show it: %s", said)
		}
		if err := b.s.Driver().Apply(context.Background(), c); !errors.Is(err, driver.ErrMoved) {
			t.Fatalf("%s, and the old plan was carried out: %v", said, err)
		}
		if b.read(t).Fingerprint() != moved {
			t.Fatalf("the device is said to have moved, and was changed all the same")
		}
		b.bring(told{t, "after " + said}, next)
	}
}
