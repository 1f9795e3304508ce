package packet

import "slices"

// Joint is one cell of the coarsest partition that refines two others.
type Joint struct {
	A, B  int
	Addrs Addrs
}

// Join refines two partitions of the address space by each other. Cells come in
// order of their lowest address. What only one of the two covers is left out. It
// takes time linear in the runs of both.
func Join(a, b []Addrs) []Joint {
	j := joiner{index: map[uint64]uint32{}}
	x4, x6 := flat(a)
	y4, y6 := flat(b)
	j.walk(x4, y4)
	v4 := len(j.pieces)
	j.walk(x6, y6)
	return j.joints(v4)
}

// piece is a run in numbers, and what it belongs to: nothing for the collector
// to follow, which would take longer than the join.
type piece struct {
	from, to u128
	owner    uint32
}

// flat lists the runs of sets in order of their first address, by family.
func flat(sets []Addrs) (v4, v6 []piece) {
	n4, n6 := 0, 0
	for _, s := range sets {
		n := s.count4()
		n4, n6 = n4+n, n6+len(s.runs)-n
	}
	v4, v6 = make([]piece, 0, n4), make([]piece, 0, n6)
	order := line{v4: make([]uint64, 0, n4), v6: make([]key6, 0, n6)}
	for i, s := range sets {
		for k := range s.runs {
			r := &s.runs[k]
			p := piece{numberOf(r.From), numberOf(r.To), uint32(i)}
			if r.From.Is4() {
				order.v4 = append(order.v4, p.from.lo<<32|uint64(len(v4)))
				v4 = append(v4, p)
			} else {
				order.v6 = append(order.v6, key6{p.from, uint32(len(v6))})
				v6 = append(v6, p)
			}
		}
	}
	order.sort()
	sorted4, sorted6 := make([]piece, len(v4)), make([]piece, len(v6))
	for i, k := range order.v4 {
		sorted4[i] = v4[uint32(k)]
	}
	for i := range order.v6 {
		sorted6[i] = v6[order.v6[i].ref]
	}
	return sorted4, sorted6
}

// joiner gathers the runs of joints in order of address, and deals them out once
// it knows how many each has.
type joiner struct {
	index  map[uint64]uint32 // the numbers of two owners -> joint
	list   []Joint
	count  []int
	pieces []piece // owned by joints
}

// walk meets the runs of one family, both sorted.
func (j *joiner) walk(x, y []piece) {
	j.pieces = slices.Grow(j.pieces, max(len(x), len(y)))
	for len(x) > 0 && len(y) > 0 {
		r, s := &x[0], &y[0]
		p := piece{from: r.from, to: r.to}
		if p.from.less(s.from) {
			p.from = s.from
		}
		if s.to.less(p.to) {
			p.to = s.to
		}
		if !p.to.less(p.from) {
			p.owner = j.joint(r.owner, s.owner)
			j.pieces = append(j.pieces, p)
		}
		if r.to.less(s.to) {
			x = x[1:]
		} else {
			y = y[1:]
		}
	}
}

// joint numbers the meeting of two owners, and counts it.
func (j *joiner) joint(a, b uint32) uint32 {
	key := uint64(a)<<32 | uint64(b)
	n, ok := j.index[key]
	if !ok {
		n = uint32(len(j.list))
		j.index[key] = n
		j.list = append(j.list, Joint{A: int(a), B: int(b)})
		j.count = append(j.count, 0)
	}
	j.count[n]++
	return n
}

// joints deals out the pieces, of which the first v4 are IPv4.
func (j *joiner) joints(v4 int) []Joint {
	all := make([]Range, len(j.pieces))
	for n, c := range j.count {
		j.list[n].Addrs.runs = all[:0:c]
		all = all[c:]
	}
	for i := range j.pieces {
		p := &j.pieces[i]
		r := Range{addr4(uint32(p.from.lo)), addr4(uint32(p.to.lo))}
		if i >= v4 {
			r = Range{p.from.addr6(), p.to.addr6()}
		}
		runs := &j.list[p.owner].Addrs.runs
		*runs = append(*runs, r)
	}
	for n := range j.list {
		j.list[n].Addrs = normal(j.list[n].Addrs.runs)
	}
	return j.list
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
