package packet

import (
	"encoding/binary"
	"math/bits"
	"slices"
	"strings"
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

// Equal reports whether both sets, of one width, have the same members.
func (b Bits) Equal(o Bits) bool { return slices.Equal(b, o) }

// Key is the set as a string, for exact comparison as a map key.
func (b Bits) Key() string {
	var out strings.Builder
	out.Grow(len(b) * 8)
	var word [8]byte
	for _, w := range b {
		binary.LittleEndian.PutUint64(word[:], w)
		out.Write(word[:])
	}
	return out.String()
}

// Len is how many members the set has.
func (b Bits) Len() int {
	n := 0
	for _, word := range b {
		n += bits.OnesCount64(word)
	}
	return n
}

// Each calls f for each member in ascending order.
func (b Bits) Each(f func(i int)) {
	for w, word := range b {
		for ; word != 0; word &= word - 1 {
			f(w*64 + bits.TrailingZeros64(word))
		}
	}
}
