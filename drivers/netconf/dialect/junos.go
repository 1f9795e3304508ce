package dialect

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"bulkhead/pkg/driver/portacl"
)

// junos is filters of the family ethernet-switching in Junos' own model, as EX and QFX switches
// have it, in the namespaces of its YANG modules (the switch is set to "yang-compliant"). It was
// held against the modules of Junos 24.4, and not against a switch.
//
// One filter sees every frame of its port, and a term says with ether-type of which family it
// is. Frames that no term matches are dropped, those that are no IP too: without ARP no device
// would reach another. So a filter of ours ends with three terms of its own, which drop what is
// left of IPv4 and of IPv6 and let all other frames pass. A filter that ends otherwise is not
// understood.
//
// The model has is-fragment, which the modules do not say to leave out the first one, and flags
// of fragments for what is received only: later fragments cannot be told. Ports are asked of TCP
// and UDP only.
type junos struct{}

const (
	junosNS           = "http://yang.juniper.net/junos-qfx/conf/root"
	junosFirewallNS   = "http://yang.juniper.net/junos-qfx/conf/firewall"
	junosInterfacesNS = "http://yang.juniper.net/junos-qfx/conf/interfaces"
)

// The terms that end a filter.
const (
	junosEnd4     = "bh-end-ipv4"
	junosEnd6     = "bh-end-ipv6"
	junosEndOther = "bh-end-other"
)

func junosEnds(name string) bool {
	return name == junosEnd4 || name == junosEnd6 || name == junosEndOther
}

func (junos) Name() string { return "junos" }

func (junos) Limits() Limits {
	return Limits{OneList: true, Mute: otherICMP, Ranges: true, Names: portacl.MaxName, Blind: []int{33, 132, 136}}
}

// Filter asks for groups, too: what they have others may inherit.
func (junos) Filter() []byte {
	return []byte(`<configuration xmlns="` + junosNS + `">` +
		`<groups><name/><firewall xmlns="` + junosFirewallNS + `"/><interfaces xmlns="` + junosInterfacesNS + `"/></groups>` +
		`<firewall xmlns="` + junosFirewallNS + `"><apply-groups/><family><apply-groups/><ethernet-switching/></family></firewall>` +
		`<interfaces xmlns="` + junosInterfacesNS + `"><interface-range/><interface><name/><unit><name/><family><ethernet-switching><filter/></ethernet-switching></family></unit></interface></interfaces>` +
		`</configuration>`)
}

func (junos) Count(*portacl.Entry) int { return 1 }

// junosProtocols are those that Junos shows by name.
var junosProtocols = map[int]string{1: "icmp", 2: "igmp", 4: "ipip", 6: "tcp", 8: "egp", 17: "udp", 46: "rsvp", 47: "gre", 50: "esp", 51: "ah", 58: "icmp6", 89: "ospf", 103: "pim", 112: "vrrp", 132: "sctp"}

var junosSides = map[portacl.Direction]string{portacl.In: "input", portacl.Out: "output"}

// Edit writes filters as a whole, terms being in the order in which they are asked. Of an
// interface it touches the two leaves that name filters.
func (junos) Edit(have, want *portacl.Config) ([]byte, error) {
	if name := twice(want.Lists); name != "" {
		return nil, fmt.Errorf("two lists are called %q, and a binding could not say which is meant", name)
	}
	doc := el("configuration").declare("", junosNS)
	ch := between(have, want)
	filters := el("ethernet-switching")
	for _, l := range ch.gone {
		filters.add(el("filter", leaf("name", l.Name)).with("delete"))
	}
	for _, l := range ch.put {
		n, err := junosFilter(&l)
		if err != nil {
			return nil, err
		}
		filters.add(n)
	}
	if len(filters.kids) > 0 {
		doc.add(el("firewall", el("family", filters)).declare("", junosFirewallNS))
	}
	interfaces := el("interfaces").declare("", junosInterfacesNS)
	known := map[string]*node{}
	for _, port := range portNames(have, want) {
		name, unit, err := junosUnit(port)
		if err != nil {
			return nil, err
		}
		leaves, err := junosBinding(port, boundAt(have, port), boundAt(want, port))
		if err != nil {
			return nil, err
		}
		if known[name] == nil {
			known[name] = el("interface", leaf("name", name))
			interfaces.add(known[name])
		}
		known[name].add(el("unit", leaf("name", unit), el("family", el("ethernet-switching", el("filter", leaves...)))))
	}
	if len(interfaces.kids) > 0 {
		doc.add(interfaces)
	}
	return doc.bytes(), nil
}

// junosUnit takes the name of a port apart: "xe-0/0/1" is its unit 0, "xe-0/0/1.5" another.
func junosUnit(port string) (name, unit string, err error) {
	name, unit, other := strings.Cut(port, ".")
	if !other {
		return port, "0", nil
	}
	if n, err := decimal(unit, 1<<31-1); err != nil || n == 0 || strconv.Itoa(n) != unit || name == "" {
		return "", "", fmt.Errorf("%q is no port of Junos: it is called \"xe-0/0/1\", or \"xe-0/0/1.5\" for a unit other than 0", port)
	}
	return name, unit, nil
}

// junosBinding writes the leaves of a unit that change.
func junosBinding(port string, have, want []portacl.Bound) ([]*node, error) {
	var out []*node
	for _, dir := range []portacl.Direction{portacl.In, portacl.Out} {
		names := func(bound []portacl.Bound) (list string, n int) {
			for _, b := range bound {
				if b.Dir == dir {
					list, n = b.List, n+1
				}
			}
			return list, n
		}
		old, _ := names(have)
		next, n := names(want)
		switch {
		case n > 1:
			return nil, fmt.Errorf("port %q: a port has one filter (%s) in Junos", port, dir)
		case next == old:
		case next == "":
			out = append(out, el(junosSides[dir]).with("delete"))
		default:
			out = append(out, leaf(junosSides[dir], next))
		}
	}
	for _, b := range want {
		if b.Family != portacl.Both {
			return nil, fmt.Errorf("port %q: list %q is bound for one family, and a filter of Junos sees both", port, b.List)
		}
	}
	return out, nil
}

func junosFilter(l *portacl.List) (*node, error) {
	if l.Family != portacl.Both {
		return nil, fmt.Errorf("list %q is of one family, and a filter of Junos sees both", l.Name)
	}
	n := el("filter", leaf("name", l.Name)).with("replace")
	var names []string
	for i := range l.Entries {
		e := &l.Entries[i]
		if e.Name == "" || junosEnds(e.Name) || slices.Contains(names, e.Name) {
			return nil, fmt.Errorf("list %q: entry %q: terms of a filter have names of their own", l.Name, e.Name)
		}
		names = append(names, e.Name)
		if why := unfit(e); why != "" {
			return nil, fmt.Errorf("list %q: entry %s (%s): %s", l.Name, e.Name, e, why)
		}
		if e.Later {
			return nil, fmt.Errorf("list %q: entry %s (%s): Junos cannot match fragments but the first", l.Name, e.Name, e)
		}
		n.add(junosTerm(e))
	}
	for _, end := range []struct {
		name   string
		family portacl.Family
	}{{junosEnd4, portacl.IPv4}, {junosEnd6, portacl.IPv6}} {
		all := everywhere(end.family)
		e := portacl.New(false, portacl.AnyProto, all, all)
		e.Name = end.name
		n.add(junosTerm(&e))
	}
	n.add(el("term", leaf("name", junosEndOther), el("then", el("accept"))))
	return n, nil
}

func junosTerm(e *portacl.Entry) *node {
	from := el("from")
	in, source, destination, protocol := from, "ip-source-address", "ip-destination-address", "ip-protocol"
	if portacl.FamilyOf(e.Src) == portacl.IPv6 {
		from.add(leaf("ether-type", "ipv6"))
		in, source, destination, protocol = el("ipv6"), "ip6-source-address", "ip6-destination-address", "payload-protocol"
	} else {
		from.add(leaf("ether-type", "ipv4"))
	}
	if e.Src.Bits() > 0 {
		in.add(el(source, leaf("name", e.Src.String())))
	}
	if e.Dst.Bits() > 0 {
		in.add(el(destination, leaf("name", e.Dst.String())))
	}
	if name := junosProtocols[e.Proto]; name != "" {
		in.add(leaf(protocol, name))
	} else if e.Proto != portacl.AnyProto {
		in.add(leaf(protocol, strconv.Itoa(e.Proto)))
	}
	if !e.SrcPorts.All() {
		in.add(leaf("source-port", run(e.SrcPorts, "-")))
	}
	if !e.DstPorts.All() {
		in.add(leaf("destination-port", run(e.DstPorts, "-")))
	}
	if e.Established {
		in.add(el("tcp-established"))
	}
	if e.Type != portacl.Any {
		in.add(leaf("icmp-type", strconv.Itoa(e.Type)))
	}
	if e.Code != portacl.Any {
		in.add(leaf("icmp-code", strconv.Itoa(e.Code)))
	}
	if in != from && len(in.kids) > 0 {
		from.add(el("ip-version", in))
	}
	action := "discard"
	if e.Permit {
		action = "accept"
	}
	return el("term", leaf("name", e.Name), from, el("then", el(action)))
}
