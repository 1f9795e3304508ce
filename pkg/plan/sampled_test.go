package plan

import (
	"net/netip"
	"testing"
	"time"

	"pgregory.net/rapid"

	"bulkhead/drivers/nftables"
	"bulkhead/internal/tries"
	"bulkhead/inventory"
	"bulkhead/pkg/compile"
	"bulkhead/pkg/driver"
	"bulkhead/pkg/packet"
	"bulkhead/pkg/policy"
	"bulkhead/pkg/policy/policytest"
	"bulkhead/pkg/prove"
)

func matrixOf(t interface{ Fatal(...any) }, w *policy.World) *compile.Matrix {
	m, err := compile.Compile(compile.Input{Assets: w.Assets, Book: w.Book, Where: w.Where, Now: w.Now})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// Nothing passes that policy does not permit.
var noEssential = map[string]bool{compile.EssentialARP: true, compile.EssentialND: true, compile.EssentialMLD: true, compile.EssentialIGMP: true, compile.EssentialDHCP: true, compile.EssentialErrors: true}

func zonedGateway() compile.Point {
	zone := func(name, iface, mask string) compile.Zone {
		p := netip.MustParsePrefix(mask)
		return compile.Zone{Name: name, Interfaces: []string{iface}, Known: true, Masks: []netip.Prefix{p}, Prefixes: packet.AddrsOf(p), AntiSpoof: compile.SpoofOff}
	}
	return compile.Point{Name: "gw", Mode: policy.Enforce, Transit: true, Learn: time.Minute, Off: noEssential, Zones: []compile.Zone{zone("a", "eth1", "10.0.0.0/24"), zone("b", "eth2", "10.0.1.0/24")}}
}

func hostPoint(protects string) compile.Point {
	return compile.Point{Name: "host", Mode: policy.Enforce, Endpoint: true, Learn: time.Minute, Off: noEssential, Protects: packet.AddrsOf(netip.MustParsePrefix(protects))}
}

// held gives the meaning of what a point would hold.
func held(t interface{ Fatal(...any) }, m *compile.Matrix, p compile.Point, o nftables.Options) *driver.Decoded {
	o.Site, o.Interfaces = "test", []string{"eth1", "eth2"}
	d := nftables.New(o)
	ps := []compile.Point{p}
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

// What is looked up for two addresses is what the partitions say of the sets that
// hold them.
func TestJudge(t *testing.T) {
	// With class spaces for a table of pairs, the decoder lists no pairs.
	tabled := nftables.Options{Pairs: 1, Bounds: compile.Bounds{Pairs: -1, Spaces: 64, Elements: 1 << 20, Bits: 28}}
	tries.Check(t, func(t *rapid.T) {
		o := policytest.Options{NoTimed: true, MaxAssets: 4, MaxPolicies: 4, MaxGroups: 3}
		before, after := policytest.World(t, o), policytest.World(t, o)
		p, hook, in := zonedGateway(), compile.HookForward, rapid.SampledFrom([]string{"", "eth1"}).Draw(t, "in")
		if rapid.Bool().Draw(t, "endpoint") {
			p, hook, in = hostPoint("10.0.0.0/31"), rapid.SampledFrom([]string{compile.HookInput, compile.HookOutput}).Draw(t, "hook"), ""
		}
		now := held(t, matrixOf(t, before), p, rapid.SampledFrom([]nftables.Options{{}, tabled}).Draw(t, "decoder"))
		m, at := matrixOf(t, after), []*compile.Point{&p}
		j := newJudge(m, hook, in, at, now, nil)
		e := prove.NewExpected(m, at, driver.Situation{Hook: hook, Tracking: driver.TrackNew, In: in, SrcPortLo: 40000, SrcPortHi: 40000})
		rel := relationOf(now, hook, in, at)
		old := rel.Flat()
		for _, s := range packet.Join(e.Addrs, old.Src) {
			for _, d := range packet.Join(e.Addrs, old.Dst) {
				x, y := s.Addrs.First(), d.Addrs.First()
				if x.Is4() != y.Is4() {
					continue
				}
				if got, want := j.have(x, y), old.Permit(s.B, d.B); !got.Equal(want) {
					t.Fatalf("%s -> %s passes now: %s, by the partition %s", x, y, got, want)
				}
				if got, want := j.want(x, y), e.Permit(s.A, d.A); !got.Equal(want) {
					t.Fatalf("%s -> %s would pass: %s, by the partition %s", x, y, got, want)
				}
			}
		}
	})
}

// many is a site of machines, of which what one group may is up to allow.
func many(n int, isolate policy.Isolation) (*policy.World, []netip.Addr) {
	w := &policy.World{Book: &policy.Rulebook{Groups: []policy.Group{{Name: policy.GroupAny}, {Name: policy.GroupUnknown}, {Name: policy.GroupUnidentified}}}, Now: policytest.Epoch}
	var named []netip.Addr
	for i := range n {
		a := netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)})
		named = append(named, a)
		w.Assets = append(w.Assets, inventory.Asset{ID: a.String(), Kind: inventory.VM, Addresses: []netip.Prefix{netip.PrefixFrom(a, 32)}})
	}
	w.Book.Groups = append(w.Book.Groups, policy.Group{Name: "one", Members: []string{"10.0.0.7"}, Isolate: isolate}, policy.Group{Name: "low", Prefixes: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/24")}, Isolate: isolate})
	return w, named
}

// A host whose every flow is cut is seen among thousands of addresses, of which it
// judges one; and of a gateway as much is seen as goes.
func TestShareOfManyNames(t *testing.T) {
	const n = 512 + 256 // the two zones, and a third of the machines in the first
	open, named := many(n, policy.IsolateNone)
	shut, _ := many(n, policy.IsolateBoth)
	for _, c := range []struct {
		p        compile.Point
		low, top float64
	}{{hostPoint("10.0.0.7/32"), 100, 100}, {zonedGateway(), 50, 60}} { // 1 - (2/3)² of the pairs
		now := held(t, matrixOf(t, open), c.p, nftables.Options{})
		got := DeniedShare(matrixOf(t, shut), []compile.Point{c.p}, now, nil, named)
		if got == nil || !got.Estimated || got.Percent < c.low || got.Percent > c.top {
			t.Errorf("point %s: %+v", c.p.Name, got)
		}
		_, _, with := DiffFlowsShare(matrixOf(t, shut), []compile.Point{c.p}, now, nil, named)
		if with == nil || got == nil || *with != *got {
			t.Errorf("point %s: %+v alone, %+v with the list", c.p.Name, got, with)
		}
		// A few names less, and all of it is looked at.
		if few := DeniedShare(matrixOf(t, shut), []compile.Point{c.p}, now, nil, named[:shareNames]); few == nil || few.Estimated {
			t.Errorf("point %s, fewer names: %+v", c.p.Name, few)
		}
	}
}
