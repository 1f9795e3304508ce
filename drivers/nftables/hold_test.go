package nftables_test

import (
	"context"
	"strings"
	"testing"
)

// A change that was interrupted between its commit and the end of its sweep leaves
// flows on hold. They live, packet by packet; the next plan sees it, and the next
// apply lets them go by their marks again.
func TestInterruptedChangeIsFinished(t *testing.T) {
	b := newBench(t)
	w := permits(let("10.0.0.2", "10.0.1.3", 6, 80, 80), let("10.0.0.5", "10.0.1.3", 6, 80, 80))
	b.apply(t, w)
	f, other := b.flow("a2", "b3", "10.0.1.3", 80), b.flow("a5", "b3", "10.0.1.3", 80)
	for _, left := range []string{
		"add element inet bulkhead_lab moved4 { 10.0.0.2 }; add element inet bulkhead_lab hold { ipv4, ipv6 }",
		"add element inet bulkhead_lab hold_all { ipv4, ipv6 }; add element inet bulkhead_lab hold { ipv4, ipv6 }",
	} {
		b.nft(left)
		b.mustLive(f, "held, and permitted")
		b.mustLive(other, "not held")
		want, state := b.render(t, w)
		have, err := b.driver.Read(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		mustProve(t, b.driver, want, have)
		ch, err := b.driver.Diff(have, state)
		if err != nil || ch.Empty() || !strings.Contains(ch.Ops[0].Before, "interrupted") {
			t.Fatalf("%s: the plan does not see it: %v %+v", left, err, ch.Ops)
		}
		if err := b.driver.Apply(context.Background(), ch); err != nil {
			t.Fatal(err)
		}
		if have, err = b.driver.Read(context.Background()); err != nil {
			t.Fatal(err)
		}
		if ch, err = b.driver.Diff(have, state); err != nil || !ch.Empty() {
			t.Fatalf("%s: still %v %+v", left, err, ch.Ops)
		}
		b.mustLive(f, "after the hold")
	}
}

// Flows with an end that has moved are judged anew although their marks are
// permitted to others, whichever side sends.
func TestHeldFlowIsJudgedAnew(t *testing.T) {
	b := newBench(t)
	b.apply(t, permits(let("10.0.0.2", "10.0.1.3", 6, 80, 80)))
	f := b.flow("a2", "b3", "10.0.1.3", 80)
	// What a commit does, without the sweep behind it: the address has another class,
	// and its flows are held. The mark is still a permitted one.
	b.nft(`delete element inet bulkhead_lab host4 { 10.0.0.2 }
		add element inet bulkhead_lab moved4 { 10.0.0.2 }
		add element inet bulkhead_lab hold { ipv4, ipv6 }`)
	b.mustStop(f, "its client has moved to a class without permission")
}
