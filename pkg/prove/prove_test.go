package prove_test

import (
	"net/netip"
	"strings"
	"testing"

	"bulkhead/pkg/compile"
	"bulkhead/pkg/driver"
	"bulkhead/pkg/packet"
	"bulkhead/pkg/policy"
	"bulkhead/pkg/policy/policytest"
	"bulkhead/pkg/prove"
)

var off = map[string]bool{"arp": true, "nd": true, "mld": true, "igmp": true, "dhcp": true, "icmp-errors": true}

func gateway() compile.Point {
	return compile.Point{Name: "gw", Mode: policy.Enforce, Transit: true, Off: off}
}

func matrix(t *testing.T, isolate policy.Isolation) *compile.Matrix {
	t.Helper()
	m, err := compile.Compile(compile.Input{Now: policytest.Epoch, Book: &policy.Rulebook{Groups: []policy.Group{
		{Name: policy.GroupAny, Isolate: isolate}, {Name: policy.GroupUnidentified}, {Name: policy.GroupUnknown}}}})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// does is a device that treats one set of services differently for one pair.
func does(src, dst packet.Addrs, there, elsewhere packet.Services) *driver.Decoded {
	split := func(a packet.Addrs) []packet.Addrs { return []packet.Addrs{a, packet.AllAddrs().Subtract(a)} }
	return &driver.Decoded{Installed: []string{"gw"}, Relations: []driver.Relation{{
		Situation: driver.Situation{Hook: compile.HookForward, Tracking: driver.TrackNew, SrcPortHi: 65535},
		Src:       split(src), Dst: split(dst),
		Permit: func(i, j int) packet.Services {
			if i == 0 && j == 0 {
				return there
			}
			return elsewhere
		},
		Why: func(netip.Addr, netip.Addr, uint32) string { return "rule 7" },
	}}}
}

func host(s string) packet.Addrs { return packet.AddrsOf(netip.MustParsePrefix(s)) }

// One port too many, or too few, for one pair of addresses is found, with the
// packet, the rule and the policy.
func TestOnePortIsFound(t *testing.T) {
	one := packet.Services{{Lo: packet.Point(6, 443), Hi: packet.Point(6, 443)}}
	deny, permit := matrix(t, policy.IsolateBoth), matrix(t, policy.IsolateNone)
	for _, c := range []struct {
		m                *compile.Matrix
		there, elsewhere packet.Services
		says             string
	}{
		{deny, one, nil, "lets through 10.0.0.1 -> 10.0.0.2 tcp/443 (forward, new) by rule 7; policy denies it"},
		{permit, packet.AllServices().Subtract(one), packet.AllServices(), "drops 10.0.0.1 -> 10.0.0.2 tcp/443 (forward, new) by rule 7; policy permits it"},
	} {
		r := prove.Device(c.m, []compile.Point{gateway()}, does(host("10.0.0.1/32"), host("10.0.0.2/32"), c.there, c.elsewhere))[0]
		if r.Proved || len(r.Wrong) != 1 || !strings.Contains(r.Wrong[0].String(), c.says) {
			t.Errorf("%+v does not say %q", r, c.says)
		}
		if same := prove.Device(c.m, []compile.Point{gateway()}, does(host("10.0.0.1/32"), host("10.0.0.2/32"), c.elsewhere, c.elsewhere))[0]; !same.Proved || same.Pairs == 0 {
			t.Errorf("a device that does what it must is not proved: %+v", same)
		}
	}
}

// An address to itself is no packet; a set that holds another address as well is.
func TestSelfIsNoCounterexample(t *testing.T) {
	deny := matrix(t, policy.IsolateBoth)
	for dst, proved := range map[string]bool{"10.0.0.0/32": true, "10.0.0.0/31": false} {
		r := prove.Device(deny, []compile.Point{gateway()}, does(host("10.0.0.0/32"), host(dst), packet.AllServices(), nil))[0]
		if r.Proved != proved {
			t.Errorf("10.0.0.0 -> %s is open: proved %v", dst, r.Proved)
		}
		for _, w := range r.Wrong {
			if w.Src == w.Dst {
				t.Errorf("the packet %s talks to itself", &w)
			}
		}
	}
}

// A hook that nothing judges, and a finding that is not harmless, keep a point from
// being proved, and only the point that it concerns.
func TestFindings(t *testing.T) {
	m := matrix(t, policy.IsolateNone)
	other := gateway()
	other.Name = "other"
	points := []compile.Point{gateway(), other}
	state := func(f ...driver.Finding) *driver.Decoded {
		d := does(host("10.0.0.1/32"), host("10.0.0.2/32"), packet.AllServices(), packet.AllServices())
		d.Findings = f
		return d
	}
	for name, c := range map[string]struct {
		d         *driver.Decoded
		gw, other bool
	}{
		"nothing wrong":  {state(), true, true},
		"nothing judges": {&driver.Decoded{}, false, false},
		"one point's":    {state(driver.Finding{Point: "gw", Object: "table", Text: "bypasses"}), false, true},
		"everybody's":    {state(driver.Finding{Object: "table", Text: "bypasses"}), false, false},
		"harmless":       {state(driver.Finding{Object: "table", Text: "observes", Harmless: true}), true, true},
	} {
		r := prove.Device(m, points, c.d)
		if r[0].Proved != c.gw || r[1].Proved != c.other {
			t.Errorf("%s: proved %v and %v", name, r[0].Proved, r[1].Proved)
		}
		if r[0].Wrong == nil || r[0].Findings == nil {
			t.Errorf("%s: a list is nil", name)
		}
	}
}
