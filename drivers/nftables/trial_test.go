package nftables_test

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"bulkhead/drivers/nftables"
	"bulkhead/drivers/nftables/ruleset"
	"bulkhead/internal/tries"
	"bulkhead/pkg/compile"
	"bulkhead/pkg/driver"
	"bulkhead/pkg/lab"
	"bulkhead/pkg/policy"
	"bulkhead/pkg/policy/policytest"
)

// try puts what a world asks for on trial, and returns it.
func (b *bench) try(t fataler, w *policy.World, timeout time.Duration) (driver.Desired, *driver.Change) {
	want, state := b.render(t, w)
	have := b.read(t)
	ch, err := b.driver.Diff(have, state)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.driver.(driver.Trier).Try(context.Background(), ch, timeout); err != nil {
		t.Fatal(err)
	}
	return want, ch
}

func (b *bench) read(t fataler) *nftables.State {
	s, err := b.driver.Read(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return s.(*nftables.State)
}

func (b *bench) trial(t fataler) *driver.Trial {
	return b.driver.(driver.Trier).Trial(b.read(t))
}

// tidy fails if the kernel holds anything of a trial, or anything else than what is
// wanted.
func (b *bench) tidy(t fataler, w *policy.World) {
	want, state := b.render(t, w)
	now := b.read(t)
	if tb := now.Table(); tb != nil && strings.Contains(tb.Text(), "trial") {
		t.Fatalf("something of the trial is left:\n%s", tb.Text())
	}
	ch, err := b.driver.Diff(now, state)
	if err != nil || !ch.Empty() {
		t.Fatalf("the kernel holds something else: %v %+v", err, ch.Ops)
	}
	mustProve(t, b.driver, want, now)
}

// mustComeBack waits for a flow that was cut for some time: its sender tries again at
// ever longer intervals.
func (b *bench) mustComeBack(f *lab.Flow, what string) {
	b.t.Helper()
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); {
		if n, err := f.During(context.Background(), 300*time.Millisecond); err == nil && n > 0 {
			return
		}
	}
	b.t.Errorf("%s: the flow did not come back", what)
}

// Two services of one client, one of which the change takes away and the other one
// it gives, by a policy that is there before and after: verdicts keep their ids.
func beforeAfter() (before, after *policy.World) {
	old, new := let("10.0.0.2", "10.0.1.3", 6, 80, 81), let("10.0.0.2", "10.0.1.3", 6, 81, 82)
	new.Name = old.Name
	return permits(old), permits(new)
}

// A change on trial is in force at once, and confirmed it is as if it had been
// applied.
func TestTrialIsConfirmed(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	before, after := beforeAfter()
	b.apply(t, before)
	f80, f81 := b.flow("a2", "b3", "10.0.1.3", 80), b.flow("a2", "b3", "10.0.1.3", 81)
	want, ch := b.try(t, after, time.Minute)
	now := b.read(t)
	mustProve(t, b.driver, want, now)
	x := b.driver.(driver.Trier).Trial(now)
	if x == nil || x.Left <= 0 || x.Left > time.Minute {
		t.Fatalf("trial %+v", x)
	}
	if back, err := b.driver.Diff(x.Old, ch.From); err != nil || len(back.Ops) != 1 || back.Ops[0].Object != "live flows" {
		t.Errorf("the kernel would not go back to what it held: %v %+v", err, back.Ops)
	}
	b.mustStop(f80, "denied by what is on trial")
	b.mustLive(f81, "permitted by both")
	f82 := b.flow("a2", "b3", "10.0.1.3", 82)
	if err := b.driver.Apply(context.Background(), ch); !errors.Is(err, driver.ErrRefused) && !errors.Is(err, driver.ErrMoved) {
		t.Errorf("an apply during a trial: %v", err)
	}
	if err := b.driver.(driver.Trier).Confirm(context.Background(), ch.From); !errors.Is(err, driver.ErrMoved) {
		t.Errorf("confirmed what was not on trial: %v", err)
	}
	if err := b.driver.(driver.Trier).Confirm(context.Background(), ch.To); err != nil {
		t.Fatal(err)
	}
	b.tidy(t, after)
	b.mustLive(f81, "confirmed")
	b.mustLive(f82, "confirmed, and begun on trial")
	if err := b.driver.(driver.Trier).Confirm(context.Background(), ch.To); !errors.Is(err, driver.ErrTooLate) {
		t.Errorf("confirmed twice: %v", err)
	}
}

// Nobody confirms, nothing runs: the kernel goes back by itself, and flows that only
// the trial permitted end although the old state knows their verdict.
func TestTrialFallsBack(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	before, after := beforeAfter()
	want := b.apply(t, before)
	f80, f81 := b.flow("a2", "b3", "10.0.1.3", 80), b.flow("a2", "b3", "10.0.1.3", 81)
	_, ch := b.try(t, after, 6*time.Second)
	end := time.Now().Add(6 * time.Second)
	f82 := b.flow("a2", "b3", "10.0.1.3", 82)
	b.mustLive(f82, "on trial")
	b.mustStop(f80, "denied on trial")
	time.Sleep(time.Until(end) + 50*time.Millisecond)
	b.mustComeBack(f80, "permitted again, the client silent all the time")
	b.mustLive(f81, "permitted by both")
	b.mustStop(f82, "permitted by the trial alone")
	b.expect(lab.Probe{From: "a2", Dst: netip.MustParseAddr("10.0.1.3"), Proto: 6, Num: 82}, false, "a new flow of the trial's")
	mustProve(t, b.driver, want, b.read(t))
	if x := b.trial(t); x == nil || x.Left != 0 {
		t.Errorf("after the fall back: %+v", x)
	}
	if err := b.driver.(driver.Trier).Confirm(context.Background(), ch.To); !errors.Is(err, driver.ErrTooLate) {
		t.Errorf("confirmed after the fall back: %v", err)
	}
	mustProve(t, b.driver, want, b.read(t))
	// The next change tidies up by itself.
	b.apply(t, after)
	b.tidy(t, after)
	b.mustLive(f81, "after the next change")
}

// Undone before its time, the trial leaves nothing either.
func TestTrialIsUndone(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	before, after := beforeAfter()
	b.apply(t, before)
	f81 := b.flow("a2", "b3", "10.0.1.3", 81)
	b.try(t, after, time.Minute)
	f82 := b.flow("a2", "b3", "10.0.1.3", 82)
	for range 2 { // the second time there is nothing to do
		if err := b.driver.(driver.Trier).Undo(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
	b.tidy(t, before)
	b.mustLive(f81, "permitted by both")
	b.mustStop(f82, "permitted by the trial alone")
}

// The first enforcement and the last can be on trial, too: then the other side is
// no table of ours at all.
func TestTrialOfAWholeTable(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	ctx := context.Background()
	tr := b.driver.(driver.Trier)
	w := permits(let("10.0.0.2", "10.0.1.3", 6, 80, 80))
	p80, p81 := lab.Probe{From: "a2", Dst: netip.MustParseAddr("10.0.1.3"), Proto: 6, Num: 80}, lab.Probe{From: "a2", Dst: netip.MustParseAddr("10.0.1.3"), Proto: 6, Num: 81}
	want, _ := b.try(t, w, 2*time.Second)
	end := time.Now().Add(2 * time.Second)
	mustProve(t, b.driver, want, b.read(t))
	b.expect(p81, false, "denied on trial")
	b.expect(p80, true, "permitted on trial")
	time.Sleep(time.Until(end) + 50*time.Millisecond)
	b.expect(p81, true, "nothing is enforced any more")
	if now := b.read(t); now.Table() != nil {
		t.Errorf("a table is in force:\n%s", now.Text())
	}
	_, ch := b.try(t, w, time.Minute)
	if err := tr.Confirm(ctx, ch.To); err != nil {
		t.Fatal(err)
	}
	b.done[b.point.Name] = true
	b.tidy(t, w)
	f := b.flow("a2", "b3", "10.0.1.3", 80)

	off, err := b.driver.Diff(b.read(t), nftables.Empty("lab"))
	if err != nil {
		t.Fatal(err)
	}
	if err := tr.Try(ctx, off, 2*time.Second); err != nil {
		t.Fatal(err)
	}
	end = time.Now().Add(2 * time.Second)
	b.expect(p81, true, "our objects are on trial to be gone")
	time.Sleep(time.Until(end) + 50*time.Millisecond)
	b.expect(p81, false, "enforced again")
	b.mustLive(f, "permitted, through it all")
	if err := tr.Try(ctx, off, time.Minute); !errors.Is(err, driver.ErrMoved) {
		t.Errorf("a change that was planned before the first trial of it: %v", err)
	}
	if off, err = b.driver.Diff(b.read(t), nftables.Empty("lab")); err != nil {
		t.Fatal(err)
	}
	if err := tr.Try(ctx, off, time.Minute); err != nil {
		t.Fatal(err)
	}
	if err := tr.Confirm(ctx, off.To); err != nil {
		t.Fatal(err)
	}
	if now := b.read(t); now.Table() != nil || b.trial(t) != nil {
		t.Error("the table is still there")
	}
}

// By the decoder alone, which knows nothing of trials: whatever two sites, with the
// switch on the kernel's table is the new one, and with the switch expired the old.
func TestTrialIsBothStates(t *testing.T) {
	d := nftables.New(nftables.Options{Site: "test", Netns: newNetns(t), Interfaces: ifaces})
	ctx := context.Background()
	for _, mode := range tries.Some([]policy.Mode{policy.Enforce, policy.Observe}) {
		tries.Checks(t, 12, func(rt *rapid.T) {
			pts := []string{"a", "b", "both"}
			one, two := pointsOf(rapid.SampledFrom(pts).Draw(rt, "before"), policy.Enforce), pointsOf(rapid.SampledFrom(pts).Draw(rt, "after"), mode)
			old := desired(rt, policytest.World(rt, policytest.Options{NoTimed: true}), one)
			new := desired(rt, policytest.World(rt, policytest.Options{NoTimed: true}), two)
			step := func(want driver.Desired) *driver.Change {
				have, err := d.Read(ctx)
				if err != nil {
					rt.Fatal(err)
				}
				want.Enforced = map[string]bool{"gw": true, "host-1": true}
				r, err := d.Render(want, have)
				if err != nil {
					rt.Fatal(err)
				}
				ch, err := d.Diff(have, r.State)
				if err != nil {
					rt.Fatal(err)
				}
				return ch
			}
			if err := d.Apply(ctx, step(old)); err != nil {
				rt.Fatal(err)
			}
			ch := step(new)
			if ch.Empty() {
				return
			}
			if err := d.Try(ctx, ch, time.Hour); err != nil {
				rt.Fatal(err)
			}
			s, err := d.Read(ctx)
			if err != nil {
				rt.Fatal(err)
			}
			raw := s.(*nftables.State)
			mustProve(rt, d, new, raw.RawTrial(true))
			mustProve(rt, d, old, raw.RawTrial(false))
			mustProve(rt, d, new, raw)
			mustProve(rt, d, old, d.Trial(raw).Old)
			if raw.OwnFingerprint() != ch.To.(*nftables.State).OwnFingerprint() {
				rt.Fatal("what is on trial is not what was meant, to the byte")
			}
			leave := rapid.Bool().Draw(rt, "die between the two transactions of the end")
			d.LeaveTrials(leave)
			defer d.LeaveTrials(false)
			confirm := rapid.Bool().Draw(rt, "confirm")
			if confirm {
				if err := d.Confirm(ctx, ch.To); err != nil {
					rt.Fatal(err)
				}
				s, err := d.Read(ctx)
				if err != nil {
					rt.Fatal(err)
				}
				if a, b := namesOf(raw), namesOf(s); !slices.Equal(a, b) {
					rt.Fatalf("on trial the order is\n%s\nand then\n%s: all is worked out twice", a, b)
				}
				old = new
			} else if err := d.Undo(ctx); err != nil {
				rt.Fatal(err)
			}
			end := step(old)
			if !end.Empty() {
				rt.Fatalf("the kernel holds something else: %+v", end.Ops)
			}
			now := end.From.(*nftables.State)
			mustProve(rt, d, old, now)
			if d.Trial(now) != nil {
				rt.Fatal("a trial that was ended is still one")
			}
			if anew := ch.Ops[0].Action == driver.Modify && strings.Contains(ch.Ops[0].After, "made anew"); leave && (!confirm || !anew) {
				keepsWhatPacketsLookUp(rt, raw.Raw(), now.Raw())
			}
			d.LeaveTrials(false)
			// The next change takes away what was left.
			old, new = new, old
			if err := d.Apply(ctx, step(new)); err != nil {
				rt.Fatal(err)
			}
			if s, err := d.Read(ctx); err != nil || s.(*nftables.State).Raw() != nil && strings.Contains(s.(*nftables.State).Raw().Text(), "trial") {
				rt.Fatalf("something is left of the trial: %v", err)
			}
		})
	}
}

// keepsWhatPacketsLookUp fails if a packet that is being judged on trial when that ends
// could miss anything: what it looks up under the trial's own names.
func keepsWhatPacketsLookUp(t fataler, before, after *ruleset.Table) {
	for i := range before.Sets {
		w := &before.Sets[i]
		if w.Name != "on_trial" && !strings.HasPrefix(w.Name, "trial/") {
			continue
		}
		if h := after.Set(w.Name); h == nil || len(h.Elements) < len(w.Elements) {
			t.Fatalf("set %q has lost elements", w.Name)
		}
	}
	if text := after.Text(); strings.Contains(text, "@on_trial") {
		t.Fatalf("a base chain still asks for the trial:\n%s", text)
	}
}

// pointsOf gives a gateway, a host, or both on one machine.
func pointsOf(which string, mode policy.Mode) []compile.Point {
	gw, h := gateway(mode), host(mode)
	gw.Learn, h.Learn = 0, 0
	switch which {
	case "a":
		return []compile.Point{gw}
	case "b":
		return []compile.Point{h}
	}
	return []compile.Point{gw, h}
}

// namesOf lists what our table holds, in its order.
func namesOf(s driver.State) (out []string) {
	t := s.(*nftables.State).Table()
	for i := range t.Chains {
		out = append(out, t.Chains[i].Name)
	}
	for i := range t.Sets {
		out = append(out, t.Sets[i].Name)
	}
	return out
}
