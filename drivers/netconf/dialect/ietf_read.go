package dialect

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"bulkhead/pkg/driver/portacl"
)

// Read reads by names of elements: servers do not keep the order of the model.
func (ietf) Read(data []byte) (*portacl.Config, error) {
	root, err := parse(data)
	if err != nil {
		return nil, err
	}
	out := &portacl.Config{}
	acls := root
	if root.XMLName.Local != "acls" {
		acls = root.find("acls")
	}
	if acls == nil {
		return out, nil
	}
	if acls.XMLName.Space != ietfNS {
		return nil, fmt.Errorf("the device's lists are in the namespace %q, and not in that of RFC 8519", acls.XMLName.Space)
	}
	for i := range acls.Kids {
		switch k := &acls.Kids[i]; k.XMLName.Local {
		case "acl":
			l, err := ietfReadList(k)
			if err != nil {
				return nil, err
			}
			out.Lists = append(out.Lists, *l)
		case "attachment-points":
			for j := range k.Kids {
				p, err := ietfReadPort(&k.Kids[j])
				if err != nil {
					return nil, err
				}
				out.Ports = append(out.Ports, *p)
			}
		default:
			return nil, fmt.Errorf("%q among the device's lists is not of RFC 8519", k.XMLName.Local)
		}
	}
	for i := range out.Ports { // the family of a binding is that of its list
		for k := range out.Ports[i].Bound {
			if b := &out.Ports[i].Bound[k]; out.List(b.List) != nil {
				b.Family = out.List(b.List).Family
			}
		}
	}
	out.Sort()
	return out, nil
}

func ietfReadList(k *element) (*portacl.List, error) {
	l := &portacl.List{}
	for i := range k.Kids {
		switch c := &k.Kids[i]; c.XMLName.Local {
		case "name":
			l.Name = strings.TrimSpace(c.Text)
		case "type":
			switch local(c.Text) {
			case "ipv4-acl-type":
				l.Family = portacl.IPv4
			case "ipv6-acl-type":
				l.Family = portacl.IPv6
			default:
				l.Unknown = append(l.Unknown, fmt.Sprintf("type %q", strings.TrimSpace(c.Text)))
			}
		case "aces":
			for j := range c.Kids {
				ietfReadAce(l, &c.Kids[j])
			}
		default:
			l.Unknown = append(l.Unknown, fmt.Sprintf("element %q", c.XMLName.Local))
		}
	}
	if l.Name == "" {
		return nil, fmt.Errorf("the device sent a list without a name")
	}
	if l.Family == portacl.Both {
		l.Unknown = append(l.Unknown, "a list without a type")
	}
	ietfFold(l)
	for i := range l.Entries {
		if portacl.FamilyOf(l.Entries[i].Src) != l.Family {
			l.Unknown = append(l.Unknown, fmt.Sprintf("entry %s matches another family than the list's", l.Entries[i].Name))
		}
	}
	return l, nil
}

// ietfFold makes one entry of the two that say established. What is left with flags is not
// understood.
func ietfFold(l *portacl.List) {
	var out []portacl.Entry
	for i := 0; i < len(l.Entries); i++ {
		e := l.Entries[i]
		if !e.Established {
			out = append(out, e)
			continue
		}
		name, isAck := strings.CutSuffix(e.Name, "-ack")
		if isAck && i+1 < len(l.Entries) && l.Entries[i+1].Name == name+"-rst" && l.Entries[i+1].Same(e) {
			e.Name = name
			out = append(out, e)
			i++
			continue
		}
		l.Unknown = append(l.Unknown, fmt.Sprintf("entry %s: flags", e.Name))
	}
	l.Entries = out
}

// ietfReadAce adds an entry to a list, or what of it is not understood.
func ietfReadAce(l *portacl.List, k *element) {
	e := portacl.New(false, portacl.AnyProto, netip.Prefix{}, netip.Prefix{})
	var odd []string
	unknown := func(what string) { odd = append(odd, what) }
	number := func(c *element, most int) int {
		n, err := strconv.Atoi(strings.TrimSpace(c.Text))
		if err != nil || n < 0 || n > most {
			unknown(fmt.Sprintf("%s %q", c.XMLName.Local, strings.TrimSpace(c.Text)))
			return 0
		}
		return n
	}
	forward := ""
	family := l.Family
	for i := range k.Kids {
		switch c := &k.Kids[i]; c.XMLName.Local {
		case "name":
			e.Name = strings.TrimSpace(c.Text)
		case "matches":
			for j := range c.Kids {
				switch m := &c.Kids[j]; m.XMLName.Local {
				case "ipv4", "ipv6":
					family = map[string]portacl.Family{"ipv4": portacl.IPv4, "ipv6": portacl.IPv6}[m.XMLName.Local]
					ietfReadIP(&e, m, number, unknown)
				case "tcp", "udp":
					ietfReadPorts(&e, m, number, unknown)
				case "icmp":
					for n := range m.Kids {
						switch f := &m.Kids[n]; f.XMLName.Local {
						case "type":
							e.Type = number(f, 255)
						case "code":
							e.Code = number(f, 255)
						default:
							unknown("icmp " + f.XMLName.Local)
						}
					}
				default:
					unknown("match " + m.XMLName.Local)
				}
			}
		case "actions":
			for j := range c.Kids {
				switch a := &c.Kids[j]; a.XMLName.Local {
				case "forwarding":
					forward = local(a.Text)
				case "logging": // changes nothing of what passes
				default:
					unknown("action " + a.XMLName.Local)
				}
			}
		case "statistics": // state
		default:
			unknown(c.XMLName.Local)
		}
	}
	switch forward {
	case "accept":
		e.Permit = true
	case "drop", "reject":
	default:
		unknown(fmt.Sprintf("forwarding %q", forward))
	}
	all := netip.MustParsePrefix("0.0.0.0/0")
	if family == portacl.IPv6 {
		all = netip.MustParsePrefix("::/0")
	}
	for _, p := range []*netip.Prefix{&e.Src, &e.Dst} {
		if !p.IsValid() {
			*p = all
		}
	}
	if len(odd) > 0 {
		l.Unknown = append(l.Unknown, fmt.Sprintf("entry %s: %s", e.Name, strings.Join(odd, ", ")))
		return
	}
	l.Entries = append(l.Entries, e)
}

func ietfReadIP(e *portacl.Entry, m *element, number func(*element, int) int, unknown func(string)) {
	for n := range m.Kids {
		f := &m.Kids[n]
		switch f.XMLName.Local {
		case "protocol":
			e.Proto = number(f, 255)
		case "source-ipv4-network", "source-ipv6-network", "destination-ipv4-network", "destination-ipv6-network":
			p, err := netip.ParsePrefix(strings.TrimSpace(f.Text))
			if err != nil || p.Addr().Is4() != strings.Contains(f.XMLName.Local, "ipv4") {
				unknown(fmt.Sprintf("%s %q", f.XMLName.Local, strings.TrimSpace(f.Text)))
				continue
			}
			if strings.HasPrefix(f.XMLName.Local, "source") {
				e.Src = p.Masked()
			} else {
				e.Dst = p.Masked()
			}
		default:
			unknown(m.XMLName.Local + " " + f.XMLName.Local)
		}
	}
}

func ietfReadPorts(e *portacl.Entry, m *element, number func(*element, int) int, unknown func(string)) {
	proto := map[string]int{"tcp": 6, "udp": 17}[m.XMLName.Local]
	if e.Proto != proto {
		unknown(m.XMLName.Local + " of a protocol that is not said to be that")
	}
	for n := range m.Kids {
		switch f := &m.Kids[n]; f.XMLName.Local {
		case "source-port":
			e.SrcPorts = ietfReadRun(f, number, unknown)
		case "destination-port":
			e.DstPorts = ietfReadRun(f, number, unknown)
		case "flags":
			if flag := strings.TrimSpace(f.Text); proto == 6 && (flag == "ack" || flag == "rst") {
				e.Established = true
				continue
			}
			unknown(fmt.Sprintf("flags %q", strings.TrimSpace(f.Text)))
		default:
			unknown(m.XMLName.Local + " " + f.XMLName.Local)
		}
	}
}

func ietfReadRun(f *element, number func(*element, int) int, unknown func(string)) portacl.Ports {
	out, operator := portacl.AllPorts(), "eq"
	for i := range f.Kids {
		switch k := &f.Kids[i]; k.XMLName.Local {
		case "operator":
			operator = strings.TrimSpace(k.Text)
		case "port":
			n := uint16(number(k, 65535))
			out = portacl.Ports{Lo: n, Hi: n}
		case "lower-port":
			out.Lo = uint16(number(k, 65535))
		case "upper-port":
			out.Hi = uint16(number(k, 65535))
		default:
			unknown(f.XMLName.Local + " " + k.XMLName.Local)
		}
	}
	switch operator {
	case "eq":
	case "lte":
		out.Lo = 0
	case "gte":
		out.Hi = 65535
	default:
		unknown(fmt.Sprintf("%s %s", f.XMLName.Local, operator))
	}
	return out
}

func ietfReadPort(k *element) (*portacl.Port, error) {
	p := &portacl.Port{}
	for i := range k.Kids {
		c := &k.Kids[i]
		dir := map[string]portacl.Direction{"ingress": portacl.In, "egress": portacl.Out}[c.XMLName.Local]
		switch {
		case c.XMLName.Local == "interface-id":
			p.Name = strings.TrimSpace(c.Text)
		case dir == "":
			p.Unknown = append(p.Unknown, fmt.Sprintf("element %q", c.XMLName.Local))
		default:
			for j := range c.Kids {
				if c.Kids[j].XMLName.Local != "acl-sets" {
					p.Unknown = append(p.Unknown, fmt.Sprintf("%s %s", c.XMLName.Local, c.Kids[j].XMLName.Local))
					continue
				}
				for n := range c.Kids[j].Kids {
					if name := c.Kids[j].Kids[n].find("name"); name != nil {
						p.Bound = append(p.Bound, portacl.Bound{Dir: dir, List: strings.TrimSpace(name.Text)})
					}
				}
			}
		}
	}
	if p.Name == "" {
		return nil, fmt.Errorf("the device sent a binding without an interface")
	}
	return p, nil
}

// local is a value without the prefix of its namespace.
func local(s string) string {
	s = strings.TrimSpace(s)
	if _, after, ok := strings.Cut(s, ":"); ok {
		return after
	}
	return s
}
