package nftables_test

import (
	"context"
	"testing"
	"time"

	"bulkhead/drivers/nftables"
	"bulkhead/pkg/compile"
	"bulkhead/pkg/driver"
	"bulkhead/pkg/policy"
)

// timedLeft is how long the one timed permit of a state still lives; 0 is none.
func timedLeft(t *testing.T, s *nftables.State) time.Duration {
	t.Helper()
	set := s.Table().Set("permit_timed")
	if set == nil || len(set.Elements) == 0 {
		return 0
	}
	if e := set.Elements[0]; e.Expiration > 0 {
		return e.Expiration
	}
	return set.Elements[0].Timeout
}

// A policy ends when it says, however long it took from the plan to the change: for
// good, on trial and confirmed, and when a state is loaded again after a reboot.
func TestTimedPermitsEndOnTime(t *testing.T) {
	b := newBench(t)
	w := func() *policy.World {
		p := let("10.0.0.2", "10.0.1.3", 6, 80, 80)
		w := permits(p)
		w.Book.Policies[0].Expires = w.Now.Add(time.Hour)
		return w
	}
	const late = 20 * time.Minute
	near := func(what string, got time.Duration) {
		t.Helper()
		if want := time.Hour - late; got > want || got < want-time.Minute {
			t.Errorf("%s: it ends in %s, and %s is left", what, got, want)
		}
	}
	plan := func() *driver.Change {
		_, state := b.render(t, w())
		ch, err := b.driver.Diff(b.read(t), state)
		if err != nil {
			t.Fatal(err)
		}
		ch.Age = late
		return ch
	}
	ctx := context.Background()
	tr := b.driver.(driver.Trier)
	ch := plan()
	if err := tr.Try(ctx, ch, time.Minute); err != nil {
		t.Fatal(err)
	}
	near("on trial", timedLeft(t, b.read(t)))
	if err := tr.Confirm(ctx, ch.To); err != nil {
		t.Fatal(err)
	}
	near("confirmed", timedLeft(t, b.read(t)))
	to := ch.To.(*nftables.State)
	near("after a reboot", timedLeft(t, to.Aged(late)))
	if left := timedLeft(t, to.Aged(2*time.Hour)) + timedLeft(t, to.Aged(-time.Second)); left != 0 {
		t.Errorf("after a long night, or by a clock that is wrong: %s is left", left)
	}
	off, err := b.driver.Diff(b.read(t), nftables.Empty("lab"))
	if err != nil {
		t.Fatal(err)
	}
	if err := b.driver.Apply(ctx, off); err != nil {
		t.Fatal(err)
	}
	if err := b.driver.Apply(ctx, plan()); err != nil {
		t.Fatal(err)
	}
	near("applied for good", timedLeft(t, b.read(t)))
}

// A state that was read while a point still learned is put back later without beginning
// to learn anew: everything would pass once more. A point whose rules are gone looks
// for its live flows.
func TestResumeBeginsNothingAnew(t *testing.T) {
	b := newBench(t)
	b.point.Learn = 30 * time.Second
	b.change(t, permits(let("10.0.0.2", "10.0.1.3", 6, 80, 80)))
	known := b.read(t)
	resume := b.driver.(driver.Resumer).Resume
	for _, c := range []struct {
		what            string
		now             driver.State
		age             time.Duration
		learning, found bool // some time of it is left
	}{
		{"lost at once", nftables.Empty("lab"), 10 * time.Second, true, true},
		{"lost later", nftables.Empty("lab"), time.Minute, false, true},
		{"still there", known, time.Minute, false, false},
	} {
		s, err := resume(known, c.now, []compile.Point{b.point}, c.age)
		if err != nil {
			t.Fatal(err)
		}
		for name, want := range map[string]bool{"learning.gw": c.learning, "pickup.gw": c.found} {
			left := s.(*nftables.State).Table().Set(name).Elements
			if (len(left) > 0) != want {
				t.Errorf("%s: %s holds %d elements", c.what, name, len(left))
			}
			for _, e := range left {
				if most := b.point.Learn - c.age; name == "learning.gw" && (e.Expiration > 0 || e.Timeout > most || e.Timeout < most-10*time.Second) {
					t.Errorf("%s: %s is open for %s, and has %s left", c.what, name, e.Timeout, most)
				}
			}
		}
	}
}
