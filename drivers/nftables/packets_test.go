package nftables_test

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"bulkhead/internal/tries"
	"bulkhead/pkg/compile"
	"bulkhead/pkg/driver"
	"bulkhead/pkg/lab"
	"bulkhead/pkg/packet"
	"bulkhead/pkg/policy"
	"bulkhead/pkg/policy/policytest"
)

// crossing lists probes for every pair of hosts that the gateway parts, both
// families, for every service worth asking about.
func crossing(b *bench, w *policy.World) ([]lab.Probe, []policy.Flow) {
	var probes []lab.Probe
	var flows []policy.Flow
	for _, from := range b.net.Hosts() {
		for _, to := range b.net.Hosts() {
			if from == to || !b.net.Crosses(from, to) {
				continue
			}
			for _, four := range []bool{true, false} {
				src, dst := b.net.Addr(from, four), b.net.Addr(to, four)
				for _, s := range policytest.Services(w) {
					f := policy.Flow{Src: src, Dst: dst, Proto: uint8(s[0]), Num: s[1]}
					if icmpAnswer(f) || f.Proto == 1 && !four || f.Proto == 58 && four || f.Proto == 58 && s[1]>>8 >= 130 && s[1]>>8 <= 143 {
						continue
					}
					if back := (policy.Flow{Src: dst, Dst: src, Proto: f.Proto, Num: f.Num}); !packet.HasPorts(f.Proto) && w.Decide(back).Permit {
						continue // without ports it cannot be told from an answer to the other end
					}
					if trackedFlat(f.Proto) && sends(w, dst, src, f.Proto) {
						continue // as before, if the kernel tracks the protocol without its ports
					}
					probes = append(probes, lab.Probe{From: from, Dst: dst, Proto: f.Proto, Num: f.Num})
					flows = append(flows, f)
				}
			}
		}
	}
	return probes, flows
}

// sends reports whether a probe of the protocol from one host reaches the other, or
// would be taken for the answer to one.
func sends(w *policy.World, src, dst netip.Addr, proto uint8) bool {
	for _, s := range append(policytest.Services(w), [2]uint16{uint16(proto), proberPort}) {
		if uint8(s[0]) == proto && w.Decide(policy.Flow{Src: src, Dst: dst, Proto: proto, Num: s[1]}).Permit {
			return true
		}
	}
	return false
}

// proberPort stands for the ports that probes come from: no policy of a drawn world
// tells one of them from another.
const proberPort = 40000

// trackedFlat reports whether a kernel may track a protocol without telling its ports
// apart (DCCP since Linux 6.16). Then a packet is the answer to whatever its far end
// has sent before, and what is judged is the flow that it would answer: the one to
// its source port.
func trackedFlat(proto uint8) bool { return proto == 33 || proto == 132 || proto == 136 }

// icmpAnswer reports whether the message answers a query: where it fits one that
// was let through before, it is part of that flow.
func icmpAnswer(f policy.Flow) bool {
	switch t := f.Num >> 8; f.Proto {
	case 1:
		return t == 0 || t == 14 || t == 16 || t == 18
	case 58:
		return t == 129 || t == 140
	}
	return false
}

// Real packets fare as the reference evaluator says, for random sites: overlap,
// tiers, pass, directions, same and differ, default-permit and default-deny.
func TestPacketsFollowPolicy(t *testing.T) {
	b := newBench(t)
	tries.Checks(t, 8, func(rt *rapid.T) {
		w := policytest.World(rt, policytest.Options{NoTimed: true})
		b.apply(rt, w)
		probes, flows := crossing(b, w)
		results, err := b.prober.Run(context.Background(), probes, lab.ProbeOptions{})
		if err != nil {
			rt.Fatal(err)
		}
		for i, r := range results {
			if d := w.Decide(flows[i]); r.Got != d.Permit {
				rt.Fatalf("%+v: received=%v, policy permits=%v", flows[i], r.Got, d.Permit)
			}
		}
	})
}

// The comparison above bites: one element broken behind the controller's back
// makes packets fare otherwise.
func TestPacketsNoticeABrokenElement(t *testing.T) {
	b := newBench(t)
	b.apply(t, permits(let("10.0.0.2", "10.0.1.3", 6, 80, 80)))
	b.expect(lab.Probe{From: "a2", Dst: netip.MustParseAddr("10.0.1.3"), Proto: 6, Num: 80}, true, "permitted")
	b.nft("delete element inet bulkhead_lab host4 { 10.0.1.3 }")
	b.expect(lab.Probe{From: "a2", Dst: netip.MustParseAddr("10.0.1.3"), Proto: 6, Num: 80}, false, "its element is gone")
}

// A datagram in fragments is judged whole: the kernel joins it first.
func TestFragments(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.apply(t, permits(let("10.0.0.2", "10.0.1.3", 17, 53, 53), let("2001:db8::2", "2001:db8:0:1::3", 17, 53, 53)))
	for _, dst := range []string{"10.0.1.3", "2001:db8:0:1::3"} {
		a := netip.MustParseAddr(dst)
		b.expect(lab.Probe{From: "a2", Dst: a, Proto: 17, Num: 53, Fragments: 3}, true, "permitted, in three fragments")
		b.expect(lab.Probe{From: "a2", Dst: a, Proto: 17, Num: 54, Fragments: 3}, false, "denied, and no fragment slips through")
	}
}

// A source address that belongs behind another interface is dropped where a zone
// says so, even if policy permits the flow.
func TestSpoofedSources(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	zone := func(name, iface string, mode compile.AntiSpoof, ps ...string) compile.Zone {
		return compile.Zone{Name: name, Interfaces: []string{iface}, Known: true, Masks: masksOf(ps...), AntiSpoof: mode}
	}
	b.point.Zones = []compile.Zone{
		zone("a", "eth1", compile.SpoofEnforce, "10.0.0.0/24", "2001:db8::/64"),
		zone("b", "eth2", compile.SpoofObserve, "10.0.1.0/24"),
		zone("c", "eth3", compile.SpoofObserve, "192.0.2.0/24"),
	}
	b.point.Zones[2].Default = true
	w := permits()
	w.Book.Groups[0].Isolate = policy.IsolateNone
	b.apply(t, w)
	to := netip.MustParseAddr("10.0.1.3")
	spoofed := func(from, src string) lab.Probe {
		return lab.Probe{From: from, Src: netip.MustParseAddr(src), Dst: to, To: "b3", Proto: 17, Num: 9}
	}
	b.expect(spoofed("a2", "10.0.0.5"), true, "an address of its own zone")
	b.expect(spoofed("a2", "192.0.2.7"), false, "zone a enforces: a source of zone c does not come in by it")
	b.expect(spoofed("a2", "198.51.100.9"), false, "nor one that only the default route's zone may use")
	b.expect(spoofed("out", "10.0.0.9"), false, "a source of zone a does not come in by another, because a enforces")
	b.expect(spoofed("out", "10.0.1.9"), true, "zones b and c only observe")
	b.expect(spoofed("out", "198.51.100.9"), true, "what nobody claims comes from the default route's zone")
}

func masksOf(ps ...string) []netip.Prefix {
	var out []netip.Prefix
	for _, p := range ps {
		out = append(out, pfx(p))
	}
	return out
}

// A point that only observes drops nothing and remembers what it would have
// dropped, flow by flow; one that enforces remembers what it dropped.
func TestFlowsCountWhatWasSent(t *testing.T) {
	t.Parallel()
	for _, mode := range []policy.Mode{policy.Observe, policy.Enforce} {
		t.Run(string(mode), func(t *testing.T) {
			b := newBench(t)
			b.point.Mode = mode
			b.apply(t, permits(let("10.0.0.2", "10.0.1.3", 6, 80, 80)))
			probes := []lab.Probe{
				{From: "a2", Dst: netip.MustParseAddr("10.0.1.3"), Proto: 6, Num: 80},
				{From: "a2", Dst: netip.MustParseAddr("10.0.1.3"), Proto: 6, Num: 81},
				{From: "a5", Dst: netip.MustParseAddr("2001:db8:0:1::6"), Proto: 17, Num: 53},
				{From: "out", Dst: netip.MustParseAddr("10.0.0.2"), Proto: 1, Num: 0x800},
				{From: "out", Dst: netip.MustParseAddr("10.0.0.2"), Proto: 47},
			}
			res, err := b.prober.Run(context.Background(), probes, lab.ProbeOptions{Tries: 1})
			if err != nil {
				t.Fatal(err)
			}
			for i, r := range res {
				if want := i == 0 || mode == policy.Observe; r.Got != want {
					t.Errorf("probe %d: received=%v, want %v", i, r.Got, want)
				}
			}
			drops, err := b.driver.(driver.FlowReader).Drops(context.Background())
			if err != nil {
				t.Fatal(err)
			}
			got := map[string]uint64{}
			for _, d := range drops {
				got[fmt.Sprintf("%s %s %d", d.Src, d.Dst, d.Service>>16)] += d.Packets
			}
			for key, want := range map[string]uint64{
				"10.0.0.2 10.0.1.3 6": 1, "2001:db8::5 2001:db8:0:1::6 17": 1, "192.0.2.1 10.0.0.2 1": 1, "192.0.2.1 10.0.0.2 47": 1,
			} {
				// In observe mode answers (resets, echo replies) of flows that were let
				// through may be counted too; under the flow that they belong to.
				if got[key] < want || mode == policy.Enforce && got[key] != want {
					t.Errorf("%s: counted %d, sent %d (all: %v)", key, got[key], want, got)
				}
			}
		})
	}
}

// The way in works with the table of connections full, and nobody else's does.
func TestFailsafeWithFullConnectionTable(t *testing.T) {
	b := newBench(t)
	b.point.Failsafe = []compile.Failsafe{{From: prefixes("10.0.0.2/32"), To: prefixes("10.0.1.3/32"), Services: tcpPorts(22, 22)}}
	b.apply(t, permits(let("10.0.0.5", "10.0.1.3", 6, 80, 81)))
	const max = "/proc/sys/net/netfilter/nf_conntrack_max"
	old, err := os.ReadFile(max)
	if err != nil {
		t.Fatal(err)
	}
	b.conntrack("-F")
	b.expect(lab.Probe{From: "a5", Dst: netip.MustParseAddr("10.0.1.3"), Proto: 6, Num: 81}, true, "there is room")
	// Flows that have been answered are not thrown out for new ones.
	b.conntrack("-F")
	busy := b.flow("a5", "b3", "10.0.1.3", 80)
	b.mustLive(busy, "it fills the table")
	if err := os.WriteFile(max, []byte("1"), 0o644); err != nil {
		t.Fatalf("cannot make the table full: %v", err)
	}
	defer os.WriteFile(max, []byte(strings.TrimSpace(string(old))), 0o644)
	f := b.flow("a2", "b3", "10.0.1.3", 22)
	b.mustLive(f, "failsafe, with the table full")
	b.expect(lab.Probe{From: "a5", Dst: netip.MustParseAddr("10.0.1.3"), Proto: 6, Num: 81}, false, "permitted, but there is no room")
}

// A timed allow ends on time with nobody there to end it, live flows included.
func TestTimedAllowEndsByItself(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	rule := let("10.0.0.2", "10.0.1.3", 6, 80, 80)
	rule.Expires = time.Now().Add(5 * time.Second)
	b.change(t, permits(rule, let("10.0.0.5", "10.0.1.3", 6, 80, 80)))
	timed, other := b.flow("a2", "b3", "10.0.1.3", 80), b.flow("a5", "b3", "10.0.1.3", 80)
	b.mustLive(timed, "before its end")
	time.Sleep(time.Until(rule.Expires) + 200*time.Millisecond)
	b.mustStop(timed, "after its end")
	b.mustLive(other, "a bystander")
	b.expect(lab.Probe{From: "a2", Dst: netip.MustParseAddr("10.0.1.3"), Proto: 6, Num: 80}, false, "a new flow after the end")
}
