package dialect

import (
	"fmt"
	"strconv"
	"strings"

	"bulkhead/pkg/driver/portacl"
)

// Read takes filters of the family ethernet-switching and where they are bound. Other families,
// and what else an interface has, are left alone.
func (junos) Read(data []byte) (*portacl.Config, error) {
	all, err := roots(data, "configuration", junosNS)
	if err != nil {
		return nil, err
	}
	out := &portacl.Config{}
	var inherited notes
	for _, c := range all {
		for i := range c.Kids {
			k := &c.Kids[i]
			space := map[string]string{"firewall": junosFirewallNS, "interfaces": junosInterfacesNS, "groups": junosNS}[k.XMLName.Local]
			if space == "" {
				continue
			}
			if k.XMLName.Space != space {
				return nil, fmt.Errorf("the device's %q is of the namespace %q, and not of %q", k.XMLName.Local, k.XMLName.Space, space)
			}
			switch k.XMLName.Local {
			case "firewall":
				err = junosReadFirewall(out, k)
			case "interfaces":
				err = junosReadInterfaces(out, k)
			case "groups":
				junosReadGroup(out, k, &inherited)
			}
			if err != nil {
				return nil, err
			}
		}
	}
	markTwice(out.Lists)
	for i := range out.Lists {
		out.Lists[i].Unknown = append(out.Lists[i].Unknown, inherited...)
	}
	out.Sort()
	return out, nil
}

// named gives the children of a name that are of their parent's namespace.
func (e *element) named(name string) []*element {
	var out []*element
	for i := range e.Kids {
		if k := &e.Kids[i]; k.XMLName.Local == name && k.XMLName.Space == e.XMLName.Space {
			out = append(out, k)
		}
	}
	return out
}

// within reports whether an element of a name is somewhere in e.
func (e *element) within(name string) bool {
	for i := range e.Kids {
		if k := &e.Kids[i]; k.XMLName.Local == name || k.within(name) {
			return true
		}
	}
	return false
}

// junosReadGroup notes what filters and ports may inherit from a group: a get-config does not
// show it where it is inherited.
func junosReadGroup(out *portacl.Config, g *element, inherited *notes) {
	name := "without a name"
	if n := g.find("name"); n != nil {
		name = strconv.Quote(strings.TrimSpace(n.Text))
	}
	if g.find("firewall") != nil {
		inherited.add("group %s has filters, which others may inherit", name)
	}
	if i := g.find("interfaces"); i != nil && i.within("filter") {
		addPort(out, &portacl.Port{Name: "group " + name, Unknown: []string{"filters of ports, which others may inherit"}})
	}
}

func junosReadFirewall(out *portacl.Config, fw *element) error {
	var around notes // of what is round all filters
	around.attrs(fw)
	groups := func(e *element) {
		for range e.named("apply-groups") {
			around.add("%s with apply-groups", e.XMLName.Local)
		}
	}
	groups(fw)
	first := len(out.Lists)
	for _, family := range fw.named("family") {
		around.attrs(family)
		groups(family)
		for _, es := range family.named("ethernet-switching") {
			around.attrs(es)
			groups(es)
			for _, f := range es.named("filter") {
				l, err := junosReadFilter(f)
				if err != nil {
					return err
				}
				out.Lists = append(out.Lists, *l)
			}
		}
	}
	for i := first; i < len(out.Lists); i++ {
		out.Lists[i].Unknown = append(out.Lists[i].Unknown, around...)
	}
	return nil
}

// term is what a term of a filter says.
type term struct {
	entry portacl.Entry
	odd   notes
	bare  bool // it has no condition: it matches every frame
}

func junosReadFilter(f *element) (*portacl.List, error) {
	l := &portacl.List{}
	var odd notes
	var terms []term
	odd.each(f, "term", func(k *element) bool {
		switch k.XMLName.Local {
		case "name":
			l.Name = odd.value(k)
		case "term":
			terms = append(terms, junosReadTerm(k))
		default:
			return false
		}
		return true
	})
	if l.Name == "" {
		return nil, fmt.Errorf("the device sent a filter without a name")
	}
	if n := len(terms) - 3; n >= 0 && junosIsEnd(terms[n:]) {
		terms = terms[:n]
	} else {
		odd.add("without the terms at its end that let frames pass which are no IP")
	}
	seen := map[string]bool{}
	for _, t := range terms {
		e := t.entry
		if e.Name == "" || seen[e.Name] || junosEnds(e.Name) {
			t.odd.add("its name is another's, or none")
		}
		seen[e.Name] = true
		if t.bare {
			t.odd.add("it matches every frame")
		}
		if len(t.odd) > 0 {
			odd.add("term %s: %s", e.Name, strings.Join(t.odd, ", "))
			continue
		}
		l.Entries = append(l.Entries, e)
	}
	l.Unknown = odd
	return l, nil
}

// junosIsEnd reports whether three terms are those that end a filter of ours.
func junosIsEnd(t []term) bool {
	drops := func(t *term, name string, family portacl.Family) bool {
		all := everywhere(family)
		return len(t.odd) == 0 && !t.bare && t.entry.Name == name && t.entry.Same(portacl.New(false, portacl.AnyProto, all, all))
	}
	last := &t[2]
	return drops(&t[0], junosEnd4, portacl.IPv4) && drops(&t[1], junosEnd6, portacl.IPv6) &&
		len(last.odd) == 0 && last.bare && last.entry.Permit && last.entry.Name == junosEndOther
}

func junosReadTerm(x *element) term {
	t := term{bare: true}
	family := portacl.Both
	if types := x.find("from", "ether-type"); types != nil {
		switch strings.ToLower(strings.TrimSpace(types.Text)) {
		case "ipv4", "0x800", "0x0800", "2048":
			family = portacl.IPv4
		case "ipv6", "0x86dd", "34525":
			family = portacl.IPv6
		}
	}
	all := everywhere(family)
	t.entry = portacl.New(false, portacl.AnyProto, all, all)
	var actions []string
	t.odd.each(x, "", func(k *element) bool {
		switch k.XMLName.Local {
		case "name":
			t.entry.Name = t.odd.value(k)
		case "from":
			if t.bare = len(k.Kids) == 0; !t.bare && family == portacl.Both {
				t.odd.add("it is not said with ether-type to be of IPv4 or of IPv6")
			}
			junosReadFrom(&t, k, family)
		case "then":
			t.odd.each(k, "", func(a *element) bool {
				switch a.XMLName.Local {
				case "accept", "discard":
					if t.odd.value(a) != "" {
						t.odd.bad(a)
					}
					actions = append(actions, a.XMLName.Local)
				case "log", "syslog", "count": // change nothing of what passes
					t.odd.value(a)
				default:
					return false
				}
				return true
			})
		default:
			return false
		}
		return true
	})
	if len(actions) != 1 {
		t.odd.add("it does not say one of accept and discard")
	} else {
		t.entry.Permit = actions[0] == "accept"
	}
	if why := unfit(&t.entry); why != "" && len(t.odd) == 0 {
		t.odd.add("%s", why)
	}
	return t
}

// junosReadFrom reads conditions: those of IPv4 are in from itself, those of IPv6 deeper.
func junosReadFrom(t *term, from *element, family portacl.Family) {
	t.odd.each(from, "", func(k *element) bool {
		switch k.XMLName.Local {
		case "ether-type":
			if t.odd.value(k); family == portacl.Both {
				t.odd.bad(k)
			}
			return true
		case "ip-version":
			t.odd.each(k, "", func(v *element) bool {
				if v.XMLName.Local != "ipv6" || family != portacl.IPv6 {
					return false
				}
				t.odd.each(v, "", func(c *element) bool { return junosReadMatch(t, c, family) })
				return true
			})
			return true
		}
		return family == portacl.IPv4 && junosReadMatch(t, k, family)
	})
}

// junosReadMatch reads one condition; false if it is not known in a family.
func junosReadMatch(t *term, k *element, family portacl.Family) bool {
	e, name := &t.entry, k.XMLName.Local
	switch {
	case family == portacl.IPv4 && name == "ip-source-address" || family == portacl.IPv6 && name == "ip6-source-address":
		junosReadAddress(t, k, func(p *element) { e.Src = t.odd.prefix(p, family) })
	case family == portacl.IPv4 && name == "ip-destination-address" || family == portacl.IPv6 && name == "ip6-destination-address":
		junosReadAddress(t, k, func(p *element) { e.Dst = t.odd.prefix(p, family) })
	case family == portacl.IPv4 && name == "ip-protocol" || family == portacl.IPv6 && name == "payload-protocol":
		e.Proto = junosReadProtocol(t, k)
	case name == "source-port":
		e.SrcPorts = t.odd.ports(k, "-")
	case name == "destination-port":
		e.DstPorts = t.odd.ports(k, "-")
	case name == "tcp-established":
		e.Established = true
		if t.odd.value(k) != "" {
			t.odd.bad(k)
		}
	case name == "icmp-type":
		e.Type = junosReadNumber(t, k)
	case name == "icmp-code":
		e.Code = junosReadNumber(t, k)
	default:
		return false
	}
	return true
}

// junosReadAddress reads an entry of a list of prefixes, which may except one.
func junosReadAddress(t *term, k *element, put func(*element)) {
	found := false
	t.odd.each(k, "", func(c *element) bool {
		if c.XMLName.Local == "name" {
			found = true
			put(c)
		}
		return c.XMLName.Local == "name"
	})
	if !found {
		t.odd.add("%s without a prefix", k.XMLName.Local)
	}
}

func junosReadNumber(t *term, k *element) int {
	n, err := decimal(t.odd.value(k), 255)
	if err != nil {
		t.odd.bad(k)
	}
	return n
}

func junosReadProtocol(t *term, k *element) int {
	s := t.odd.value(k)
	if n, err := decimal(s, 255); err == nil {
		return n
	}
	if s == "icmpv6" {
		s = "icmp6"
	}
	n := keyOf(junosProtocols, s)
	if n == portacl.Any {
		t.odd.bad(k)
	}
	return n
}

func junosReadInterfaces(out *portacl.Config, x *element) error {
	for _, r := range x.named("interface-range") {
		if r.within("filter") {
			addPort(out, &portacl.Port{Name: "interface-range " + junosName(r), Unknown: []string{"filters of the ports that are members of it"}})
		}
	}
	for _, i := range x.named("interface") {
		for _, u := range i.named("unit") {
			for _, family := range u.named("family") {
				for _, es := range family.named("ethernet-switching") {
					for _, f := range es.named("filter") {
						p := &portacl.Port{Name: junosName(i)}
						var odd notes
						for _, e := range []*element{x, i, u, family, es} {
							odd.attrs(e)
						}
						if p.Name == "" {
							return fmt.Errorf("the device sent an interface without a name")
						}
						if n := junosName(u); n != "0" {
							p.Name += "." + n
						}
						if _, _, err := junosUnit(p.Name); err != nil || strings.Contains(junosName(i), ".") {
							odd.add("it is no port with a number for its unit")
						}
						junosReadBinding(p, f, &odd)
						p.Unknown = odd
						addPort(out, p)
					}
				}
			}
		}
	}
	return nil
}

func junosName(e *element) string {
	if n := e.find("name"); n != nil {
		return strings.TrimSpace(n.Text)
	}
	return ""
}

func junosReadBinding(p *portacl.Port, f *element, odd *notes) {
	odd.each(f, "", func(k *element) bool {
		for _, dir := range []portacl.Direction{portacl.In, portacl.Out} {
			if k.XMLName.Local != junosSides[dir] {
				continue
			}
			if name := odd.value(k); name != "" {
				p.Bound = append(p.Bound, portacl.Bound{Dir: dir, List: name})
			} else {
				odd.bad(k)
			}
			return true
		}
		return false
	})
}
