package compile

import (
	"math/bits"
	"slices"
)

// interner numbers lists, the first one 0, in the order in which they first come.
// A hash finds candidates and equality is confirmed element by element, so that
// no two lists are ever taken for one. All lists lie in one block of memory.
type interner[T int32 | uint64] struct {
	data   []T
	ends   []int // list -> where it ends in data; it begins where the one before ends
	hashes []uint64
	slots  []int32 // number+1, or 0; a power of two, at most half full
}

// len is how many lists have a number.
func (t *interner[T]) len() int { return len(t.ends) }

// at gives the list with a number. The caller must not change it.
func (t *interner[T]) at(n int32) []T {
	from := 0
	if n > 0 {
		from = t.ends[n-1]
	}
	return t.data[from:t.ends[n]:t.ends[n]]
}

// number gives the number of a list, which it copies if it is new.
func (t *interner[T]) number(list []T) (n int32, isNew bool) {
	if 2*len(t.ends) >= len(t.slots) {
		t.grow()
	}
	hash := hashOf(list)
	mask := uint64(len(t.slots) - 1)
	i := hash & mask
	for ; t.slots[i] != 0; i = (i + 1) & mask {
		if n := t.slots[i] - 1; t.hashes[n] == hash && equal(t.at(n), list) {
			return n, false
		}
	}
	t.data = append(t.data, list...)
	t.ends = append(t.ends, len(t.data))
	t.hashes = append(t.hashes, hash)
	t.slots[i] = int32(len(t.ends))
	return int32(len(t.ends) - 1), true
}

// find gives the number of a list, -1 if it has none.
func (t *interner[T]) find(list []T) int32 {
	if len(t.slots) == 0 {
		return -1
	}
	hash := hashOf(list)
	mask := uint64(len(t.slots) - 1)
	for i := hash & mask; t.slots[i] != 0; i = (i + 1) & mask {
		if n := t.slots[i] - 1; t.hashes[n] == hash && equal(t.at(n), list) {
			return n
		}
	}
	return -1
}

// reserve makes room for so many lists of a width, before there are any.
func (t *interner[T]) reserve(lists, width int) {
	t.data = make([]T, 0, lists*width)
	t.ends, t.hashes = make([]int, 0, lists), make([]uint64, 0, lists)
}

// clip gives back room that turned out not to be needed.
func (t *interner[T]) clip() {
	if 2*len(t.data) < cap(t.data) {
		t.data = slices.Clip(slices.Clone(t.data))
	}
	if 2*len(t.ends) < cap(t.ends) {
		t.ends, t.hashes = slices.Clip(slices.Clone(t.ends)), slices.Clip(slices.Clone(t.hashes))
	}
}

// reset forgets all lists and keeps the memory.
func (t *interner[T]) reset() {
	t.data, t.ends, t.hashes = t.data[:0], t.ends[:0], t.hashes[:0]
	clear(t.slots)
}

func (t *interner[T]) grow() {
	t.slots = make([]int32, max(64, 4*len(t.ends)))
	// A power of two, so that the mask reaches every slot.
	if n := len(t.slots); n&(n-1) != 0 {
		t.slots = make([]int32, 1<<bits.Len(uint(n)))
	}
	mask := uint64(len(t.slots) - 1)
	for n, h := range t.hashes {
		i := h & mask
		for t.slots[i] != 0 {
			i = (i + 1) & mask
		}
		t.slots[i] = int32(n + 1)
	}
}

func hashOf[T int32 | uint64](list []T) uint64 {
	h := uint64(len(list)) + 0x9e3779b97f4a7c15
	for _, x := range list {
		hi, lo := bits.Mul64(h^uint64(x), 0xbf58476d1ce4e5b9)
		h = hi ^ lo + 0x94d049bb133111eb
	}
	return h ^ h>>32
}

func equal[T int32 | uint64](a, b []T) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}
