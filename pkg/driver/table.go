package driver

import (
	"net/netip"
	"slices"
	"sync"

	"bulkhead/pkg/packet"
)

// Case is what happens to some services: they pass, or another table says more.
// Services in no case of a list are dropped.
type Case struct {
	Services packet.Services
	Permit   bool
	Next     *Table // nil where Permit is set
}

// Parts is a partition of one family's addresses. Tables that see addresses alike
// share one.
type Parts struct {
	Addrs []packet.Addrs

	once  sync.Once
	index []partRun // in order of address; see Find
}

type partRun struct {
	run  packet.Range
	part int
}

// Table is a step of what a device does with flows that are too many to list pair
// by pair: it looks up what it makes of the source and what it makes of the
// destination. A site of 20,000 classes has 400 million pairs of them, and a table
// some thousands of entries.
type Table struct {
	Src, Dst *Parts
	// Row and Col are what the lookup sees of each part. Tables that look at the same
	// thing share the slices.
	Row, Col []int32
	// Entries gives the outcome of a row and a column; of other pairs it is the first
	// one.
	Entries  map[[2]int32]int32
	Outcomes [][]Case
	// SeeSrc and SeeDst tell what the lookup makes of an address for which the device
	// holds a word, be it of one of the parts or not; ok is not set for what it made of
	// no part. They are nil where that does not depend on the word alone.
	SeeSrc, SeeDst func(word uint32) (v int32, ok bool)
	// Words names the native maps from which the word comes, in the order in which
	// they are asked; a later one overrides.
	Words []string
}

// At is the outcome for a pair of parts.
func (t *Table) At(src, dst int) []Case {
	return t.Outcomes[t.Entries[[2]int32{t.Row[src], t.Col[dst]}]]
}

// Find is the outcome for a pair of addresses of the table's family.
func (t *Table) Find(src, dst netip.Addr) []Case {
	return t.At(t.Src.Find(src), t.Dst.Find(dst))
}

// Find gives the part that holds an address.
func (p *Parts) Find(a netip.Addr) int {
	p.once.Do(func() {
		for i := range p.Addrs {
			for _, r := range p.Addrs[i].Runs() {
				p.index = append(p.index, partRun{r, i})
			}
		}
		slices.SortFunc(p.index, func(x, y partRun) int { return x.run.From.Compare(y.run.From) })
	})
	i, _ := slices.BinarySearchFunc(p.index, a, func(r partRun, a netip.Addr) int { return r.run.To.Compare(a) })
	return p.index[i].part
}

// Permits follows cases to the end, for a pair of addresses.
func Permits(cases []Case, src, dst netip.Addr) packet.Services {
	var out packet.Services
	for _, c := range cases {
		if c.Permit {
			out = out.Union(c.Services)
		}
		if c.Next != nil {
			out = out.Union(Permits(c.Next.Find(src, dst), src, dst).Intersect(c.Services))
		}
	}
	return out
}

// MayDrop reports whether some of the services can be dropped for some pair of
// addresses, as far as the cases and the tables behind them say.
func MayDrop(cases []Case, svc packet.Services) bool {
	done := map[*Table]packet.Services{}
	var walk func(cases []Case, svc packet.Services) bool
	walk = func(cases []Case, svc packet.Services) bool {
		for _, c := range cases {
			both := c.Services.Intersect(svc)
			svc = svc.Subtract(both)
			if c.Next == nil {
				continue
			}
			known := done[c.Next]
			both = both.Subtract(known)
			if both.IsEmpty() {
				continue
			}
			done[c.Next] = known.Union(both)
			if slices.ContainsFunc(c.Next.Outcomes, func(o []Case) bool { return walk(o, both) }) {
				return true
			}
		}
		return !svc.IsEmpty()
	}
	return walk(cases, svc)
}

// Flat gives the relation without tables: partitions within which all addresses
// fare alike, and what passes between two parts. The parts are as many as the
// tables tell apart, so that all their pairs may be too many to ask for.
func (r *Relation) Flat() Relation {
	if r.Rest == nil {
		return *r
	}
	cells := [2][]packet.Addrs{r.Src, r.Dst}
	seen := map[*Table]bool{}
	parts := [2]map[*Parts]bool{{}, {}}
	var walk func(cases []Case)
	walk = func(cases []Case) {
		for _, c := range cases {
			if c.Next == nil || seen[c.Next] {
				continue
			}
			seen[c.Next] = true
			for side, p := range []*Parts{c.Next.Src, c.Next.Dst} {
				if !parts[side][p] {
					parts[side][p] = true
					cells[side] = refined(cells[side], p.Addrs)
				}
			}
			for _, o := range c.Next.Outcomes {
				walk(o)
			}
		}
	}
	for i := range r.Src {
		for j := range r.Dst {
			walk(r.Rest(i, j))
		}
	}
	out := *r
	out.Src, out.Dst, out.Rest = cells[0], cells[1], nil
	src, dst := r.whole(out.Src, r.Src), r.whole(out.Dst, r.Dst)
	out.Permit = func(i, j int) packet.Services {
		a, b := out.Src[i].First(), out.Dst[j].First()
		if a.Is4() != b.Is4() {
			return nil
		}
		return r.Permit(src[i], dst[j]).Union(Permits(r.Rest(src[i], dst[j]), a, b))
	}
	return out
}

// refined cuts the cells of a partition by those of another one, which need not cover
// everything.
func refined(cells, by []packet.Addrs) []packet.Addrs {
	var covered packet.Builder
	for _, a := range by {
		covered.AddSet(a)
	}
	if rest := packet.AllAddrs().Subtract(covered.Addrs()); !rest.IsEmpty() {
		by = append(slices.Clip(by), rest)
	}
	joints := packet.Join(cells, by)
	out := make([]packet.Addrs, len(joints))
	for i := range joints {
		out[i] = joints[i].Addrs
	}
	return out
}

// whole tells for each fine part which coarse one it lies in.
func (r *Relation) whole(fine, coarse []packet.Addrs) []int {
	out := make([]int, len(fine))
	for _, j := range packet.Join(fine, coarse) {
		out[j.A] = j.B
	}
	return out
}
