package session

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strings"
)

// The namespaces of the protocol.
const (
	nsBase         = "urn:ietf:params:xml:ns:netconf:base:1.0"
	nsNotification = "urn:ietf:params:xml:ns:netconf:notification:1.0"
)

// message is one that came, looked through once: well formed, not too deep, one element.
type message struct {
	raw   []byte
	root  xml.StartElement
	inner []byte // of the root element
	// children are the root's, in order.
	children []child
}

// child is an element right below the root.
type child struct {
	start xml.StartElement
	raw   []byte // with its tags
	inner []byte // without
}

// parse looks a message through. What it lets pass is one well-formed element of at
// most maxDepth levels, without a document type (RFC 6241 section 3 forbids one).
func parse(raw []byte, maxDepth int) (*message, error) {
	raw = bytes.TrimSpace(raw)
	m := &message{raw: raw}
	d := xml.NewDecoder(bytes.NewReader(raw))
	var innerFrom, childFrom, childInner int64
	depth, ended := 0, false
	for {
		at := d.InputOffset()
		tok, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("not well-formed XML: %w", err)
		}
		switch tok := tok.(type) {
		case xml.StartElement:
			if ended {
				return nil, fmt.Errorf("not well-formed XML: a second element %q", tok.Name.Local)
			}
			if err := once(tok); err != nil {
				return nil, err
			}
			switch depth++; {
			case depth > maxDepth:
				return nil, fmt.Errorf("XML of more than %d levels", maxDepth)
			case depth == 1:
				m.root, innerFrom = tok.Copy(), d.InputOffset()
			case depth == 2:
				m.children = append(m.children, child{start: tok.Copy()})
				childFrom, childInner = at, d.InputOffset()
			}
		case xml.EndElement:
			switch depth--; depth {
			case 0:
				m.inner, ended = raw[innerFrom:max(at, innerFrom)], true
			case 1:
				c := &m.children[len(m.children)-1]
				c.raw, c.inner = raw[childFrom:d.InputOffset()], raw[childInner:max(at, childInner)]
			}
		case xml.Directive:
			return nil, errors.New("a document type declaration, which NETCONF forbids")
		case xml.CharData:
			if depth == 0 && len(bytes.TrimSpace(tok)) > 0 {
				return nil, errors.New("not well-formed XML: text outside the element")
			}
		}
	}
	if !ended {
		return nil, errors.New("not well-formed XML: no element")
	}
	return m, nil
}

// once refuses an attribute that an element has twice: encoding/xml lets it pass, and
// readers would choose different ones.
func once(e xml.StartElement) error {
	for i, a := range e.Attr {
		for _, b := range e.Attr[:i] {
			if a.Name == b.Name {
				return fmt.Errorf("not well-formed XML: %q has the attribute %q twice", e.Name.Local, a.Name.Local)
			}
		}
	}
	return nil
}

// is reports whether the root element has a name of a namespace.
func (m *message) is(space, local string) bool {
	return m.root.Name == xml.Name{Space: space, Local: local}
}

// attr is an attribute of the root that has no namespace.
func (m *message) attr(local string) string {
	for _, a := range m.root.Attr {
		if a.Name.Space == "" && a.Name.Local == local {
			return a.Value
		}
	}
	return ""
}

// document makes a child a document of its own: with every namespace that was declared
// around it, so that its names mean what they meant.
func (m *message) document(c child) []byte {
	declared := map[string]string{}
	var order []string
	for _, e := range []xml.StartElement{m.root, c.start} {
		for _, a := range e.Attr {
			name, ok := "", false
			switch {
			case a.Name.Space == "xmlns":
				name, ok = "xmlns:"+a.Name.Local, true
			case a.Name.Space == "" && a.Name.Local == "xmlns":
				name, ok = "xmlns", true
			}
			if !ok {
				continue
			}
			if _, seen := declared[name]; !seen {
				order = append(order, name)
			}
			declared[name] = a.Value
		}
	}
	// The tag as it was written, prefix and all.
	tag := string(c.raw[1:])
	if i := strings.IndexAny(tag, " \t\r\n/>"); i >= 0 {
		tag = tag[:i]
	}
	var b bytes.Buffer
	b.WriteString("<" + tag)
	for _, name := range order {
		b.WriteString(" " + name + `="`)
		xml.EscapeText(&b, []byte(declared[name]))
		b.WriteString(`"`)
	}
	b.WriteString(">")
	b.Write(c.inner)
	b.WriteString("</" + tag + ">")
	return b.Bytes()
}

// fragment holds XML that is put into an element of ours to be well formed by itself:
// elements and white space, each one closed where it was opened.
func fragment(b []byte) error {
	d := xml.NewDecoder(bytes.NewReader(b))
	depth := 0
	for {
		tok, err := d.Token()
		if errors.Is(err, io.EOF) && depth == 0 {
			return nil
		}
		if err != nil {
			return err
		}
		switch tok := tok.(type) {
		case xml.StartElement:
			if err := once(tok); err != nil {
				return err
			}
			depth++
		case xml.EndElement:
			depth--
		case xml.Directive, xml.ProcInst:
			return errors.New("a declaration or processing instruction")
		case xml.CharData:
			if depth == 0 && len(bytes.TrimSpace(tok)) > 0 {
				return fmt.Errorf("text outside any element: %.40q", bytes.TrimSpace(tok))
			}
		}
	}
}
