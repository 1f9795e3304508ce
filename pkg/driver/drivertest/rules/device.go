package rules

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"bulkhead/pkg/driver/drivertest/sim"
	"bulkhead/pkg/packet"
)

// The hooks of a port.
const (
	In  = "in"
	Out = "out"
)

// Rule allows what it matches.
type Rule struct {
	ID               string // given by the device
	Hook             string
	Src, Dst         packet.Range
	ProtoLo, ProtoHi uint8
	Lo, Hi           uint16 // ports, type<<8|code, or everything
}

// what is the rule without its id, which is no part of what a rule is.
func (r Rule) what() Rule {
	r.ID = ""
	return r
}

func (r Rule) String() string {
	return fmt.Sprintf("%s %s-%s > %s-%s proto %d-%d %d-%d", r.Hook, r.Src.From, r.Src.To, r.Dst.From, r.Dst.To, r.ProtoLo, r.ProtoHi, r.Lo, r.Hi)
}

// key is equal for two rules exactly if they are the same but for their ids. It is
// made a thousand times for each look at a device.
func (r Rule) key() string {
	b := append(make([]byte, 0, 96), r.Hook...)
	for _, a := range []netip.Addr{r.Src.From, r.Src.To, r.Dst.From, r.Dst.To} {
		b = a.AppendTo(append(b, ' '))
	}
	b = append(b, ' ', r.ProtoLo, r.ProtoHi)
	b = binary.BigEndian.AppendUint16(b, r.Lo)
	return string(binary.BigEndian.AppendUint16(b, r.Hi))
}

func (r Rule) compare(o Rule) int {
	return cmp.Or(strings.Compare(r.Hook, o.Hook), r.Dst.From.Compare(o.Dst.From), r.Dst.To.Compare(o.Dst.To), r.Src.From.Compare(o.Src.From), r.Src.To.Compare(o.Src.To),
		cmp.Compare(r.ProtoLo, o.ProtoLo), cmp.Compare(r.ProtoHi, o.ProtoHi), cmp.Compare(r.Lo, o.Lo), cmp.Compare(r.Hi, o.Hi))
}

func holds(r packet.Range, a netip.Addr) bool {
	return r.From.Is4() == a.Is4() && !a.Less(r.From) && !r.To.Less(a)
}

// Group is a set of rules. Owner and Points are tags.
type Group struct {
	Name   string
	Owner  string
	Points []string
	Rules  []Rule
}

// Filter says which packets of a port are judged.
type Filter struct {
	Prefix netip.Prefix
	Listen bool // only what comes in for the prefix
	Owner  string
}

// Port is where groups apply.
type Port struct {
	Name    string
	Groups  []string `json:",omitempty"`
	Filters []Filter `json:",omitempty"`
}

// Config is all that the device holds.
type Config struct {
	Limit  int // rules in one group
	Groups []Group
	Ports  []Port
	nextID int
}

func (c Config) clone() Config {
	out := c
	out.Groups = slices.Clone(c.Groups)
	for i := range out.Groups {
		out.Groups[i].Points = slices.Clone(c.Groups[i].Points)
		out.Groups[i].Rules = slices.Clone(c.Groups[i].Rules)
	}
	out.Ports = slices.Clone(c.Ports)
	for i := range out.Ports {
		out.Ports[i].Groups = slices.Clone(c.Ports[i].Groups)
		out.Ports[i].Filters = slices.Clone(c.Ports[i].Filters)
	}
	return out
}

// half is what arrives when a listing is cut short: every second group, each with
// half its rules.
func (c Config) half() Config {
	c.Groups = c.Groups[:len(c.Groups)/2]
	for i := range c.Groups {
		c.Groups[i].Rules = c.Groups[i].Rules[:len(c.Groups[i].Rules)/2]
	}
	for i := range c.Ports {
		c.Ports[i].Filters = c.Ports[i].Filters[:len(c.Ports[i].Filters)/2]
	}
	return c
}

func (c *Config) group(name string) *Group {
	for i := range c.Groups {
		if c.Groups[i].Name == name {
			return &c.Groups[i]
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

// Judge says which first packets between two addresses pass, rule by rule, as the
// device would.
func (c *Config) Judge(port, hook string, src, dst netip.Addr) func(proto uint8, num uint16) bool {
	p := c.port(port)
	judged := slices.ContainsFunc(p.Filters, func(f Filter) bool {
		if f.Listen {
			return hook == In && f.Prefix.Contains(dst)
		}
		return f.Prefix.Contains(src) || f.Prefix.Contains(dst)
	})
	var between []Rule
	for _, name := range p.Groups {
		for _, r := range c.group(name).Rules {
			if r.Hook == hook && holds(r.Src, src) && holds(r.Dst, dst) {
				between = append(between, r)
			}
		}
	}
	return func(proto uint8, num uint16) bool {
		return !judged || slices.ContainsFunc(between, func(r Rule) bool {
			return r.ProtoLo <= proto && proto <= r.ProtoHi && r.Lo <= num && num <= r.Hi
		})
	}
}

// The device's own refusals. Each call is carried out as a whole or not at all.
var (
	errLimit     = errors.New("RulesPerGroupLimitExceeded")
	errDuplicate = errors.New("Duplicate")
	errNotFound  = errors.New("NotFound")
	errInUse     = errors.New("DependencyViolation")
)

// Device is a simulated device.
type Device struct{ *sim.Memory[Config] }

// NewDevice makes a device with the given ports and room for limit rules in each
// group.
func NewDevice(limit int, ports ...string) *Device {
	c := Config{Limit: limit}
	for _, p := range ports {
		c.Ports = append(c.Ports, Port{Name: p})
	}
	return &Device{sim.NewMemory(c, Config.clone, Config.half)}
}

func (c *Config) createGroup(name, owner string, points []string) error {
	if c.group(name) != nil {
		return fmt.Errorf("%w: group %q", errDuplicate, name)
	}
	c.Groups = append(c.Groups, Group{Name: name, Owner: owner, Points: points})
	return nil
}

func (c *Config) deleteGroup(name string) error {
	for _, p := range c.Ports {
		if slices.Contains(p.Groups, name) {
			return fmt.Errorf("%w: group %q is on port %q", errInUse, name, p.Name)
		}
	}
	n := len(c.Groups)
	c.Groups = slices.DeleteFunc(c.Groups, func(g Group) bool { return g.Name == name })
	if len(c.Groups) == n {
		return fmt.Errorf("%w: group %q", errNotFound, name)
	}
	return nil
}

func (c *Config) tagGroup(name string, points []string) error {
	g := c.group(name)
	if g == nil {
		return fmt.Errorf("%w: group %q", errNotFound, name)
	}
	g.Points = points
	return nil
}

func (c *Config) addRule(group string, r Rule) error {
	g := c.group(group)
	switch {
	case g == nil:
		return fmt.Errorf("%w: group %q", errNotFound, group)
	case len(g.Rules) >= c.Limit:
		return fmt.Errorf("%w: group %q", errLimit, group)
	case slices.ContainsFunc(g.Rules, func(o Rule) bool { return o.what() == r.what() }):
		return fmt.Errorf("%w: rule %s", errDuplicate, r)
	}
	c.nextID++
	r.ID = fmt.Sprintf("rule-%d", c.nextID)
	g.Rules = append(g.Rules, r)
	return nil
}

func (c *Config) removeRule(group, id string) error {
	g := c.group(group)
	if g == nil {
		return fmt.Errorf("%w: group %q", errNotFound, group)
	}
	n := len(g.Rules)
	g.Rules = slices.DeleteFunc(g.Rules, func(r Rule) bool { return r.ID == id })
	if len(g.Rules) == n {
		return fmt.Errorf("%w: rule %q", errNotFound, id)
	}
	return nil
}

// setGroups replaces the groups of a port in one go.
func (c *Config) setGroups(port string, groups []string) error {
	for _, g := range groups {
		if c.group(g) == nil {
			return fmt.Errorf("%w: group %q", errNotFound, g)
		}
	}
	c.port(port).Groups = groups
	return nil
}

func (c *Config) addFilter(port string, f Filter) error {
	p := c.port(port)
	if slices.Contains(p.Filters, f) {
		return fmt.Errorf("%w: filter %s", errDuplicate, f.Prefix)
	}
	p.Filters = append(p.Filters, f)
	return nil
}

func (c *Config) removeFilter(port string, f Filter) error {
	p := c.port(port)
	n := len(p.Filters)
	p.Filters = slices.DeleteFunc(p.Filters, func(o Filter) bool { return o == f })
	if len(p.Filters) == n {
		return fmt.Errorf("%w: filter %s", errNotFound, f.Prefix)
	}
	return nil
}
