package compile_test

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"bulkhead/internal/tries"
	"bulkhead/inventory"
	"bulkhead/pkg/compile"
	"bulkhead/pkg/packet"
	"bulkhead/pkg/policy"
	"bulkhead/pkg/policy/policytest"
)

// lookups walks a layout as a device does: space by space, each side until it is
// decided, and the isolation of the classes for what nothing decides.
type lookups struct {
	l     *compile.Layout
	class map[netip.Addr]int
	pairs []map[string]int32
}

func newLookups(l *compile.Layout) *lookups {
	k := &lookups{l: l, class: map[netip.Addr]int{}}
	for i := range l.Spaces {
		s := &l.Spaces[i]
		pairs := map[string]int32{}
		for _, e := range s.Entries {
			key := k.key(s, int(e.Src), int(e.Dst))
			if old, ok := pairs[key]; ok {
				panic(fmt.Sprintf("space %d has two entries for one key: %d and %d", i, old, e.Content))
			}
			pairs[key] = e.Content
		}
		k.pairs = append(k.pairs, pairs)
	}
	return k
}

func (k *lookups) key(s *compile.Space, src, dst int) string {
	return s.SrcKey(&k.l.Classes[src]) + "|" + s.DstKey(&k.l.Classes[dst])
}

func (k *lookups) classOf(a netip.Addr) int {
	if c, ok := k.class[a]; ok {
		return c
	}
	for i := range k.l.Classes {
		if k.l.Classes[i].Addrs.Contains(a) {
			k.class[a] = i
			return i
		}
	}
	panic("no class holds " + a.String())
}

func (k *lookups) permits(src, dst netip.Addr, service uint32) bool {
	return k.permitsBetween(k.classOf(src), k.classOf(dst), service)
}

func (k *lookups) permitsBetween(a, b int, service uint32) bool {
	m := k.l.View.Matrix
	egress, ingress := false, false // already allowed
	for i := range k.l.Spaces {
		s := &k.l.Spaces[i]
		content, ok := k.pairs[i][k.key(s, a, b)]
		if !ok {
			continue
		}
		o := &m.Outcomes[k.l.Contents[content].At(service)]
		if s.Whole {
			return o.Permit
		}
		allows := func(open bool, p int) (bool, bool) {
			if open {
				return false, false
			}
			return true, m.Policies[p].Action == policy.Allow
		}
		if decided, allow := allows(o.EgressOpen, o.Egress); decided && !egress {
			if !allow {
				return false
			}
			egress = true
		}
		if decided, allow := allows(o.IngressOpen, o.Ingress); decided && !ingress {
			if !allow {
				return false
			}
			ingress = true
		}
		if egress && ingress {
			return true
		}
	}
	return (egress || !k.l.Classes[a].EgressIsolated) && (ingress || !k.l.Classes[b].IngressIsolated)
}

// split forces a layout of many spaces upon a small site.
func split(spaceCost int) compile.Bounds {
	return compile.Bounds{Pairs: -1, Spaces: 64, Elements: 1 << 20, Bits: 64, SpaceCost: spaceCost}
}

func checkLayout(t *rapid.T, w *policy.World, m *compile.Matrix, b compile.Bounds) *compile.Layout {
	v := compile.NewView(m, []compile.Point{router()})
	l, err := v.Layout(b)
	if err != nil {
		t.Fatalf("no layout: %v", err)
	}
	k := newLookups(l)
	services := policytest.Services(w)
	addrs := policytest.Addresses(w)
	for _, src := range addrs {
		for _, dst := range addrs {
			if src == dst || src.Is4() != dst.Is4() {
				continue
			}
			for _, s := range services {
				f := policy.Flow{Src: src, Dst: dst, Proto: uint8(s[0]), Num: s[1]}
				if want, got := w.Decide(f), k.permits(src, dst, packet.Point(f.Proto, f.Num)); want.Permit != got {
					t.Fatalf("%+v: the layout says %v, Decide %v (egress %q ingress %q)\n%s", f, got, want.Permit, sideName(want.Egress), sideName(want.Ingress), describe(l))
				}
			}
		}
	}
	return l
}

func describe(l *compile.Layout) string {
	out := ""
	for i, s := range l.Spaces {
		out += fmt.Sprintf("space %d: rows %v cols %v whole %v, %d entries:", i, s.RowDims, s.ColDims, s.Whole, len(s.Entries))
		for _, u := range s.Units {
			p := &l.View.Matrix.Policies[u.Policy]
			out += fmt.Sprintf(" %s %s %s->%s;", p.Action, p.Name, l.View.Matrix.Groups[u.From].Name, l.View.Matrix.Groups[u.To].Name)
		}
		out += "\n"
	}
	return out
}

// First match across spaces is first match in the order of policies, however the
// policies are spread over them.
func TestLayoutIsDecide(t *testing.T) {
	spaces := map[int]int{}
	sided := 0
	tries.Check(t, func(t *rapid.T) {
		o := policytest.Options{Plain: rapid.IntRange(0, 3).Draw(t, "plain") > 0, MaxPolicies: 12}
		w := policytest.World(t, o)
		m := mustCompile(t, w)
		for _, cost := range []int{0, 3, 1000} {
			l := checkLayout(t, w, m, split(cost))
			spaces[len(l.Spaces)]++
			if l.Sided && len(l.Spaces) > 1 {
				sided++
			}
		}
	})
	t.Logf("number of spaces: %v; %d with one-sided policies", spaces, sided)
	if tries.All && (spaces[3]+spaces[4]+spaces[5] == 0 || sided == 0) {
		t.Error("no world was split into several spaces: the test shows nothing")
	}
}

// grid is a site of hosts with three independent labels, and a policy between any
// two of their values for each line "action from to".
func grid(lines ...string) *policy.World {
	w := &policy.World{Now: policytest.Epoch, Where: map[string][]string{}, Book: &policy.Rulebook{Groups: []policy.Group{
		{Name: policy.GroupAny, Isolate: policy.IsolateBoth}, {Name: policy.GroupUnidentified}, {Name: policy.GroupUnknown}}}}
	groups := map[string][]string{}
	for i := range 64 {
		id := fmt.Sprintf("h%d", i)
		w.Assets = append(w.Assets, inventory.Asset{ID: id, Kind: inventory.Server, Addresses: []netip.Prefix{netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}), 32)}})
		for d, name := range []string{"site", "role", "env"} {
			g := fmt.Sprintf("%s%d", name, i>>(2*d)&3)
			groups[g] = append(groups[g], id)
		}
	}
	for _, g := range slices.Sorted(maps.Keys(groups)) {
		w.Book.Groups = append(w.Book.Groups, policy.Group{Name: g, Members: groups[g]})
	}
	for i, line := range lines {
		f := strings.Fields(line)
		w.Book.Policies = append(w.Book.Policies, policy.Policy{Name: fmt.Sprintf("p%d", i), From: []string{f[1]}, To: []string{f[2]}, Order: i,
			Tier: policy.Application, Action: policy.Action(f[0]), Direction: policy.Both, Mode: policy.Enforce, Ranges: []policy.Range{{Proto: 6, Lo: 443, Hi: 443}}})
	}
	return w
}

// A site whose denies and allows take turns is refused with their names, a site
// that needs too many pairs with its groups; neither is rounded to something else.
func TestRefusals(t *testing.T) {
	turns := []string{"deny site0 role0", "allow role1 role0", "deny env0 role0", "allow site1 env0", "deny role1 site0", "allow env1 env1", "deny env1 role0"}
	for name, c := range map[string]struct {
		w    *policy.World
		b    compile.Bounds
		says []string
	}{
		"turns": {grid(turns...), compile.Bounds{Pairs: -1, Spaces: 2, Elements: 60, Bits: 28}, []string{"take turns", `deny "p0"`, "platform"}},
		"pairs": {grid(turns...), compile.Bounds{Pairs: -1, Spaces: 9, Elements: 3, Bits: 28}, []string{"more than 3 pairs", `"role`, "budget"}},
		"bits":  {grid(turns...), compile.Bounds{Pairs: -1, Spaces: 9, Elements: 60, Bits: 3}, []string{"bits", "overlap"}},
	} {
		m := mustCompile(t, c.w)
		_, err := compile.NewView(m, []compile.Point{router()}).Layout(c.b)
		var r *compile.Refusal
		if !errors.As(err, &r) {
			t.Errorf("%s: not refused: %v", name, err)
			continue
		}
		for _, want := range c.says {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %q does not say %q", name, err, want)
			}
		}
	}
	m := mustCompile(t, grid(turns...))
	l, err := compile.NewView(m, []compile.Point{router()}).Layout(compile.Bounds{Pairs: -1, Spaces: 9, Elements: 60, Bits: 28})
	if err != nil || len(l.Spaces) < 3 {
		t.Errorf("with room for it there is a layout: %v", err)
	}
}
