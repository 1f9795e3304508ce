// Package acltest judges single packets by the lists of a port, one entry after the other, for
// tests of those who read and write lists. It is written for obviousness, and shares no code
// with the decoder.
package acltest

import (
	"net/netip"

	"bulkhead/pkg/driver/portacl"
)

// Packet is what a list sees of a packet.
type Packet struct {
	Src, Dst         netip.Addr
	Proto            uint8
	SrcPort, DstPort uint16
	Type, Code       uint8 // of ICMP
	Ack              bool  // ACK or RST is set
	Later            bool  // a fragment but the first
}

// Passes reports whether a port lets a packet pass in a direction.
func Passes(c *portacl.Config, port string, dir portacl.Direction, p Packet) bool {
	at := c.Port(port)
	if at == nil {
		return true
	}
	asked := false
	for _, b := range at.Bound {
		if b.Dir != dir || b.Family == portacl.IPv4 && !p.Src.Is4() || b.Family == portacl.IPv6 && p.Src.Is4() {
			continue
		}
		asked = true
		for _, e := range c.List(b.List).Entries {
			if Matches(&e, p) {
				return e.Permit
			}
		}
	}
	return !asked
}

// Matches reports whether an entry matches a packet.
func Matches(e *portacl.Entry, p Packet) bool {
	if e.Src.Addr().Is4() != p.Src.Is4() || !e.Src.Contains(p.Src) || !e.Dst.Contains(p.Dst) {
		return false
	}
	if e.Proto != portacl.AnyProto && e.Proto != int(p.Proto) {
		return false
	}
	if e.Later {
		return p.Later
	}
	looks := e.SrcPorts != portacl.AllPorts() || e.DstPorts != portacl.AllPorts() || e.Type >= 0 || e.Code >= 0 || e.Established
	if p.Later && looks {
		return false
	}
	if e.Established && !p.Ack {
		return false
	}
	if p.SrcPort < e.SrcPorts.Lo || p.SrcPort > e.SrcPorts.Hi || p.DstPort < e.DstPorts.Lo || p.DstPort > e.DstPorts.Hi {
		return p.Proto == 1 || p.Proto == 58
	}
	if e.Type >= 0 && e.Type != int(p.Type) || e.Code >= 0 && e.Code != int(p.Code) {
		return false
	}
	return true
}
