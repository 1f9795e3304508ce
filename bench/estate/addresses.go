package estate

import (
	"encoding/binary"
	"math/bits"
	"net/netip"
)

// The spaces that hosts are strewn over, and how far apart two of them are at
// most. The gaps are addresses that nobody holds.
const (
	base4, gap4 = 10 << 24, 8
	high6       = 0x2001_0db8_0000_0001 // 2001:db8:0:1::/64
	base6, gap6 = 1 << 16, 4096
	everyIPv6   = 5 // every fifth host has an IPv6 address
)

func addr4(n uint64) netip.Addr {
	return netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, uint32(n))))
}

func addr6(n uint64) netip.Addr {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:], high6)
	binary.BigEndian.PutUint64(b[8:], n)
	return netip.AddrFrom16(b)
}

// addresses gives each of n hosts one address. They ascend within each family;
// a mixed estate has an IPv6 address at every fifth place.
func addresses(r *random, n int, mixed bool) []netip.Addr {
	out := make([]netip.Addr, n)
	at4, at6 := uint64(base4), uint64(base6)
	for i := range out {
		if mixed && i%everyIPv6 == everyIPv6-1 {
			at6 += 1 + uint64(r.below(gap6))
			out[i] = addr6(at6)
			continue
		}
		at4 += 1 + uint64(r.below(gap4))
		out[i] = addr4(at4)
	}
	return out
}

// number is an address's place in its space.
func number(a netip.Addr) uint64 {
	if a.Is4() {
		b := a.As4()
		return uint64(binary.BigEndian.Uint32(b[:]))
	}
	b := a.As16()
	return binary.BigEndian.Uint64(b[8:])
}

// cover returns the prefixes that hold the addresses from one to another, both
// included, and no others, in order.
func cover(from, to netip.Addr) []netip.Prefix {
	make, width := addr6, 128
	if from.Is4() {
		make, width = addr4, 32
	}
	var out []netip.Prefix
	lo, hi := number(from), number(to)
	for lo <= hi {
		// The widest block that begins at lo and ends before hi.
		n := bits.TrailingZeros64(lo)
		for n > 0 && (n > 62 || lo+1<<n-1 > hi) {
			n--
		}
		out = append(out, netip.PrefixFrom(make(lo), width-n))
		lo += 1 << n
	}
	return out
}
