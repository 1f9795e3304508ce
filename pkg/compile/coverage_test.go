package compile_test

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"bulkhead/inventory"
	"bulkhead/pkg/compile"
	"bulkhead/pkg/packet"
	"bulkhead/pkg/policy"
	"bulkhead/pkg/policy/policytest"
)

func set(ps ...string) packet.Addrs {
	var out []netip.Prefix
	for _, p := range ps {
		out = append(out, netip.MustParsePrefix(p))
	}
	return packet.AddrsOf(out...)
}

// router is a gateway between two zones, with an address of its own in each.
func router() compile.Point {
	zone := func(name, iface string, p ...string) compile.Zone {
		return compile.Zone{Name: name, Interfaces: []string{iface}, Prefixes: set(p...), Masks: set(p...).Prefixes(), Known: true}
	}
	return compile.Point{Name: "gw", Mode: policy.Enforce, Transit: true, Own: set("10.0.1.1/32", "10.0.2.1/32"),
		Zones: []compile.Zone{zone("a", "eth1", "10.0.1.0/24", "2001:db8:1::/64"), zone("b", "eth2", "10.0.2.0/24", "2001:db8:2::/64")}}
}

func with(p compile.Point, f func(*compile.Point)) compile.Point { f(&p); return p }

// Which point drops a denied flow, and why none does.
func TestCovered(t *testing.T) {
	gw := router()
	observing := with(router(), func(p *compile.Point) { p.Mode = policy.Observe })
	uplink := with(router(), func(p *compile.Point) {
		p.Zones = append(p.Zones, compile.Zone{Name: "out", Interfaces: []string{"eth0"}, Default: true})
	})
	web := compile.Point{Name: "web-1", Mode: policy.Enforce, Endpoint: true, Protects: set("10.0.1.10/32")}
	sw := compile.Point{Name: "sw1", Mode: policy.Enforce, Endpoint: true, SendsOnly: true, Protects: set("10.0.3.1/32", "10.0.3.2/31"),
		Ports: map[string]packet.Addrs{"swp1": set("10.0.3.1/32", "10.0.3.2/32"), "swp2": set("10.0.3.3/32")}}
	both := with(sw, func(p *compile.Point) { p.SendsOnly = false })
	self := with(router(), func(p *compile.Point) { p.Endpoint, p.Protects = true, p.Own })
	for name, c := range map[string]struct {
		points   []compile.Point
		src, dst string
		by       []string
		why      string
	}{
		"sent at a port":              {[]compile.Point{sw}, "10.0.3.1", "10.0.9.9", []string{"sw1"}, ""},
		"received at a port":          {[]compile.Point{sw}, "10.0.9.9", "10.0.3.1", nil, "point sw1 filters what is sent at its ports"},
		"from port to port":           {[]compile.Point{sw}, "10.0.3.1", "10.0.3.3", []string{"sw1"}, ""},
		"behind one port":             {[]compile.Point{sw}, "10.0.3.1", "10.0.3.2", nil, "both ends hang on port swp1 of sw1"},
		"received, and filtered":      {[]compile.Point{both}, "10.0.9.9", "10.0.3.1", []string{"sw1"}, ""},
		"two zones":                   {[]compile.Point{gw}, "10.0.1.10", "10.0.2.10", []string{"gw"}, ""},
		"two zones, IPv6":             {[]compile.Point{gw}, "2001:db8:1::1", "2001:db8:2::1", []string{"gw"}, ""},
		"one zone":                    {[]compile.Point{gw}, "10.0.1.10", "10.0.1.11", nil, "both ends are behind zone a"},
		"one zone, an endpoint":       {[]compile.Point{gw, web}, "10.0.1.10", "10.0.1.11", []string{"web-1"}, ""},
		"an endpoint is asked":        {[]compile.Point{gw, web}, "10.0.2.10", "10.0.1.10", []string{"gw", "web-1"}, ""},
		"an endpoint of another":      {[]compile.Point{web}, "10.0.2.10", "10.0.1.11", nil, "no point is on its path"},
		"only observed":               {[]compile.Point{observing}, "10.0.1.10", "10.0.2.10", nil, "point gw only observes"},
		"observed and enforced":       {[]compile.Point{observing, web}, "10.0.1.10", "10.0.2.10", []string{"web-1"}, ""},
		"the gateway's own":           {[]compile.Point{gw}, "10.0.1.10", "10.0.2.1", nil, "an address of gw itself"},
		"from the gateway":            {[]compile.Point{gw}, "10.0.1.1", "10.0.2.10", nil, "an address of gw itself"},
		"the gateway protects itself": {[]compile.Point{self}, "10.0.1.10", "10.0.2.1", []string{"gw"}, ""},
		"nobody's zone":               {[]compile.Point{gw}, "10.0.1.10", "192.0.2.1", nil, "in no zone and may be anywhere"},
		"the uplink's":                {[]compile.Point{uplink}, "10.0.1.10", "192.0.2.1", []string{"gw"}, ""},
		"both beyond the uplink":      {[]compile.Point{uplink}, "192.0.2.2", "192.0.2.1", nil, "behind zone out"},
		"no point at all":             {nil, "10.0.1.10", "10.0.2.10", nil, "no point is on its path"},
	} {
		by, why := compile.Covered(c.points, netip.MustParseAddr(c.src), netip.MustParseAddr(c.dst))
		if !slices.Equal(by, c.by) || !strings.Contains(why, c.why) || (c.why == "") != (why == "") {
			t.Errorf("%s: %s -> %s is dropped by %v, or not because %q; want %v and %q", name, c.src, c.dst, by, why, c.by, c.why)
		}
	}
}

// coverageWorld isolates a database: nobody may reach it but the web server.
func coverageWorld() *policy.World {
	host := func(id, a string) inventory.Asset {
		return inventory.Asset{ID: id, Kind: inventory.Server, Addresses: []netip.Prefix{netip.MustParsePrefix(a)}}
	}
	return &policy.World{Now: policytest.Epoch, Where: map[string][]string{},
		Assets: []inventory.Asset{host("web", "10.0.1.10/32"), host("peer", "10.0.2.11/32"), host("db", "10.0.2.10/32")},
		Book: &policy.Rulebook{
			Groups: []policy.Group{{Name: policy.GroupAny}, {Name: "db", Members: []string{"db"}, Isolate: policy.IsolateIngress},
				{Name: "peers", Members: []string{"peer"}}, {Name: policy.GroupUnidentified}, {Name: policy.GroupUnknown}, {Name: "web", Members: []string{"web"}}},
			Policies: []policy.Policy{{Name: "web-to-db", From: []string{"web"}, To: []string{"db"}, Ranges: []policy.Range{{Proto: 6, Lo: 5432, Hi: 5432}}, Action: policy.Allow, Tier: policy.Application, Direction: policy.Both, Mode: policy.Enforce}},
		}}
}

// Coverage lists exactly what no point drops, with a flow that policy denies.
func TestCoverageByHand(t *testing.T) {
	w := coverageWorld()
	m := mustCompile(t, w)
	rows := compile.Coverage(m, []compile.Point{router()})
	var got []string
	for _, u := range rows {
		reason, _, _ := strings.Cut(u.Reason, ",")
		got = append(got, strings.Join(u.From, "+")+" -> "+strings.Join(u.To, "+")+": "+u.Services+": "+reason)
		if by, why := compile.Covered([]compile.Point{router()}, u.Src, u.Dst); len(by) > 0 || why != u.Reason {
			t.Errorf("%s -> %s is dropped by %v, or not because %q; its row says %q", u.Src, u.Dst, by, why, u.Reason)
		}
		if w.Decide(policy.Flow{Src: u.Src, Dst: u.Dst, Proto: uint8(u.Service >> 16), Num: uint16(u.Service)}).Permit {
			t.Errorf("policy permits the flow of %+v", u)
		}
	}
	// Strangers and the gateway's own addresses bear no name: only their end has one.
	want := []string{
		" -> db: any: an address of gw itself",
		" -> db: any: an end is in no zone and may be anywhere",
		" -> db: any: both ends are behind zone b of gw",
		"peers -> db: any: both ends are behind zone b of gw",
	}
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("uncovered:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if rows := compile.Coverage(m, []compile.Point{{Name: "db-1", Mode: policy.Enforce, Endpoint: true, Protects: set("10.0.2.10/32")}}); len(rows) != 0 {
		t.Errorf("the database's own point covers all, and this is listed: %+v", rows)
	}
	all := compile.Coverage(m, nil)
	if len(all) != 3 || all[0].Reason != "no point is on its path" {
		t.Errorf("without a point three pairs of groups are uncovered: %+v", all)
	}
}

// At ports: the list names what nothing filters on its way in, and what does not come by, and it
// is what Covered says of each pair, at all places as well as pair by pair.
func TestCoverageAtPorts(t *testing.T) {
	w := coverageWorld()
	m := mustCompile(t, w)
	sw := compile.Point{Name: "sw1", Mode: policy.Enforce, Endpoint: true, SendsOnly: true, Protects: set("10.0.2.10/32", "10.0.2.11/32"),
		Ports: map[string]packet.Addrs{"swp1": set("10.0.2.10/32", "10.0.2.11/32")}}
	apart := with(sw, func(p *compile.Point) {
		p.Ports = map[string]packet.Addrs{"swp1": set("10.0.2.10/32"), "swp2": set("10.0.2.11/32")}
	})
	both := with(apart, func(p *compile.Point) { p.SendsOnly = false })
	for name, c := range map[string]struct {
		point compile.Point
		want  []string
	}{
		"behind one port": {sw, []string{" -> db: not what comes from elsewhere", "peers -> db: both ends hang on port swp1 of sw1", "web -> db: not what comes from elsewhere"}},
		"on two ports":    {apart, []string{" -> db: not what comes from elsewhere", "web -> db: not what comes from elsewhere"}},
		"filtered, too":   {both, nil},
	} {
		var got []string
		for _, u := range compile.Coverage(m, []compile.Point{c.point}) {
			reason := u.Reason
			for _, part := range []string{"not what comes from elsewhere", "both ends hang on port swp1 of sw1"} {
				if strings.Contains(reason, part) {
					reason = part
				}
			}
			got = append(got, strings.Join(u.From, "+")+" -> "+strings.Join(u.To, "+")+": "+reason)
		}
		slices.Sort(got)
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}
