package inventory

import (
	"cmp"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
)

// ParsePrefix reads an address or a prefix of either family and returns it in
// canonical form: a bare address becomes a /32 or a /128, and host bits beyond
// the prefix length must be zero. IPv4-mapped IPv6 (RFC 4291 section 2.5.5.2)
// and zoned addresses (RFC 4007) are refused: the first would give one host two
// spellings that devices match differently, the second means nothing outside
// one machine.
func ParsePrefix(s string) (netip.Prefix, error) {
	if !strings.Contains(s, "/") {
		a, err := ParseAddr(s)
		if err != nil {
			return netip.Prefix{}, err
		}
		return HostPrefix(a), nil
	}
	head, _, _ := strings.Cut(s, "/")
	if _, err := ParseAddr(head); err != nil {
		return netip.Prefix{}, fmt.Errorf("%q is not a prefix: %w", s, err)
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("%q is not a prefix: the length must be a number from 0 to 32 (IPv4) or 128 (IPv6)", s)
	}
	if m := p.Masked(); m != p {
		return netip.Prefix{}, fmt.Errorf("%q has bits set beyond its prefix length; the network is %s, the host %s", s, m, HostPrefix(p.Addr()))
	}
	return p, nil
}

// ParseAddr reads one address of either family, and refuses IPv4-mapped IPv6
// and zoned addresses like ParsePrefix.
func ParseAddr(s string) (netip.Addr, error) {
	a, err := netip.ParseAddr(s)
	switch {
	case err != nil:
		return netip.Addr{}, fmt.Errorf("%q is not an IPv4 or IPv6 address", s)
	case a.Zone() != "":
		return netip.Addr{}, fmt.Errorf("%q has a zone; an address in a site must mean the same on every machine", s)
	case a.Is4In6():
		return netip.Addr{}, fmt.Errorf("%q is an IPv4-mapped IPv6 address; write %s", s, a.Unmap())
	}
	return a, nil
}

// HostPrefix returns the /32 or /128 that holds a alone.
func HostPrefix(a netip.Addr) netip.Prefix { return netip.PrefixFrom(a, a.BitLen()) }

// IsHost reports whether p holds one address.
func IsHost(p netip.Prefix) bool { return p.IsValid() && p.Bits() == p.Addr().BitLen() }

// FormatPrefix writes a host as its bare address and anything else as a prefix:
// the form in which people write and read them.
func FormatPrefix(p netip.Prefix) string {
	if IsHost(p) {
		return p.Addr().String()
	}
	return p.String()
}

// AppendPrefix appends what FormatPrefix writes.
func AppendPrefix(b []byte, p netip.Prefix) []byte {
	if IsHost(p) {
		return p.Addr().AppendTo(b)
	}
	return p.AppendTo(b)
}

// ComparePrefix orders prefixes: IPv4 first, then by address, the wider first.
func ComparePrefix(a, b netip.Prefix) int {
	if c := a.Addr().Compare(b.Addr()); c != 0 {
		return c
	}
	return cmp.Compare(a.Bits(), b.Bits())
}

// ParseMAC reads a 48-bit MAC address in any of the usual notations and returns
// it in lower case with colons. Multicast and all-zero addresses are refused:
// they belong to no machine.
func ParseMAC(s string) (string, error) {
	m, err := net.ParseMAC(s)
	if err != nil || len(m) != 6 {
		return "", fmt.Errorf("%q is not a MAC address; write six pairs of hexadecimal digits, %q", s, "00:1b:1b:12:34:56")
	}
	if m[0]&1 != 0 {
		return "", fmt.Errorf("%q is a multicast or broadcast MAC address, which belongs to no machine", s)
	}
	if slices.Max(m) == 0 {
		return "", fmt.Errorf("%q is the empty MAC address, which belongs to no machine", s)
	}
	return m.String(), nil
}

// sortPrefixes sorts ps and drops repeats, in place.
func sortPrefixes(ps []netip.Prefix) []netip.Prefix {
	slices.SortFunc(ps, ComparePrefix)
	return slices.Compact(ps)
}
