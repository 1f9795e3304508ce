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
	first := p.Addr()
	host := first.BitLen() - p.Bits()
	if host == 0 {
		return Range{first, first}
	}
	n, ones := numberOf(first), lowOnes(host)
	if first.Is4() {
		return Range{first, addr4(uint32(n.lo | ones.lo))}
	}
	return Range{first, u128{n.hi | ones.hi, n.lo | ones.lo}.addr6()}
}

// AddrsOf gives the set of the addresses in prefixes.
func AddrsOf(prefixes ...netip.Prefix) Addrs {
	if len(prefixes) > sortFrom {
		var b Builder
		for _, p := range prefixes {
			b.AddPrefix(p)
		}
		return b.Addrs()
	}
	if len(prefixes) == 0 {
		return Addrs{}
	}
	runs := make([]Range, len(prefixes))
	for i, p := range prefixes {
		runs[i] = PrefixRange(p)
	}
	return normal(runs)
}

// AddrRanges gives the set of the addresses in runs, in any order and
// overlapping. A run must not span both families.
func AddrRanges(runs []Range) Addrs {
	switch {
	case len(runs) == 0:
		return Addrs{}
	case isNormal(runs) || len(runs) <= sortFrom:
		return normal(slices.Clone(runs))
	}
	var b Builder
	b.AddSet(Addrs{runs}) // any order will do
	return b.Addrs()
}

// sortFrom is the number of runs from which a Builder is worth its while.
const sortFrom = 64

// isNormal reports whether runs are as a set keeps them.
func isNormal(runs []Range) bool {
	for i := 1; i < len(runs); i++ {
		if !runs[i-1].To.Less(runs[i].From) || touches(runs[i-1].To, runs[i].From) {
			return false
		}
	}
	return true
}

// normal sorts and merges runs in place, and makes a set of them.
func normal(runs []Range) Addrs {
	if isNormal(runs) {
		return Addrs{runs}
	}
	slices.SortFunc(runs, func(a, b Range) int {
		if c := a.From.Compare(b.From); c != 0 {
			return c
		}
		return a.To.Compare(b.To)
	})
	out := runs[:0]
	for _, r := range runs {
		if n := len(out); n > 0 && touches(out[n-1].To, r.From) {
			if out[n-1].To.Less(r.To) {
				out[n-1].To = r.To
			}
			continue
		}
		out = append(out, r)
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
	i := a.seek(0, ip)
	return i < len(a.runs) && !ip.Less(a.runs[i].From)
}

// seek returns the first run, from number i on, that does not end before ip. It
// looks near i first, so that walking along a set costs no more than its length,
// and skipping through it no more than the logarithm of what is skipped.
func (a Addrs) seek(i int, ip netip.Addr) int {
	lo, step := i, 1
	for i < len(a.runs) && a.runs[i].To.Less(ip) {
		lo = i + 1
		i += step
		step *= 2
	}
	for hi := min(i, len(a.runs)); lo < hi; {
		if m := int(uint(lo+hi) / 2); a.runs[m].To.Less(ip) {
			lo = m + 1
		} else {
			hi = m
		}
	}
	return lo
}

// count4 returns how many of the runs, the first ones, are IPv4.
func (a Addrs) count4() int {
	lo, hi := 0, len(a.runs)
	for lo < hi {
		if m := int(uint(lo+hi) / 2); a.runs[m].From.Is4() {
			lo = m + 1
		} else {
			hi = m
		}
	}
	return lo
}

// OfFamily gives the addresses of one family: IPv4, or IPv6. It costs nothing: the set
// that it gives shares what this one holds.
func (a Addrs) OfFamily(four bool) Addrs {
	n := a.count4()
	if four {
		return Addrs{a.runs[:n:n]}
	}
	return Addrs{a.runs[n:]}
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
	out := make([]Range, 0, len(a.runs)+len(o.runs))
	for i, j := 0, 0; i < len(a.runs) || j < len(o.runs); {
		var r Range
		if j == len(o.runs) || i < len(a.runs) && a.runs[i].From.Less(o.runs[j].From) {
			r = a.runs[i]
			i++
		} else {
			r = o.runs[j]
			j++
		}
		if n := len(out); n > 0 && touches(out[n-1].To, r.From) {
			if out[n-1].To.Less(r.To) {
				out[n-1].To = r.To
			}
			continue
		}
		out = append(out, r)
	}
	if len(out) <= cap(out)/2 {
		out = slices.Clone(out) // sets are kept for long: give back what was not needed
	}
	return Addrs{out}
}

// Intersect holds what both hold.
func (a Addrs) Intersect(o Addrs) Addrs {
	var out []Range
	for i, j := 0, 0; i < len(a.runs) && j < len(o.runs); {
		x, y := &a.runs[i], &o.runs[j]
		switch {
		case x.To.Less(y.From):
			i = a.seek(i+1, y.From)
			continue
		case y.To.Less(x.From):
			j = o.seek(j+1, x.From)
			continue
		}
		r := *x
		if r.From.Less(y.From) {
			r.From = y.From
		}
		if y.To.Less(r.To) {
			r.To = y.To
		}
		out = append(out, r)
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
		x, y := &a.runs[i], &o.runs[j]
		switch {
		case x.To.Less(y.From):
			i = a.seek(i+1, y.From)
		case y.To.Less(x.From):
			j = o.seek(j+1, x.From)
		default:
			return true
		}
	}
	return false
}

// Subtract holds what a holds and o does not.
func (a Addrs) Subtract(o Addrs) Addrs {
	if len(a.runs) == 0 || len(o.runs) == 0 {
		return a
	}
	room := len(a.runs)
	if room <= fewRuns { // all that nobody holds is two runs cut by a million
		for _, x := range a.runs {
			first := o.seek(0, x.From)
			room += min(o.seek(first, x.To)+1, len(o.runs)) - first
		}
	}
	out := make([]Range, 0, room)
	j := 0
	for _, x := range a.runs {
		lo, open := x.From, true
		j = o.seek(j, lo)
		for k := j; k < len(o.runs) && !x.To.Less(o.runs[k].From); k++ {
			y := &o.runs[k]
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
	if len(out) == 0 {
		return Addrs{}
	}
	return Addrs{out}
}

// fewRuns is up to how many runs it is worth while to look where they lie.
const fewRuns = 4

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
	lo, hi := numberOf(r.From), numberOf(r.To)
	for {
		// The widest prefix that begins here and does not end beyond hi.
		free := min(lo.trailingZeros(), width)
		if left := hi.sub(lo).next(); left != (u128{}) {
			free = min(free, left.length()-1)
		}
		first := addr4(uint32(lo.lo))
		if width == 128 {
			first = lo.addr6()
		}
		out = append(out, netip.PrefixFrom(first, width-free))
		ones := lowOnes(free)
		last := u128{lo.hi | ones.hi, lo.lo | ones.lo}
		if last == hi {
			return out
		}
		lo = last.next()
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
