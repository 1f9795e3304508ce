package nftables_test

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"bulkhead/drivers/nftables"
	"bulkhead/internal/tries"
	"bulkhead/pkg/compile"
	"bulkhead/pkg/driver"
	"bulkhead/pkg/lab"
	"bulkhead/pkg/policy"
)

// quarantined puts addresses in quarantine in a world, as a controller does.
func quarantined(w *policy.World, addrs ...string) *policy.World {
	g := policy.Group{Name: policy.GroupQuarantined}
	for _, a := range addrs {
		x := netip.MustParseAddr(a)
		g.Prefixes = append(g.Prefixes, netip.PrefixFrom(x, x.BitLen()))
	}
	deny := func(name, from, to string) policy.Policy {
		return policy.Policy{Name: name, From: []string{from}, To: []string{to}, Action: policy.Deny, Tier: policy.Emergency,
			Order: policy.OrderQuarantine, Direction: policy.Both, Mode: policy.Enforce, Ranges: policy.AnyService()}
	}
	book := *w.Book
	book.Groups = append(append([]policy.Group(nil), book.Groups...), g)
	book.Policies = append(append([]policy.Policy(nil), book.Policies...), deny("from", g.Name, "any"), deny("to", "any", g.Name))
	policy.SortPolicies(book.Policies)
	return &policy.World{Book: &book, Now: w.Now, Assets: w.Assets, Where: w.Where}
}

// An address is cut off at once, live flows included, others are not; then the whole
// state takes that over, proved, and lets go of it again.
func TestIsolate(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	ctx := context.Background()
	w := permits(let("10.0.0.2", "10.0.1.3", 6, 80, 80), let("10.0.0.5", "10.0.1.3", 6, 80, 80))
	iso := b.driver.(driver.Isolator)
	cut := prefixes("10.0.0.2/32", "2001:db8::2/128")
	if err := iso.Isolate(ctx, []compile.Point{b.point}, cut); !errors.Is(err, driver.ErrRefused) {
		t.Fatalf("without a table: %v", err)
	}
	b.apply(t, w)
	bad, good := b.flow("a2", "b3", "10.0.1.3", 80), b.flow("a5", "b3", "10.0.1.3", 80)
	begin := time.Now()
	if err := iso.Isolate(ctx, []compile.Point{b.point}, cut); err != nil {
		t.Fatal(err)
	}
	t.Logf("cut off in %s", time.Since(begin))
	b.mustStop(bad, "in quarantine")
	b.mustLive(good, "a bystander")
	b.expect(lab.Probe{From: "a2", Dst: netip.MustParseAddr("10.0.1.3"), Proto: 6, Num: 80}, false, "in quarantine")
	q := quarantined(w, "10.0.0.2", "2001:db8::2")
	_, state := b.render(t, q)
	ch, err := b.driver.Diff(b.read(t), state)
	if err != nil {
		t.Fatal(err)
	}
	for _, op := range ch.Ops {
		if strings.Contains(op.Object, "quarantine") {
			t.Errorf("what was put there in a hurry is not what is rendered: %+v", op)
		}
	}
	b.apply(t, q)
	b.mustLive(good, "a bystander")
	// One more, and one less.
	if err := iso.Isolate(ctx, []compile.Point{b.point}, prefixes("10.0.0.5/32")); err != nil {
		t.Fatal(err)
	}
	b.mustStop(good, "in quarantine now")
	b.apply(t, q)
	b.mustComeBack(good, "no longer")
	b.apply(t, w)
	b.tidy(t, w)
	b.mustComeBack(bad, "released")
	if text := b.read(t).Text(); strings.Contains(text, "quarantine") {
		t.Error("chains of the quarantine are left")
	}
}

// In the middle of a trial somebody is cut off: packets show it, the trial does not
// hide it, and going back keeps it.
func TestIsolateDuringTrial(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	before, after := beforeAfter()
	b.apply(t, before)
	b.try(t, after, time.Minute)
	p := lab.Probe{From: "a2", Dst: netip.MustParseAddr("10.0.1.3"), Proto: 6, Num: 82}
	b.expect(p, true, "on trial")
	if err := b.driver.(driver.Isolator).Isolate(context.Background(), []compile.Point{b.point}, prefixes("10.0.0.2/32")); err != nil {
		t.Fatal(err)
	}
	b.expect(p, false, "in quarantine")
	now := b.read(t)
	if now.Table() == nil || !strings.Contains(now.Text(), "quarantine.gw") || b.trial(t) == nil {
		t.Errorf("what is in force does not show the quarantine:\n%s", now.Text())
	}
	want := desired(t, quarantined(after, "10.0.0.2"), []compile.Point{b.point})
	mustProve(t, b.driver, want, now)
	if err := b.driver.(driver.Trier).Undo(context.Background()); err != nil {
		t.Fatal(err)
	}
	mustProve(t, b.driver, desired(t, quarantined(before, "10.0.0.2"), []compile.Point{b.point}), b.read(t))
}

// A gateway and a host on one machine, every address of a site cut off or none: what
// is rendered is what policy says.
func TestQuarantineIsProved(t *testing.T) {
	d := nftables.New(nftables.Options{Site: "test", Netns: newNetns(t), Interfaces: ifaces})
	w := permits(let("10.0.0.2", "10.0.0.1", 6, 80, 80), let("10.0.0.1", "10.0.1.7", 17, 53, 53))
	for _, mode := range tries.Some([]policy.Mode{policy.Enforce, policy.Observe}) {
		want := desired(t, quarantined(w, "10.0.0.2", "10.0.1.7"), pointsOf("both", mode))
		want.Enforced = map[string]bool{"gw": true, "host-1": true}
		ch := plan(t, d, want)
		mustProve(t, d, want, ch.To)
		if err := d.Apply(t.Context(), ch); err != nil {
			t.Fatal(err)
		}
		mustHold(t, d, want)
	}
}
