package compile

import (
	"math/bits"
	"slices"

	"bulkhead/pkg/packet"
	"bulkhead/pkg/policy"
)

// singleSpace makes the layout of one table, if its pairs are few enough.
func singleSpace(v *View, b Bounds) (*Layout, bool) {
	limited := v.transit // an endpoint's table has few rows or few columns
	if limited {
		if n := v.surePairs(b.Pairs); n > 0 && n > b.Pairs {
			return nil, false
		}
	}
	l := &Layout{View: v, Single: true, Dims: []Dim{{Values: len(v.Classes)}}}
	for i, c := range v.Classes {
		l.Classes = append(l.Classes, LayoutClass{Addrs: c.Addrs, Values: []int32{int32(i)},
			EgressIsolated: c.EgressIsolated, IngressIsolated: c.IngressIsolated, rep: c.rep})
	}
	s := Space{RowDims: []int{0}, ColDims: []int{0}, Whole: true}
	contents := map[int]int32{}
	families := familiesOf(l.Classes)
	fits := true
	v.candidates(func(i, j int) bool {
		if !v.Judged(i, j) || families[i]&families[j] == 0 || v.IsDefault(i, j) {
			return true
		}
		cell := v.CellID(i, j)
		id, ok := contents[cell]
		if !ok {
			id = int32(len(l.Contents))
			contents[cell] = id
			l.Contents = append(l.Contents, v.Matrix.Cells[cell])
		}
		s.Entries = append(s.Entries, Entry{int32(i), int32(j), id})
		fits = !limited || len(s.Entries) <= b.Pairs
		return fits
	})
	l.Spaces = []Space{s}
	return l, fits
}

// candidates calls f for every pair of classes that some policy could concern, or
// whose verdicts are not just their own isolation, row by row; f returns false to
// stop.
func (v *View) candidates(f func(i, j int) bool) {
	m := v.Matrix
	// policy -> the classes at its far end
	to := make([]packet.Bits, len(m.Policies))
	for p := range to {
		to[p] = packet.NewBits(len(v.Classes))
	}
	contested := packet.NewBits(len(v.Classes))
	for j := range v.Classes {
		col := m.cols[m.Classes[v.Classes[j].rep].col]
		for _, view := range col {
			view.policies.Each(func(p int) { to[p].Set(j) })
		}
		if len(col) > 1 {
			contested.Set(j)
		}
	}
	cols := packet.NewBits(len(v.Classes))
	for i := range v.Classes {
		row := m.rows[m.Classes[v.Classes[i].rep].row]
		copy(cols, contested)
		for _, view := range row {
			view.policies.Each(func(p int) {
				for w := range cols {
					cols[w] |= to[p][w]
				}
			})
		}
		for w, word := range cols {
			if len(row) > 1 {
				word = ^uint64(0)
			}
			for ; word != 0; word &= word - 1 {
				j := w*64 + bits.TrailingZeros64(word)
				if j < len(v.Classes) && !f(i, j) {
					return
				}
			}
		}
	}
}

// surePairs counts, until it is over a limit, pairs of classes that some policy
// decides whatever else there is: those that an enforced allow or deny concerns
// which no pass can skip. There may be more pairs, never fewer, so a table that is
// too large can be given up without working its verdicts out.
func (v *View) surePairs(limit int) int {
	m := v.Matrix
	words := (len(v.Classes) + 63) / 64
	held := make([]uint64, len(m.Groups)*words) // group -> classes
	var family [2][]uint64
	family[0], family[1] = make([]uint64, words), make([]uint64, words)
	for j := range v.Classes {
		c := &m.Classes[v.Classes[j].rep]
		if len(m.cols[c.col]) > 1 {
			continue // several machines claim it: the strictest verdict may be a default
		}
		for _, g := range c.Groups {
			held[g*words+j/64] |= 1 << (j % 64)
		}
		of := familyBits(v.Classes[j].Addrs)
		for f := range family {
			family[f][j/64] |= uint64(of>>f&1) << (j % 64)
		}
	}
	leads := m.sureTargets()
	reach := make([][]uint64, len(m.Groups)) // group of the source -> classes
	reachOf := func(g int) []uint64 {
		if reach[g] == nil {
			reach[g] = make([]uint64, words)
			for _, t := range leads[g] {
				for w, word := range held[t*words:][:words] {
					reach[g][w] |= word
				}
			}
		}
		return reach[g]
	}
	n := 0
	out := make([]uint64, words)
	for i := range v.Classes {
		c := &m.Classes[v.Classes[i].rep]
		if len(m.rows[c.row]) > 1 {
			continue
		}
		clear(out)
		for _, g := range c.Groups {
			for w, word := range reachOf(g) {
				out[w] |= word
			}
		}
		of := familyBits(v.Classes[i].Addrs)
		for w, word := range out {
			meet := uint64(0)
			for f := range family {
				meet |= family[f][w] & -uint64(of>>f&1)
			}
			n += bits.OnesCount64(word & meet)
		}
		if n > limit && n > 0 {
			break
		}
	}
	return n
}

// sureTargets gives, for every group, the groups to which policies from it lead
// that are enforced, have services, compare no labels and cannot be skipped.
func (m *Matrix) sureTargets() [][]int {
	passes := map[policy.Tier]bool{}
	for i := range m.Policies {
		if m.Policies[i].Action == policy.Pass {
			passes[m.Policies[i].Tier] = true
		}
	}
	out := make([][]int, len(m.Groups))
	for i := range m.Policies {
		p := &m.Policies[i]
		if passes[p.Tier] || p.Mode == policy.Observe || len(p.Same)+len(p.Differ) > 0 || m.b.walker.ranges[i].IsEmpty() {
			continue
		}
		for _, f := range p.From {
			from, ok := m.b.groups[f]
			if !ok {
				continue
			}
			for _, t := range p.To {
				if to, ok := m.b.groups[t]; ok {
					out[from] = append(out[from], to)
				}
			}
		}
	}
	for g := range out {
		slices.Sort(out[g])
		out[g] = slices.Compact(out[g])
	}
	return out
}
