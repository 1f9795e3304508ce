package ruleset

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// part is one part of a key or of data as nft names it: how long it is and how
// nft writes it. Host says that the bytes are in host order, except in the keys
// of interval sets, which nft keeps big-endian.
type part struct {
	size  int // bytes; padded to four in a concatenation
	host  bool
	print func(v []byte) string // v is big-endian where it is a number
}

// partOf finds a part by its name in a `type` or `typeof` declaration. What it
// does not know is printed in hexadecimal, and takes the rest of the key.
func partOf(name string) part {
	switch name {
	case "ipv4_addr", "ip saddr", "ip daddr", "ct original ip saddr", "ct original ip daddr",
		"ct reply ip saddr", "ct reply ip daddr":
		return part{size: 4, print: printAddr}
	case "ipv6_addr", "ip6 saddr", "ip6 daddr", "ct original ip6 saddr", "ct original ip6 daddr",
		"ct reply ip6 saddr", "ct reply ip6 daddr":
		return part{size: 16, print: printAddr}
	case "ether_addr", "ether saddr", "ether daddr":
		return part{size: 6, print: printEther}
	case "mark", "meta mark", "ct mark":
		return part{size: 4, host: true, print: printHex}
	case "meta length", "meta iif", "meta oif", "iif", "oif":
		return part{size: 4, host: true, print: printDecimal}
	case "classid", "meta priority":
		return part{size: 4, host: true, print: printClassID}
	case "inet_proto", "meta l4proto", "ip protocol", "ip6 nexthdr":
		return part{size: 1, print: printProto}
	case "nf_proto", "meta nfproto":
		return part{size: 1, print: printFamily}
	case "inet_service", "th dport", "th sport", "tcp dport", "tcp sport", "udp dport", "udp sport",
		"ct original proto-src", "ct original proto-dst", "ct reply proto-src", "ct reply proto-dst":
		return part{size: 2, print: printDecimal}
	case "icmp_type", "icmpv6_type", "icmp type", "icmpv6 type":
		return part{size: 1, print: printDecimal}
	case "ifname", "meta iifname", "meta oifname", "iifname", "oifname":
		return part{size: 16, print: printName}
	}
	return part{print: func(v []byte) string { return "0x" + hex.EncodeToString(v) }}
}

func printAddr(v []byte) string {
	a, _ := netip.AddrFromSlice(v)
	return a.String()
}

func printEther(v []byte) string {
	var parts []string
	for _, b := range v {
		parts = append(parts, fmt.Sprintf("%02x", b))
	}
	return strings.Join(parts, ":")
}

func number(v []byte) (n uint64) {
	for _, b := range v {
		n = n<<8 | uint64(b)
	}
	return n
}

func printHex(v []byte) string     { return "0x" + strconv.FormatUint(number(v), 16) }
func printDecimal(v []byte) string { return strconv.FormatUint(number(v), 10) }

// printClassID writes a traffic control handle, major:minor in hexadecimal.
func printClassID(v []byte) string {
	switch n := uint32(number(v)); n {
	case 0:
		return "none"
	case 0xffffffff:
		return "root"
	default:
		return fmt.Sprintf("%x:%x", n>>16, n&0xffff)
	}
}

// printProto uses the words of nft's grammar only: others would need
// /etc/protocols on the machine that loads the text.
func printProto(v []byte) string {
	switch n := number(v); n {
	case 1:
		return "icmp"
	case 6:
		return "tcp"
	case 17:
		return "udp"
	case 33:
		return "dccp"
	case 58:
		return "icmpv6"
	case 132:
		return "sctp"
	case 136:
		return "udplite"
	default:
		return strconv.FormatUint(n, 10)
	}
}

func printFamily(v []byte) string {
	switch n := number(v); n {
	case uint64(FamilyIPv4):
		return "ipv4"
	case uint64(FamilyIPv6):
		return "ipv6"
	default:
		return strconv.FormatUint(n, 10)
	}
}

func printName(v []byte) string {
	if i := bytes.IndexByte(v, 0); i >= 0 {
		v = v[:i]
	}
	return quote(string(v))
}

// quote writes a string literal. nft has no escapes: what would end the literal
// or the line, or drive a terminal, becomes a dot.
func quote(s string) string {
	return `"` + strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == '"' || r == '\\' || (r >= 0x80 && r < 0xa0) {
			return '.'
		}
		return r
	}, s) + `"`
}

// typeOf takes a declaration apart: the parts of the key and of the data.
func typeOf(text string) (key, data []part) {
	if text == "" { // not rendered: bytes
		return []part{partOf("")}, []part{partOf("")}
	}
	text = strings.TrimSpace(text)
	text = strings.TrimPrefix(strings.TrimPrefix(text, "typeof "), "type ")
	k, d, _ := strings.Cut(text, " : ")
	return partsOf(k), partsOf(d)
}

func partsOf(s string) (out []part) {
	if strings.TrimSpace(s) == "" {
		return nil
	}
	for name := range strings.SplitSeq(s, " . ") {
		out = append(out, partOf(strings.TrimSpace(name)))
	}
	return out
}

// fields cuts the bytes of a key into its parts, each big-endian where it is a
// number. flip says that numbers in host order are to be turned.
func fields(parts []part, v []byte, flip bool) [][]byte {
	out := make([][]byte, 0, len(parts))
	for i, p := range parts {
		n := p.size
		if n == 0 || n > len(v) {
			n = len(v)
		}
		f := bytes.Clone(v[:n])
		if p.host && flip && n == 4 {
			binary.BigEndian.PutUint32(f, binary.NativeEndian.Uint32(f))
		}
		out = append(out, f)
		if i+1 < len(parts) {
			n = (n + 3) &^ 3
		}
		v = v[min(n, len(v)):]
	}
	return out
}
