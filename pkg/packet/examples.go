package packet

import "net/netip"

// strangers are the addresses of documentation (RFC 5737, RFC 3849): they stand
// for anybody.
func strangers() []netip.Addr {
	return []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2"), netip.MustParseAddr("2001:db8:ffff::1"), netip.MustParseAddr("2001:db8:ffff::2")}
}

// Examples lists some addresses of a set that is not empty, the most readable
// first: of a large set a stranger, and always both of its ends.
func (a Addrs) Examples() []netip.Addr {
	var out []netip.Addr
	for _, s := range strangers() {
		if a.Contains(s) {
			out = append(out, s)
		}
	}
	runs := a.Runs()
	first, last := runs[0].From, runs[len(runs)-1].To
	if next := first.Next(); a.Contains(next) && netip.PrefixFrom(first, first.BitLen()-2).Masked().Addr() == first {
		out = append(out, next) // the first address of a network is seldom a machine's
	}
	if len(runs) > 1 {
		out = append(out, runs[1].From)
	}
	return append(out, first, last)
}

// Example picks a point of a set that is not empty, one that people know how to
// read: a port of TCP before a bare protocol number.
func (s Services) Example() uint32 {
	for _, best := range []uint32{Point(6, 443), Point(6, 80)} {
		if s.Contains(best) {
			return best
		}
	}
	for _, proto := range []uint8{6, 17} {
		in := s.Intersect(Services{{Lo: Point(proto, 1), Hi: Point(proto, 65535)}})
		if len(in) > 0 {
			return in[0].Lo
		}
	}
	return s[0].Lo
}
