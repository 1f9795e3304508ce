// Package policytest draws random sites for property tests: overlapping groups,
// nested prefixes, both families, default-permit and default-deny, every tier
// and action, directions, same and differ with several and missing values,
// built-in groups with isolation, empty groups, expired and observed policies,
// and addresses that two machines claim.
package policytest

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"pgregory.net/rapid"

	"bulkhead/inventory"
	"bulkhead/pkg/policy"
)

// Epoch is the time at which drawn worlds are judged.
var Epoch = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// Options narrows what is drawn. The zero value draws everything.
type Options struct {
	MaxAssets, MaxGroups, MaxPolicies int
	// NoClaims keeps every host address to one machine.
	NoClaims bool
	// NoTimed leaves policies that expire in the future out.
	NoTimed bool
	// Plain leaves out policies that pass or observe.
	Plain bool
}

func (o Options) orDefault() Options {
	if o.MaxAssets == 0 {
		o.MaxAssets = 8
	}
	if o.MaxGroups == 0 {
		o.MaxGroups = 6
	}
	if o.MaxPolicies == 0 {
		o.MaxPolicies = 8
	}
	return o
}

// World draws a world in which all references resolve.
func World(t *rapid.T, opts Options) *policy.World {
	o := opts.orDefault()
	w := &policy.World{Now: Epoch, Where: map[string][]string{}, Book: &policy.Rulebook{}}
	w.Assets = assets(t, o)
	groups(t, o, w)
	n := rapid.IntRange(0, o.MaxPolicies).Draw(t, "policies")
	for i := range n {
		w.Book.Policies = append(w.Book.Policies, drawPolicy(t, o, w, i))
	}
	policy.SortPolicies(w.Book.Policies)
	return w
}

// Hosts and prefixes come from a small universe, so that they collide.
func drawPrefix(t *rapid.T, hostBias bool) netip.Prefix {
	bits4 := []int{32, 32, 31, 30, 28, 24, 16}
	bits6 := []int{128, 128, 127, 126, 120, 64}
	if hostBias {
		bits4, bits6 = bits4[:3], bits6[:3]
	}
	if rapid.IntRange(0, 3).Draw(t, "family") == 0 {
		var b [16]byte
		b[0], b[1], b[2], b[3] = 0x20, 0x01, 0x0d, 0xb8
		b[7] = byte(rapid.IntRange(0, 1).Draw(t, "net6"))
		b[15] = byte(rapid.IntRange(0, 7).Draw(t, "host6"))
		return netip.PrefixFrom(netip.AddrFrom16(b), rapid.SampledFrom(bits6).Draw(t, "bits6")).Masked()
	}
	a := netip.AddrFrom4([4]byte{10, 0, byte(rapid.IntRange(0, 1).Draw(t, "net")), byte(rapid.IntRange(0, 11).Draw(t, "host"))})
	return netip.PrefixFrom(a, rapid.SampledFrom(bits4).Draw(t, "bits")).Masked()
}

func assets(t *rapid.T, o Options) []inventory.Asset {
	kinds := inventory.Kinds()
	var out []inventory.Asset
	claimed := map[netip.Prefix]bool{}
	for i := range rapid.IntRange(0, o.MaxAssets).Draw(t, "assets") {
		a := inventory.Asset{ID: fmt.Sprintf("a%d", i), Kind: rapid.SampledFrom(kinds).Draw(t, "kind"), Labels: map[string]string{}}
		for range rapid.IntRange(0, 3).Draw(t, "addresses") {
			p := drawPrefix(t, true)
			if a.Kind.ClaimsMachine() && p.IsSingleIP() {
				if claimed[p] && o.NoClaims {
					continue
				}
				claimed[p] = true
			}
			a.Addresses = append(a.Addresses, p)
		}
		for _, l := range []string{"cell", "env"} {
			if v := rapid.IntRange(0, 3).Draw(t, l); v > 0 {
				a.Labels[l] = fmt.Sprint(v)
			}
		}
		out = append(out, a)
	}
	return out
}

func groups(t *rapid.T, o Options, w *policy.World) {
	isolation := rapid.SampledFrom([]policy.Isolation{policy.IsolateNone, policy.IsolateNone, policy.IsolateIngress, policy.IsolateEgress, policy.IsolateBoth})
	var names []string
	for i := range rapid.IntRange(0, o.MaxGroups).Draw(t, "groups") {
		g := policy.Group{Name: fmt.Sprintf("g%d", i), Isolate: isolation.Draw(t, "isolate")}
		g.Members = someAssets(t, w, "members")
		if some := someAssets(t, w, "where"); len(some) > 0 {
			g.Where = "drawn"
			w.Where[g.Name] = some
		}
		for range rapid.IntRange(0, 2).Draw(t, "prefixes") {
			g.Prefixes = append(g.Prefixes, drawPrefix(t, false))
		}
		// Only earlier groups, so that nesting has no cycle.
		builtIn := []string{policy.GroupUnknown, policy.GroupUnidentified, policy.GroupAny}
		pool := slices.Concat(names, builtIn)
		if rapid.IntRange(0, 2).Draw(t, "nest") == 0 {
			g.Groups = append(g.Groups, rapid.SampledFrom(pool).Draw(t, "nested"))
		}
		if rapid.IntRange(0, 2).Draw(t, "exceptions") == 0 {
			g.ExceptGroups = append(g.ExceptGroups, rapid.SampledFrom(pool[:len(pool)-1]).Draw(t, "except group"))
			g.ExceptAssets = someAssets(t, w, "except assets")
			g.ExceptPrefixes = []netip.Prefix{drawPrefix(t, false)}
		}
		names = append(names, g.Name)
		w.Book.Groups = append(w.Book.Groups, g)
	}
	for _, name := range []string{policy.GroupAny, policy.GroupUnknown, policy.GroupUnidentified} {
		w.Book.Groups = append(w.Book.Groups, policy.Group{Name: name, Isolate: isolation.Draw(t, "isolate "+name)})
	}
	slices.SortFunc(w.Book.Groups, func(a, b policy.Group) int {
		if a.Name < b.Name {
			return -1
		}
		return 1
	})
}

func someAssets(t *rapid.T, w *policy.World, what string) []string {
	var out []string
	for i := range w.Assets {
		if rapid.IntRange(0, 3).Draw(t, what) == 0 {
			out = append(out, w.Assets[i].ID)
		}
	}
	return out
}

// Ranges that policies of drawn worlds use; they overlap and touch.
var ranges = []policy.Range{
	{Proto: 6, Lo: 80, Hi: 80}, {Proto: 6, Lo: 443, Hi: 443}, {Proto: 6, Lo: 81, Hi: 442}, {Proto: 6, Lo: 0, Hi: 65535},
	{Proto: 17, Lo: 53, Hi: 53}, {Proto: 17, Lo: 6000, Hi: 6999}, {Proto: 1, Lo: 0x800, Hi: 0x8ff}, {Proto: 1, Lo: 0, Hi: 0xffff},
	{Proto: 58, Lo: 0x8000, Hi: 0x80ff}, {Proto: 47, Lo: 0, Hi: 65535}, {Proto: 132, Lo: 3868, Hi: 3868}, {Proto: 33, Lo: 5000, Hi: 5004},
}

func drawRanges(t *rapid.T) []policy.Range {
	if rapid.IntRange(0, 4).Draw(t, "any service") == 0 {
		var all []policy.Range
		for p := range 256 {
			all = append(all, policy.Range{Proto: uint8(p), Lo: 0, Hi: 65535})
		}
		return all
	}
	return rapid.SliceOfN(rapid.SampledFrom(ranges), 1, 3).Draw(t, "services")
}

func drawPolicy(t *rapid.T, o Options, w *policy.World, i int) policy.Policy {
	var names []string
	for _, g := range w.Book.Groups {
		names = append(names, g.Name)
	}
	group := rapid.SliceOfNDistinct(rapid.SampledFrom(names), 1, 2, rapid.ID)
	p := policy.Policy{
		Name: fmt.Sprintf("p%d", i), From: group.Draw(t, "from"), To: group.Draw(t, "to"), Ranges: drawRanges(t),
		Action:    rapid.SampledFrom([]policy.Action{policy.Allow, policy.Allow, policy.Deny, policy.Pass}).Draw(t, "action"),
		Tier:      policy.Tier(rapid.IntRange(0, 3).Draw(t, "tier")),
		Order:     rapid.IntRange(0, 2).Draw(t, "order"),
		Direction: rapid.SampledFrom([]policy.Direction{policy.Both, policy.Both, policy.Ingress, policy.Egress}).Draw(t, "direction"),
		Mode:      rapid.SampledFrom([]policy.Mode{policy.Enforce, policy.Enforce, policy.Enforce, policy.Observe}).Draw(t, "mode"),
		Log:       rapid.IntRange(0, 4).Draw(t, "log") == 0,
	}
	if o.Plain {
		p.Mode = policy.Enforce
		if p.Action == policy.Pass {
			p.Action = policy.Deny
		}
	}
	switch rapid.IntRange(0, 5).Draw(t, "compare") {
	case 0:
		p.Same = []string{"cell"}
	case 1:
		p.Differ = []string{"env"}
	case 2:
		p.Same, p.Differ = []string{"cell"}, []string{"env"}
	}
	switch rapid.IntRange(0, 7).Draw(t, "expires") {
	case 0:
		p.Expires = Epoch.Add(-time.Hour)
	case 1:
		p.Expires = Epoch
	case 2:
		if !o.NoTimed {
			p.Expires = Epoch.Add(time.Hour * time.Duration(rapid.IntRange(1, 3).Draw(t, "hours")))
		}
	}
	return p
}

// Addresses lists addresses worth asking about in a world: the ends of every
// prefix and their neighbours, and strangers of both families.
func Addresses(w *policy.World) []netip.Addr {
	set := map[netip.Addr]bool{netip.MustParseAddr("192.0.2.1"): true, netip.MustParseAddr("2001:db8:ffff::1"): true}
	add := func(p netip.Prefix) {
		first := p.Masked().Addr()
		set[first] = true
		if prev := first.Prev(); prev.IsValid() {
			set[prev] = true
		}
		last := first
		for i := 0; i < 1<<min(8, first.BitLen()-p.Bits()) && p.Contains(last.Next()); i++ {
			last = last.Next()
		}
		set[last] = true
		if next := last.Next(); next.IsValid() {
			set[next] = true
		}
	}
	for _, a := range w.Assets {
		for _, p := range a.Addresses {
			add(p)
		}
	}
	for _, g := range w.Book.Groups {
		for _, p := range slices.Concat(g.Prefixes, g.ExceptPrefixes) {
			add(p)
		}
	}
	out := make([]netip.Addr, 0, len(set))
	for a := range set {
		if !a.IsLoopback() {
			out = append(out, a)
		}
	}
	slices.SortFunc(out, netip.Addr.Compare)
	return out
}

// Services lists points of the service line worth asking about: the ends of
// every range of the world and their neighbours.
func Services(w *policy.World) [][2]uint16 {
	set := map[[2]uint16]bool{}
	for _, p := range w.Book.Policies {
		if len(p.Ranges) > 20 {
			continue
		}
		for _, r := range p.Ranges {
			for _, n := range []int{int(r.Lo) - 1, int(r.Lo), int(r.Hi), int(r.Hi) + 1} {
				if n >= 0 && n <= 65535 {
					set[[2]uint16{uint16(r.Proto), uint16(n)}] = true
				}
			}
		}
	}
	set[[2]uint16{6, 22}], set[[2]uint16{50, 0}] = true, true
	out := make([][2]uint16, 0, len(set))
	for s := range set {
		out = append(out, s)
	}
	slices.SortFunc(out, func(a, b [2]uint16) int { return slices.Compare(a[:], b[:]) })
	return out
}

// Policy draws one more policy for a world, with a number that makes its name.
func Policy(t *rapid.T, opts Options, w *policy.World, number int) policy.Policy {
	return drawPolicy(t, opts.orDefault(), w, number)
}
