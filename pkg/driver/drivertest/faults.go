package drivertest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"bulkhead/internal/tries"
	"bulkhead/pkg/driver"
	"bulkhead/pkg/driver/drivertest/sim"
)

// A device that does not answer gives an error, one that callers can tell from
// others, and neither a state nor a write. An empty state in its place would be
// planned for: everything would look as if it had to be made anew (#7), or as if
// nothing had to be taken off (#8).
func checkUnreachable(t testing.TB, f *Factory) {
	ctx := context.Background()
	b := newBench(t, f)
	d := b.s.Unreachable()
	s, err := d.Read(ctx)
	if err == nil || s != nil {
		t.Fatalf("a device that does not answer was read: state %v, error %v", s, err)
	}
	if !errors.Is(err, driver.ErrUnreachable) {
		t.Fatalf("the error does not say that the device is out of reach: %v", err)
	}
	have := b.read(t)
	r := b.render(t, newGoal(t, f.before().site.world(), f.Placements[0].Points(web())), have)
	if err := d.Apply(ctx, b.diff(t, have, r.State)); err == nil {
		t.Fatalf("a change of a device that does not answer is said to be made")
	}
}

// supported keeps the faults that the device knows.
func (b *bench) supported(want ...sim.Fault) []sim.Fault {
	var out []sim.Fault
	for _, f := range want {
		if slices.Contains(b.s.Faults, f) {
			out = append(out, f)
		}
	}
	return out
}

// A read that fails, and one that brings half the data together with an error, are
// errors. So is an apply whose own reads fail; and then nothing was done, or the
// next read shows what was (#7 #8).
func checkFailedRead(t testing.TB, f *Factory) {
	ctx := context.Background()
	b := newBench(t, f)
	p := f.Placements[0]
	b.play(t, p, f.before())
	next := newGoal(t, f.after().site.world(), p.Points(web()))
	for _, fault := range b.supported(sim.ReadError, sim.ReadTruncated) {
		b.s.Fail(fault, 0)
		s, err := b.s.Driver().Read(ctx)
		b.s.Heal()
		if err == nil || s != nil {
			t.Fatalf("%s: state %v, error %v", fault, s, err)
		}
		for skip := range tries.Of(3) {
			have := b.read(t)
			c := b.diff(t, have, b.render(t, next, have).State)
			b.s.Fail(fault, skip)
			err := b.s.Driver().Apply(ctx, c)
			b.s.Heal()
			b.honest(t, fmt.Sprintf("%s during apply, after %d reads", fault, skip), have, c, err)
			b.bring(t, next)
			b.play(t, p, f.before())
		}
	}
}

// honest demands that an error says what was done: nothing, if it is one of those
// that promise so; and that no error means that it was done.
func (b *bench) honest(t tb, says string, have driver.State, c *driver.Change, err error) {
	t.Helper()
	now := b.read(t)
	switch {
	case err == nil && now.Fingerprint() != c.To.Fingerprint():
		t.Fatalf("%s: the change is said to be made, and was not", says)
	case (errors.Is(err, driver.ErrRefused) || errors.Is(err, driver.ErrMoved)) && now.Fingerprint() != have.Fingerprint():
		t.Fatalf("%s: nothing is said to be done, and the device has changed: %v", says, err)
	}
}

// A read may lag behind the last write and say nothing of it. A plan that is made
// from it must not be carried out, and a read-back that does not show the change
// must not pass for one that does.
func checkStaleRead(t testing.TB, f *Factory) {
	ctx := context.Background()
	b := newBench(t, f)
	if len(b.supported(sim.ReadStale)) == 0 {
		return
	}
	p := f.Placements[0]
	next := newGoal(t, f.after().site.world(), p.Points(web()))
	for skip := range tries.Of(3) {
		b.play(t, p, f.before())
		b.s.Fail(sim.ReadStale, skip)
		have := b.read(t) // stale, if it is the first
		c := b.diff(t, have, b.render(t, next, have).State)
		truth := b.read2(t, skip)
		err := b.s.Driver().Apply(ctx, c)
		b.s.Heal()
		says := fmt.Sprintf("the read after %d others is stale", skip)
		if errors.Is(err, driver.ErrMoved) || errors.Is(err, driver.ErrRefused) {
			if truth != "" && b.read(t).Fingerprint() != truth {
				t.Fatalf("%s: nothing is said to be done, and the device has changed: %v", says, err)
			}
		}
		if err == nil {
			b.settled(t, next)
		}
		b.bring(t, next)
	}
}

// read2 gives the fingerprint of what the device really holds, where the stale read
// is behind us already; "" where reading would take it away.
func (b *bench) read2(t tb, skip int) string {
	if skip > 0 {
		return ""
	}
	return b.read(t).Fingerprint()
}

// writes counts the native writes of a change.
func (b *bench) writes(t tb, from, to *goal) int {
	t.Helper()
	b.rewind(t, from)
	n := 0
	have := b.read(t)
	c := b.diff(t, have, b.render(t, to, have).State)
	b.s.Steps(func() { n++ })
	err := b.s.Driver().Apply(context.Background(), c)
	b.s.Steps(nil)
	if err != nil {
		t.Fatalf("cannot apply: %v", err)
	}
	return n
}

// fewLooks is for checks that make the same change over and over.
const fewLooks = 4

// failures picks the places at which to break a change with n writes: all
// of them, or some, evenly spread.
func failures(n int) []int {
	const most = 5
	var out []int
	for k := 0; k < n; k += 1 + n/most {
		out = append(out, k)
	}
	if n > 0 && out[len(out)-1] != n-1 {
		out = append(out, n-1)
	}
	return tries.Some(out)
}

// Whatever goes wrong with a write, at whatever place in a change: the driver says
// so, the next read shows the truth, what is enforced meanwhile lies between old
// and new, and the next plan of a controller that remembers nothing ends where the
// first one should have (#13).
func checkFailedWrite(t testing.TB, f *Factory) {
	for i, p := range f.Placements {
		b := newBench(t, f)
		b.looks = tries.Of(fewLooks)
		old, next := newGoal(t, f.before().site.world(), p.Points(web())), newGoal(t, f.after().site.world(), p.Points(Addrs("10.0.0.10/31", "2001:db8::10")))
		gone := newGoal(t, office().world(), nil)
		ways := [][2]*goal{{old, next}, {next, old}, {gone, old}, {old, gone}}
		faults := b.supported(sim.WriteLost, sim.AnswerLost, sim.Vanish)
		if i > 0 {
			ways, faults = ways[:1], b.supported(sim.AnswerLost)
		}
		for _, way := range tries.Some(ways) {
			for _, fault := range faults {
				for _, k := range failures(b.writes(t, way[0], way[1])) {
					b.rewind(t, way[0])
					b.interrupt(t, way[0], way[1], fault, k)
					b.bring(t, way[1])
				}
			}
		}
	}
}

// rewind takes the device to where a check begins. What is to be said of the way
// there other checks say.
func (b *bench) rewind(t tb, g *goal) {
	t.Helper()
	have := b.read(t)
	if err := b.s.Driver().Apply(context.Background(), b.diff(t, have, b.render(t, g, have).State)); err != nil {
		t.Fatalf("cannot apply: %v", err)
	}
}

// interrupt makes a change that fails at write k and demands what must hold then.
func (b *bench) interrupt(t tb, from, to *goal, fault sim.Fault, k int) *driver.Change {
	t.Helper()
	says := fmt.Sprintf("%s at write %d", fault, k+1)
	have := b.read(t)
	r := b.render(t, to, have)
	c := b.diff(t, have, r.State)
	old, next := b.decode(t, have), b.decode(t, r.State)
	b.s.Fail(fault, k)
	err := b.s.Driver().Apply(context.Background(), c)
	b.s.Heal()
	if err == nil && b.read(t).Fingerprint() != r.State.Fingerprint() {
		t.Fatalf("%s: the change is said to be made, and was not", says)
	}
	b.honest(t, says, have, c, err)
	if text := between(old, b.decode(t, b.read(t)), next); text != "" {
		t.Fatalf("%s: %s", says, text)
	}
	return c
}

// When a proof fails after an apply, or the apply itself does, the controller puts
// back what was there: it plans from what it reads to the state that it read
// before. That must work from every half of a change, and lead back through states
// that lie between what is there and what was.
func checkUndo(t testing.TB, f *Factory) {
	for i, p := range f.Placements {
		b := newBench(t, f)
		b.looks = tries.Of(fewLooks)
		old, next := newGoal(t, f.before().site.world(), p.Points(web())), newGoal(t, f.after().site.world(), p.Points(web()))
		ways := [][2]*goal{{old, next}, {next, old}}
		if i > 0 {
			ways = ways[:1]
		}
		for _, way := range tries.Some(ways) {
			for _, fault := range b.supported(sim.Vanish) {
				for _, k := range failures(b.writes(t, way[0], way[1])) {
					b.rewind(t, way[0])
					c := b.interrupt(t, way[0], way[1], fault, k)
					b.undo(t, fmt.Sprintf("undo after write %d", k), c.From)
					b.settled(told{t, fmt.Sprintf("%s: undo after write %d", p.Name, k)}, way[0])
				}
			}
		}
	}
}

func (b *bench) undo(t tb, says string, to driver.State) {
	t.Helper()
	now := b.read(t)
	c := b.diff(t, now, to)
	stop := b.look(t, b.decode(t, now), b.decode(t, to))
	err := b.s.Driver().Apply(context.Background(), c)
	if text := stop(); text != "" {
		t.Fatalf("%s: %s", says, text)
	}
	if err != nil {
		t.Fatalf("%s: %v", says, err)
	}
}
