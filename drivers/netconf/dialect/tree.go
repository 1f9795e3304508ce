package dialect

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"bulkhead/pkg/driver/portacl"
)

// node is an element of an edit.
type node struct {
	name, text, op string
	attrs          []xml.Attr
	kids           []*node
}

func el(name string, kids ...*node) *node { return &node{name: name, kids: kids} }

func leaf(name, text string) *node { return &node{name: name, text: text} }

// declare adds a declaration of a namespace, prefix "" being the default one.
func (n *node) declare(prefix, space string) *node {
	name := "xmlns"
	if prefix != "" {
		name += ":" + prefix
	}
	n.attrs = append(n.attrs, xml.Attr{Name: xml.Name{Local: name}, Value: space})
	return n
}

func (n *node) with(op string) *node { n.op = op; return n }

func (n *node) add(kids ...*node) { n.kids = append(n.kids, kids...) }

func (n *node) bytes() []byte {
	var b bytes.Buffer
	n.write(&b)
	return b.Bytes()
}

func (n *node) write(b *bytes.Buffer) {
	b.WriteString("<" + n.name)
	attrs := n.attrs
	if n.op != "" {
		attrs = append(slices.Clone(attrs), xml.Attr{Name: xml.Name{Local: ncPrefix}, Value: n.op})
	}
	for _, a := range attrs {
		b.WriteString(" " + a.Name.Local + `="`)
		_ = xml.EscapeText(b, []byte(a.Value)) // a buffer takes everything
		b.WriteString(`"`)
	}
	if n.text == "" && len(n.kids) == 0 {
		b.WriteString("/>")
		return
	}
	b.WriteString(">")
	_ = xml.EscapeText(b, []byte(n.text))
	for _, k := range n.kids {
		k.write(b)
	}
	b.WriteString("</" + n.name + ">")
}

// notes collects what is not understood.
type notes []string

func (n *notes) add(format string, args ...any) { *n = append(*n, fmt.Sprintf(format, args...)) }

// attrs notes the attributes of an element: a server says with one that a part of its
// configuration is switched off, or comes from elsewhere.
func (n *notes) attrs(e *element) {
	for _, a := range e.Attrs {
		if a.Name.Space != "xmlns" && a.Name != (xml.Name{Local: "xmlns"}) {
			n.add("%s with %s=%q", e.XMLName.Local, a.Name.Local, a.Value)
		}
	}
}

// each hands on the children of a container and notes what f does not know, what is of another
// namespace than the container, and what is there twice and is no list.
func (n *notes) each(e *element, list string, f func(*element) bool) {
	n.attrs(e)
	seen := map[string]bool{}
	if strings.TrimSpace(e.Text) != "" {
		n.add("%s with text", e.XMLName.Local)
	}
	for i := range e.Kids {
		k := &e.Kids[i]
		name := k.XMLName.Local
		switch {
		case k.XMLName.Space != e.XMLName.Space:
			n.add("%s %s of the namespace %q", e.XMLName.Local, name, k.XMLName.Space)
			continue
		case seen[name] && name != list:
			n.add("%s has several %s", e.XMLName.Local, name)
			continue
		}
		if seen[name] = true; !f(k) {
			n.add("%s %s", e.XMLName.Local, name)
		}
	}
}

// value is what a leaf says.
func (n *notes) value(e *element) string {
	n.attrs(e)
	if len(e.Kids) > 0 {
		n.add("%s with elements", e.XMLName.Local)
	}
	return strings.TrimSpace(e.Text)
}

// bad notes a value that has no meaning here.
func (n *notes) bad(e *element) { n.add("%s %q", e.XMLName.Local, strings.TrimSpace(e.Text)) }

// prefix reads a prefix of a family; the bits behind its length do not count.
func (n *notes) prefix(e *element, family portacl.Family) netip.Prefix {
	p, err := netip.ParsePrefix(n.value(e))
	if err != nil || portacl.FamilyOf(p) != family {
		n.bad(e)
		return everywhere(family)
	}
	return p.Masked()
}

// ports reads a port, or two with something between them.
func (n *notes) ports(e *element, between string) portacl.Ports {
	lo, hi, run := strings.Cut(n.value(e), between)
	if !run {
		hi = lo
	}
	a, errA := decimal(lo, 65535)
	b, errB := decimal(hi, 65535)
	if errA != nil || errB != nil || a > b {
		n.bad(e)
		return portacl.AllPorts()
	}
	return portacl.Ports{Lo: uint16(a), Hi: uint16(b)}
}

// decimal reads digits only; strconv takes a sign, too.
func decimal(s string, most int) (int, error) {
	if s == "" || strings.Trim(s, "0123456789") != "" {
		return 0, strconv.ErrSyntax
	}
	v, err := strconv.ParseUint(s, 10, 32)
	if err == nil && v > uint64(most) {
		err = strconv.ErrRange
	}
	return int(v), err
}

// run writes what ports reads.
func run(p portacl.Ports, between string) string {
	if p.Lo == p.Hi {
		return strconv.Itoa(int(p.Lo))
	}
	return fmt.Sprintf("%d%s%d", p.Lo, between, p.Hi)
}

func everywhere(family portacl.Family) netip.Prefix {
	if family == portacl.IPv6 {
		return netip.MustParsePrefix("::/0")
	}
	return netip.MustParsePrefix("0.0.0.0/0")
}

// unfit says why an entry can be written in no model with ports of TCP and UDP only; "" if it
// can. What is read and unfit has no meaning either.
func unfit(e *portacl.Entry) string {
	switch {
	case !e.Src.IsValid() || !e.Dst.IsValid() || portacl.FamilyOf(e.Src) != portacl.FamilyOf(e.Dst):
		return "its addresses are of two families, or none"
	case e.Src != e.Src.Masked() || e.Dst != e.Dst.Masked():
		return "its addresses are no prefixes"
	case e.Proto < portacl.AnyProto || e.Proto > 255:
		return "there is no such protocol"
	case e.SrcPorts.Lo > e.SrcPorts.Hi || e.DstPorts.Lo > e.DstPorts.Hi:
		return "its ports are no run"
	case e.Proto != 6 && e.Proto != 17 && (!e.SrcPorts.All() || !e.DstPorts.All()):
		return "ports can be asked of TCP and UDP only"
	case e.Established && e.Proto != 6:
		return "it asks for flags of TCP, and is not of TCP"
	case e.Type != portacl.Any && e.Proto != 1 && e.Proto != 58:
		return "it asks for a message of ICMP, and is not of ICMP"
	case e.Type < portacl.Any || e.Type > 255 || e.Code < portacl.Any || e.Code > 255 || e.Type == portacl.Any && e.Code != portacl.Any:
		return "there is no such ICMP message"
	case e.Later && e.Layer4():
		return "it asks for fragments but the first, and for what these do not have"
	}
	return ""
}

// twice finds a name that two lists have; "" if there is none. A binding would not say which
// of them it means.
func twice(lists []portacl.List) string {
	seen := map[string]bool{}
	for _, l := range lists {
		if seen[l.Name] {
			return l.Name
		}
		seen[l.Name] = true
	}
	return ""
}

// markTwice has lists that share a name be unknown.
func markTwice(lists []portacl.List) {
	count := map[string]int{}
	for _, l := range lists {
		count[l.Name]++
	}
	for i := range lists {
		if count[lists[i].Name] > 1 {
			lists[i].Unknown = append(lists[i].Unknown, "another list has its name")
		}
	}
}

// portNames lists the ports of two configurations whose bindings differ.
func portNames(have, want *portacl.Config) []string {
	var out []string
	for _, c := range []*portacl.Config{have, want} {
		for _, p := range c.Ports {
			if !slices.Equal(boundAt(have, p.Name), boundAt(want, p.Name)) {
				out = append(out, p.Name)
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// boundAt is what a port has; nil if nothing is known of it.
func boundAt(c *portacl.Config, port string) []portacl.Bound {
	if p := c.Port(port); p != nil {
		return p.Bound
	}
	return nil
}

// roots finds the documents of a name and namespace in what a server sent: the root itself, or
// what is directly in it. A server without such configuration sends none.
func roots(data []byte, name, space string) ([]*element, error) {
	root, err := parse(data)
	if err != nil {
		return nil, err
	}
	all := []*element{root}
	if root.XMLName.Local != name {
		all = nil
		for i := range root.Kids {
			if root.Kids[i].XMLName.Local == name {
				all = append(all, &root.Kids[i])
			}
		}
	}
	for _, e := range all {
		if e.XMLName.Space != space {
			return nil, fmt.Errorf("the device's %q is of the namespace %q, and not of %q", name, e.XMLName.Space, space)
		}
	}
	return all, nil
}
