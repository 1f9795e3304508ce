package compile

import (
	"fmt"
	"slices"

	"bulkhead/pkg/packet"
)

// births places classes that a layout does not know: addresses in a combination
// of groups that no address had when the layout was made.
//
// A class's place is its value in each dimension, and each space looks some of
// these up. So a new class fits a layout if each dimension has had its groups
// together before, and each space has seen its values together; then what every
// space says of it is what it says of classes that are there. The order between
// spaces was worked out from the groups that have addresses in common: groups that
// meet for the first time could need another one.
type births struct {
	l      *Layout
	meet   []packet.Bits        // feature -> features that a class has together with it
	values []map[string]int32   // dimension -> its features of a class -> value
	rows   []map[string]seenKey // space -> what it looks up of sources -> who has it
	cols   []map[string]seenKey
	// byFrom and byTo give, group by group, the places of units that name it.
	byFrom, byTo map[int][]unitAt
	// contested is set if several machines claim an address: every pair of such a one is
	// judged whole.
	contested bool
	// specials are the groups of policies that are judged whole: which pairs those
	// concern depends on the class.
	specials packet.Bits
}

// seenKey is what a space looks up: the families of addresses that have it, and a place
// that does.
type seenKey struct {
	family uint8
	place  int32
}

// see notes that a place has a key.
func see(keys map[string]seenKey, key string, place int32, family uint8) {
	s, ok := keys[key]
	if !ok {
		s.place = place
	}
	s.family |= family
	keys[key] = s
}

// unitAt is a unit and the space that judges it.
type unitAt struct {
	Unit
	space  int
	effect effect
}

// layoutFacts is what a layout of several spaces remembers of how it was made.
type layoutFacts struct {
	used   []bool        // group -> some policy names it
	has    []packet.Bits // class -> features
	dimOf  []int         // feature -> dimension, or -1
	common []int32       // features that all classes have
	width  int           // number of features
}

func newBirths(l *Layout) *births {
	f := l.facts
	b := &births{l: l, meet: make([]packet.Bits, f.width), values: make([]map[string]int32, len(l.Dims))}
	for _, has := range f.has {
		has.Each(func(x int) {
			if b.meet[x] == nil {
				b.meet[x] = packet.NewBits(f.width)
			}
			for w := range has {
				b.meet[x][w] |= has[w]
			}
		})
	}
	for d := range l.Dims {
		b.values[d] = map[string]int32{}
		for c := range l.Classes {
			b.values[d][b.dimKey(d, f.has[c])] = l.Classes[c].Values[d]
		}
	}
	families := familiesOf(l.Classes)
	for k := range l.Spaces {
		rows, cols := map[string]seenKey{}, map[string]seenKey{}
		for c := range l.Classes {
			see(rows, l.Spaces[k].SrcKey(&l.Classes[c]), int32(c), families[c])
			see(cols, l.Spaces[k].DstKey(&l.Classes[c]), int32(c), families[c])
		}
		b.rows, b.cols = append(b.rows, rows), append(b.cols, cols)
	}
	b.policies(l)
	return b
}

// policies goes by the units and the special policies of a layout that has the same
// classes and places.
func (b *births) policies(l *Layout) {
	m := l.View.Matrix
	b.l, b.specials = l, packet.NewBits(l.facts.width)
	b.byFrom, b.byTo = map[int][]unitAt{}, map[int][]unitAt{}
	for k := range l.Spaces {
		for _, u := range l.Spaces[k].Units {
			at := unitAt{u, k, effect{m.Policies[u.Policy].Action, m.Policies[u.Policy].Log}}
			b.byFrom[u.From] = append(b.byFrom[u.From], at)
			b.byTo[u.To] = append(b.byTo[u.To], at)
		}
	}
	for p := range m.Policies {
		if !special(&m.Policies[p]) {
			continue
		}
		for _, name := range slices.Concat(m.Policies[p].From, m.Policies[p].To) {
			if g, ok := m.b.groups[name]; ok {
				b.specials.Set(g)
			}
		}
	}
}

// dimKey is the part of some features that a dimension tells apart.
func (b *births) dimKey(d int, has packet.Bits) string {
	var out []byte
	has.Each(func(f int) {
		if b.l.facts.dimOf[f] == d {
			out = append(out, byte(f), byte(f>>8), byte(f>>16))
		}
	})
	return string(out)
}

// place finds the place of a class of these groups and values, of which every space has
// seen the values together.
func (b *births) place(groups, values packet.Bits, family uint8) (Placement, packet.Bits, error) {
	out, has, err := b.valuesOf(groups, values)
	if err == nil {
		err = b.seen(&out, has, family)
	}
	if err == nil {
		b.meets(has)
	}
	return out, has, err
}

// valuesOf finds the values of a class of these groups and values, whose policies are
// looked up in their order; has are its features.
func (b *births) valuesOf(groups, values packet.Bits) (Placement, packet.Bits, error) {
	m, f := b.l.View.Matrix, b.l.facts
	has := packet.NewBits(f.width)
	out := Placement{Values: make([]int32, len(b.l.Dims))}
	special := -1
	groups.Each(func(g int) {
		if f.used[g] {
			has.Set(g)
		}
		out.EgressIsolated = out.EgressIsolated || m.Groups[g].Isolate.Egress()
		out.IngressIsolated = out.IngressIsolated || m.Groups[g].Isolate.Ingress()
		if b.specials.Has(g) {
			special = g
		}
	})
	values.Each(func(v int) { has.Set(len(m.Groups) + v) })
	if special >= 0 {
		return out, nil, &Recompile{fmt.Sprintf("a new combination of groups holds %q, which a policy that passes, observes or expires names", m.Groups[special].Name)}
	}
	for _, c := range f.common {
		if !has.Has(int(c)) {
			return out, nil, &Recompile{"a new combination of groups lacks one that every address had"}
		}
	}
	if err := b.meeting(has); err != nil {
		return out, nil, err
	}
	for d := range b.l.Dims {
		v, ok := b.values[d][b.dimKey(d, has)]
		if !ok {
			return out, nil, &Recompile{fmt.Sprintf("no address has had these of the groups %s together before", b.l.DimNames(d))}
		}
		out.Values[d] = v
	}
	return out, has, nil
}

// seen checks that every space has seen the values of a place together, of an
// address of the family: between keys that no packet could have, there are no
// entries. In the space that decides everything there are none either for places that
// no special policy names.
func (b *births) seen(p *Placement, has packet.Bits, family uint8) error {
	c := &LayoutClass{Values: p.Values, EgressIsolated: p.EgressIsolated, IngressIsolated: p.IngressIsolated}
	for k := range b.l.Spaces {
		if b.l.Spaces[k].Whole && !b.special(has) {
			continue
		}
		if b.rows[k][b.l.Spaces[k].SrcKey(c)].family&family == 0 || b.cols[k][b.l.Spaces[k].DstKey(c)].family&family == 0 {
			return &Recompile{fmt.Sprintf("table %d has not seen these values together before", k+1)}
		}
	}
	return nil
}

// special reports whether pairs of a place are judged whole.
func (b *births) special(has packet.Bits) bool {
	for w := range b.specials {
		if has[w]&b.specials[w] != 0 {
			return true
		}
	}
	return b.contested
}

// meeting checks that the order of the spaces holds for groups that have an address
// in common for the first time. Features that no class has are in no space.
func (b *births) meeting(has packet.Bits) error {
	m := b.l.View.Matrix
	var err error
	has.Each(func(x int) {
		if err != nil {
			return
		}
		if b.meet[x] == nil {
			what := "a value of a compared label"
			if x < len(m.Groups) {
				what = fmt.Sprintf("group %q", m.Groups[x].Name)
			}
			err = &Recompile{what + " had no address before"}
			return
		}
		has.Each(func(y int) {
			if err != nil || y <= x || b.meet[x].Has(y) || y >= len(m.Groups) {
				return
			}
			if b.clash(b.byFrom[x], b.byFrom[y], has, false) || b.clash(b.byTo[x], b.byTo[y], has, true) {
				err = &Recompile{fmt.Sprintf("groups %q and %q have an address in common for the first time, and policies of theirs are looked up in another order", m.Groups[x].Name, m.Groups[y].Name)}
			}
		})
	})
	return err
}

// clash reports whether units of two groups that meet at one end are asked in
// another order than that of their policies, where it matters. Groups at their other
// ends may meet by the same new class.
func (b *births) clash(x, y []unitAt, has packet.Bits, to bool) bool {
	m := b.l.View.Matrix
	for i := range x {
		u := &x[i]
		for j := range y {
			v := &y[j]
			if u.space == v.space || (u.space < v.space) == (u.Policy < v.Policy) || u.effect == v.effect {
				continue
			}
			pu, pv := &m.Policies[u.Policy], &m.Policies[v.Policy]
			if !shareSide(pu.Direction, pv.Direction) {
				continue
			}
			farU, farV := u.To, v.To
			if to {
				farU, farV = u.From, v.From
			}
			if !b.meet[farU].Has(farV) && !(has.Has(farU) && has.Has(farV)) {
				continue
			}
			if meets(m.b.walker.ranges[u.Policy], m.b.walker.ranges[v.Policy]) {
				return true
			}
		}
	}
	return false
}

// meets notes that some features have an address in common.
func (b *births) meets(has packet.Bits) {
	has.Each(func(x int) {
		for w := range has {
			b.meet[x][w] |= has[w]
		}
	})
}

// classKey is equal for classes of the matrix that the layout does not tell apart.
func (l *Layout) classKey(class int) string {
	m := l.View.Matrix
	egress, ingress := m.isolation(class)
	out := []byte{bit(egress)<<1 | bit(ingress)}
	if l.Single {
		r, c := m.Row(class), m.Col(class)
		return string(append(out, byte(r), byte(r>>8), byte(r>>16), byte(r>>24), byte(c), byte(c>>8), byte(c>>16), byte(c>>24)))
	}
	at := len(out)
	out = append(out, 0, 0, 0) // how many groups, or a value could pass for one
	groups := 0
	for _, g := range m.Classes[class].Groups {
		if l.facts.used[g] {
			out = append(out, byte(g), byte(g>>8), byte(g>>16))
			groups++
		}
	}
	out[at], out[at+1], out[at+2] = byte(groups), byte(groups>>8), byte(groups>>16)
	m.Classes[class].values.Each(func(v int) { out = append(out, byte(v), byte(v>>8), byte(v>>16)) })
	return string(out)
}
