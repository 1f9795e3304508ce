// Package portacl holds access control lists of switch ports in a form of its own,
// between what policy asks for and what a model of configuration (RFC 8519, OpenConfig, a
// vendor's own tree, the tables of a MIB) can say: lists of entries of which the first that
// matches decides, bound to a port in a direction.
//
// A list keeps no state. An answer is a packet like any other, and needs an entry of its own.
//
// Package render makes lists of what points ask for, package decode gives lists their meaning.
// They share these types and nothing else.
package portacl

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Direction is the way that a packet takes through a port.
type Direction string

// The directions, as seen by the switch.
const (
	In  Direction = "in"  // from the device that is plugged in
	Out Direction = "out" // to the device
)

// Family is the addresses that a list sees.
type Family int

// The families. A list of Both sees packets of either.
const (
	Both Family = 0
	IPv4 Family = 4
	IPv6 Family = 6
)

// FamilyOf is the family of a prefix.
func FamilyOf(p netip.Prefix) Family {
	if p.Addr().Is4() {
		return IPv4
	}
	return IPv6
}

// AnyProto in an entry is every protocol, Any every ICMP type or code.
const (
	AnyProto = -1
	Any      = -1
)

// Ports is a run of port numbers.
type Ports struct{ Lo, Hi uint16 }

// AllPorts is every port: the entry does not look at them.
func AllPorts() Ports { return Ports{0, 65535} }

// All reports whether the run is every port.
func (p Ports) All() bool { return p == AllPorts() }

// Entry is one line of a list.
type Entry struct {
	// Name is the entry's name or number in its list. It says nothing of what it matches.
	Name   string
	Permit bool
	// Proto is an IP protocol number, or AnyProto. In IPv6 it is that of the upper layer.
	Proto    int
	Src, Dst netip.Prefix // of one family
	// SrcPorts and DstPorts are of protocols that have ports.
	SrcPorts, DstPorts Ports
	// Type and Code are those of ICMP and ICMPv6, or Any.
	Type, Code int
	// Established matches TCP segments with ACK or RST set, as every vendor's keyword does:
	// those that open nothing.
	Established bool
	// Later matches fragments but the first, which have no ports.
	Later bool
}

// New makes an entry that matches everything of a protocol between two prefixes.
func New(permit bool, proto int, src, dst netip.Prefix) Entry {
	return Entry{Permit: permit, Proto: proto, Src: src, Dst: dst, SrcPorts: AllPorts(), DstPorts: AllPorts(), Type: Any, Code: Any}
}

// Layer4 reports whether the entry looks at what only a first fragment has.
func (e *Entry) Layer4() bool {
	return !e.SrcPorts.All() || !e.DstPorts.All() || e.Type != Any || e.Established
}

// Same reports whether two entries match and do the same, whatever they are called.
func (e Entry) Same(o Entry) bool {
	e.Name, o.Name = "", ""
	return e == o
}

// String writes the entry in the order that command lines have.
func (e Entry) String() string {
	verb := "deny"
	if e.Permit {
		verb = "permit"
	}
	proto := "ip"
	if e.Proto != AnyProto {
		proto = fmt.Sprintf("proto %d", e.Proto)
		switch e.Proto {
		case 1:
			proto = "icmp"
		case 6:
			proto = "tcp"
		case 17:
			proto = "udp"
		case 58:
			proto = "icmpv6"
		}
	}
	parts := []string{verb, proto, e.Src.String() + ports(e.SrcPorts), e.Dst.String() + ports(e.DstPorts)}
	if e.Type != Any {
		parts = append(parts, fmt.Sprintf("type %d", e.Type))
	}
	if e.Code != Any {
		parts = append(parts, fmt.Sprintf("code %d", e.Code))
	}
	if e.Established {
		parts = append(parts, "established")
	}
	if e.Later {
		parts = append(parts, "fragments")
	}
	return strings.Join(parts, " ")
}

func ports(p Ports) string {
	switch {
	case p.All():
		return ""
	case p.Lo == p.Hi:
		return fmt.Sprintf(" port %d", p.Lo)
	}
	return fmt.Sprintf(" port %d-%d", p.Lo, p.Hi)
}

// List is a named list. A packet of its family that no entry matches is dropped, as on
// every device that these lists are written to.
type List struct {
	Name    string
	Family  Family
	Entries []Entry
	// Unknown are constructs of the list that are not understood, each as an operator finds
	// it: nothing can be said of what a port does that has the list.
	Unknown []string
}

// Bound is a list on a port.
type Bound struct {
	Dir    Direction
	Family Family
	List   string
}

// Port is a port with the lists that it has, in the order in which they are asked.
type Port struct {
	Name  string
	Bound []Bound
	// Unknown are bindings or settings of the port that are not understood.
	Unknown []string
}

// Config is the lists of a switch and where they are bound.
type Config struct {
	Lists []List
	Ports []Port
}

// List finds a list; nil if there is none.
func (c *Config) List(name string) *List {
	for i := range c.Lists {
		if c.Lists[i].Name == name {
			return &c.Lists[i]
		}
	}
	return nil
}

// Port finds a port; nil if nothing is known of it.
func (c *Config) Port(name string) *Port {
	for i := range c.Ports {
		if c.Ports[i].Name == name {
			return &c.Ports[i]
		}
	}
	return nil
}

// Clone copies a configuration, so that one can be changed and the other not.
func (c *Config) Clone() Config {
	out := Config{Lists: slices.Clone(c.Lists), Ports: slices.Clone(c.Ports)}
	for i := range out.Lists {
		l := &out.Lists[i]
		l.Entries, l.Unknown = slices.Clone(l.Entries), slices.Clone(l.Unknown)
	}
	for i := range out.Ports {
		p := &out.Ports[i]
		p.Bound, p.Unknown = slices.Clone(p.Bound), slices.Clone(p.Unknown)
	}
	return out
}

// Sort puts lists and ports in order of name, in which two configurations that say the same
// are equal. The order of entries, and of the lists of one port, says something and stays.
func (c *Config) Sort() {
	slices.SortFunc(c.Lists, func(a, b List) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Family, b.Family))
	})
	slices.SortFunc(c.Ports, func(a, b Port) int { return cmp.Compare(a.Name, b.Name) })
	c.Ports = slices.DeleteFunc(c.Ports, func(p Port) bool { return len(p.Bound) == 0 && len(p.Unknown) == 0 })
	for i := range c.Ports {
		slices.SortStableFunc(c.Ports[i].Bound, func(a, b Bound) int {
			return cmp.Or(cmp.Compare(a.Dir, b.Dir), cmp.Compare(a.Family, b.Family))
		})
	}
}

// Same reports whether two lists do the same; what entries are called does not matter.
func (l *List) Same(o *List) bool {
	return l.Family == o.Family && slices.EqualFunc(l.Entries, o.Entries, Entry.Same) && slices.Equal(l.Unknown, o.Unknown)
}
