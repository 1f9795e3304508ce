package dialect

import (
	"encoding/xml"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"bulkhead/pkg/driver/portacl"
)

// ietf is ietf-access-control-list (RFC 8519), for whiteboxes and tests: no vendor's switch is
// known to have it.
//
// The model has no word for established, and its flags have no mask: a segment with ACK or
// RST set is two entries, flags ack and flags rst, of which each is taken to ask for its flag
// whatever the others are. It has no way to tell a later fragment, and ports of TCP and UDP
// only. It does not hold an entry to the family of its list; that is done here.
type ietf struct{}

const (
	ietfNS   = "urn:ietf:params:xml:ns:yang:ietf-access-control-list"
	ncPrefix = "nc:operation" // declared by whoever sends the edit
)

func (ietf) Name() string { return "ietf" }

func (ietf) Limits() Limits { return Limits{Ranges: true, Names: 64, Blind: []int{33, 132, 136}} }

func (ietf) Filter() []byte { return []byte(`<acls xmlns="` + ietfNS + `"/>`) }

func (ietf) Count(e *portacl.Entry) int {
	if e.Established {
		return 2
	}
	return 1
}

type ietfACLs struct {
	XMLName xml.Name      `xml:"urn:ietf:params:xml:ns:yang:ietf-access-control-list acls"`
	ACL     string        `xml:"xmlns:acl,attr"`
	Lists   []ietfList    `xml:"acl"`
	Points  *ietfAttached `xml:"attachment-points,omitempty"`
}

type ietfAttached struct {
	Interfaces []ietfInterface `xml:"interface"`
}

type ietfList struct {
	Operation string    `xml:"nc:operation,attr,omitempty"`
	Name      string    `xml:"name"`
	Type      string    `xml:"type,omitempty"`
	Aces      []ietfAce `xml:"aces>ace,omitempty"`
}

type ietfAce struct {
	Name    string      `xml:"name"`
	IPv4    *ietfIPv4   `xml:"matches>ipv4,omitempty"`
	IPv6    *ietfIPv6   `xml:"matches>ipv6,omitempty"`
	TCP     *ietfTCP    `xml:"matches>tcp,omitempty"`
	UDP     *ietfPorts2 `xml:"matches>udp,omitempty"`
	ICMP    *ietfICMP   `xml:"matches>icmp,omitempty"`
	Forward string      `xml:"actions>forwarding"`
}

type ietfIPv4 struct {
	Protocol *int   `xml:"protocol,omitempty"`
	Dst      string `xml:"destination-ipv4-network,omitempty"`
	Src      string `xml:"source-ipv4-network,omitempty"`
}

type ietfIPv6 struct {
	Protocol *int   `xml:"protocol,omitempty"`
	Dst      string `xml:"destination-ipv6-network,omitempty"`
	Src      string `xml:"source-ipv6-network,omitempty"`
}

type ietfTCP struct {
	Flags string     `xml:"flags,omitempty"`
	Src   *ietfPorts `xml:"source-port,omitempty"`
	Dst   *ietfPorts `xml:"destination-port,omitempty"`
}

type ietfPorts2 struct {
	Src *ietfPorts `xml:"source-port,omitempty"`
	Dst *ietfPorts `xml:"destination-port,omitempty"`
}

type ietfPorts struct {
	Lower    *int   `xml:"lower-port,omitempty"`
	Upper    *int   `xml:"upper-port,omitempty"`
	Operator string `xml:"operator,omitempty"`
	Port     *int   `xml:"port,omitempty"`
}

type ietfICMP struct {
	Type *int `xml:"type,omitempty"`
	Code *int `xml:"code,omitempty"`
}

type ietfInterface struct {
	Operation string    `xml:"nc:operation,attr,omitempty"`
	ID        string    `xml:"interface-id"`
	Ingress   *ietfSets `xml:"ingress,omitempty"`
	Egress    *ietfSets `xml:"egress,omitempty"`
}

type ietfSets struct {
	Sets []ietfSet `xml:"acl-sets>acl-set"`
}

type ietfSet struct {
	Operation string `xml:"nc:operation,attr,omitempty"`
	Name      string `xml:"name"`
}

// Edit writes lists as a whole: an entry could be put between others only by yang:insert,
// which servers get wrong.
func (ietf) Edit(have, want *portacl.Config) ([]byte, error) {
	ch := between(have, want)
	doc := ietfACLs{ACL: ietfNS}
	for _, l := range ch.gone {
		doc.Lists = append(doc.Lists, ietfList{Operation: "delete", Name: l.Name})
	}
	for _, l := range ch.put {
		out := ietfList{Operation: "replace", Name: l.Name}
		switch l.Family {
		case portacl.IPv4:
			out.Type = "acl:ipv4-acl-type"
		case portacl.IPv6:
			out.Type = "acl:ipv6-acl-type"
		default:
			return nil, fmt.Errorf("list %q is of both families, and a list of RFC 8519 is of one", l.Name)
		}
		for i := range l.Entries {
			aces, err := ietfEntry(&l.Entries[i], l.Family)
			if err != nil {
				return nil, fmt.Errorf("list %q: %w", l.Name, err)
			}
			out.Aces = append(out.Aces, aces...)
		}
		doc.Lists = append(doc.Lists, out)
	}
	ports := map[string]*ietfInterface{}
	var order []string
	at := func(name string, dir portacl.Direction) *ietfSets {
		p := ports[name]
		if p == nil {
			p = &ietfInterface{ID: name}
			ports[name] = p
			order = append(order, name)
		}
		side := &p.Ingress
		if dir == portacl.Out {
			side = &p.Egress
		}
		if *side == nil {
			*side = &ietfSets{}
		}
		return *side
	}
	for _, p := range ch.unbind {
		if want.Port(p.Name) == nil && len(have.Port(p.Name).Unknown) == 0 {
			at(p.Name, portacl.In) // nothing is left of it
			*ports[p.Name] = ietfInterface{Operation: "delete", ID: p.Name}
			continue
		}
		for _, b := range p.Bound {
			if ietfHas(boundAt(want, p.Name), b) {
				continue // its list is now of another family
			}
			s := at(p.Name, b.Dir)
			s.Sets = append(s.Sets, ietfSet{Operation: "delete", Name: b.List})
		}
	}
	for _, p := range ch.bind {
		for _, b := range p.Bound {
			if !ietfHas(boundAt(have, p.Name), b) {
				s := at(p.Name, b.Dir)
				s.Sets = append(s.Sets, ietfSet{Name: b.List})
			}
		}
	}
	slices.Sort(order)
	for _, name := range order {
		if doc.Points == nil {
			doc.Points = &ietfAttached{}
		}
		doc.Points.Interfaces = append(doc.Points.Interfaces, *ports[name])
	}
	return xml.Marshal(doc)
}

// ietfHas finds a binding by what the model knows of it: the family is the list's.
func ietfHas(bound []portacl.Bound, b portacl.Bound) bool {
	return slices.ContainsFunc(bound, func(o portacl.Bound) bool { return o.Dir == b.Dir && o.List == b.List })
}

func ietfEntry(e *portacl.Entry, family portacl.Family) ([]ietfAce, error) {
	if portacl.FamilyOf(e.Src) != family || portacl.FamilyOf(e.Dst) != family {
		return nil, fmt.Errorf("entry %s (%s) is of another family", e.Name, e)
	}
	if e.Later {
		return nil, fmt.Errorf("entry %s (%s): RFC 8519 cannot match fragments but the first", e.Name, e)
	}
	ace := ietfAce{Name: e.Name, Forward: "acl:drop"}
	if e.Permit {
		ace.Forward = "acl:accept"
	}
	var proto *int
	if e.Proto != portacl.AnyProto {
		proto = &e.Proto
	}
	net := func(p netip.Prefix) string {
		if p.Bits() == 0 {
			return ""
		}
		return p.String()
	}
	if family == portacl.IPv4 {
		ace.IPv4 = &ietfIPv4{Protocol: proto, Src: net(e.Src), Dst: net(e.Dst)}
	} else {
		ace.IPv6 = &ietfIPv6{Protocol: proto, Src: net(e.Src), Dst: net(e.Dst)}
	}
	src, dst := ietfRun(e.SrcPorts), ietfRun(e.DstPorts)
	switch {
	case e.Proto == 6 && (src != nil || dst != nil || e.Established):
		ace.TCP = &ietfTCP{Src: src, Dst: dst}
	case e.Proto == 17 && (src != nil || dst != nil):
		ace.UDP = &ietfPorts2{Src: src, Dst: dst}
	case src != nil || dst != nil:
		return nil, fmt.Errorf("entry %s (%s): RFC 8519 has ports of TCP and UDP only", e.Name, e)
	}
	if e.Type != portacl.Any || e.Code != portacl.Any {
		ace.ICMP = &ietfICMP{}
		if e.Type != portacl.Any {
			ace.ICMP.Type = &e.Type
		}
		if e.Code != portacl.Any {
			ace.ICMP.Code = &e.Code
		}
	}
	if !e.Established {
		return []ietfAce{ace}, nil
	}
	var out []ietfAce
	for _, flag := range []string{"ack", "rst"} {
		one := ace
		tcp := *ace.TCP
		tcp.Flags = flag
		one.Name, one.TCP = e.Name+"-"+flag, &tcp
		out = append(out, one)
	}
	return out, nil
}

func ietfRun(p portacl.Ports) *ietfPorts {
	lo, hi := int(p.Lo), int(p.Hi)
	switch {
	case p.All():
		return nil
	case lo == hi:
		return &ietfPorts{Operator: "eq", Port: &lo}
	}
	return &ietfPorts{Lower: &lo, Upper: &hi}
}

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
