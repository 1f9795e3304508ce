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
	meet   []packet.Bits      // feature -> features that a class has together with it
	values []map[string]int32 // dimension -> its features of a class -> value
	rows   []map[string]bool  // space -> what it has seen of sources
	cols   []map[string]bool
	// specials are the groups of policies that are judged whole: which pairs those
	// concern depends on the class.
	specials packet.Bits
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
	m := l.View.Matrix
	f := l.facts
	b := &births{l: l, meet: make([]packet.Bits, f.width), values: make([]map[string]int32, len(l.Dims)),
		specials: packet.NewBits(len(m.Groups))}
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
	for k := range l.Spaces {
		rows, cols := map[string]bool{}, map[string]bool{}
		for c := range l.Classes {
			rows[l.Spaces[k].SrcKey(&l.Classes[c])] = true
			cols[l.Spaces[k].DstKey(&l.Classes[c])] = true
		}
		b.rows, b.cols = append(b.rows, rows), append(b.cols, cols)
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
	return b
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

// place finds the place of a class of these groups and values.
func (b *births) place(groups, values packet.Bits) (Placement, error) {
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
		return out, &Recompile{fmt.Sprintf("a new combination of groups holds %q, which a policy that passes, observes or expires names", m.Groups[special].Name)}
	}
	for _, c := range f.common {
		if !has.Has(int(c)) {
			return out, &Recompile{"a new combination of groups lacks one that every address had"}
		}
	}
	apart := -1
	has.Each(func(x int) {
		if b.meet[x] == nil {
			apart = x
			return
		}
		for w := range has {
			if has[w]&^b.meet[x][w] != 0 {
				apart = x
			}
		}
	})
	if apart >= 0 {
		what := "a value of a compared label"
		if apart < len(m.Groups) {
			what = fmt.Sprintf("group %q", m.Groups[apart].Name)
		}
		return out, &Recompile{what + " and another one have an address in common for the first time"}
	}
	for d := range b.l.Dims {
		v, ok := b.values[d][b.dimKey(d, has)]
		if !ok {
			return out, &Recompile{fmt.Sprintf("no address has had these of the groups %s together before", b.l.DimNames(d))}
		}
		out.Values[d] = v
	}
	c := &LayoutClass{Values: out.Values, EgressIsolated: out.EgressIsolated, IngressIsolated: out.IngressIsolated}
	for k := range b.l.Spaces {
		if !b.rows[k][b.l.Spaces[k].SrcKey(c)] || !b.cols[k][b.l.Spaces[k].DstKey(c)] {
			return out, &Recompile{fmt.Sprintf("table %d has not seen these values together before", k+1)}
		}
	}
	return out, nil
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
