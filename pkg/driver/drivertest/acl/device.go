package acl

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"bulkhead/pkg/driver/drivertest/sim"
)

// Directions of a port.
const (
	In  = "in"
	Out = "out"
)

// AnyProto is every protocol.
const AnyProto = -1

// Entry is one line of a list.
type Entry struct {
	Seq          int
	Permit       bool
	Src, Dst     netip.Prefix
	Proto        int // AnyProto or a number
	Lo, Hi       uint16
	SrcLo, SrcHi uint16
}

func (e Entry) String() string {
	action := "deny"
	if e.Permit {
		action = "permit"
	}
	proto := "ip"
	if e.Proto != AnyProto {
		proto = fmt.Sprintf("%d %d-%d", e.Proto, e.Lo, e.Hi)
	}
	out := fmt.Sprintf("%d %s %s %s %s", e.Seq, action, proto, e.Src, e.Dst)
	if e.SrcLo != 0 || e.SrcHi != 65535 {
		out += fmt.Sprintf(" source-port %d-%d", e.SrcLo, e.SrcHi)
	}
	return out
}

func (e Entry) matches(proto uint8, num, srcPort uint16) bool {
	if srcPort < e.SrcLo || e.SrcHi < srcPort {
		return false
	}
	return e.Proto == AnyProto || e.Proto == int(proto) && e.Lo <= num && num <= e.Hi
}

// List is an access list. Remark says what it is for.
type List struct {
	Name    string
	Remark  []string
	Entries []Entry
}

func (l *List) equal(o *List) bool {
	return l.Name == o.Name && slices.Equal(l.Remark, o.Remark) && slices.Equal(l.Entries, o.Entries)
}

// Port is where lists are bound, by name; "" is none.
type Port struct{ Name, In, Out string }

func (p *Port) bound(direction string) *string {
	if direction == In {
		return &p.In
	}
	return &p.Out
}

// Config is all that the device holds.
type Config struct {
	Limit int // entries in one list
	Lists []List
	Ports []Port
}

func (c Config) clone() Config {
	out := Config{Limit: c.Limit, Lists: slices.Clone(c.Lists), Ports: slices.Clone(c.Ports)}
	for i := range out.Lists {
		out.Lists[i].Remark = slices.Clone(c.Lists[i].Remark)
		out.Lists[i].Entries = slices.Clone(c.Lists[i].Entries)
	}
	return out
}

// half is what arrives when a reply is cut short.
func (c Config) half() Config {
	c.Lists = c.Lists[:len(c.Lists)/2]
	return c
}

func (c *Config) list(name string) *List {
	for i := range c.Lists {
		if c.Lists[i].Name == name {
			return &c.Lists[i]
		}
	}
	return nil
}

func (c *Config) port(name string) *Port {
	for i := range c.Ports {
		if c.Ports[i].Name == name {
			return &c.Ports[i]
		}
	}
	return nil
}

// Judge says which first packets between two addresses pass, line by line, as the
// device would.
func (c *Config) Judge(port, direction string, src, dst netip.Addr) func(proto uint8, num, srcPort uint16) bool {
	name := *c.port(port).bound(direction)
	var between []Entry
	if name != "" {
		for _, e := range c.list(name).Entries {
			if e.Src.Contains(src) && e.Dst.Contains(dst) {
				between = append(between, e)
			}
		}
	}
	return func(proto uint8, num, srcPort uint16) bool {
		for _, e := range between {
			if e.matches(proto, num, srcPort) {
				return e.Permit
			}
		}
		return name == ""
	}
}

// The device's own refusals.
var (
	errLimit    = errors.New("resource-denied")
	errNotFound = errors.New("data-missing")
	errInUse    = errors.New("in-use")
	errSequence = errors.New("invalid-value")
)

// Device is a simulated device.
type Device struct{ *sim.Memory[Config] }

// NewDevice makes a device with the given ports and room for limit entries in
// each list.
func NewDevice(limit int, ports ...string) *Device {
	c := Config{Limit: limit}
	for _, p := range ports {
		c.Ports = append(c.Ports, Port{Name: p})
	}
	return &Device{sim.NewMemory(c, Config.clone, Config.half)}
}

// put makes or replaces one list.
func (c *Config) put(l List) error {
	if len(l.Entries) > c.Limit {
		return fmt.Errorf("%w: list %q has %d entries", errLimit, l.Name, len(l.Entries))
	}
	for i := 1; i < len(l.Entries); i++ {
		if l.Entries[i].Seq <= l.Entries[i-1].Seq {
			return fmt.Errorf("%w: sequence number %d", errSequence, l.Entries[i].Seq)
		}
	}
	if old := c.list(l.Name); old != nil {
		*old = l
		return nil
	}
	c.Lists = append(c.Lists, l)
	return nil
}

func (c *Config) bind(port, direction, name string) error {
	if name != "" && c.list(name) == nil {
		return fmt.Errorf("%w: list %q", errNotFound, name)
	}
	*c.port(port).bound(direction) = name
	return nil
}

func (c *Config) remove(name string) error {
	for _, p := range c.Ports {
		if p.In == name || p.Out == name {
			return fmt.Errorf("%w: list %q is bound to port %q", errInUse, name, p.Name)
		}
	}
	n := len(c.Lists)
	c.Lists = slices.DeleteFunc(c.Lists, func(l List) bool { return l.Name == name })
	if len(c.Lists) == n {
		return fmt.Errorf("%w: list %q", errNotFound, name)
	}
	return nil
}
