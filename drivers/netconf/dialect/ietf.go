package dialect

import (
	"encoding/xml"
	"fmt"
	"net/netip"
	"slices"

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
