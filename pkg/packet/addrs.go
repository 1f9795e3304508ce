package packet

import (
	"net/netip"
	"slices"
	"strings"
)

// Range is a run of addresses of one family, both ends included.
type Range struct{ From, To netip.Addr }

// Addrs is a canonical set of addresses of both families: IPv4 before IPv6,
// sorted, disjoint, and merged where adjacent. The zero value is the empty set.
type Addrs struct{ runs []Range }

var (
	v4first = netip.AddrFrom4([4]byte{})
	v4last  = netip.AddrFrom4([4]byte{255, 255, 255, 255})
	v6first = netip.IPv6Unspecified()
	v6last  = netip.AddrFrom16([16]byte{255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255})
)

// AllAddrs is every address of both families.
func AllAddrs() Addrs { return Addrs{[]Range{{v4first, v4last}, {v6first, v6last}}} }

// PrefixRange gives the first and the last address of a prefix.
func PrefixRange(p netip.Prefix) Range {
	p = p.Masked()
	b := p.Addr().As16()
	bits := p.Bits()
	if p.Addr().Is4() {
		bits += 96
	}
	for i := bits; i < 128; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	last := netip.AddrFrom16(b)
	if p.Addr().Is4() {
		last = last.Unmap()
	}
	return Range{p.Addr(), last}
}

// AddrsOf gives the set of the addresses in prefixes.
func AddrsOf(prefixes ...netip.Prefix) Addrs {
	runs := make([]Range, len(prefixes))
	for i, p := range prefixes {
		runs[i] = PrefixRange(p)
	}
	return AddrRanges(runs)
}

// AddrRanges gives the set of the addresses in runs, in any order and
// overlapping. A run must not span both families.
func AddrRanges(runs []Range) Addrs {
	sorted := slices.Clone(runs)
	slices.SortFunc(sorted, func(a, b Range) int {
		if c := a.From.Compare(b.From); c != 0 {
			return c
		}
		return a.To.Compare(b.To)
	})
	out := sorted[:0]
	for _, r := range sorted {
		if n := len(out); n > 0 && touches(out[n-1].To, r.From) {
			if out[n-1].To.Less(r.To) {
				out[n-1].To = r.To
			}
			continue
		}
		out = append(out, r)
	}
	if len(out) == 0 {
		return Addrs{}
	}
	return Addrs{out}
}

// touches reports whether a run that starts at from continues one that ends at
// to. Families never touch: 255.255.255.255 has no successor.
func touches(to, from netip.Addr) bool {
	if to.Is4() != from.Is4() {
		return false
	}
	if !to.Less(from) {
		return true
	}
	return to.Next() == from
}

// Runs returns the runs in order. The caller must not change them.
func (a Addrs) Runs() []Range { return a.runs }

// IsEmpty reports whether the set holds nothing.
func (a Addrs) IsEmpty() bool { return len(a.runs) == 0 }

// Equal reports whether both hold the same addresses.
func (a Addrs) Equal(o Addrs) bool { return slices.Equal(a.runs, o.runs) }

// Contains reports whether the set holds the address.
func (a Addrs) Contains(ip netip.Addr) bool {
	i, found := slices.BinarySearchFunc(a.runs, ip, func(r Range, ip netip.Addr) int {
		if r.To.Less(ip) {
			return -1
		}
		if ip.Less(r.From) {
			return 1
		}
		return 0
	})
	return found && i < len(a.runs)
}

// First returns the lowest address. It is invalid for the empty set.
func (a Addrs) First() netip.Addr {
	if len(a.runs) == 0 {
		return netip.Addr{}
	}
	return a.runs[0].From
}

// Single reports whether the set is exactly one address.
func (a Addrs) Single() bool { return len(a.runs) == 1 && a.runs[0].From == a.runs[0].To }

// Union holds what either holds.
func (a Addrs) Union(o Addrs) Addrs {
	switch {
	case len(a.runs) == 0:
		return o
	case len(o.runs) == 0:
		return a
	}
	return AddrRanges(append(slices.Clone(a.runs), o.runs...))
}

// Intersect holds what both hold.
func (a Addrs) Intersect(o Addrs) Addrs {
	var out []Range
	for i, j := 0, 0; i < len(a.runs) && j < len(o.runs); {
		x, y := a.runs[i], o.runs[j]
		lo, hi := x.From, x.To
		if lo.Less(y.From) {
			lo = y.From
		}
		if y.To.Less(hi) {
			hi = y.To
		}
		if !hi.Less(lo) && lo.Is4() == hi.Is4() {
			out = append(out, Range{lo, hi})
		}
		if x.To.Less(y.To) {
			i++
		} else {
			j++
		}
	}
	return Addrs{out}
}

// Overlaps reports whether the two sets share an address.
func (a Addrs) Overlaps(o Addrs) bool {
	for i, j := 0, 0; i < len(a.runs) && j < len(o.runs); {
		x, y := a.runs[i], o.runs[j]
		if !x.To.Less(y.From) && !y.To.Less(x.From) {
			return true
		}
		if x.To.Less(y.To) {
			i++
		} else {
			j++
		}
	}
	return false
}

// Subtract holds what a holds and o does not.
func (a Addrs) Subtract(o Addrs) Addrs {
	var out []Range
	j := 0
	for _, x := range a.runs {
		lo, open := x.From, true
		for j < len(o.runs) && o.runs[j].To.Less(lo) {
			j++
		}
		for k := j; k < len(o.runs) && !x.To.Less(o.runs[k].From); k++ {
			y := o.runs[k]
			if lo.Less(y.From) {
				out = append(out, Range{lo, y.From.Prev()})
			}
			if !y.To.Less(x.To) {
				open = false
				break
			}
			if next := y.To.Next(); lo.Less(next) {
				lo = next
			}
		}
		if open && !x.To.Less(lo) {
			out = append(out, Range{lo, x.To})
		}
	}
	return Addrs{out}
}

// Prefixes returns the smallest list of prefixes that covers the set exactly.
func (a Addrs) Prefixes() []netip.Prefix {
	var out []netip.Prefix
	for _, r := range a.runs {
		out = appendPrefixes(out, r)
	}
	return out
}

func appendPrefixes(out []netip.Prefix, r Range) []netip.Prefix {
	width := r.From.BitLen()
	for lo := r.From; ; {
		bits := width
		for bits > 0 {
			wider := netip.PrefixFrom(lo, bits-1).Masked()
			if wider.Addr() != lo || r.To.Less(PrefixRange(wider).To) {
				break
			}
			bits--
		}
		p := netip.PrefixFrom(lo, bits)
		out = append(out, p)
		last := PrefixRange(p).To
		if !last.Less(r.To) {
			return out
		}
		lo = last.Next()
	}
}

// Key is equal for equal sets only, and cheap: for use as a map key.
func (a Addrs) Key() string {
	out := make([]byte, 0, 34*len(a.runs))
	for _, r := range a.runs {
		for _, x := range []netip.Addr{r.From, r.To} {
			b := x.As16()
			out = append(out, b[:]...)
		}
		out = append(out, byte(r.From.BitLen()))
	}
	return string(out)
}

// String prints the set as prefixes and ranges, whichever is shorter.
func (a Addrs) String() string {
	if len(a.runs) == 0 {
		return "nothing"
	}
	parts := make([]string, len(a.runs))
	for i, r := range a.runs {
		parts[i] = r.String()
	}
	return strings.Join(parts, " ")
}

// String prints one address, a prefix, or first-last.
func (r Range) String() string {
	if r.From == r.To {
		return r.From.String()
	}
	if ps := appendPrefixes(nil, r); len(ps) == 1 {
		return ps[0].String()
	}
	return r.From.String() + "-" + r.To.String()
}
