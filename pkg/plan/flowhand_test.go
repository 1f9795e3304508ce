package plan_test

import (
	"net/netip"
	"strings"
	"testing"

	"bulkhead/pkg/compile"
	"bulkhead/pkg/driver"
	"bulkhead/pkg/packet"
	"bulkhead/pkg/plan"
	"bulkhead/pkg/policy"
	"bulkhead/pkg/policy/policytest"
)

// open is a site in which nothing is isolated: everything is permitted.
func open() *policy.World {
	return &policy.World{Now: policytest.Epoch, Where: map[string][]string{}, Book: &policy.Rulebook{Groups: []policy.Group{{Name: policy.GroupAny}, {Name: policy.GroupUnidentified}, {Name: policy.GroupUnknown}}}}
}

// relation is a hook that drops src to dst and lets all else pass.
func relation(hook string, src, dst packet.Addrs) driver.Relation {
	split := func(a packet.Addrs) []packet.Addrs {
		if rest := packet.AllAddrs().Subtract(a); !rest.IsEmpty() {
			return []packet.Addrs{a, rest}
		}
		return []packet.Addrs{a}
	}
	return driver.Relation{Situation: driver.Situation{Hook: hook, Tracking: driver.TrackNew, SrcPortHi: 65535}, Src: split(src), Dst: split(dst),
		Permit: func(i, j int) packet.Services {
			if i == 0 && j == 0 {
				return nil
			}
			return packet.AllServices()
		}}
}

// A flow that two hooks of a device dropped in different company is said once.
func TestFlowOfTwoHooksIsSaidOnce(t *testing.T) {
	p := host(policy.Enforce)
	now := &driver.Decoded{Relations: []driver.Relation{
		relation(compile.HookInput, addrs("10.0.0.0/31"), addrs("10.0.0.0/30")),
		relation(compile.HookOutput, addrs("10.0.0.1/32"), addrs("10.0.0.2/32")),
	}}
	flows, _ := plan.DiffFlows(compiled(t, open()), []compile.Point{p}, now)
	n := 0
	for _, f := range flows {
		for _, s := range f.Sets {
			// These are hosts and small prefixes: their text is exact enough to look into.
			if (s.Src == "10.0.0.0/31" || s.Src == "10.0.0.1") && (strings.Contains(s.Dst, "10.0.0.2") || strings.Contains(s.Dst, "10.0.0.0/30")) {
				n++
			}
		}
	}
	if len(flows) != 1 || n != 1 {
		t.Errorf("10.0.0.1 -> 10.0.0.2 is in %d sets: %+v", n, flows)
	}
}

// Where the points of a device no longer judge at a hook, what its rules drop
// there now is newly permitted.
func TestPointTakenAway(t *testing.T) {
	now := &driver.Decoded{Relations: []driver.Relation{relation(compile.HookInput, packet.AllAddrs(), addrs("10.0.0.1/32"))}}
	flows, _ := plan.DiffFlows(compiled(t, open()), []compile.Point{gateway(policy.Enforce)}, now)
	if len(flows) != 1 || !flows[0].Permit || !strings.Contains(flows[0].By, "taken off the device") || flows[0].Sets[0].Dst != "10.0.0.1" || flows[0].Points == nil {
		t.Errorf("flows of a hook that nothing judges any more: %+v", flows)
	}
}

// A witness is never an address that talks to itself, also where both sides begin
// with the same address, and reads like a flow.
func TestWitness(t *testing.T) {
	p := host(policy.Enforce)
	p.Protects = addrs("10.0.0.0/24")
	for _, dst := range []string{"10.0.0.0/32", "10.0.0.0/24", "10.0.0.0/31"} {
		now := &driver.Decoded{Relations: []driver.Relation{relation(compile.HookInput, addrs("10.0.0.0/24"), addrs(dst))}}
		flows, _ := plan.DiffFlows(compiled(t, open()), []compile.Point{p}, now)
		for _, f := range flows {
			if f.Witness.Src == f.Witness.Dst || f.Witness.Service != "tcp/443" {
				t.Errorf("to %s: witness %+v of %+v", dst, f.Witness, f.Sets)
			}
		}
	}
}

// First enforcement is held against a device that lets everything pass, and an
// overlay is named as what decides.
func TestFirstEnforcementAndOverlay(t *testing.T) {
	w := open()
	w.Book.Groups[0].Isolate = policy.IsolateBoth
	p := gateway(policy.Enforce)
	flows, _ := plan.DiffFlows(compiled(t, w), []compile.Point{p}, nil)
	if len(flows) != 1 || flows[0].Permit || flows[0].Services != "any" || flows[0].From[0] != policy.GroupAny {
		t.Fatalf("first enforcement of default deny: %+v", flows)
	}
	observing := gateway(policy.Observe)
	now := decodedState(t, compiled(t, w), []compile.Point{p})
	flows, _ = plan.DiffFlows(compiled(t, w), []compile.Point{observing}, now)
	if len(flows) != 1 || !flows[0].Permit || !strings.Contains(flows[0].By, "observe") {
		t.Errorf("to observe mode: %+v", flows)
	}
}

// What a device cannot express fares before a change as after it: it is in no list, and
// weighs in no share. What the change itself drops beside policy is in both.
func TestWhatCannotBeExpressedDoesNotChange(t *testing.T) {
	m, p := compiled(t, open()), host(policy.Enforce)
	state := func(src string) *driver.Decoded {
		return &driver.Decoded{Relations: []driver.Relation{relation(compile.HookInput, addrs(src), addrs("10.0.0.0/31"))}}
	}
	named := []netip.Addr{netip.MustParseAddr("10.0.0.0"), netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2"), netip.MustParseAddr("10.0.0.3")}
	flows, omitted, share := plan.DiffFlowsShare(m, []compile.Point{p}, state("10.0.0.2/31"), state("10.0.0.2/31"), named)
	if len(flows) != 0 || omitted != "" || share == nil || share.Percent != 0 {
		t.Errorf("nothing changes, and the plan says %+v, share %+v", flows, share)
	}
	for _, always := range []*driver.Decoded{nil, {}} {
		flows, _, share = plan.DiffFlowsShare(m, []compile.Point{p}, always, state("10.0.0.2/31"), named)
		if len(flows) != 1 || flows[0].Permit || !strings.Contains(flows[0].By, "cannot express") || share.Percent == 0 {
			t.Errorf("the change drops what policy permits, and the plan says %+v, share %+v", flows, share)
		}
	}
}
