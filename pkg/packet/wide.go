package packet

import (
	"encoding/binary"
	"math/bits"
	"net/netip"
	"slices"
)

// u128 is an address of either family as a number: what sweeps and sorts work
// on, because comparing a netip.Addr costs several times as much. The family is
// kept beside it: 0.0.0.1 and ::1 are both the number 1.
type u128 struct{ hi, lo uint64 }

var u128max = u128{^uint64(0), ^uint64(0)}

func numberOf(a netip.Addr) u128 {
	if a.Is4() {
		return u128{0, uint64(number4(a))}
	}
	b := a.As16()
	return u128{binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:])}
}

func number4(a netip.Addr) uint32 {
	b := a.As4()
	return binary.BigEndian.Uint32(b[:])
}

func addr4(n uint32) netip.Addr {
	return netip.AddrFrom4([4]byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)})
}

func (n u128) addr6() netip.Addr {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], n.hi)
	binary.BigEndian.PutUint64(b[8:], n.lo)
	return netip.AddrFrom16(b)
}

func (n u128) less(o u128) bool { return n.hi < o.hi || n.hi == o.hi && n.lo < o.lo }

// next is n+1; the highest number has none, and gives 0.
func (n u128) next() u128 {
	lo, carry := bits.Add64(n.lo, 1, 0)
	return u128{n.hi + carry, lo}
}

// prev is n-1; 0 has none, and gives the highest number.
func (n u128) prev() u128 {
	lo, borrow := bits.Sub64(n.lo, 1, 0)
	return u128{n.hi - borrow, lo}
}

func (n u128) sub(o u128) u128 {
	lo, borrow := bits.Sub64(n.lo, o.lo, 0)
	return u128{n.hi - o.hi - borrow, lo}
}

// lowOnes is the number whose lowest n bits are 1.
func lowOnes(n int) u128 {
	if n >= 64 {
		return u128{1<<(n-64) - 1, ^uint64(0)}
	}
	return u128{0, 1<<n - 1}
}

func (n u128) trailingZeros() int {
	if n.lo != 0 {
		return bits.TrailingZeros64(n.lo)
	}
	return 64 + bits.TrailingZeros64(n.hi)
}

// length is the number of bits that n takes.
func (n u128) length() int {
	if n.hi != 0 {
		return 64 + bits.Len64(n.hi)
	}
	return bits.Len64(n.lo)
}

// key6 is a place on the IPv6 line and what is there.
type key6 struct {
	at  u128
	ref uint32
}

// radixFrom is the length from which sorting digit by digit is the faster way.
const radixFrom = 512

// sort4 sorts keys by their upper 32 bits, an IPv4 address. Keys of one address
// come in no particular order. It returns the sorted keys, in keys or in spare,
// which is used if it is long enough.
func sort4(keys, spare []uint64) []uint64 {
	if len(keys) < radixFrom {
		slices.Sort(keys)
		return keys
	}
	if slices.IsSorted(keys) {
		return keys
	}
	if cap(spare) < len(keys) {
		spare = make([]uint64, len(keys))
	}
	from, to := keys, spare[:len(keys)]
	const digit = 11
	for shift := 32; shift < 64; shift += digit {
		var start [1 << digit]uint32
		for _, k := range from {
			start[k>>shift&(1<<digit-1)]++
		}
		if start[from[0]>>shift&(1<<digit-1)] == uint32(len(from)) {
			continue // all alike
		}
		sum := uint32(0)
		for i, n := range start {
			start[i], sum = sum, sum+n
		}
		for _, k := range from {
			d := k >> shift & (1<<digit - 1)
			to[start[d]] = k
			start[d]++
		}
		from, to = to, from
	}
	return from
}

// sort6 sorts keys by place. It returns the sorted keys, in keys or in spare,
// which is used if it is long enough.
func sort6(keys, spare []key6) []key6 {
	byPlace := func(a, b key6) int {
		switch {
		case a.at.less(b.at):
			return -1
		case b.at.less(a.at):
			return 1
		}
		return 0
	}
	if len(keys) < radixFrom {
		slices.SortFunc(keys, byPlace)
		return keys
	}
	// The addresses of one site share most of their digits: those need no pass.
	var differ u128
	sorted := true
	for i := range keys {
		differ.hi |= keys[i].at.hi ^ keys[0].at.hi
		differ.lo |= keys[i].at.lo ^ keys[0].at.lo
		sorted = sorted && (i == 0 || !keys[i].at.less(keys[i-1].at))
	}
	if sorted {
		return keys
	}
	if cap(spare) < len(keys) {
		spare = make([]key6, len(keys))
	}
	from, to := keys, spare[:len(keys)]
	for shift := 0; shift < 128; shift += 8 {
		if differ.digit(shift) == 0 {
			continue
		}
		var start [256]uint32
		for i := range from {
			start[from[i].at.digit(shift)]++
		}
		sum := uint32(0)
		for i, n := range start {
			start[i], sum = sum, sum+n
		}
		for i := range from {
			d := from[i].at.digit(shift)
			to[start[d]] = from[i]
			start[d]++
		}
		from, to = to, from
	}
	return from
}

// digit is the byte that begins at bit shift, a multiple of 8.
func (n u128) digit(shift int) byte {
	if shift >= 64 {
		return byte(n.hi >> (shift - 64))
	}
	return byte(n.lo >> shift)
}
