package packet

import (
	"slices"
)

// Joint is one cell of the coarsest partition that refines two others.
type Joint struct {
	A, B  int
	Addrs Addrs
}

// Join refines two partitions of the address space by each other. Cells come in
// order of their lowest address. What only one of the two covers is left out.
func Join(a, b []Addrs) []Joint {
	type owned struct {
		Range
		owner int
	}
	flat := func(sets []Addrs) []owned {
		var out []owned
		for i, s := range sets {
			for _, r := range s.runs {
				out = append(out, owned{r, i})
			}
		}
		slices.SortFunc(out, func(x, y owned) int { return x.From.Compare(y.From) })
		return out
	}
	x, y := flat(a), flat(b)
	index := map[[2]int]int{}
	var out []Joint
	var runs [][]Range
	for i, j := 0, 0; i < len(x) && j < len(y); {
		lo, hi := x[i].From, x[i].To
		if lo.Less(y[j].From) {
			lo = y[j].From
		}
		if y[j].To.Less(hi) {
			hi = y[j].To
		}
		if !hi.Less(lo) && hi.Is4() == lo.Is4() {
			key := [2]int{x[i].owner, y[j].owner}
			n, ok := index[key]
			if !ok {
				n = len(out)
				index[key] = n
				out = append(out, Joint{A: key[0], B: key[1]})
				runs = append(runs, nil)
			}
			runs[n] = append(runs[n], Range{lo, hi})
		}
		if x[i].To.Less(y[j].To) {
			i++
		} else {
			j++
		}
	}
	for n := range out {
		out[n].Addrs = AddrRanges(runs[n])
	}
	return out
}

// PartitionAddrs is Partition without the memberships.
func PartitionAddrs(sets []Addrs) []Addrs {
	cells := Partition(sets)
	out := make([]Addrs, len(cells))
	for i := range cells {
		out[i] = cells[i].Addrs
	}
	return out
}
