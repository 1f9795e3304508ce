package plan_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"bulkhead/drivers/nftables"
	"bulkhead/internal/tries"
	"bulkhead/pkg/compile"
	"bulkhead/pkg/driver"
	"bulkhead/pkg/packet"
	"bulkhead/pkg/plan"
	"bulkhead/pkg/policy"
	"bulkhead/pkg/policy/policytest"
)

func addrs(ps ...string) packet.Addrs {
	var out []netip.Prefix
	for _, p := range ps {
		out = append(out, netip.MustParsePrefix(p))
	}
	return packet.AddrsOf(out...)
}

// Points without overlays: what they let through is what policy says.
var overlaysOff = map[string]bool{"arp": true, "nd": true, "mld": true, "igmp": true, "dhcp": true, "icmp-errors": true}

func gateway(mode policy.Mode) compile.Point {
	zone := func(name, iface string, masks ...string) compile.Zone {
		set := addrs(masks...)
		return compile.Zone{Name: name, Interfaces: []string{iface}, Known: true, Masks: set.Prefixes(), Prefixes: set, AntiSpoof: compile.SpoofOff}
	}
	return compile.Point{Name: "gw", Mode: mode, Transit: true, Off: overlaysOff, Learn: time.Minute, Own: addrs("10.0.0.4/32", "2001:db8::4/128"),
		Zones: []compile.Zone{zone("a", "eth1", "10.0.0.0/24"), zone("b", "eth2", "10.0.1.0/25", "2001:db8::/64")}}
}

func host(mode policy.Mode) compile.Point {
	return compile.Point{Name: "host-1", Mode: mode, Endpoint: true, Off: overlaysOff, Learn: time.Minute, Protects: addrs("10.0.0.0/31", "2001:db8::1/128")}
}

func compiled(t interface{ Fatal(...any) }, w *policy.World) *compile.Matrix {
	m, err := compile.Compile(compile.Input{Assets: w.Assets, Book: w.Book, Where: w.Where, Now: w.Now})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func decodedState(t interface{ Fatal(...any) }, m *compile.Matrix, ps []compile.Point) *driver.Decoded {
	return decodedBy(t, m, ps, nftables.Options{})
}

// tabled has class spaces for a table of pairs, and a decoder that lists no pairs.
var tabled = nftables.Options{Pairs: 1, Bounds: compile.Bounds{Pairs: -1, Spaces: 64, Elements: 1 << 20, Bits: 28}}

func decodedBy(t interface{ Fatal(...any) }, m *compile.Matrix, ps []compile.Point, o nftables.Options) *driver.Decoded {
	o.Site, o.Interfaces = "test", []string{"eth1", "eth2"}
	d := nftables.New(o)
	r, err := d.Render(driver.Desired{Site: "test", Points: ps, View: compile.NewView(m, ps), Now: policytest.Epoch}, nftables.Empty("test"))
	if err != nil {
		t.Fatal(err)
	}
	dec, err := d.Decode(r.State)
	if err != nil {
		t.Fatal(err)
	}
	return dec
}

// passes is what a point does with a flow of a world, by the reference evaluator;
// seen is false where the flow never reaches the point's rules.
func passes(p *compile.Point, w *policy.World, f policy.Flow) (pass, seen bool) {
	if p.Transit {
		if p.Own.Contains(f.Src) || p.Own.Contains(f.Dst) {
			return true, false
		}
	} else if !p.Protects.Contains(f.Src) && !p.Protects.Contains(f.Dst) {
		return true, true // somebody else's flow passes
	}
	return p.Mode == policy.Observe || w.Decide(f).Permit, true
}

// The flow diff is exact: its sets are the flows whose verdict changed, each
// once, on the right side, and each witness is one of them.
func TestFlowDiffIsExact(t *testing.T) {
	tries.Checks(t, 30, func(t *rapid.T) {
		o := policytest.Options{NoTimed: true, MaxAssets: 5, MaxPolicies: 5, MaxGroups: 4}
		before, after := policytest.World(t, o), policytest.World(t, o)
		mode := rapid.SampledFrom([]policy.Mode{policy.Enforce, policy.Enforce, policy.Enforce, policy.Observe})
		oldPoint, newPoint := gateway(mode.Draw(t, "old mode")), gateway(mode.Draw(t, "new mode"))
		if rapid.Bool().Draw(t, "endpoint") {
			oldPoint, newPoint = host(oldPoint.Mode), host(newPoint.Mode)
			if rapid.IntRange(0, 2).Draw(t, "protects another") == 0 {
				oldPoint.Protects = addrs("10.0.0.1/32", "10.0.0.7/32")
			}
		}
		var now *driver.Decoded
		first := rapid.IntRange(0, 3).Draw(t, "first") == 0
		if !first {
			now = decodedBy(t, compiled(t, before), []compile.Point{oldPoint}, rapid.SampledFrom([]nftables.Options{{}, tabled}).Draw(t, "decoder"))
		}
		m := compiled(t, after)
		named := policytest.Addresses(after)
		flows, _, share := plan.DiffFlowsShare(m, []compile.Point{newPoint}, now, nil, named)
		checkShare(t, flows, share, plan.DeniedShare(m, []compile.Point{newPoint}, now, nil, named))
		index := newFlowIndex(t, flows)
		services := append(policytest.Services(before), policytest.Services(after)...)
		list := append(policytest.Addresses(before), policytest.Addresses(after)...)
		list = append(list, netip.MustParseAddr("10.0.0.4"), netip.MustParseAddr("10.0.0.7"), netip.MustParseAddr("10.0.1.200"))
		for _, src := range list {
			for _, dst := range list {
				if src == dst || src.Is4() != dst.Is4() || dst.IsMulticast() || src.IsMulticast() {
					continue
				}
				rows := index.of(src, dst)
				for _, s := range services {
					f := policy.Flow{Src: src, Dst: dst, Proto: uint8(s[0]), Num: s[1]}
					was, seen := true, true
					if !first {
						was, _ = passes(&oldPoint, before, f)
					}
					is, seenNew := passes(&newPoint, after, f)
					checkFlow(t, index, rows, f, was, is, seen && seenNew)
				}
			}
		}
	})
}

// checkShare holds the share newly denied to the list: where no flow is denied, none
// is lost, and whoever asks for the share alone gets the same.
func checkShare(t *rapid.T, flows []plan.FlowChange, share, alone *plan.Share) {
	if (share == nil) != (alone == nil) || share != nil && *share != *alone {
		t.Fatalf("a share of %+v with the list, %+v without", share, alone)
	}
	if share == nil {
		return
	}
	denied := slices.ContainsFunc(flows, func(f plan.FlowChange) bool { return !f.Permit })
	if share.Percent < 0 || share.Percent > 100 || share.Percent > 0 && !denied {
		t.Fatalf("%v %% newly denied, by a list that denies newly: %v", share.Percent, denied)
	}
}

func checkFlow(t *rapid.T, index *flowIndex, rows []int, f policy.Flow, was, is, seen bool) {
	var hits []int
	for _, r := range rows {
		if index.services[r].Contains(packet.Point(f.Proto, f.Num)) {
			hits = append(hits, r)
		}
	}
	want := 0
	if seen && was != is {
		want = 1
	}
	if len(hits) != want {
		t.Fatalf("%+v: permitted before %v, now %v, judged %v; it is in %d changes: %+v", f, was, is, seen, len(hits), index.describe(hits))
	}
	if want == 1 && index.flows[hits[0]].Permit != is {
		t.Fatalf("%+v: permitted now %v, and the change says otherwise: %+v", f, is, index.flows[hits[0]])
	}
}

// flowIndex reads changes as their readers do: from their strings.
type flowIndex struct {
	flows    []plan.FlowChange
	services []packet.Services
	sets     [][][2]packet.Addrs
}

func newFlowIndex(t *rapid.T, flows []plan.FlowChange) *flowIndex {
	x := &flowIndex{flows: flows}
	for i := range flows {
		f := &flows[i]
		x.services = append(x.services, parseServices(t, f.Services))
		var sets [][2]packet.Addrs
		for _, s := range f.Sets {
			sets = append(sets, [2]packet.Addrs{parseAddrs(t, s.Src), parseAddrs(t, s.Dst)})
		}
		x.sets = append(x.sets, sets)
		src, dst, svc := netip.MustParseAddr(f.Witness.Src), netip.MustParseAddr(f.Witness.Dst), parseServices(t, f.Witness.Service)
		in := false
		for _, s := range sets {
			in = in || s[0].Contains(src) && s[1].Contains(dst)
		}
		if !in || src == dst || !svc.Subtract(x.services[i]).IsEmpty() {
			t.Fatalf("the witness %+v is not in %+v", f.Witness, f)
		}
	}
	return x
}

// of lists the changes that hold a pair of addresses, as often as they do.
func (x *flowIndex) of(src, dst netip.Addr) []int {
	var out []int
	for i, sets := range x.sets {
		for _, s := range sets {
			if s[0].Contains(src) && s[1].Contains(dst) {
				out = append(out, i)
			}
		}
	}
	return out
}

func (x *flowIndex) describe(rows []int) []plan.FlowChange {
	var out []plan.FlowChange
	for _, r := range rows {
		out = append(out, x.flows[r])
	}
	return out
}

func parseAddrs(t *rapid.T, s string) packet.Addrs {
	var runs []packet.Range
	for _, w := range strings.Fields(s) {
		if from, to, ok := strings.Cut(w, "-"); ok {
			runs = append(runs, packet.Range{From: netip.MustParseAddr(from), To: netip.MustParseAddr(to)})
		} else if p, err := netip.ParsePrefix(w); err == nil {
			runs = append(runs, packet.PrefixRange(p))
		} else {
			a := netip.MustParseAddr(w)
			runs = append(runs, packet.Range{From: a, To: a})
		}
	}
	return packet.AddrRanges(runs)
}

var protocols = map[string]uint32{"tcp": 6, "udp": 17, "sctp": 132, "dccp": 33, "udplite": 136, "icmp": 1, "icmpv6": 58}

// parseServices reads what packet.Services prints, written from its documentation.
func parseServices(t *rapid.T, s string) packet.Services {
	if rest, ok := strings.CutPrefix(s, "any but "); ok {
		return packet.AllServices().Subtract(parseServices(t, rest))
	}
	if s == "any" {
		return packet.AllServices()
	}
	var spans []packet.Span
	for _, w := range strings.Fields(s) {
		name, rest, _ := strings.Cut(w, "/")
		lo, hi, ranged := strings.Cut(rest, "-")
		if !ranged {
			hi = lo
		}
		num := func(s string, last bool) uint32 {
			var a, b uint32
			n, _ := fmt.Sscanf(s, "%d:%d", &a, &b)
			switch {
			case n == 2:
				return a<<8 | b
			case name != "icmp" && name != "icmpv6":
				return a
			case last:
				return a<<8 | 0xff
			}
			return a << 8
		}
		switch {
		case name == "proto":
			spans = append(spans, packet.Span{Lo: num(lo, false) << 16, Hi: num(hi, false)<<16 | 0xffff})
		case protocols[name] == 0:
			t.Fatalf("service %q", w)
		case rest == "":
			spans = append(spans, packet.Span{Lo: protocols[name] << 16, Hi: protocols[name]<<16 | 0xffff})
		default:
			spans = append(spans, packet.Span{Lo: protocols[name]<<16 | num(lo, false), Hi: protocols[name]<<16 | num(hi, true)})
		}
	}
	return packet.Spans(spans)
}
