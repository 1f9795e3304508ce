package packet

import (
	"net/netip"
	"slices"
)

// The same answers by comparing addresses as they are, one after the other: what
// the sweeps, sorts and merges are held against.

func referenceRanges(runs []Range) Addrs {
	sorted := slices.Clone(runs)
	slices.SortFunc(sorted, func(a, b Range) int {
		if c := a.From.Compare(b.From); c != 0 {
			return c
		}
		return a.To.Compare(b.To)
	})
	out := sorted[:0]
	for _, r := range sorted {
		if n := len(out); n > 0 && touches(out[n-1].To, r.From) {
			if out[n-1].To.Less(r.To) {
				out[n-1].To = r.To
			}
			continue
		}
		out = append(out, r)
	}
	if len(out) == 0 {
		return Addrs{}
	}
	return Addrs{out}
}

func referencePartition(sets []Addrs) []Cell {
	type event struct {
		at    netip.Addr
		set   int
		enter bool
	}
	var events []event
	for i, s := range sets {
		for _, r := range s.runs {
			events = append(events, event{r.From, i, true})
			if next := r.To.Next(); next.IsValid() {
				events = append(events, event{next, i, false})
			}
		}
	}
	slices.SortFunc(events, func(a, b event) int { return a.at.Compare(b.at) })
	var cells []Cell
	index := map[string]int{}
	runs := [][]Range{}
	emit := func(from, to netip.Addr, in Bits) {
		c, ok := index[in.Key()]
		if !ok {
			c = len(cells)
			index[in.Key()] = c
			cells = append(cells, Cell{In: in.Clone()})
			runs = append(runs, nil)
		}
		runs[c] = append(runs[c], Range{from, to})
	}
	e := 0
	for _, family := range []Range{{v4first, v4last}, {v6first, v6last}} {
		in := NewBits(len(sets))
		at := family.From
		for e < len(events) && !family.To.Less(events[e].at) {
			if at.Less(events[e].at) {
				emit(at, events[e].at.Prev(), in)
				at = events[e].at
			}
			for ; e < len(events) && events[e].at == at; e++ {
				if events[e].enter {
					in.Set(events[e].set)
				} else {
					in.Clear(events[e].set)
				}
			}
		}
		emit(at, family.To, in)
	}
	for i := range cells {
		cells[i].Addrs = referenceRanges(runs[i])
	}
	return cells
}

func sameCells(a, b []Cell) bool {
	return slices.EqualFunc(a, b, func(x, y Cell) bool { return x.Addrs.Equal(y.Addrs) && x.In.Equal(y.In) })
}
