package ovs

import (
	"fmt"
	"strconv"
	"strings"
)

// aclSpace is the namespace of ietf-access-control-list (RFC 8519).
const aclSpace = "urn:ietf:params:xml:ns:yang:ietf-access-control-list"

// FromRFC8519 reads the lists of a configuration in force: an element acls of
// ietf-access-control-list, or a reply, data or config that may hold one among other
// models. Ports are called swp1 and so on.
//
// A list is of IPv4 or of IPv6, and says nothing of other packets. With a list of a
// family, what no entry matches is dropped. Without one the family passes.
//
// Control bits that are named must be set, and others may be: the model has no mask. An
// entry with ports, with an ICMP type or with control bits matches no later fragment.
//
// Whatever it does not know is an error, also what would narrow nothing: a switch that
// passes over what it does not know is what such a test must not have.
func FromRFC8519(doc []byte) (ACLs, error) {
	root, err := readElement(doc)
	if err != nil {
		return nil, err
	}
	found, err := findACLs(root)
	if err != nil || found == nil {
		return nil, err
	}
	var acls []*element
	var attached *element
	if err := found.read(map[string]field{"acl": many(&acls), "attachment-points": one(&attached)}); err != nil {
		return nil, err
	}
	lists := map[string]*namedList{}
	for _, a := range acls {
		l, err := readACL(a)
		if err != nil {
			return nil, err
		}
		if lists[l.name] != nil {
			return nil, fmt.Errorf("there are two lists %q", l.name)
		}
		lists[l.name] = l
	}
	if attached == nil {
		return nil, nil
	}
	var interfaces []*element
	if err := attached.read(map[string]field{"interface": many(&interfaces)}); err != nil {
		return nil, err
	}
	var out ACLs
	for _, i := range interfaces {
		at, err := attach(i, lists)
		if err != nil {
			return nil, err
		}
		for _, l := range at {
			for _, other := range out {
				if other.Port == l.Port && other.Direction == l.Direction {
					return nil, fmt.Errorf("interface swp%d is there twice", l.Port)
				}
			}
			out = append(out, l)
		}
	}
	return out, nil
}

// findACLs finds the element of the model: the root, or in what wraps a configuration.
func findACLs(root *element) (*element, error) {
	isACLs := func(e *element) bool { return e.name == "acls" && e.space == aclSpace }
	if isACLs(root) {
		return root, nil
	}
	if root.name == "rpc-reply" && len(root.children) == 1 {
		root = root.children[0]
	}
	if root.name != "data" && root.name != "config" {
		return nil, fmt.Errorf("%q is no configuration", root.name)
	}
	var found *element
	for _, c := range root.children {
		if isACLs(c) {
			if found != nil {
				return nil, fmt.Errorf("there are two elements acls")
			}
			found = c
		}
	}
	return found, nil
}

// namedList is a list that an interface may name.
type namedList struct {
	name    string
	family  uint16 // its Ethernet type
	entries []Entry
}

func readACL(e *element) (*namedList, error) {
	var name, kind, aces *element
	if err := e.read(map[string]field{"name": one(&name), "type": one(&kind), "aces": one(&aces)}); err != nil {
		return nil, err
	}
	l := &namedList{}
	var err error
	if l.name, err = nameOf(e, name); err != nil {
		return nil, err
	}
	if kind == nil {
		return nil, fmt.Errorf("list %q has no type: it could be of either family", l.name)
	}
	space, is, err := kind.identity()
	switch {
	case err != nil:
		return nil, fmt.Errorf("list %q: %w", l.name, err)
	case space == aclSpace && is == "ipv4-acl-type":
		l.family = IPv4
	case space == aclSpace && is == "ipv6-acl-type":
		l.family = IPv6
	default:
		return nil, fmt.Errorf("list %q is of type %q, which this switch does not know: it knows ipv4-acl-type and ipv6-acl-type", l.name, kind.text)
	}
	if aces == nil {
		return l, nil
	}
	var list []*element
	if err := aces.read(map[string]field{"ace": many(&list)}); err != nil {
		return nil, fmt.Errorf("list %q: %w", l.name, err)
	}
	seen := map[string]bool{}
	for _, a := range list {
		ace, entry, err := readACE(a, l.family)
		if err != nil {
			return nil, fmt.Errorf("list %q, entry %q: %w", l.name, ace, err)
		}
		if seen[ace] {
			return nil, fmt.Errorf("list %q has two entries %q", l.name, ace)
		}
		seen[ace] = true
		l.entries = append(l.entries, entry)
	}
	return l, nil
}

// nameOf reads the key of a list's element.
func nameOf(of, key *element) (string, error) {
	if key == nil {
		return "", fmt.Errorf("%q has no name", of.name)
	}
	name, err := key.leaf()
	if err == nil && name == "" {
		err = fmt.Errorf("%q has an empty name", of.name)
	}
	return name, err
}

func readACE(e *element, family uint16) (name string, out Entry, err error) {
	var key, matches, actions *element
	if err := e.read(map[string]field{"name": one(&key), "matches": one(&matches), "actions": one(&actions), "statistics": skipped()}); err != nil {
		return "", out, err
	}
	if name, err = nameOf(e, key); err != nil {
		return "", out, err
	}
	if out, err = readMatches(matches, family); err != nil {
		return name, out, err
	}
	if actions == nil {
		return name, out, fmt.Errorf("it has no actions")
	}
	var forwarding *element
	if err := actions.read(map[string]field{"forwarding": one(&forwarding), "logging": skipped()}); err != nil {
		return name, out, err
	}
	if forwarding == nil {
		return name, out, fmt.Errorf("it does not say whether to forward")
	}
	space, action, err := forwarding.identity()
	switch {
	case err != nil:
		return name, out, err
	case space == aclSpace && action == "accept":
		out.Permit = true
	case space == aclSpace && action == "drop":
	default:
		return name, out, fmt.Errorf("the action %q is none that this switch knows: it knows accept and drop", forwarding.text)
	}
	return name, out, nil
}

// attach reads an interface and the lists that it names.
func attach(e *element, lists map[string]*namedList) ([]List, error) {
	var id *element
	var dirs [2]*element
	if err := e.read(map[string]field{"interface-id": one(&id), "ingress": one(&dirs[In]), "egress": one(&dirs[Out])}); err != nil {
		return nil, err
	}
	name, err := nameOf(e, id)
	if err != nil {
		return nil, err
	}
	digits, found := strings.CutPrefix(name, "swp")
	port, err := strconv.ParseUint(digits, 10, 16)
	if !found || err != nil || strconv.FormatUint(port, 10) != digits || port == 0 {
		return nil, fmt.Errorf("there is no interface %q: this switch has swp1 and so on", name)
	}
	var out []List
	for d, at := range dirs {
		if at == nil {
			continue
		}
		l := List{Port: int(port), Direction: Direction(d)}
		if err := l.take(at, lists); err != nil {
			return nil, fmt.Errorf("interface %q, %s: %w", name, at.name, err)
		}
		out = append(out, l)
	}
	return out, nil
}

// take adds the lists that one direction of an interface names, one of a family.
func (l *List) take(at *element, lists map[string]*namedList) error {
	var sets *element
	var named []*element
	if err := at.read(map[string]field{"acl-sets": one(&sets)}); err != nil {
		return err
	}
	if sets == nil {
		return nil
	}
	if err := sets.read(map[string]field{"acl-set": many(&named)}); err != nil {
		return err
	}
	for _, n := range named {
		var key *element
		if err := n.read(map[string]field{"name": one(&key), "ace-statistics": skipped()}); err != nil {
			return err
		}
		name, err := nameOf(n, key)
		if err != nil {
			return err
		}
		list := lists[name]
		if list == nil {
			return fmt.Errorf("there is no list %q", name)
		}
		dropped := &l.Drop4
		if list.family == IPv6 {
			dropped = &l.Drop6
		}
		if *dropped {
			return fmt.Errorf("list %q is the second one of its family: what they say together is not clear", name)
		}
		*dropped = true
		l.Entries = append(l.Entries, list.entries...)
	}
	return nil
}
