package packet

import (
	"fmt"
	"strings"

	"bulkhead/pkg/policy"
)

// MaxService is the last point of the service line.
const MaxService = 1<<24 - 1

// Span is a run of the service line, both ends included. A point is
// protocol<<16 | the 16-bit number that the protocol is told apart by: the
// destination port for TCP, UDP, SCTP, DCCP and UDP-Lite, type<<8|code for ICMP
// and ICMPv6. Other protocols use their whole 16-bit range at once.
type Span struct{ Lo, Hi uint32 }

// Services is a canonical set of services: sorted, disjoint, and merged where
// adjacent. Nil is the empty set, which permits nothing.
type Services []Span

// Point gives the place of one protocol and number on the line.
func Point(proto uint8, num uint16) uint32 { return uint32(proto)<<16 | uint32(num) }

// AllServices is every protocol and every number.
func AllServices() Services { return Services{{0, MaxService}} }

// ServicesOf turns ranges, in any order and overlapping, into a set.
func ServicesOf(ranges []policy.Range) Services {
	spans := make([]Span, 0, len(ranges))
	for _, r := range ranges {
		if r.Lo <= r.Hi {
			spans = append(spans, Span{Point(r.Proto, r.Lo), Point(r.Proto, r.Hi)})
		}
	}
	return Spans(spans)
}

// Spans turns spans, in any order and overlapping, into a set.
func Spans(spans []Span) Services {
	sorted := append([]Span(nil), spans...)
	sortSpans(sorted)
	var out Services
	for _, s := range sorted {
		if n := len(out); n > 0 && uint64(s.Lo) <= uint64(out[n-1].Hi)+1 {
			if s.Hi > out[n-1].Hi {
				out[n-1].Hi = s.Hi
			}
			continue
		}
		out = append(out, s)
	}
	return out
}

// IsEmpty reports whether the set holds nothing.
func (s Services) IsEmpty() bool { return len(s) == 0 }

// Contains reports whether the set holds the point.
func (s Services) Contains(p uint32) bool {
	lo, hi := 0, len(s)
	for lo < hi {
		if m := (lo + hi) / 2; s[m].Hi < p {
			lo = m + 1
		} else {
			hi = m
		}
	}
	return lo < len(s) && s[lo].Lo <= p
}

// Equal reports whether both hold the same points.
func (s Services) Equal(o Services) bool {
	if len(s) != len(o) {
		return false
	}
	for i := range s {
		if s[i] != o[i] {
			return false
		}
	}
	return true
}

// Union holds what either holds.
func (s Services) Union(o Services) Services {
	switch {
	case len(s) == 0:
		return o
	case len(o) == 0:
		return s
	}
	out := make(Services, 0, len(s)+len(o))
	for i, j := 0, 0; i < len(s) || j < len(o); {
		var next Span
		if j == len(o) || i < len(s) && s[i].Lo <= o[j].Lo {
			next, i = s[i], i+1
		} else {
			next, j = o[j], j+1
		}
		if n := len(out); n > 0 && uint64(next.Lo) <= uint64(out[n-1].Hi)+1 {
			out[n-1].Hi = max(out[n-1].Hi, next.Hi)
			continue
		}
		out = append(out, next)
	}
	return out
}

// Intersect holds what both hold.
func (s Services) Intersect(o Services) Services {
	var out Services
	for i, j := 0, 0; i < len(s) && j < len(o); {
		lo, hi := max(s[i].Lo, o[j].Lo), min(s[i].Hi, o[j].Hi)
		if lo <= hi {
			out = append(out, Span{lo, hi})
		}
		if s[i].Hi < o[j].Hi {
			i++
		} else {
			j++
		}
	}
	return out
}

// Subtract holds what s holds and o does not.
func (s Services) Subtract(o Services) Services {
	var out Services
	j := 0
	for _, a := range s {
		lo := a.Lo
		for j < len(o) && o[j].Hi < lo {
			j++
		}
		k := j
		open := true
		for ; k < len(o) && o[k].Lo <= a.Hi; k++ {
			if o[k].Lo > lo {
				out = append(out, Span{lo, o[k].Lo - 1})
			}
			if o[k].Hi >= a.Hi {
				open = false
				break
			}
			lo = max(lo, o[k].Hi+1)
		}
		if open && lo <= a.Hi {
			out = append(out, Span{lo, a.Hi})
		}
	}
	return out
}

// String prints the set as literals that a site's files accept.
func (s Services) String() string {
	if len(s) == 1 && s[0] == (Span{0, MaxService}) {
		return "any"
	}
	if len(s) == 0 {
		return "nothing"
	}
	var parts []string
	for _, sp := range s {
		parts = append(parts, spanLiterals(sp)...)
	}
	return strings.Join(parts, " ")
}

// Text is String for people: a set of almost everything prints as what it lacks.
func (s Services) Text() string {
	if lacks := AllServices().Subtract(s); len(lacks) > 0 && len(lacks) < len(s) {
		return "any but " + lacks.String()
	}
	return s.String()
}

var portNames = map[uint8]string{6: "tcp", 17: "udp", 132: "sctp", 33: "dccp", 136: "udplite"}

// HasPorts reports whether the protocol's number on the line is a port.
func HasPorts(proto uint8) bool { return portNames[proto] != "" }

// IsICMP reports whether the protocol's number on the line is type<<8|code.
func IsICMP(proto uint8) bool { return proto == 1 || proto == 58 }

// spanLiterals cuts a span at protocol bounds and names each piece.
func spanLiterals(sp Span) []string {
	var out []string
	for lo := sp.Lo; ; {
		hi := min(sp.Hi, lo|0xffff)
		if lo&0xffff == 0 && sp.Hi >= lo|0xffff {
			// Whole protocols print as one run, so that "any but TCP" stays readable.
			last := lo >> 16
			for last < 255 && sp.Hi >= (last+1)<<16|0xffff {
				last++
			}
			if first := lo >> 16; last-first > 3 {
				out = append(out, fmt.Sprintf("proto/%d-%d", first, last))
				hi = last<<16 | 0xffff
			} else {
				out = append(out, pieceLiteral(lo, hi))
			}
		} else {
			out = append(out, pieceLiteral(lo, hi))
		}
		if hi >= sp.Hi {
			return out
		}
		lo = hi + 1
	}
}

func pieceLiteral(lo, hi uint32) string {
	proto, a, b := uint8(lo>>16), lo&0xffff, hi&0xffff
	if name := portNames[proto]; name != "" {
		switch {
		case a == 0 && b == 0xffff:
			return name
		case a == b:
			return fmt.Sprintf("%s/%d", name, a)
		}
		return fmt.Sprintf("%s/%d-%d", name, a, b)
	}
	if IsICMP(proto) {
		name := "icmp"
		if proto == 58 {
			name = "icmpv6"
		}
		switch {
		case a == 0 && b == 0xffff:
			return name
		case a>>8 == b>>8 && a&0xff == 0 && b&0xff == 0xff:
			return fmt.Sprintf("%s/%d", name, a>>8)
		case a == b:
			return fmt.Sprintf("%s/%d:%d", name, a>>8, a&0xff)
		}
		return fmt.Sprintf("%s/%d:%d-%d:%d", name, a>>8, a&0xff, b>>8, b&0xff)
	}
	return fmt.Sprintf("proto/%d", proto)
}
