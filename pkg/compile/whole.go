package compile

import (
	"fmt"

	"bulkhead/pkg/packet"
)

// whole collects the pairs that are judged whole, in a space of their own that
// comes before all others: those that a special policy concerns, and those of an
// address that several machines claim.
func (s *spacer) whole() error {
	m := s.m
	to := map[int]packet.Bits{} // special policy -> classes at its far end
	var specials []int
	for p := range m.Policies {
		if special(&m.Policies[p]) {
			specials = append(specials, p)
			to[p] = packet.NewBits(len(s.l.Classes))
		}
	}
	contested := packet.NewBits(len(s.l.Classes))
	anyContested := false
	for j := range s.l.Classes {
		col := m.cols[m.Classes[s.l.Classes[j].rep].col]
		if len(col) > 1 {
			contested.Set(j)
			anyContested = true
		}
		for _, view := range col {
			for _, p := range specials {
				if view.policies.Has(p) {
					to[p].Set(j)
				}
			}
		}
	}
	if len(specials) == 0 && !anyContested {
		return nil
	}
	families := familiesOf(s.l.Classes)
	contents := map[int]int32{}
	space := Space{Whole: true}
	for d := range s.l.Dims {
		space.RowDims = append(space.RowDims, d)
	}
	space.ColDims = space.RowDims
	cols := packet.NewBits(len(s.l.Classes))
	for i := range s.l.Classes {
		row := m.rows[m.Classes[s.l.Classes[i].rep].row]
		copy(cols, contested)
		if len(row) > 1 {
			for j := range s.l.Classes {
				cols.Set(j)
			}
		}
		for _, view := range row {
			for _, p := range specials {
				if view.policies.Has(p) {
					for w := range cols {
						cols[w] |= to[p][w]
					}
				}
			}
		}
		full := false
		cols.Each(func(j int) {
			if full || families[i]&families[j] == 0 {
				return
			}
			cell := m.CellID(s.l.Classes[i].rep, s.l.Classes[j].rep)
			id, ok := contents[cell]
			if !ok {
				id = int32(len(s.l.Contents))
				contents[cell] = id
				s.l.Contents = append(s.l.Contents, m.Cells[cell])
			}
			space.Entries = append(space.Entries, Entry{int32(i), int32(j), id})
			full = len(space.Entries) > s.b.Elements
		})
		if full {
			return &Refusal{Reason: fmt.Sprintf("policies that pass, observe or expire, and addresses that several machines claim, concern more than %d pairs of classes", s.b.Elements),
				Advice: fmt.Sprintf("let %s name fewer groups, or resolve the claims that `bulkhead assets` lists", s.specialNames(specials))}
		}
	}
	if len(space.Entries) > 0 {
		s.l.Spaces = append(s.l.Spaces, space)
	}
	return nil
}

func (s *spacer) specialNames(list []int) string {
	var names []string
	for i, p := range list {
		if i == 4 {
			names = append(names, fmt.Sprintf("and %d more", len(list)-i))
			break
		}
		names = append(names, fmt.Sprintf("%q", s.m.Policies[p].Name))
	}
	if len(names) == 0 {
		return "policies"
	}
	return "policies " + joinWords(names)
}
