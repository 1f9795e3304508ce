package rows

import (
	"slices"

	"bulkhead/pkg/driver"
	"bulkhead/pkg/packet"
)

// Mutation is a state with one thing of ours wrong.
type Mutation struct {
	Kind  string
	State *State
}

// Mutations breaks our rows, one at a time, in the nine ways of a wrong renderer.
// Every stride-th row is broken in all of them.
func (d *Driver) Mutations(s driver.State, stride int) []Mutation {
	st, err := stateOf(s)
	if err != nil {
		return nil
	}
	var out []Mutation
	for _, direction := range []string{In, Out} {
		var mine, others []Row
		for _, r := range st.Rows {
			if d.ours(&r) && r.Direction == direction {
				mine = append(mine, r)
			} else {
				others = append(others, r)
			}
		}
		if len(mine) == 0 {
			continue
		}
		base := mine[0].Index
		edit := func(kind string, rows []Row) {
			next := &State{Config: st.Config.clone(), d: st.d}
			for i := range rows {
				rows[i].Index = base + i
			}
			next.Rows = slices.Concat(others, rows)
			Sort(next.Rows)
			out = append(out, Mutation{kind, next})
		}
		for i := 0; i < len(mine); i += stride {
			for _, b := range broken(mine[i]) {
				edit(b.kind, slices.Concat(mine[:i], b.rows, mine[i+1:]))
			}
			if !mine[i].Permit {
				edit("deny moved last", slices.Concat(mine[:i], mine[i+1:], mine[i:i+1]))
			}
		}
		edit("drop the IPv6 half", slices.DeleteFunc(slices.Clone(mine), func(r Row) bool { return !r.SrcLo.Is4() }))
		if blind := slices.DeleteFunc(slices.Clone(mine), func(r Row) bool { return r.SrcPortLo != 0 || r.SrcPortHi != 65535 }); len(blind) < len(mine) {
			edit("drop what looks at source ports", blind)
		}
		edit("default allow", slices.DeleteFunc(slices.Clone(mine), func(r Row) bool { return !r.Permit }))
	}
	return out
}

type replacement struct {
	kind string
	rows []Row
}

// broken gives what may stand in one row's place.
func broken(r Row) []replacement {
	flipped, off, all, less, wide := r, r, r, r, r
	flipped.Permit = !r.Permit
	switch {
	case r.NumHi < 65535:
		off.NumHi++
	case r.NumLo > 0:
		off.NumLo--
	default:
		off.NumHi--
	}
	family := packet.AllAddrs().Runs()[0]
	if !r.SrcLo.Is4() {
		family = packet.AllAddrs().Runs()[1]
	}
	all.SrcLo, all.SrcHi = family.From, family.To
	out := []replacement{{"drop a rule", nil}, {"flip an action", []Row{flipped}}, {"port off by one", []Row{off}}, {"empty is any", []Row{all}}}
	if r.SrcLo == r.SrcHi {
		out = append(out, replacement{"drop an address", nil})
	} else {
		less.SrcHi = r.SrcHi.Prev()
		out = append(out, replacement{"drop an address", []Row{less}})
	}
	if next := r.SrcHi.Next(); next.IsValid() {
		wide.SrcHi = next
		out = append(out, replacement{"widen by one address", []Row{wide}})
	}
	return out
}
