package render

import (
	"net/netip"

	"bulkhead/pkg/driver/portacl"
	"bulkhead/pkg/packet"
)

// rule is a line of a cover: the first that holds an address decides.
type rule struct {
	prefix netip.Prefix
	in     bool
}

// cover writes a set of one family as the shortest list of prefixes of which the first that
// holds an address tells whether it is in the set; of what none holds nothing is said. A hole
// in a prefix is a line before it, and not the dozens of prefixes around the hole. It is the
// construction of Draves, King, Venkatachary and Zill, "Constructing Optimal IP Routing
// Tables", for two next hops, of which one is the default.
func cover(set packet.Addrs, four bool) []rule {
	if set.IsEmpty() {
		return nil
	}
	root := grow(set, everybody(four))
	return root.write(everybody(four), false, nil)
}

// node is a prefix in which some addresses are in the set and some are not.
type node struct {
	in, out bool // whether the prefix may be taken for in, or out, at no cost
	kids    [2]*node
}

func grow(set packet.Addrs, p netip.Prefix) *node {
	here := set.Intersect(packet.AddrsOf(p))
	switch {
	case here.IsEmpty():
		return &node{out: true}
	case packet.AddrsOf(p).Subtract(here).IsEmpty():
		return &node{in: true}
	}
	low, high := halves(p)
	n := &node{kids: [2]*node{grow(here, low), grow(here, high)}}
	a, b := n.kids[0], n.kids[1]
	n.in, n.out = a.in && b.in, a.out && b.out
	if !n.in && !n.out {
		n.in, n.out = a.in || b.in, a.out || b.out
	}
	return n
}

// halves cuts a prefix in two.
func halves(p netip.Prefix) (low, high netip.Prefix) {
	low = netip.PrefixFrom(p.Addr(), p.Bits()+1)
	to := packet.PrefixRange(p).To
	return low, netip.PrefixFrom(to, p.Bits()+1).Masked()
}

// write writes the lines of a prefix of which is known what the prefix around it says.
func (n *node) write(p netip.Prefix, said bool, out []rule) []rule {
	now, line := said, false
	if said && !n.in || !said && !n.out {
		now, line = !said, true
	}
	if n.kids[0] != nil {
		low, high := halves(p)
		out = n.kids[0].write(low, now, out)
		out = n.kids[1].write(high, now, out)
	}
	if line {
		out = append(out, rule{p, now})
	}
	return out
}

// denied gives the addresses of which a cover says that they are not in its set.
func denied(set packet.Addrs, rules []rule) packet.Addrs {
	var b packet.Builder
	for _, r := range rules {
		if r.in {
			b.AddPrefix(r.prefix)
		}
	}
	return b.Addrs().Subtract(set)
}

// meet reports whether some packet matches two entries, whatever its addresses.
func meet(a, b *portacl.Entry) bool {
	switch {
	case a.Proto == portacl.AnyProto || b.Proto == portacl.AnyProto:
		return true
	case a.Proto != b.Proto:
		return false
	case a.Later != b.Later && (a.Layer4() || b.Layer4()):
		return false
	}
	apart := func(x, y portacl.Ports) bool { return x.Hi < y.Lo || y.Hi < x.Lo }
	other := func(x, y int) bool { return x != portacl.Any && y != portacl.Any && x != y }
	return !apart(a.SrcPorts, b.SrcPorts) && !apart(a.DstPorts, b.DstPorts) && !other(a.Type, b.Type) && !other(a.Code, b.Code)
}
