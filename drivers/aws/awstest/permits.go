package awstest

import (
	"net/netip"
	"slices"
	"strconv"
)

// Flow is a flow that is about to begin: its first packet. Replies pass by state and
// are nobody's question. So are routes: whether the packet would arrive if the groups
// let it is not known here.
type Flow struct {
	From, To string     // ids of interfaces; "" is a machine that has none here
	Src, Dst netip.Addr // as the groups of either side see them

	Protocol   uint8 // number of IANA's
	Port       uint16
	Type, Code uint8 // of ICMP
}

// Probe is what to ask of each pair of interfaces: see World.Permitted.
type Probe struct {
	Protocol   uint8
	Port       uint16
	Type, Code uint8
}

// Permits reports whether security groups let a flow begin: those that the sender's
// interface carries now must let it out, and those of the receiver's let it in. It is
// written from AWS's documentation of what groups mean, to judge a driver by, and
// shares nothing with any.
func (w *World) Permits(f Flow) bool {
	defer w.lock()()
	return w.permits(f)
}

// Leaves reports whether the sender's side alone lets a flow begin.
func (w *World) Leaves(f Flow) bool {
	defer w.lock()()
	return w.leaves(f)
}

// Enters reports whether the receiver's side alone lets a flow begin.
func (w *World) Enters(f Flow) bool {
	defer w.lock()()
	return w.enters(f)
}

// Permitted gives the flows that are let begin between interfaces, with the first
// address of each family and the first of each delegated prefix, at one moment.
func (w *World) Permitted(interfaces []string, probes ...Probe) []Flow {
	defer w.lock()()
	var out []Flow
	for _, from := range interfaces {
		for _, to := range interfaces {
			_, a := w.find(from)
			_, b := w.find(to)
			if from == to || a == nil || b == nil {
				continue
			}
			for _, src := range a.firsts() {
				for _, dst := range b.firsts() {
					if src.Is4() != dst.Is4() {
						continue
					}
					for _, p := range probes {
						f := Flow{From: from, To: to, Src: src, Dst: dst, Protocol: p.Protocol, Port: p.Port, Type: p.Type, Code: p.Code}
						if w.permits(f) {
							out = append(out, f)
						}
					}
				}
			}
		}
	}
	return out
}

func (i *Interface) firsts() (out []netip.Addr) {
	if len(i.Private) > 0 {
		out = append(out, i.Private[0])
	}
	if len(i.IPv6) > 0 {
		out = append(out, i.IPv6[0])
	}
	for _, p := range i.Prefixes {
		out = append(out, p.Addr())
	}
	return out
}

// find gives an interface with the region that it is in.
func (w *World) find(id string) (*tables, *Interface) {
	for _, in := range w.regions {
		if i := in.t.interfaces[id]; i != nil {
			return in.t, i
		}
	}
	return nil, nil
}

func (w *World) permits(f Flow) bool {
	if f.From != "" && f.From == f.To {
		return true // it never leaves the machine
	}
	return w.leaves(f) && w.enters(f)
}

func (w *World) leaves(f Flow) bool {
	t, i := w.find(f.From)
	if i == nil || len(i.Groups) == 0 {
		return true // there are no groups to ask, as of a NAT gateway
	}
	if t.unfiltered(i.VPC, f.Dst) {
		return true
	}
	_, peer := w.find(f.To)
	return t.allows(i, true, f, f.Dst, peer)
}

func (w *World) enters(f Flow) bool {
	t, i := w.find(f.To)
	if i == nil || len(i.Groups) == 0 {
		return true
	}
	_, peer := w.find(f.From)
	return t.allows(i, false, f, f.Src, peer)
}

// unfiltered reports whether groups do not ask about a destination: the resolver, the
// instance's metadata and the clock, at their addresses in every VPC.
func (t *tables) unfiltered(vpc string, dst netip.Addr) bool {
	switch dst.String() {
	case "169.254.169.253", "169.254.169.254", "169.254.169.123", "fd00:ec2::253", "fd00:ec2::254", "fd00:ec2::123":
		return true
	}
	v := t.vpcs[vpc]
	return v != nil && dst == v.CIDRs[0].Addr().Next().Next()
}

// allows asks all rules of all groups of an interface; the most permissive decides.
func (t *tables) allows(i *Interface, egress bool, f Flow, addr netip.Addr, peer *Interface) bool {
	for _, id := range i.Groups {
		g := t.groups[id]
		if g == nil {
			continue
		}
		for _, r := range g.Rules {
			if r.Egress == egress && r.carries(f) && t.reaches(g, r, addr, peer) {
				return true
			}
		}
	}
	return false
}

// carries reports whether a rule is of the flow's protocol and ports.
func (r Rule) carries(f Flow) bool {
	switch r.Protocol {
	case "-1":
		return true
	case "tcp":
		return f.Protocol == 6 && r.From <= int(f.Port) && int(f.Port) <= r.To
	case "udp":
		return f.Protocol == 17 && r.From <= int(f.Port) && int(f.Port) <= r.To
	case "icmp", "icmpv6":
		if want := map[string]uint8{"icmp": 1, "icmpv6": 58}[r.Protocol]; f.Protocol != want {
			return false
		}
		return (r.From == -1 || r.From == int(f.Type)) && (r.To == -1 || r.To == int(f.Code))
	}
	return r.Protocol == strconv.Itoa(int(f.Protocol)) // all its ports, if it has any
}

// reaches reports whether a rule of a group is about the address, and for a reference
// about the interface that has it.
func (t *tables) reaches(g *Group, r Rule, addr netip.Addr, peer *Interface) bool {
	switch {
	case r.PrefixList != "":
		l := t.prefixLists[r.PrefixList]
		return l != nil && slices.ContainsFunc(l.Entries(), func(e Entry) bool { return e.CIDR.Contains(addr) })
	case r.Group == "":
		return r.CIDR.Contains(addr)
	case peer == nil || t.interfaces[peer.ID] == nil: // groups of another region are none
		return false
	case !slices.Contains(peer.Groups, r.Group) || !peer.Holds(addr): // nor are public addresses theirs
		return false
	case peer.VPC == g.VPC:
		return true
	}
	p := t.peerings[r.Peering]
	return p != nil && p.Status == "active" && p.RequesterRegion == p.AccepterRegion
}
