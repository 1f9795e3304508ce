package compile_test

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"bulkhead/internal/tries"
	"bulkhead/inventory"
	"bulkhead/pkg/compile"
	"bulkhead/pkg/packet"
	"bulkhead/pkg/policy"
	"bulkhead/pkg/policy/policytest"
)

// tracked is a world whose assets change, followed by a tracker.
type tracked struct {
	w       *policy.World
	bounds  compile.Bounds
	layout  *compile.Layout
	tracker *compile.Tracker
	at      map[netip.Addr]compile.Placement
	k       *lookups

	followed, compiled int

	extend   func(a *compile.Amendment) // takes entries for new classes over, if it is there
	extended int
}

func (x *tracked) input() compile.Input {
	return compile.Input{Assets: slices.Clone(x.w.Assets), Book: x.w.Book, Where: x.w.Where, Now: x.w.Now}
}

// compile starts anew.
func (x *tracked) compile(t *rapid.T) bool {
	m, err := compile.Compile(x.input())
	if err != nil {
		t.Fatal(err)
	}
	x.compiled++
	if x.layout, err = compile.NewView(m, []compile.Point{router()}).Layout(x.bounds); err != nil {
		t.Fatal(err)
	}
	x.k = newLookups(x.layout)
	if x.tracker, err = compile.NewTracker(x.input(), x.layout); err != nil {
		t.Fatal(err)
	}
	x.at = map[netip.Addr]compile.Placement{}
	for _, a := range x.addresses() {
		p, err := x.tracker.Place(a)
		if err != nil {
			return false // several machines claim it: nothing to follow until they agree
		}
		x.at[a] = p
	}
	return true
}

func (x *tracked) addresses() []netip.Addr {
	list := policytest.Addresses(x.w)
	for i := range 12 {
		list = append(list, netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}))
	}
	slices.SortFunc(list, netip.Addr.Compare)
	return slices.Compact(list)
}

// place gives the placement of an address that has been asked for before, as a
// device would have it: only what was said to have moved is asked for again.
func (x *tracked) place(t *rapid.T, a netip.Addr) compile.Placement {
	p, ok := x.at[a]
	if !ok {
		var err error
		if p, err = x.tracker.Place(a); err != nil {
			t.Fatalf("%s was never touched: %v", a, err)
		}
		x.at[a] = p
	}
	return p
}

func (k *lookups) permitsAt(src, dst compile.Placement, service uint32) bool {
	class := func(p compile.Placement) compile.LayoutClass {
		return compile.LayoutClass{Values: p.Values, EgressIsolated: p.EgressIsolated, IngressIsolated: p.IngressIsolated}
	}
	n := len(k.l.Classes)
	k.l.Classes = append(k.l.Classes, class(src), class(dst))
	defer func() { k.l.Classes = k.l.Classes[:n] }()
	return k.permitsBetween(n, n+1, service)
}

// check holds every pair of addresses against the reference evaluator.
func (x *tracked) check(t *rapid.T, what string) {
	addrs, services := x.addresses(), policytest.Services(x.w)
	for _, src := range addrs {
		for _, dst := range addrs {
			if src == dst || src.Is4() != dst.Is4() {
				continue
			}
			for _, s := range services {
				f := policy.Flow{Src: src, Dst: dst, Proto: uint8(s[0]), Num: s[1]}
				if want, got := x.w.Decide(f).Permit, x.k.permitsAt(x.place(t, src), x.place(t, dst), packet.Point(f.Proto, f.Num)); want != got {
					t.Fatalf("%s: %+v: by its place %v, Decide %v", what, f, got, want)
				}
			}
		}
	}
}

// change gives one asset another state; ok is not set where several machines claim an
// address then.
func (x *tracked) change(t *rapid.T) (what string, ok bool) {
	i := rapid.IntRange(0, len(x.w.Assets)-1).Draw(t, "asset")
	a := x.w.Assets[i]
	a.Labels = map[string]string{}
	for _, l := range []string{"cell", "env"} {
		if v := rapid.IntRange(0, 3).Draw(t, l); v > 0 {
			a.Labels[l] = fmt.Sprint(v)
		}
	}
	if rapid.IntRange(0, 2).Draw(t, "moves") == 0 {
		a.Addresses = hostsOf(t, "new addresses")
	}
	gone := rapid.IntRange(0, 5).Draw(t, "gone") == 0
	var where []string
	next := map[string][]string{}
	for name, ids := range x.w.Where {
		in := slices.Contains(ids, a.ID)
		if rapid.IntRange(0, 2).Draw(t, "selected by "+name) == 0 {
			in = !in
		}
		ids = slices.DeleteFunc(slices.Clone(ids), func(id string) bool { return id == a.ID })
		if in && !gone {
			ids = append(ids, a.ID)
			where = append(where, name)
		}
		next[name] = ids
	}
	x.w.Where = next
	x.w.Assets = slices.Clone(x.w.Assets)
	var moved []netip.Addr
	var err error
	if gone && len(x.w.Assets) > 1 {
		x.w.Assets = slices.Delete(x.w.Assets, i, i+1)
		moved, err = x.tracker.Remove(a.ID)
	} else {
		x.w.Assets[i] = a
		moved, err = x.tracker.Set(&a, where)
	}
	var re *compile.Recompile
	for _, addr := range moved {
		if err != nil {
			break
		}
		x.at[addr], err = x.tracker.Place(addr)
		if x.extend != nil && errors.As(err, &re) {
			a, e := x.tracker.Extend(addr)
			if err = e; err == nil {
				x.tracker.Take(a)
				x.extend(a)
				x.extended++
				x.at[addr], err = x.tracker.Place(addr)
			}
		}
	}
	switch {
	case errors.As(err, &re):
		if !x.compile(t) {
			return "contested", false
		}
		return "compiled anew: " + re.Why, true
	case err != nil:
		t.Fatal(err)
	}
	x.followed++
	return fmt.Sprintf("asset %s with %v in %v, moved %v", a.ID, a.Addresses, where, moved), true
}

func hostsOf(t *rapid.T, what string) []netip.Prefix {
	var out []netip.Prefix
	for range rapid.IntRange(0, 2).Draw(t, what) {
		a := netip.AddrFrom4([4]byte{10, 0, 0, byte(rapid.IntRange(0, 11).Draw(t, "host"))})
		if rapid.IntRange(0, 4).Draw(t, "six") == 0 {
			a = netip.MustParseAddr(fmt.Sprintf("2001:db8::%d", rapid.IntRange(0, 7).Draw(t, "host6")))
		}
		if p := netip.PrefixFrom(a, a.BitLen()); !slices.Contains(out, p) {
			out = append(out, p)
		}
	}
	return out
}

// Whatever order assets change in, an address is placed where a compile from
// nothing would have it, or the tracker says that it does not know.
func TestTrackerIsDecide(t *testing.T) {
	followed, compiled := 0, 0
	tries.Check(t, func(t *rapid.T) {
		w := policytest.World(t, policytest.Options{NoClaims: true, MaxPolicies: 6, Plain: rapid.IntRange(0, 2).Draw(t, "plain") > 0})
		for i := range w.Assets {
			if rapid.IntRange(0, 3).Draw(t, "keeps its prefixes") > 0 {
				w.Assets[i].Addresses = hostsOf(t, "addresses")
			}
		}
		if len(w.Assets) == 0 {
			return // nobody is there
		}
		x := &tracked{w: w, bounds: rapid.SampledFrom([]compile.Bounds{compile.DefaultBounds(), split(0), split(3)}).Draw(t, "bounds")}
		if !x.compile(t) {
			return // contested
		}
		x.check(t, "at first")
		for range rapid.IntRange(1, 6).Draw(t, "changes") {
			what, ok := x.change(t)
			if !ok {
				break
			}
			x.check(t, what)
		}
		followed, compiled = followed+x.followed, compiled+x.compiled-1
	})
	t.Logf("%d changes followed, %d compiled anew", followed, compiled)
	if tries.All && followed < compiled/4 {
		t.Error("hardly any change was followed: the test shows little")
	}
}

// A class that is born of known values finds its place; one that brings groups
// together for the first time, whose order nobody has checked, does not.
func TestTrackerBirths(t *testing.T) {
	w := grid("deny site0 role0", "allow role1 site1", "allow env0 env1")
	in := compile.Input{Assets: w.Assets, Book: w.Book, Now: w.Now}
	m := mustCompile(t, w)
	l, err := compile.NewView(m, []compile.Point{router()}).Layout(compile.Bounds{Pairs: -1, Spaces: 9, Elements: 1000, Bits: 28})
	if err != nil {
		t.Fatal(err)
	}
	where := func(names ...string) []string { return names }
	tr, err := compile.NewTracker(in, l)
	if err != nil {
		t.Fatal(err)
	}
	host := func(a string) *inventory.Asset {
		addr := netip.MustParseAddr(a)
		return &inventory.Asset{ID: a, Kind: inventory.Server, Addresses: []netip.Prefix{netip.PrefixFrom(addr, addr.BitLen())}}
	}
	set := func(groups ...string) error {
		moved, err := tr.Set(host("10.9.9.9"), where(groups...))
		if err != nil || len(moved) != 1 {
			t.Fatal(moved, err)
		}
		_, err = tr.Place(moved[0])
		return err
	}
	if err := set("site0", "role0", "env0"); err != nil {
		t.Errorf("a combination that is there: %v", err)
	}
	var re *compile.Recompile
	if err := set("site0", "site1", "role0", "env0"); !errors.As(err, &re) {
		t.Errorf("two sites at once: %v", err)
	}
	if _, err := tr.Set(&inventory.Asset{ID: "net", Kind: inventory.Network, Addresses: []netip.Prefix{netip.MustParsePrefix("10.8.0.0/24")}}, nil); !errors.As(err, &re) {
		t.Errorf("a prefix: %v", err)
	}
}
