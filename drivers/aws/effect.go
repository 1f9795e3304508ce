package aws

import (
	"net/netip"

	"bulkhead/pkg/driver/want"
	"bulkhead/pkg/packet"
)

// What passes whatever groups say: VPC user guide, "Security groups" (services that groups do
// not filter), and "Amazon DNS server".
var (
	provided = packet.AddrsOf(
		netip.MustParsePrefix("169.254.169.253/32"), netip.MustParsePrefix("169.254.169.254/32"), netip.MustParsePrefix("169.254.169.123/32"),
		netip.MustParsePrefix("fd00:ec2::253/128"), netip.MustParsePrefix("fd00:ec2::254/128"), netip.MustParsePrefix("fd00:ec2::123/128"))
	dhcp4 = packet.AddrsOf(netip.MustParsePrefix("255.255.255.255/32"))
	dhcp6 = packet.AddrsOf(netip.MustParsePrefix("ff02::1:2/128"))

	dns        = packet.Services{{Lo: 6<<16 | 53, Hi: 6<<16 | 53}, {Lo: 17<<16 | 53, Hi: 17<<16 | 53}}
	neighbours = packet.Services{{Lo: 58<<16 | 133<<8, Hi: 58<<16 | 137<<8 | 0xff}}
	listeners  = packet.Services{{Lo: 2 << 16, Hi: 2<<16 | 0xffff}, {Lo: 58<<16 | 130<<8, Hi: 58<<16 | 132<<8 | 0xff}, {Lo: 58<<16 | 143<<8, Hi: 58<<16 | 143<<8 | 0xff}}
)

// resolver is where a VPC answers DNS: the base of its primary network plus two.
func (v *VPC) resolver() packet.Addrs {
	if v.Primary.IsValid() {
		return packet.AddrsOf(netip.PrefixFrom(v.Primary.Masked().Addr().Next().Next(), 32))
	}
	return packet.Addrs{}
}

func fixedSets(s *State) []packet.Addrs {
	out := []packet.Addrs{provided, dhcp4, dhcp6}
	for i := range s.VPCs {
		out = append(out, s.VPCs[i].resolver())
	}
	return out
}

// expressible is what of some services rules can say: SCTP, DCCP and UDP-Lite have ports
// that they cannot. Widen takes all ports of those, else none. ICMP between addresses of IPv6,
// and ICMPv6 between those of IPv4, is refused by EC2 but as a part of everything.
func expressible(s packet.Services, widen, four bool) packet.Services {
	if !s.Equal(packet.AllServices()) {
		s = s.Subtract(otherICMP(four))
	}
	for _, proto := range []uint32{33, 132, 136} {
		whole := packet.Services{{Lo: proto << 16, Hi: proto<<16 | 0xffff}}
		part := s.Intersect(whole)
		if part.IsEmpty() || part.Equal(whole) {
			continue
		}
		if widen {
			s = s.Union(whole)
		} else {
			s = s.Subtract(whole)
		}
	}
	return s
}

// otherICMP is the ICMP of the other family.
func otherICMP(four bool) packet.Services {
	if four {
		return packet.Services{{Lo: 58 << 16, Hi: 58<<16 | 0xffff}}
	}
	return packet.Services{{Lo: 1 << 16, Hi: 1<<16 | 0xffff}}
}

// effects works out what rules can permit, and what comes of it.
type effects struct {
	w     *want.Ends
	hold  [][]*unit
	widen bool
	state *State
	memo  map[[2]int]packet.Services
	says  map[[2]int]packet.Services
	dns   map[string]packet.Addrs // resolver by VPC
	// compared counts the pairs of parts that were judged one by one: what the work grows by.
	compared int
}

func newEffects(w *want.Ends, list []*unit, s *State, widen bool) *effects {
	e := &effects{w: w, hold: holders(w, list), widen: widen, state: s, memo: map[[2]int]packet.Services{}, says: map[[2]int]packet.Services{}, dns: map[string]packet.Addrs{}}
	for i := range s.VPCs {
		e.dns[s.VPCs[i].ID] = s.VPCs[i].resolver()
	}
	return e
}

// say is what rules would say between two parts if each had interfaces of its own.
func (e *effects) say(src, dst int) packet.Services {
	key := [2]int{src, dst}
	if s, ok := e.says[key]; ok {
		return s
	}
	out := e.w.Policy(src, dst, e.w.Runs[0])
	for _, run := range e.w.Runs[1:] {
		if p := e.w.Policy(src, dst, run); e.widen {
			out = out.Union(p)
		} else {
			out = out.Intersect(p)
		}
	}
	out = expressible(out, e.widen, e.w.Four(src))
	e.says[key] = out
	return out
}

// block is the parts that must fare as a part does, because an interface has addresses in
// all of them, of the same family.
func (e *effects) block(part int) []int {
	out := []int{part}
	seen := map[int]bool{part: true}
	for i := 0; i < len(out); i++ {
		for _, u := range e.hold[out[i]] {
			for _, p := range u.parts {
				if !seen[p] && e.w.Four(p) == e.w.Four(part) {
					seen[p] = true
					out = append(out, p)
				}
			}
		}
	}
	return out
}

// rules is what the rules of both ends say between two parts: what all may have who
// cannot be told apart. It is the same at either end, which the order of changes hangs on.
func (e *effects) rules(src, dst int) packet.Services {
	key := [2]int{src, dst}
	if s, ok := e.memo[key]; ok {
		return s
	}
	out := packet.AllServices()
	for _, a := range e.block(src) {
		for _, b := range e.block(dst) {
			out = out.Intersect(e.say(a, b))
		}
	}
	e.memo[key] = out
	return out
}

// of is what comes of it at a hook.
func (e *effects) of(src, dst int, run want.Ports) packet.Services {
	always := e.always(src, dst, run)
	switch {
	case e.w.Multicast(dst):
		return always
	case len(e.hold[src]) == 0 && len(e.hold[dst]) == 0:
		return packet.AllServices()
	}
	return always.Union(e.rules(src, dst))
}

// always is what passes whatever groups say.
func (e *effects) always(src, dst int, run want.Ports) packet.Services {
	d := e.w.Parts[dst].First()
	var out packet.Services
	if provided.Contains(d) && len(e.hold[dst]) == 0 {
		return packet.AllServices()
	}
	if !d.Is4() {
		out = neighbours
	}
	for _, u := range e.hold[src] {
		if e.dns[u.vpc].Contains(d) {
			out = out.Union(dns)
		}
	}
	switch {
	case dhcp4.Contains(d) && run == want.Ports{Lo: 68, Hi: 68}:
		out = out.Union(packet.Services{{Lo: 17<<16 | 67, Hi: 17<<16 | 67}})
	case dhcp6.Contains(d) && run == want.Ports{Lo: 546, Hi: 546}:
		out = out.Union(packet.Services{{Lo: 17<<16 | 547, Hi: 17<<16 | 547}})
	}
	return out
}

// kindOf says why flows fare otherwise than they must.
func (e *effects) kindsOf(hook string, src, dst int, run want.Ports, exact, effect packet.Services) []part {
	var out []part
	add := func(kind string, wider bool, s packet.Services) packet.Services {
		if !s.IsEmpty() {
			out = append(out, part{kind, wider, s})
		}
		return s
	}
	if wider := effect.Subtract(exact); !wider.IsEmpty() {
		wider = wider.Subtract(add("provider-link-local", true, wider.Intersect(e.always(src, dst, run))))
		judged := len(e.hold[src]) > 0 || len(e.hold[dst]) > 0
		if judged {
			add("source-port", true, wider)
		} else {
			add("no-interface", true, wider)
		}
	}
	lost := exact.Subtract(effect)
	if lost.IsEmpty() {
		return out
	}
	if e.w.Multicast(dst) {
		add("no-multicast", false, lost)
		return out
	}
	lost = lost.Subtract(add("icmp-family", false, lost.Intersect(otherICMP(e.w.Four(src))).Subtract(e.say(src, dst))))
	lost = lost.Subtract(add("no-multicast", false, lost.Intersect(listeners).Subtract(e.say(src, dst))))
	lost = lost.Subtract(add("mixed-interface", false, lost.Intersect(e.say(src, dst))))
	floor := exact
	for _, r := range e.w.Runs {
		floor = floor.Intersect(e.w.Exact(hook, src, dst, r))
	}
	lost = lost.Subtract(add("protocol-ports", false, lost.Intersect(floor)))
	add("source-port", false, lost)
	return out
}

// part is a part of what is wrong between two parts.
type part struct {
	kind     string
	wider    bool
	services packet.Services
}
