package packet

import "net/netip"

// Cell is one class of a partition: the addresses that lie in exactly the same
// ones of the given sets.
type Cell struct {
	Addrs Addrs
	In    Bits // indexes into the list given to Partition
}

// Partition cuts the whole address space of both families by sets, and joins
// what lies in the same ones. Cells come in order of their lowest address, so
// the same input gives the same cells. Equality of memberships is compared
// exactly, bit by bit: two cells can never be merged by a hash.
func Partition(sets []Addrs) []Cell {
	cells, _ := PartitionLocated(sets)
	return cells
}

// PartitionLocated is Partition, and says where each cell lies.
func PartitionLocated(sets []Addrs) ([]Cell, *Places) {
	p := NewPartitioner(len(sets))
	n4, n6 := 0, 0 // events: a run of one address is one, others are two
	for _, s := range sets {
		n := s.count4()
		n4, n6 = n4+n, n6+len(s.runs)-n
		for k := range s.runs {
			if s.runs[k].From == s.runs[k].To {
				continue
			}
			if k < n {
				n4++
			} else {
				n6++
			}
		}
	}
	p.events.v4 = make([]uint64, 0, n4)
	p.events.v6 = make([]key6, 0, n6)
	for i, s := range sets {
		list := p.List(i)
		for k := range s.runs {
			p.Add(s.runs[k], list)
		}
	}
	return p.Locate()
}

// Partitioner makes the same cells as Partition, without the sets: it is told of
// each run of addresses once, with the list of all sets that the run is in. An
// address with six groups costs one entry of 8 bytes (IPv6: 24) then, and no
// group is written out only to be cut up again. The sets of an address are those
// of all runs that hold it; a run may lie in several, and be given twice.
type Partitioner struct {
	sets   int
	lists  [][]int32
	events line
}

// NewPartitioner makes a Partitioner of so many sets, numbered from 0.
func NewPartitioner(sets int) *Partitioner { return &Partitioner{sets: sets} }

// What happens at a place of the line. The number is in the lowest two bits of an
// event, below that of the list.
const (
	leave = iota + 1 // a run ended with the address before
	enter            // a run begins
	point            // a run of one address
)

// List makes the list of some sets known and returns its number, for Add. Equal
// lists need not be the same one, but it saves memory if they are.
func (p *Partitioner) List(sets ...int) int {
	list := make([]int32, len(sets))
	for i, s := range sets {
		list[i] = int32(s)
	}
	p.lists = append(p.lists, list)
	return len(p.lists) - 1
}

// Add says that a run, which must not span both families, is in the sets of a
// list.
func (p *Partitioner) Add(r Range, list int) {
	ref := uint32(list) << 2
	if r.From.Is4() {
		from, to := number4(r.From), number4(r.To)
		if from == to {
			p.events.v4 = append(p.events.v4, uint64(from)<<32|uint64(ref|point))
			return
		}
		p.events.v4 = append(p.events.v4, uint64(from)<<32|uint64(ref|enter))
		if to != 1<<32-1 { // what reaches the end of the line does not end on it
			p.events.v4 = append(p.events.v4, uint64(to+1)<<32|uint64(ref|leave))
		}
		return
	}
	from, to := numberOf(r.From), numberOf(r.To)
	if from == to {
		p.events.v6 = append(p.events.v6, key6{from, ref | point})
		return
	}
	p.events.v6 = append(p.events.v6, key6{from, ref | enter})
	if to != u128max {
		p.events.v6 = append(p.events.v6, key6{to.next(), ref | leave})
	}
}

// AddPrefix says that the addresses of a prefix are in the sets of a list.
func (p *Partitioner) AddPrefix(prefix netip.Prefix, list int) {
	p.Add(PrefixRange(prefix), list)
}

// Cells cuts the whole address space of both families by what was added. See
// Partition.
func (p *Partitioner) Cells() []Cell {
	cells, _ := p.Locate()
	return cells
}

// Locate is Cells, and says where each cell lies.
func (p *Partitioner) Locate() ([]Cell, *Places) {
	s := newSweep(p.sets, p.lists)
	p.events.sort()
	v4 := s.family(line{v4: p.events.v4}, u128{0, 1<<32 - 1}, make([]uint64, 0, len(p.events.v4)+1), nil)
	v6 := s.family(line{v6: p.events.v6}, u128max, nil, make([]key6, 0, len(p.events.v6)+1))
	return s.cells(v4.v4, v6.v6), &Places{v4.v4, v6.v6}
}

// line is what lies on the address line: events, or where each cell begins. One
// of the two families, or both, IPv4 first.
type line struct {
	v4 []uint64 // address<<32 | reference
	v6 []key6
}

func (l *line) sort() {
	l.v4 = sort4(l.v4, nil)
	l.v6 = sort6(l.v6, nil)
}

func (l *line) len() int { return len(l.v4) + len(l.v6) }

// at gives a place, and what is there. Only for a line of one family.
func (l *line) at(i int) (u128, uint32) {
	if len(l.v4) > 0 {
		return u128{0, l.v4[i] >> 32}, uint32(l.v4[i])
	}
	return l.v6[i].at, l.v6[i].ref
}
