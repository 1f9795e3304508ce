package dialect

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"bulkhead/pkg/driver/portacl"
)

// Read takes what openconfig-acl has, and nothing that other models add to it, as known.
func (openconfig) Read(data []byte) (*portacl.Config, error) {
	all, err := roots(data, "acl", ocNS)
	if err != nil {
		return nil, err
	}
	out := &portacl.Config{}
	for _, acl := range all {
		var around notes // of what is round all lists
		around.each(acl, "", func(k *element) bool {
			switch k.XMLName.Local {
			case "acl-sets":
				around.each(k, "acl-set", func(s *element) bool {
					if s.XMLName.Local != "acl-set" {
						return false
					}
					var l *portacl.List
					if l, err = ocReadSet(s); err == nil {
						out.Lists = append(out.Lists, *l)
					}
					return err == nil
				})
			case "interfaces":
				around.each(k, "interface", func(i *element) bool {
					if i.XMLName.Local != "interface" {
						return false
					}
					var p *portacl.Port
					if p, err = ocReadPort(i); err == nil {
						addPort(out, p)
					}
					return err == nil
				})
			case "config", "state": // global, and empty in the model
				return len(k.Kids) == 0 || k.XMLName.Local == "state"
			default:
				return false
			}
			return true
		})
		if err != nil {
			return nil, err
		}
		for i := range out.Lists {
			out.Lists[i].Unknown = append(out.Lists[i].Unknown, around...)
		}
		for i := range out.Ports {
			out.Ports[i].Unknown = append(out.Ports[i].Unknown, around...)
		}
	}
	markTwice(out.Lists)
	out.Sort()
	return out, nil
}

// addPort adds what is known of a port, of which two entries may speak.
func addPort(c *portacl.Config, p *portacl.Port) {
	at := c.Port(p.Name)
	if at == nil {
		c.Ports = append(c.Ports, *p)
		return
	}
	at.Bound = append(at.Bound, p.Bound...)
	at.Unknown = append(append(at.Unknown, p.Unknown...), "several entries speak of the port")
}

func ocReadSet(s *element) (*portacl.List, error) {
	l := &portacl.List{}
	var odd notes
	var kind, name2, kind2 string
	var entries *element
	odd.each(s, "", func(k *element) bool {
		switch k.XMLName.Local {
		case "name":
			l.Name = odd.value(k)
		case "type":
			kind = odd.value(k)
		case "config":
			odd.each(k, "", func(c *element) bool {
				switch c.XMLName.Local {
				case "name":
					name2 = odd.value(c)
				case "type":
					kind2 = odd.value(c)
				case "description":
				default:
					return false
				}
				return true
			})
		case "acl-entries":
			entries = k
		case "state":
		default:
			return false
		}
		return true
	})
	if l.Name == "" {
		return nil, fmt.Errorf("the device sent a list without a name")
	}
	family, ok := ocFamily(kind)
	if !ok {
		odd.add("type %q", kind)
	}
	if l.Family = family; name2 != l.Name || local(kind2) != local(kind) {
		odd.add("config of a list %q of type %q", name2, kind2)
	}
	if entries != nil {
		odd.each(entries, "acl-entry", func(e *element) bool {
			if e.XMLName.Local != "acl-entry" {
				return false
			}
			ocReadEntry(l, e, &odd)
			return true
		})
	}
	number := func(e portacl.Entry) int { n, _ := decimal(e.Name, 1<<32-1); return n } // was read as one
	slices.SortStableFunc(l.Entries, func(a, b portacl.Entry) int { return cmp.Compare(number(a), number(b)) })
	for i := 1; i < len(l.Entries); i++ {
		if l.Entries[i].Name == l.Entries[i-1].Name {
			odd.add("two entries %s", l.Entries[i].Name)
		}
	}
	l.Unknown = odd
	return l, nil
}

// ocReadEntry adds an entry to a list, or what of it is not understood.
func ocReadEntry(l *portacl.List, x *element, list *notes) {
	var odd notes
	all := everywhere(l.Family)
	e := portacl.New(false, portacl.AnyProto, all, all)
	var id, id2, action string
	odd.each(x, "", func(k *element) bool {
		switch k.XMLName.Local {
		case "sequence-id":
			id = odd.value(k)
		case "config":
			odd.each(k, "", func(c *element) bool {
				if c.XMLName.Local == "sequence-id" {
					id2 = odd.value(c)
				}
				return c.XMLName.Local == "sequence-id" || c.XMLName.Local == "description"
			})
		case "ipv4", "ipv6":
			if (k.XMLName.Local == "ipv6") != (l.Family == portacl.IPv6) || l.Family == portacl.Both {
				return false
			}
			ocReadIP(&e, k, l.Family, &odd)
		case "transport":
			odd.each(k, "", func(c *element) bool {
				if c.XMLName.Local == "config" {
					ocReadTransport(&e, c, &odd)
				}
				return c.XMLName.Local == "config" || c.XMLName.Local == "state"
			})
		case "actions":
			odd.each(k, "", func(c *element) bool {
				if c.XMLName.Local != "config" {
					return c.XMLName.Local == "state"
				}
				odd.each(c, "", func(a *element) bool {
					switch a.XMLName.Local {
					case "forwarding-action":
						action = odd.value(a)
					case "log-action": // changes nothing of what passes
					default:
						return false
					}
					return true
				})
				return true
			})
		case "state":
		default:
			return false
		}
		return true
	})
	n, err := decimal(id, 1<<32-1)
	if m, err2 := decimal(id2, 1<<32-1); err != nil || err2 != nil || m != n {
		odd.add("sequence-id %q with the config of %q", id, id2)
	}
	e.Name = strconv.Itoa(n)
	switch local(action) {
	case "ACCEPT":
		e.Permit = true
	case "DROP", "REJECT":
	default:
		odd.add("forwarding-action %q", action)
	}
	if why := ocUnfit(&e); why != "" && len(odd) == 0 {
		odd.add("%s", why)
	}
	if len(odd) > 0 {
		list.add("entry %s: %s", id, strings.Join(odd, ", "))
		return
	}
	l.Entries = append(l.Entries, e)
}

func ocReadIP(e *portacl.Entry, k *element, family portacl.Family, odd *notes) {
	odd.each(k, "", func(c *element) bool {
		switch c.XMLName.Local {
		case "config":
			odd.each(c, "", func(f *element) bool {
				switch f.XMLName.Local {
				case "source-address":
					e.Src = odd.prefix(f, family)
				case "destination-address":
					e.Dst = odd.prefix(f, family)
				case "protocol":
					e.Proto = ocReadProtocol(f, odd)
				default:
					return false
				}
				return true
			})
		case "icmpv4", "icmpv6":
			types, codes := ocTypes4, ocCodes4
			if family == portacl.IPv6 {
				types, codes = ocTypes6, ocCodes6
			}
			if (c.XMLName.Local == "icmpv6") != (family == portacl.IPv6) {
				return false
			}
			var kind, code *element
			odd.each(c, "", func(f *element) bool {
				if f.XMLName.Local != "config" {
					return f.XMLName.Local == "state"
				}
				odd.each(f, "", func(v *element) bool {
					switch v.XMLName.Local {
					case "type":
						kind = v
					case "code":
						code = v
					default:
						return false
					}
					return true
				})
				return true
			})
			if kind != nil {
				if e.Type = keyOf(types, local(odd.value(kind))); e.Type == portacl.Any {
					odd.bad(kind)
				}
			}
			if code != nil {
				name := local(odd.value(code))
				for n := range 256 {
					if codes[[2]int{e.Type, n}] == name && name != "" {
						e.Code = n
					}
				}
				if e.Code == portacl.Any {
					odd.bad(code)
				}
			}
		case "state":
		default:
			return false
		}
		return true
	})
}

// keyOf is the number that has a name; Any if none has.
func keyOf(names map[int]string, name string) int {
	for n := range 256 {
		if name != "" && names[n] == name {
			return n
		}
	}
	return portacl.Any
}

func ocReadProtocol(f *element, odd *notes) int {
	s := odd.value(f)
	if n, err := decimal(s, 254); err == nil {
		return n
	}
	n := keyOf(ocProtocols, local(s))
	if n == portacl.Any {
		odd.bad(f)
	}
	return n
}

func ocReadTransport(e *portacl.Entry, c *element, odd *notes) {
	mode, detail := "", ""
	odd.each(c, "", func(f *element) bool {
		side := &e.SrcPorts
		switch f.XMLName.Local {
		case "destination-port":
			side = &e.DstPorts
			fallthrough
		case "source-port":
			if strings.TrimSpace(f.Text) != "ANY" {
				*side = odd.ports(f, "..")
			}
		case "detail-mode":
			mode = odd.value(f)
		case "builtin-detail":
			detail = odd.value(f)
		default:
			return false
		}
		return true
	})
	switch {
	case mode == "" && detail == "":
	case mode == "BUILTIN" && detail == "TCP_ESTABLISHED":
		e.Established = true
	case mode == "BUILTIN" && detail == "FRAGMENT":
		e.Later = true
	default:
		odd.add("detail %q of mode %q", detail, mode)
	}
}

func ocReadPort(x *element) (*portacl.Port, error) {
	p := &portacl.Port{}
	var odd notes
	var id, id2 string
	odd.each(x, "", func(k *element) bool {
		switch k.XMLName.Local {
		case "id":
			id = odd.value(k)
		case "config":
			odd.each(k, "", func(c *element) bool {
				if c.XMLName.Local == "id" {
					id2 = odd.value(c)
				}
				return c.XMLName.Local == "id"
			})
		case "interface-ref":
			odd.each(k, "", func(c *element) bool {
				if c.XMLName.Local != "config" {
					return c.XMLName.Local == "state"
				}
				odd.each(c, "", func(f *element) bool {
					if f.XMLName.Local == "interface" {
						p.Name = odd.value(f)
					}
					return f.XMLName.Local == "interface"
				})
				return true
			})
		case "ingress-acl-sets":
			ocReadSets(p, portacl.In, k, &odd)
		case "egress-acl-sets":
			ocReadSets(p, portacl.Out, k, &odd)
		case "state":
		default:
			return false
		}
		return true
	})
	if p.Name == "" {
		p.Name = id
		odd.add("entry %q refers to no interface", id)
	}
	if p.Name == "" {
		return nil, fmt.Errorf("the device sent a binding without an interface")
	}
	if id != p.Name || id2 != id {
		odd.add("entry %q, of the config of %q, refers to it", id, id2)
	}
	p.Unknown = odd
	return p, nil
}

func ocReadSets(p *portacl.Port, dir portacl.Direction, k *element, odd *notes) {
	name := ocSides[dir] + "-acl-set"
	odd.each(k, name, func(s *element) bool {
		if s.XMLName.Local != name {
			return false
		}
		var set, kind, set2, kind2 string
		odd.each(s, "", func(c *element) bool {
			switch c.XMLName.Local {
			case "set-name":
				set = odd.value(c)
			case "type":
				kind = odd.value(c)
			case "config":
				odd.each(c, "", func(f *element) bool {
					switch f.XMLName.Local {
					case "set-name":
						set2 = odd.value(f)
					case "type":
						kind2 = odd.value(f)
					default:
						return false
					}
					return true
				})
			case "state", "acl-entries": // what it counts
			default:
				return false
			}
			return true
		})
		family, ok := ocFamily(kind)
		if !ok || set == "" || set2 != set || local(kind2) != local(kind) {
			odd.add("list %q of type %q, of the config of %q of type %q (%s)", set, kind, set2, kind2, dir)
			return true
		}
		if slices.ContainsFunc(p.Bound, func(b portacl.Bound) bool { return b.Dir == dir && b.Family == family }) {
			odd.add("several lists of one family (%s), of which the model does not say which is asked first", dir)
		}
		p.Bound = append(p.Bound, portacl.Bound{Dir: dir, Family: family, List: set})
		return true
	})
}
