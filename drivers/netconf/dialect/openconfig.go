package dialect

import (
	"fmt"
	"slices"
	"strconv"

	"bulkhead/pkg/driver/portacl"
)

// openconfig is openconfig-acl 1.3. It was held against the model, and not against a switch.
//
// A list is of IPv4 or of IPv6. Its entries are in order of their numbers, wherever they are in
// a reply. Established and later fragments are what the model calls builtin details, ports are
// asked of TCP and UDP only, and messages of ICMP are those that have a name there.
type openconfig struct{}

const ocNS = "http://openconfig.net/yang/acl"

func (openconfig) Name() string { return "openconfig" }

func (openconfig) Limits() Limits {
	return Limits{Ranges: true, Later: true, Mute: ocMute, Names: portacl.MaxName, Blind: []int{33, 132, 136}}
}

func (openconfig) Filter() []byte { return []byte(`<acl xmlns="` + ocNS + `"/>`) }

func (openconfig) Count(*portacl.Entry) int { return 1 }

// ocFamilies are the types of lists that are known.
var ocFamilies = map[portacl.Family]string{portacl.IPv4: "ACL_IPV4", portacl.IPv6: "ACL_IPV6"}

func ocFamily(name string) (portacl.Family, bool) {
	switch local(name) {
	case "ACL_IPV4":
		return portacl.IPv4, true
	case "ACL_IPV6":
		return portacl.IPv6, true
	}
	return portacl.Both, false
}

// ocProtocols have names in the model; the others are numbers there.
var ocProtocols = map[int]string{1: "IP_ICMP", 2: "IP_IGMP", 4: "IP_IN_IP", 6: "IP_TCP", 17: "IP_UDP", 46: "IP_RSVP", 47: "IP_GRE", 51: "IP_AUTH", 103: "IP_PIM", 115: "IP_L2TP"}

var ocSides = map[portacl.Direction]string{portacl.In: "ingress", portacl.Out: "egress"}

// Edit writes lists as a whole, and of bindings those that come and go.
func (openconfig) Edit(have, want *portacl.Config) ([]byte, error) {
	if name := twice(want.Lists); name != "" {
		return nil, fmt.Errorf("two lists are called %q, and a binding could not say which is meant", name)
	}
	doc := el("acl").declare("", ocNS).declare("oc-acl", ocNS).declare("oc-pkt-match-types", "http://openconfig.net/yang/packet-match-types").
		declare("oc-icmpv4-types", "http://openconfig.net/yang/openconfig-icmpv4-types").declare("oc-icmpv6-types", "http://openconfig.net/yang/openconfig-icmpv6-types")
	ch := between(have, want)
	sets := el("acl-sets")
	for _, l := range ch.gone {
		n, err := ocSet(&l, "delete")
		if err != nil {
			return nil, err
		}
		sets.add(n)
	}
	for _, l := range ch.put {
		if old := have.List(l.Name); old != nil && old.Family != l.Family { // the family is a part of the key
			n, err := ocSet(old, "delete")
			if err != nil {
				return nil, err
			}
			sets.add(n)
		}
		n, err := ocSet(&l, "replace")
		if err != nil {
			return nil, err
		}
		sets.add(n)
	}
	if len(sets.kids) > 0 {
		doc.add(sets)
	}
	ports := el("interfaces")
	for _, name := range portNames(have, want) {
		n, err := ocPort(name, have.Port(name), boundAt(want, name))
		if err != nil {
			return nil, err
		}
		ports.add(n)
	}
	if len(ports.kids) > 0 {
		doc.add(ports)
	}
	return doc.bytes(), nil
}

// ocSet writes a list, or of one that goes its key.
func ocSet(l *portacl.List, op string) (*node, error) {
	kind, ok := ocFamilies[l.Family]
	if !ok {
		return nil, fmt.Errorf("list %q is of no type that is known: a list of OpenConfig is of IPv4 or of IPv6", l.Name)
	}
	n := el("acl-set", leaf("name", l.Name), leaf("type", "oc-acl:"+kind)).with(op)
	if op == "delete" {
		return n, nil
	}
	n.add(el("config", leaf("name", l.Name), leaf("type", "oc-acl:"+kind)))
	entries, last := el("acl-entries"), -1
	for i := range l.Entries {
		e := &l.Entries[i]
		at, err := decimal(e.Name, 1<<32-1)
		if err != nil || strconv.Itoa(at) != e.Name || at <= last {
			return nil, fmt.Errorf("list %q: entry %q: entries have ascending numbers for names in OpenConfig", l.Name, e.Name)
		}
		last = at
		out, err := ocEntry(e, l.Family)
		if err != nil {
			return nil, fmt.Errorf("list %q: entry %s (%s): %w", l.Name, e.Name, e, err)
		}
		entries.add(out)
	}
	if len(entries.kids) > 0 {
		n.add(entries)
	}
	return n, nil
}

// ocUnfit says why an entry cannot be written; "" if nothing is known against it. Beside the
// addresses of a family the model has the messages of that family's ICMP only.
func ocUnfit(e *portacl.Entry) string {
	if why := unfit(e); why != "" {
		return why
	}
	if e.Type != portacl.Any && (e.Proto == 58) != (portacl.FamilyOf(e.Src) == portacl.IPv6) {
		return "it asks for a message of the other family's ICMP"
	}
	return ""
}

func ocEntry(e *portacl.Entry, family portacl.Family) (*node, error) {
	if why := ocUnfit(e); why != "" {
		return nil, fmt.Errorf("%s", why)
	}
	if portacl.FamilyOf(e.Src) != family {
		return nil, fmt.Errorf("it is of another family than its list")
	}
	ip, icmp, types, codes := "ipv4", "icmpv4", ocTypes4, ocCodes4
	if family == portacl.IPv6 {
		ip, icmp, types, codes = "ipv6", "icmpv6", ocTypes6, ocCodes6
	}
	match := el("config")
	if e.Src.Bits() > 0 {
		match.add(leaf("source-address", e.Src.String()))
	}
	if e.Dst.Bits() > 0 {
		match.add(leaf("destination-address", e.Dst.String()))
	}
	switch name := ocProtocols[e.Proto]; {
	case e.Proto == 255:
		return nil, fmt.Errorf("OpenConfig has protocols up to 254")
	case name != "":
		match.add(leaf("protocol", "oc-pkt-match-types:"+name))
	case e.Proto != portacl.AnyProto:
		match.add(leaf("protocol", strconv.Itoa(e.Proto)))
	}
	out := el("acl-entry", leaf("sequence-id", e.Name), el("config", leaf("sequence-id", e.Name)))
	outer := el(ip)
	if len(match.kids) > 0 {
		outer.add(match)
	}
	if e.Type != portacl.Any {
		message := el("config")
		name, ok := types[e.Type]
		if !ok {
			return nil, fmt.Errorf("OpenConfig has no name for the message of type %d of ICMP", e.Type)
		}
		message.add(leaf("type", "oc-"+icmp+"-types:"+name))
		if e.Code != portacl.Any {
			if name, ok = codes[[2]int{e.Type, e.Code}]; !ok {
				return nil, fmt.Errorf("OpenConfig has no name for the message of type %d and code %d of ICMP", e.Type, e.Code)
			}
			message.add(leaf("code", "oc-"+icmp+"-types:"+name))
		}
		outer.add(el(icmp, message))
	}
	if len(outer.kids) > 0 {
		out.add(outer)
	}
	transport := el("config")
	if !e.SrcPorts.All() {
		transport.add(leaf("source-port", run(e.SrcPorts, "..")))
	}
	if !e.DstPorts.All() {
		transport.add(leaf("destination-port", run(e.DstPorts, "..")))
	}
	switch {
	case e.Established:
		transport.add(leaf("detail-mode", "BUILTIN"), leaf("builtin-detail", "TCP_ESTABLISHED"))
	case e.Later:
		transport.add(leaf("detail-mode", "BUILTIN"), leaf("builtin-detail", "FRAGMENT"))
	}
	if len(transport.kids) > 0 {
		out.add(el("transport", transport))
	}
	action := "oc-acl:DROP"
	if e.Permit {
		action = "oc-acl:ACCEPT"
	}
	out.add(el("actions", el("config", leaf("forwarding-action", action))))
	return out, nil
}

// ocPort writes what changes of the bindings of a port. The entry of a port goes with its last
// binding if nothing else is in it.
func ocPort(name string, have *portacl.Port, want []portacl.Bound) (*node, error) {
	n := el("interface", leaf("id", name))
	var old []portacl.Bound
	if have != nil {
		old = have.Bound
	}
	if len(want) == 0 && len(have.Unknown) == 0 {
		return n.with("delete"), nil
	}
	if len(old) == 0 && (have == nil || len(have.Unknown) == 0) {
		n.add(el("config", leaf("id", name)), el("interface-ref", el("config", leaf("interface", name))))
	}
	for _, dir := range []portacl.Direction{portacl.In, portacl.Out} {
		sets := el(ocSides[dir] + "-acl-sets")
		set := func(b portacl.Bound, op string) error {
			kind, ok := ocFamilies[b.Family]
			if !ok {
				return fmt.Errorf("port %q: list %q is bound for both families, and a binding of OpenConfig is of one", name, b.List)
			}
			s := el(ocSides[dir]+"-acl-set", leaf("set-name", b.List), leaf("type", "oc-acl:"+kind)).with(op)
			if op == "" {
				s.add(el("config", leaf("set-name", b.List), leaf("type", "oc-acl:"+kind)))
			}
			sets.add(s)
			return nil
		}
		for _, b := range old {
			if b.Dir == dir && !slices.Contains(want, b) {
				if err := set(b, "delete"); err != nil {
					return nil, err
				}
			}
		}
		for _, b := range want {
			if b.Dir != dir || slices.Contains(old, b) {
				continue
			}
			if slices.ContainsFunc(want, func(o portacl.Bound) bool { return o != b && o.Dir == b.Dir && o.Family == b.Family }) {
				return nil, fmt.Errorf("port %q: several lists of one family (%s): OpenConfig says nothing of which is asked first", name, dir)
			}
			if err := set(b, ""); err != nil {
				return nil, err
			}
		}
		if len(sets.kids) > 0 {
			n.add(sets)
		}
	}
	return n, nil
}
