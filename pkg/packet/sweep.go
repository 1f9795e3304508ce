package packet

import "slices"

// sweep walks along the address line and numbers the memberships that it meets.
type sweep struct {
	lists [][]int32
	depth []int32 // set -> how many open runs are in it
	in    Bits    // the sets of the open runs; at a point, its sets too
	hash  uint64  // of in: the exclusive or of its members' numbers, mixed
	found memberships

	points []uint32 // the lists of the runs of one address at the place at hand
	extra  []int32  // the sets that those add to in
}

func newSweep(sets int, lists [][]int32) *sweep {
	return &sweep{lists: lists, depth: make([]int32, sets), in: NewBits(sets), found: memberships{width: len(NewBits(sets))}}
}

// family sweeps over one family, whose last address is given, and returns where
// which cell begins, appended to the slice of its kind.
func (s *sweep) family(events line, last u128, v4 []uint64, v6 []key6) line {
	out := line{v4, v6}
	begin := func(at u128, cell uint32) {
		if v4 != nil {
			if n := len(out.v4); n == 0 || uint32(out.v4[n-1]) != cell {
				out.v4 = append(out.v4, at.lo<<32|uint64(cell))
			}
		} else if n := len(out.v6); n == 0 || out.v6[n-1].ref != cell {
			out.v6 = append(out.v6, key6{at, cell})
		}
	}
	clear(s.depth)
	clear(s.in)
	s.hash = 0
	base, known := uint32(0), false // the cell of the open runs
	ground := func() uint32 {
		if !known {
			base, known = s.found.number(s.in, s.hash), true
		}
		return base
	}
	// From next on only the open runs count, unless an event comes first. The last
	// address has nothing after it.
	next, rest := u128{}, true
	for i := 0; i < events.len(); {
		at, _ := events.at(i)
		if rest && next.less(at) {
			begin(next, ground())
		}
		s.points = s.points[:0]
		for ; i < events.len(); i++ {
			here, ref := events.at(i)
			if here != at {
				break
			}
			if ref&3 == point {
				s.points = append(s.points, ref>>2)
				continue
			}
			s.cross(s.lists[ref>>2], ref&3)
			known = false
		}
		if len(s.points) == 0 {
			begin(at, ground())
			rest = false // that goes on until the next event
			continue
		}
		begin(at, s.covered())
		next, rest = at.next(), at != last
	}
	if rest {
		begin(next, ground())
	}
	return out
}

// cross enters or leaves the sets of a run.
func (s *sweep) cross(list []int32, what uint32) {
	for _, set := range list {
		was := s.depth[set] > 0
		if what == enter {
			s.depth[set]++
		} else {
			s.depth[set]--
		}
		if is := s.depth[set] > 0; is != was {
			s.toggle(set)
		}
	}
}

func (s *sweep) toggle(set int32) {
	s.in[set/64] ^= 1 << (set % 64)
	s.hash ^= mix(uint64(set) + 1)
}

// covered numbers the membership of one address: what is open, and the points.
func (s *sweep) covered() uint32 {
	s.extra = s.extra[:0]
	for _, p := range s.points {
		for _, set := range s.lists[p] {
			if !s.in.Has(int(set)) {
				s.toggle(set)
				s.extra = append(s.extra, set)
			}
		}
	}
	cell := s.found.number(s.in, s.hash)
	for _, set := range s.extra {
		s.toggle(set)
	}
	return cell
}

// cells turns where the cells begin, in both families, into their addresses. All
// runs share one block of memory, cut by counting first.
func (s *sweep) cells(v4 []uint64, v6 []key6) []Cell {
	count := make([]int, s.found.len())
	for _, k := range v4 {
		count[uint32(k)]++
	}
	for i := range v6 {
		count[v6[i].ref]++
	}
	all := make([]Range, len(v4)+len(v6))
	out := make([]Cell, len(count))
	for c, n := range count {
		out[c] = Cell{Addrs: Addrs{all[:0:n]}, In: s.found.bits(uint32(c))}
		all = all[n:]
	}
	put := func(cell uint32, r Range) { out[cell].Addrs.runs = append(out[cell].Addrs.runs, r) }
	for i, k := range v4 {
		to := v4last
		if i+1 < len(v4) {
			to = addr4(uint32(v4[i+1]>>32) - 1)
		}
		put(uint32(k), Range{addr4(uint32(k >> 32)), to})
	}
	for i := range v6 {
		to := v6last
		if i+1 < len(v6) {
			to = v6[i+1].at.prev().addr6()
		}
		put(v6[i].ref, Range{v6[i].at.addr6(), to})
	}
	return out
}

// memberships numbers sets of sets in the order in which they first come. The
// hash only finds candidates; equality is confirmed bit by bit.
type memberships struct {
	width  int // words of one
	words  []uint64
	hashes []uint64
	slots  []uint32 // number+1, or 0; a power of two, at most half full
}

func (m *memberships) len() int { return len(m.hashes) }

func (m *memberships) bits(n uint32) Bits {
	at := int(n) * m.width
	return Bits(m.words[at : at+m.width : at+m.width])
}

// number returns the number of a membership, a new one if it has none.
func (m *memberships) number(in Bits, hash uint64) uint32 {
	if len(m.hashes)*2 >= len(m.slots) {
		m.grow()
	}
	mask := uint64(len(m.slots) - 1)
	i := hash & mask
	for ; m.slots[i] != 0; i = (i + 1) & mask {
		if n := m.slots[i] - 1; m.hashes[n] == hash && m.bits(n).Equal(in) {
			return n
		}
	}
	if cap(m.words)-len(m.words) < len(in) {
		m.words = slices.Grow(m.words, len(m.words)+len(in)) // twice as much: append takes a quarter more, and leaves four times the garbage
	}
	m.words = append(m.words, in...)
	m.hashes = append(m.hashes, hash)
	m.slots[i] = uint32(len(m.hashes))
	return uint32(len(m.hashes) - 1)
}

func (m *memberships) grow() {
	m.slots = make([]uint32, max(64, 2*len(m.slots)))
	mask := uint64(len(m.slots) - 1)
	for n, h := range m.hashes {
		i := h & mask
		for m.slots[i] != 0 {
			i = (i + 1) & mask
		}
		m.slots[i] = uint32(n + 1)
	}
}

// mix spreads a small number over 64 bits (the finalizer of SplitMix64).
func mix(x uint64) uint64 {
	x *= 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
