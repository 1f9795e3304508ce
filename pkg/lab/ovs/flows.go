package ovs

import (
	"fmt"
	"math/bits"
	"slices"
	"strings"

	"bulkhead/pkg/lab"
)

// Priorities of the flows of one port and direction. Entries lie between them, the first
// one highest.
const (
	fencePriority = 65535
	firstEntry    = 65000
	dropPriority  = 10 // a family that no entry decides
	passPriority  = 1
)

// upOffset makes the number of a port's cable to the bridge l2 from the port's own.
const upOffset = 1000

// maxPorts is how many ports a switch has at most: more than any test needs, and few
// enough that each may send fences to all others.
const maxPorts = 250

// flows writes the table of the bridge acl, in ovs-ofctl's notation, one flow a line.
// The same lists give the same text. It fails where the lists say what cannot be done
// exactly.
func flows(a ACLs, ports int) (string, error) {
	if err := a.check(ports); err != nil {
		return "", err
	}
	var b strings.Builder
	for port := 1; port <= ports; port++ {
		if out := others(port, ports); out != "" {
			fmt.Fprintf(&b, "priority=%d,in_port=%d,dl_type=0x%04x,actions=%s\n", fencePriority, port, lab.FenceType, out)
		}
		for _, d := range []Direction{In, Out} {
			from, to := port, port+upOffset
			if d == Out {
				from, to = to, from
			}
			pass := fmt.Sprintf("output:%d", to)
			for i := range a {
				if a[i].Port == port && a[i].Direction == d {
					a[i].flows(&b, from, pass)
				}
			}
			fmt.Fprintf(&b, "priority=%d,in_port=%d,actions=%s\n", passPriority, from, pass)
		}
	}
	return b.String(), nil
}

// others outputs to all ports but one.
func others(port, ports int) string {
	var out []string
	for p := 1; p <= ports; p++ {
		if p != port {
			out = append(out, fmt.Sprintf("output:%d", p))
		}
	}
	return strings.Join(out, ",")
}

func (l *List) flows(b *strings.Builder, from int, pass string) {
	for i := range l.Entries {
		action := "drop"
		if l.Entries[i].Permit {
			action = pass
		}
		for _, match := range l.Entries[i].matches() {
			fmt.Fprintf(b, "priority=%d,in_port=%d,%s,actions=%s\n", firstEntry-i, from, match, action)
		}
	}
	if l.Drop4 {
		fmt.Fprintf(b, "priority=%d,in_port=%d,ip,actions=drop\n", dropPriority, from)
	}
	if l.Drop6 {
		fmt.Fprintf(b, "priority=%d,in_port=%d,ipv6,actions=drop\n", dropPriority, from)
	}
}

// matches writes what an entry matches. It is several matches where a range of ports
// needs several masks; they have one action, so it matters not which of them a packet
// meets.
func (e *Entry) matches() []string {
	out := []string{fmt.Sprintf("dl_type=0x%04x", e.Ethertype)}
	if e.Proto != nil {
		out[0] += fmt.Sprintf(",nw_proto=%d", *e.Proto)
	}
	source, destination := "nw_src", "nw_dst"
	if e.Ethertype == IPv6 {
		source, destination = "ipv6_src", "ipv6_dst"
	}
	if e.Src.IsValid() {
		out[0] += fmt.Sprintf(",%s=%s", source, e.Src.Masked())
	}
	if e.Dst.IsValid() {
		out[0] += fmt.Sprintf(",%s=%s", destination, e.Dst.Masked())
	}
	if e.Type != nil {
		out[0] += fmt.Sprintf(",%s=%d", e.icmpField("type"), *e.Type)
	}
	if e.Code != nil {
		out[0] += fmt.Sprintf(",%s=%d", e.icmpField("code"), *e.Code)
	}
	out[0] += e.fragments()
	out = each(out, "tp_src", masks(e.SrcPorts))
	out = each(out, "tp_dst", masks(e.DstPorts))
	return e.controlBits(out)
}

func (e *Entry) icmpField(what string) string {
	if e.Ethertype == IPv6 {
		return "icmpv6_" + what
	}
	return "icmp_" + what
}

// fragments writes which fragments match. Open vSwitch takes 0 for the ports of a later
// one, which an entry about port 0 must not match.
func (e *Entry) fragments() string {
	deep := len(e.SrcPorts) > 0 || len(e.DstPorts) > 0 || e.Type != nil || e.Established || e.Flags != 0
	switch e.Fragments {
	case WholePacket:
		return ",ip_frag=no"
	case AnyPiece:
		if !deep {
			return ",ip_frag=yes"
		}
		return ",ip_frag=first"
	case FirstPiece:
		return ",ip_frag=first"
	case LaterPiece:
		return ",ip_frag=later"
	case NotLater:
		return ",ip_frag=not_later"
	}
	if deep {
		return ",ip_frag=not_later"
	}
	return ""
}

// each multiplies matches by the values of a field; none leaves them as they are.
func each(matches []string, field string, values []string) []string {
	if len(values) == 0 {
		return matches
	}
	var out []string
	for _, m := range matches {
		for _, v := range values {
			out = append(out, m+","+field+"="+v)
		}
	}
	return out
}

// Control bits that Established is about.
const (
	rst = 0x04
	ack = 0x10
)

func (e *Entry) controlBits(matches []string) []string {
	var values []string
	switch {
	case e.Established:
		for _, one := range []uint8{ack, rst} {
			all := one | e.Flags
			values = append(values, fmt.Sprintf("0x%03x/0x%03x", all, all))
		}
	case e.Flags != 0:
		values = []string{fmt.Sprintf("0x%03x/0x%03x", e.Flags, e.Flags)}
	}
	return each(matches, "tcp_flags", slices.Compact(values))
}

// masks splits ranges of ports into values with masks, as few as one range allows.
func masks(list []Ports) []string {
	var out []string
	for _, p := range list {
		for at, end := int(p.From), int(p.To); at <= end; {
			size := 1 << 16
			if at > 0 {
				size = 1 << bits.TrailingZeros(uint(at))
			}
			for at+size-1 > end {
				size /= 2
			}
			out = append(out, fmt.Sprintf("0x%04x/0x%04x", at, 0xffff&^(size-1)))
			at += size
		}
	}
	return out
}
