package prove

import (
	"encoding/binary"
	"slices"

	"bulkhead/pkg/compile"
	"bulkhead/pkg/driver"
	"bulkhead/pkg/packet"
)

// cells calls f with what a table must hold for every pair of rows and columns that
// it must hold something for. Where a table decides everything and the pair is left
// to isolation, the cell is nil.
func (w *walker) cells(st *stage, rows, cols *numbering, f func(r, c int32, cell compile.Cell) error) error {
	if st.whole {
		return w.wholeCells(st, rows, cols, f)
	}
	// unit -> the columns that it names
	to := make([]packet.Bits, len(st.units))
	for n := range to {
		to[n] = packet.NewBits(len(cols.of))
	}
	for c, num := range cols.of {
		if num >= 0 {
			st.colUnits[num].Each(func(n int) { to[n].Set(c) })
		}
	}
	hit := packet.NewBits(len(cols.of))
	for num := range rows.by {
		if len(rows.by[num]) == 0 {
			continue
		}
		clear(hit)
		st.rowUnits[num].Each(func(n int) {
			for i, word := range to[n] {
				hit[i] |= word
			}
		})
		var err error
		hit.Each(func(c int) {
			if err != nil {
				return
			}
			list := w.s.policies(st, int32(num), cols.of[c])
			if len(list) == 0 {
				return
			}
			cell := w.s.content(list)
			for _, r := range rows.by[num] {
				if err == nil {
					err = f(r, int32(c), cell)
				}
			}
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// wholeCell is the cell of a row and a column of the matrix.
func (w *walker) wholeCell(row, col int32) int {
	return w.s.m.CellOf(int(row), int(col))
}

// wholeCells is cells for a table that decides everything: where it is the only one,
// of every pair that some policy names; else of those that a special policy names,
// and of contested addresses.
func (w *walker) wholeCells(_ *stage, rows, cols *numbering, f func(r, c int32, cell compile.Cell) error) error {
	m := w.s.m
	about := func(p int) bool { return w.s.single || special(&m.Policies[p]) }
	to := make([]packet.Bits, len(m.Policies))
	for p := range to {
		if about(p) {
			to[p] = packet.NewBits(len(cols.of))
		}
	}
	contested := packet.NewBits(len(cols.of))
	for c, num := range cols.of {
		if num < 0 {
			continue
		}
		policies, claimed := m.ColPolicies(int(num))
		policies.Each(func(p int) {
			if about(p) {
				to[p].Set(c)
			}
		})
		if claimed {
			contested.Set(c)
		}
	}
	hit := packet.NewBits(len(cols.of))
	for num := range rows.by {
		if len(rows.by[num]) == 0 {
			continue
		}
		copy(hit, contested)
		policies, claimed := m.RowPolicies(num)
		if claimed {
			for c, n := range cols.of {
				if n >= 0 {
					hit.Set(c)
				}
			}
		}
		policies.Each(func(p int) {
			if about(p) {
				for i, word := range to[p] {
					hit[i] |= word
				}
			}
		})
		var err error
		hit.Each(func(c int) {
			if err != nil {
				return
			}
			cell := m.Cells[m.CellOf(num, int(cols.of[c]))]
			switch {
			case w.s.single:
				if m.LeftToIsolation(num, int(cols.of[c])) {
					cell = nil
				}
			case !claimed && !contested.Has(c) && !w.s.specialHit(num, int(cols.of[c])):
				cell = nil
			}
			for _, r := range rows.by[num] {
				if err == nil {
					err = f(r, int32(c), cell)
				}
			}
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// specialHit reports whether a special policy names a row and a column.
func (s *stages) specialHit(row, col int) bool {
	for _, p := range s.m.Hits(row, col) {
		if special(&s.m.Policies[p]) {
			return true
		}
	}
	return false
}

// defaults checks that what no table decided goes by isolation.
func (w *walker) defaults(d due) error {
	var tables []*driver.Table
	known := map[*driver.Table]bool{}
	var walk func(cases []driver.Case) error
	walk = func(cases []driver.Case) error {
		for _, c := range cases {
			if c.Next == nil || known[c.Next] || len(c.Services.Intersect(d.svc)) == 0 {
				continue
			}
			known[c.Next] = true
			tables = append(tables, c.Next)
			if len(tables) > maxDefaults || len(c.Next.Outcomes) > maxDefaults {
				return &mismatch{text: "what no table decides is looked up in too many ways"}
			}
			for _, o := range c.Next.Outcomes {
				if err := walk(o); err != nil {
					return err
				}
			}
		}
		return nil
	}
	if err := walk(d.cases); err != nil {
		return err
	}
	srcs, srcKeys := w.sorts(tables, false)
	dsts, dstKeys := w.sorts(tables, true)
	for _, s := range srcs {
		for _, t := range dsts {
			*w.pairs++
			permit := (d.side == egressOK || !s.isolated) && (d.side == ingressOK || !t.isolated)
			got := decide(d.cases, tables, s.seen, t.seen).Intersect(d.svc)
			if permit && !got.Equal(d.svc) || !permit && len(got) > 0 {
				return &mismatch{src: s.rep, dst: t.rep, text: "what no policy decides does not go by isolation"}
			}
		}
	}
	w.trail.sorts = append(w.trail.sorts, asDefault{w.four, tables, srcKeys, dstKeys})
	return nil
}

// maxDefaults bounds the tables that the default is looked up in, and their
// outcomes.
const maxDefaults = 16

// sort is some addresses that tables and isolation treat alike.
type sort struct {
	seen     []int32 // by the tables
	isolated bool
	rep      packet.Addrs
}

// sorts lists the sorts of addresses at one end.
func (w *walker) sorts(tables []*driver.Table, dst bool) (out []sort, index map[string]int) {
	m := w.s.m
	index = map[string]int{}
	// There are as many parts as addresses, and few sorts.
	var key []byte
	known, isolated := -1, false
	add := func(class int, seen []int32, rep packet.Addrs) {
		if class != known {
			egress, ingress := m.Isolation(class)
			known, isolated = class, egress
			if dst {
				isolated = ingress
			}
		}
		key = append(key[:0], 0)
		if isolated {
			key[0] = 1
		}
		for _, v := range seen {
			key = binary.LittleEndian.AppendUint32(key, uint32(v))
		}
		if _, ok := index[string(key)]; !ok {
			index[string(key)] = len(out)
			out = append(out, sort{slices.Clone(seen), isolated, rep})
		}
	}
	if len(tables) == 0 {
		for c := range m.Classes {
			runs := m.Classes[c].Addrs.Runs()
			if !m.Asked(c, dst) {
				continue
			}
			if runs[0].From.Is4() && w.four || !runs[len(runs)-1].From.Is4() && !w.four {
				add(c, nil, m.Classes[c].Addrs)
			}
		}
		return out, index
	}
	p := tables[0].Src
	if dst {
		p = tables[0].Dst
	}
	seen := make([]int32, len(tables))
	for _, j := range w.join(p) {
		if !m.Asked(j.A, dst) {
			continue
		}
		for i, t := range tables {
			if dst {
				seen[i] = t.Col[j.B]
			} else {
				seen[i] = t.Row[j.B]
			}
		}
		add(j.A, seen, j.Addrs)
	}
	return out, index
}

// sortKey is equal for addresses of one sort.
func sortKey(isolated bool, seen []int32) string {
	key := []byte{0}
	if isolated {
		key[0] = 1
	}
	for _, v := range seen {
		key = binary.LittleEndian.AppendUint32(key, uint32(v))
	}
	return string(key)
}

// decide follows cases for two sorts of addresses.
func decide(cases []driver.Case, tables []*driver.Table, src, dst []int32) packet.Services {
	var out packet.Services
	for _, c := range cases {
		if c.Permit {
			out = out.Union(c.Services)
			continue
		}
		for i, t := range tables {
			if t == c.Next {
				next := t.Outcomes[t.Entries[[2]int32{src[i], dst[i]}]]
				out = out.Union(decide(next, tables, src, dst).Intersect(c.Services))
			}
		}
	}
	return out
}
