package ovs

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"maps"
	"strings"
)

// element is one of a configuration's, with what it needs to be read strictly: its
// children in any order, and the prefixes that its text may use.
type element struct {
	space, name string
	text        string
	children    []*element
	prefixes    map[string]string // to namespaces; "" is the default one
}

// maxDepth bounds how deep elements lie in each other: a list's own lie twelve deep.
const maxDepth = 100

// readElement reads a document. Attributes are refused: they say what to do with a
// configuration, and one that is in force has nothing to be done with.
func readElement(doc []byte) (*element, error) {
	dec := xml.NewDecoder(bytes.NewReader(doc))
	var root *element
	var open []*element
	for {
		tok, err := dec.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("read the configuration: %w", err)
		}
		switch tok := tok.(type) {
		case xml.StartElement:
			e, err := newElement(tok, open)
			if err != nil {
				return nil, err
			}
			switch {
			case len(open) == maxDepth:
				return nil, fmt.Errorf("elements lie more than %d deep", maxDepth)
			case len(open) > 0:
				up := open[len(open)-1]
				up.children = append(up.children, e)
			case root != nil:
				return nil, fmt.Errorf("there is a second document, %q", e.name)
			default:
				root = e
			}
			open = append(open, e)
		case xml.EndElement:
			e := open[len(open)-1]
			e.text = strings.TrimSpace(e.text)
			if e.text != "" && len(e.children) > 0 {
				return nil, fmt.Errorf("%q has text %q between its elements", e.name, e.text)
			}
			open = open[:len(open)-1]
		case xml.CharData:
			if len(open) > 0 {
				open[len(open)-1].text += string(tok)
			} else if strings.TrimSpace(string(tok)) != "" {
				return nil, fmt.Errorf("there is text %q outside the document", string(tok))
			}
		case xml.Directive:
			return nil, fmt.Errorf("a configuration has no directive")
		}
	}
	if root == nil {
		return nil, fmt.Errorf("there is no configuration: an empty answer is no empty configuration")
	}
	return root, nil
}

func newElement(tok xml.StartElement, open []*element) (*element, error) {
	e := &element{space: tok.Name.Space, name: tok.Name.Local, prefixes: map[string]string{}}
	if len(open) > 0 {
		e.prefixes = open[len(open)-1].prefixes
	}
	own := false
	for _, a := range tok.Attr {
		prefix := a.Name.Local
		switch {
		case a.Name.Space == "" && prefix == "xmlns":
			prefix = ""
		case a.Name.Space != "xmlns":
			if len(open) == 0 && e.name == "rpc-reply" {
				continue // message-id
			}
			return nil, fmt.Errorf("%q has the attribute %q, which a configuration in force has not", e.name, a.Name.Local)
		}
		if !own {
			e.prefixes, own = maps.Clone(e.prefixes), true
		}
		e.prefixes[prefix] = a.Value
	}
	return e, nil
}

// identity reads a name with a prefix: its namespace and the name in it (RFC 7950,
// section 9.10.3).
func (e *element) identity() (space, name string, err error) {
	prefix, name, found := strings.Cut(e.text, ":")
	if !found {
		prefix, name = "", e.text
	}
	space, known := e.prefixes[prefix]
	if !known && prefix != "" || name == "" {
		return "", "", fmt.Errorf("%q is %q, whose prefix stands for nothing", e.name, e.text)
	}
	return space, name, nil
}

// field is what may be in an element: once, or any number of times.
type field struct {
	one  **element
	many *[]*element
}

// one takes an element that is there at most once.
func one(to **element) field { return field{one: to} }

// many takes any number.
func many(to *[]*element) field { return field{many: to} }

// skipped takes what means nothing to packets.
func skipped() field { return field{many: new([]*element)} }

// read takes an element apart. What is in no field is an error, and so is what is in
// another namespace than the element itself: it may be what narrows or widens a list.
func (e *element) read(fields map[string]field) error {
	if e.text != "" {
		return fmt.Errorf("%q has text %q where elements belong", e.name, e.text)
	}
	for _, c := range e.children {
		f, known := fields[c.name]
		switch {
		case !known || c.space != e.space:
			return fmt.Errorf("%q holds %q of namespace %q, which this switch does not know", e.name, c.name, c.space)
		case f.many != nil:
			*f.many = append(*f.many, c)
		case *f.one != nil:
			return fmt.Errorf("%q holds two of %q", e.name, c.name)
		default:
			*f.one = c
		}
	}
	return nil
}

// leaf is the text of an element without children.
func (e *element) leaf() (string, error) {
	if len(e.children) > 0 {
		return "", fmt.Errorf("%q holds %q where a value belongs", e.name, e.children[0].name)
	}
	return e.text, nil
}
