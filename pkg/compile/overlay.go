package compile

import (
	"net/netip"

	"bulkhead/pkg/packet"
)

// Header is the part of a packet that overlays look at. They are stateless: the
// services of a header are those of its destination side, its source ports those
// of the other.
type Header struct {
	Hook             string
	In               string // incoming interface; "" for one in no zone
	Src, Dst         netip.Addr
	PortLo, PortHi   uint16 // the source ports of the flow's packets
	reply            bool
	flowSrc, flowDst netip.Addr
}

// FlowHeader is the header of a packet of the flow from src to dst, in the flow's
// direction or against it.
func FlowHeader(hook, in string, src, dst netip.Addr, portLo, portHi uint16, reply bool) Header {
	h := Header{Hook: hook, In: in, Src: src, Dst: dst, PortLo: portLo, PortHi: portHi, reply: reply, flowSrc: src, flowDst: dst}
	if reply {
		h.Src, h.Dst = dst, src
	}
	return h
}

// Essential returns the services that pass because a network dies without them.
// They are given in terms of the flow that the header belongs to; every rule is
// symmetric, so a reply passes where its flow does.
func (p *Point) Essential(h Header) packet.Services {
	var out []packet.Span
	icmp6 := func(lo, hi uint32) { out = append(out, packet.Span{Lo: 58<<16 | lo<<8, Hi: 58<<16 | hi<<8 | 0xff}) }
	udp := func(port uint32) { out = append(out, packet.Span{Lo: 17<<16 | port, Hi: 17<<16 | port}) }
	from := func(port uint16) bool { return h.PortLo == port && h.PortHi == port }
	if h.Hook == HookForward {
		if p.Off[EssentialDHCP] {
			return nil
		}
		for _, port := range []uint16{67, 547} {
			if h.flowDst.Is4() != (port == 67) {
				continue
			}
			if p.DHCPServers.Contains(h.flowDst) {
				udp(uint32(port))
			}
			if p.DHCPServers.Contains(h.flowSrc) && from(port) {
				out = append(out, packet.Span{Lo: 17 << 16, Hi: 17<<16 | 0xffff})
			}
		}
		return packet.Spans(out)
	}
	if !h.Src.Is4() {
		if !p.Off[EssentialND] && !h.reply {
			icmp6(133, 137)
		}
		if !p.Off[EssentialMLD] && !h.reply {
			icmp6(130, 132)
			icmp6(143, 143)
		}
	} else if !p.Off[EssentialIGMP] {
		out = append(out, packet.Span{Lo: 2 << 16, Hi: 2<<16 | 0xffff})
	}
	if !p.Off[EssentialDHCP] {
		pair := [2]uint16{67, 68}
		if !h.Src.Is4() {
			pair = [2]uint16{547, 546}
		}
		if from(pair[1]) {
			udp(uint32(pair[0]))
		}
		if from(pair[0]) {
			udp(uint32(pair[1]))
		}
	}
	return packet.Spans(out)
}

// FailsafeServices returns the services that pass because they are somebody's
// way in, in terms of the header's flow.
func (p *Point) FailsafeServices(h Header) packet.Services {
	var out packet.Services
	for _, f := range p.Failsafe {
		there := f.From.Contains(h.flowSrc) && f.To.Contains(h.flowDst)
		back := f.From.Contains(h.flowDst) && f.To.Contains(h.flowSrc)
		if there {
			out = out.Union(f.Services)
		}
		if back {
			out = out.Union(Answers(f.Services, h.PortLo, h.PortHi))
		}
		if (there || back) && !h.reply {
			out = out.Union(familyOf(ICMPErrors(), h.flowSrc))
		}
	}
	return out
}

// familyOf keeps the ICMP messages of the address's own family.
func familyOf(s packet.Services, a netip.Addr) packet.Services {
	other := uint32(58)
	if !a.Is4() {
		other = 1
	}
	return s.Subtract(packet.Services{{Lo: other << 16, Hi: other<<16 | 0xffff}})
}

// Spoof is what anti-spoofing says of a packet.
type Spoof struct {
	Action AntiSpoof // SpoofOff: nothing wrong with it
	In     string    // the zone that it came in by; "" for none
	Of     string    // the zone that its source belongs to; "" for none
}

// spoofExempt are sources that every zone may use: the link-local prefixes and
// the unspecified addresses.
var spoofExempt = packet.AddrsOf(netip.MustParsePrefix("169.254.0.0/16"), netip.MustParsePrefix("fe80::/10"),
	netip.MustParsePrefix("0.0.0.0/32"), netip.MustParsePrefix("::/128"))

// ZoneOf finds the zone that holds an interface; nil if none does.
func (p *Point) ZoneOf(iface string) *Zone {
	for i := range p.Zones {
		for _, name := range p.Zones[i].Interfaces {
			if name == iface {
				return &p.Zones[i]
			}
		}
	}
	return nil
}

// owners lists the zones that a source belongs to: those that claim it by the
// longest prefix, or, where none claims it, those that hold a default route.
func (p *Point) owners(src netip.Addr) []*Zone {
	best := -1
	var out []*Zone
	for i := range p.Zones {
		z := &p.Zones[i]
		if !z.Known {
			continue
		}
		longest := -1
		for _, m := range z.Masks {
			if m.Contains(src) && m.Bits() > longest {
				longest = m.Bits()
			}
		}
		switch {
		case longest < 0:
		case longest > best:
			best, out = longest, []*Zone{z}
		case longest == best:
			out = append(out, z)
		}
	}
	if out != nil {
		return out
	}
	for i := range p.Zones {
		if z := &p.Zones[i]; z.Default {
			out = append(out, z)
		}
	}
	return out
}

// CheckSpoof judges the source of a packet that comes in by an interface.
func (p *Point) CheckSpoof(iface string, src netip.Addr) Spoof {
	ok := Spoof{Action: SpoofOff}
	if !p.Transit || spoofExempt.Contains(src) {
		return ok
	}
	in := p.ZoneOf(iface)
	owners := p.owners(src)
	if len(owners) == 0 {
		// Nobody claims the source and no zone is known to hold the default route:
		// there is nothing to hold the packet against.
		return ok
	}
	if in != nil && !in.Known {
		return ok
	}
	s := Spoof{Action: SpoofOff, Of: owners[0].Name}
	modes := []AntiSpoof{}
	for _, z := range owners {
		if in == z {
			return ok
		}
		modes = append(modes, z.AntiSpoof)
	}
	if in != nil {
		s.In = in.Name
		modes = append(modes, in.AntiSpoof)
	}
	for _, m := range modes {
		if m == SpoofEnforce {
			s.Action = SpoofEnforce
		} else if m == SpoofObserve && s.Action == SpoofOff {
			s.Action = SpoofObserve
		}
	}
	if p.Mode == "observe" && s.Action == SpoofEnforce {
		s.Action = SpoofObserve
	}
	return s
}

// Home names an interface by which packets of a source rightly come in: one of
// the zones that it belongs to; "" if no zone does.
func (p *Point) Home(src netip.Addr) string {
	for _, z := range p.owners(src) {
		if len(z.Interfaces) > 0 {
			return z.Interfaces[0]
		}
	}
	return ""
}
