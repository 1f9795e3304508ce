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
	index []partRun // in order of address; see find
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
}

// At is the outcome for a pair of parts.
func (t *Table) At(src, dst int) []Case {
	return t.Outcomes[t.Entries[[2]int32{t.Row[src], t.Col[dst]}]]
}

// Find is the outcome for a pair of addresses of the table's family.
func (t *Table) Find(src, dst netip.Addr) []Case {
	return t.At(t.Src.find(src), t.Dst.find(dst))
}

// find gives the part that holds an address.
func (p *Parts) find(a netip.Addr) int {
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
