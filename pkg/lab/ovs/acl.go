package ovs

import (
	"fmt"
	"net/netip"
)

// ACLs are the lists of a switch's ports. A port without a list in a direction passes
// everything in it.
type ACLs []List

// Direction is the switch's: In is what a host sends, Out is what it gets.
type Direction int

const (
	In Direction = iota
	Out
)

// String names a direction.
func (d Direction) String() string {
	if d == Out {
		return "out"
	}
	return "in"
}

// List is what one port does in one direction. The first entry that matches a packet
// decides. Of what matches none, everything passes but the families that are dropped.
type List struct {
	Port         int // from 1
	Direction    Direction
	Entries      []Entry
	Drop4, Drop6 bool // a packet of IPv4, of IPv6 that matches no entry
}

// Ethernet types of the two families.
const (
	IPv4 = 0x0800
	IPv6 = 0x86dd
)

// Entry matches packets of one Ethernet type. What is not said matches any.
type Entry struct {
	Permit    bool
	Ethertype uint16 // must be said; with one that is no IP nothing else may be
	// Proto is what the headers of IP carry. Of IPv6 it is what is behind the extension
	// headers, and of a later fragment of IPv6 it is not known: no protocol matches it.
	Proto    *uint8
	Src, Dst netip.Prefix
	// SrcPorts and DstPorts are of TCP, UDP or SCTP; any of the ranges matches. An entry
	// with ports, with an ICMP type or with control bits matches no later fragment.
	SrcPorts, DstPorts []Ports
	Type, Code         *uint8 // of the family's ICMP
	// Established matches TCP with ACK or RST set.
	Established bool
	// Flags matches TCP with all of these control bits set, whatever the others.
	Flags     uint8
	Fragments Fragments
}

// Ports are the ports from one to the other, both included.
type Ports struct{ From, To uint16 }

// Fragments is which packets an entry is about.
type Fragments int

const (
	AnyFragment Fragments = iota // whole packets and fragments
	WholePacket                  // no fragments
	AnyPiece                     // fragments, the first one too
	FirstPiece                   // the first fragment, which has ports
	LaterPiece                   // all others
	NotLater                     // whole packets and first fragments
)

// Numbers of the protocols that have ports or types here.
const (
	protoICMP   = 1
	protoTCP    = 6
	protoUDP    = 17
	protoICMPv6 = 58
	protoSCTP   = 132
)

// maxEntries is how many entries a list may have: their order is their flows' priority.
const maxEntries = 60000

// check finds what the switch cannot do exactly. It does nothing by halves: a filter that
// is nearly the one that was asked for proves nothing.
func (a ACLs) check(ports int) error {
	type place struct {
		port int
		dir  Direction
	}
	seen := map[place]bool{}
	for _, l := range a {
		at := place{l.Port, l.Direction}
		switch {
		case l.Port < 1 || l.Port > ports:
			return fmt.Errorf("list for port %d: the switch has ports 1 to %d", l.Port, ports)
		case l.Direction != In && l.Direction != Out:
			return fmt.Errorf("list for port %d: there is no direction %d", l.Port, l.Direction)
		case seen[at]:
			return fmt.Errorf("port %d has two lists %s: join them", l.Port, l.Direction)
		case len(l.Entries) > maxEntries:
			return fmt.Errorf("list for port %d has %d entries: at most %d have a priority each", l.Port, len(l.Entries), maxEntries)
		}
		seen[at] = true
		for i := range l.Entries {
			if err := l.Entries[i].check(); err != nil {
				return fmt.Errorf("port %d %s, entry %d: %w", l.Port, l.Direction, i+1, err)
			}
		}
	}
	return nil
}

func (e *Entry) check() error {
	ip := e.Ethertype == IPv4 || e.Ethertype == IPv6
	ports := len(e.SrcPorts) > 0 || len(e.DstPorts) > 0
	icmp := e.Type != nil || e.Code != nil
	bits := e.Established || e.Flags != 0
	switch {
	case e.Ethertype < 0x0600:
		return fmt.Errorf("0x%04x is no Ethernet type", e.Ethertype)
	case !ip && (e.Proto != nil || e.Src.IsValid() || e.Dst.IsValid() || ports || icmp || bits || e.Fragments != AnyFragment):
		return fmt.Errorf("type 0x%04x is no IP, and has nothing that an address, protocol or port could match", e.Ethertype)
	case ports && !e.proto(protoTCP, protoUDP, protoSCTP):
		return fmt.Errorf("ports need TCP, UDP or SCTP as the protocol")
	case icmp && !(e.Ethertype == IPv4 && e.proto(protoICMP) || e.Ethertype == IPv6 && e.proto(protoICMPv6)):
		return fmt.Errorf("an ICMP type needs the family's ICMP as the protocol")
	case bits && !e.proto(protoTCP):
		return fmt.Errorf("control bits need TCP as the protocol")
	case e.Code != nil && e.Type == nil:
		return fmt.Errorf("an ICMP code needs a type")
	case e.Fragments < AnyFragment || e.Fragments > NotLater:
		return fmt.Errorf("there is no kind %d of fragments", e.Fragments)
	case e.Ethertype == IPv6 && e.proto(0, 43, 44, 51, 60):
		return fmt.Errorf("protocol %d is an extension header of IPv6, which the switch looks behind", *e.Proto)
	case e.Ethertype == IPv6 && e.Fragments == LaterPiece && e.Proto != nil:
		return fmt.Errorf("the switch does not know the protocol of a later fragment of IPv6")
	case e.Fragments == LaterPiece && (ports || icmp || bits):
		return fmt.Errorf("a later fragment has no ports, ICMP type or control bits")
	}
	for _, p := range []netip.Prefix{e.Src, e.Dst} {
		if p.IsValid() && (p.Addr().Is4() != (e.Ethertype == IPv4) || p.Addr().Is4In6()) {
			return fmt.Errorf("prefix %s is of another family", p)
		}
	}
	for _, list := range [][]Ports{e.SrcPorts, e.DstPorts} {
		for _, p := range list {
			if p.From > p.To {
				return fmt.Errorf("ports %d to %d are none", p.From, p.To)
			}
		}
	}
	return nil
}

// proto reports whether the entry's protocol is one of some.
func (e *Entry) proto(some ...uint8) bool {
	for _, p := range some {
		if e.Proto != nil && *e.Proto == p {
			return true
		}
	}
	return false
}
