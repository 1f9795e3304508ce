package packet

import (
	"math/bits"
	"net/netip"
	"slices"
)

// Bits is a fixed-width set of small numbers.
type Bits []uint64

// NewBits makes an empty set that can hold 0 to n-1.
func NewBits(n int) Bits { return make(Bits, (n+63)/64) }

// Set adds i.
func (b Bits) Set(i int) { b[i/64] |= 1 << (i % 64) }

// Clear takes i out.
func (b Bits) Clear(i int) { b[i/64] &^= 1 << (i % 64) }

// Has reports whether i is in the set.
func (b Bits) Has(i int) bool { return b[i/64]>>(i%64)&1 == 1 }

// Clone copies the set.
func (b Bits) Clone() Bits { return slices.Clone(b) }

// Key is the set as a string, for exact comparison as a map key.
func (b Bits) Key() string {
	out := make([]byte, 0, len(b)*8)
	for _, w := range b {
		out = append(out, byte(w), byte(w>>8), byte(w>>16), byte(w>>24), byte(w>>32), byte(w>>40), byte(w>>48), byte(w>>56))
	}
	return string(out)
}

// Each calls f for each member in ascending order.
func (b Bits) Each(f func(i int)) {
	for w, word := range b {
		for ; word != 0; word &= word - 1 {
			f(w*64 + trailingZeros(word))
		}
	}
}

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
		key := in.Key()
		c, ok := index[key]
		if !ok {
			c = len(cells)
			index[key] = c
			cells = append(cells, Cell{In: in.Clone()})
			runs = append(runs, nil)
		}
		runs[c] = append(runs[c], Range{from, to})
	}
	e := 0
	for _, family := range []Range{{v4first, v4last}, {v6first, v6last}} {
		// A set that reaches the end of IPv4 has no leave event there.
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
		cells[i].Addrs = AddrRanges(runs[i])
	}
	return cells
}

func trailingZeros(w uint64) int { return bits.TrailingZeros64(w) }
