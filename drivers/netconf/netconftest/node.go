package netconftest

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
)

// Node is an element of a configuration.
type Node struct {
	Name     xml.Name
	Text     string            // of one without children, white space around it taken off
	Prefixes map[string]string // prefixes that Text may use, with their namespaces
	Children []*Node

	attrs []xml.Attr // without declarations of namespaces
}

// Child returns the first child of a local name; nil if there is none. It may be called
// on nil.
func (n *Node) Child(local string) *Node {
	for _, c := range n.All(local) {
		return c
	}
	return nil
}

// All returns the children of a local name.
func (n *Node) All(local string) []*Node {
	if n == nil {
		return nil
	}
	var out []*Node
	for _, c := range n.Children {
		if c.Name.Local == local {
			out = append(out, c)
		}
	}
	return out
}

// At goes down a path of local names, "acls/acl/name".
func (n *Node) At(path string) *Node {
	for _, p := range strings.Split(path, "/") {
		n = n.Child(p)
	}
	return n
}

// Value is the text without a prefix that it may have; "" of nil.
func (n *Node) Value() string {
	if n == nil {
		return ""
	}
	if p, rest, ok := strings.Cut(n.Text, ":"); ok && n.Prefixes[p] != "" {
		return rest
	}
	return n.Text
}

// canonical is the text with the namespace of its prefix.
func (n *Node) canonical() string {
	if p, rest, ok := strings.Cut(n.Text, ":"); ok && n.Prefixes[p] != "" {
		return "{" + n.Prefixes[p] + "}" + rest
	}
	return n.Text
}

func (n *Node) clone() *Node {
	c := &Node{Name: n.Name, Text: n.Text, Prefixes: n.Prefixes}
	for _, x := range n.Children {
		c.Children = append(c.Children, x.clone())
	}
	return c
}

// equal compares what two trees mean: order counts, prefixes do not.
func (n *Node) equal(m *Node) bool {
	return n.Name == m.Name && n.canonical() == m.canonical() && slices.EqualFunc(n.Children, m.Children, (*Node).equal)
}

// XML writes the element.
func (n *Node) XML() []byte {
	var b bytes.Buffer
	n.write(&b, "", false)
	return b.Bytes()
}

// write writes an element into one whose default namespace is space. leafsLast puts
// children that have children first, as some servers do in replies.
func (n *Node) write(b *bytes.Buffer, space string, leafsLast bool) {
	b.WriteString("<" + n.Name.Local)
	declare := func(name, value string) {
		b.WriteString(" " + name + `="`)
		xml.EscapeText(b, []byte(value))
		b.WriteString(`"`)
	}
	if n.Name.Space != space {
		declare("xmlns", n.Name.Space)
	}
	for _, p := range slices.Sorted(maps.Keys(n.Prefixes)) {
		declare("xmlns:"+p, n.Prefixes[p])
	}
	if n.Text == "" && len(n.Children) == 0 {
		b.WriteString("/>")
		return
	}
	b.WriteString(">")
	xml.EscapeText(b, []byte(n.Text))
	children := n.Children
	if leafsLast {
		children = slices.Clone(children)
		slices.SortStableFunc(children, func(x, y *Node) int { return min(len(y.Children), 1) - min(len(x.Children), 1) })
	}
	for _, c := range children {
		c.write(b, n.Name.Space, leafsLast)
	}
	b.WriteString("</" + n.Name.Local + ">")
}

// maxDepth is of a message that is taken.
const maxDepth = 200

// Parse reads one element and what is in it.
func Parse(b []byte) (*Node, error) {
	d := xml.NewDecoder(bytes.NewReader(b))
	var root *Node
	var open []*Node
	scopes := []map[string]string{{}}
	for {
		tok, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		switch tok := tok.(type) {
		case xml.StartElement:
			if len(open) == maxDepth || len(open) == 0 && root != nil {
				return nil, fmt.Errorf("too deep, or a second element: %q", tok.Name.Local)
			}
			n := &Node{Name: tok.Name}
			scope := maps.Clone(scopes[len(scopes)-1])
			for _, a := range tok.Attr {
				switch {
				case a.Name.Space == "xmlns":
					scope[a.Name.Local] = a.Value
				case a.Name.Space == "" && a.Name.Local == "xmlns":
					scope[""] = a.Value
				default:
					n.attrs = append(n.attrs, a)
				}
			}
			if tok.Name.Space != "" && !slices.Contains(slices.Collect(maps.Values(scope)), tok.Name.Space) {
				return nil, fmt.Errorf("the prefix %q is not declared", tok.Name.Space)
			}
			scopes = append(scopes, scope)
			if len(open) > 0 {
				up := open[len(open)-1]
				up.Children = append(up.Children, n)
			} else {
				root = n
			}
			open = append(open, n)
		case xml.EndElement:
			n := open[len(open)-1]
			n.Text = strings.TrimSpace(n.Text)
			if n.Text != "" && len(n.Children) > 0 {
				return nil, fmt.Errorf("%q has both text and elements", n.Name.Local)
			}
			if p, _, ok := strings.Cut(n.Text, ":"); ok && scopes[len(scopes)-1][p] != "" && p != "" {
				n.Prefixes = map[string]string{p: scopes[len(scopes)-1][p]}
			}
			open, scopes = open[:len(open)-1], scopes[:len(scopes)-1]
		case xml.CharData:
			if len(open) > 0 {
				open[len(open)-1].Text += string(tok)
			} else if len(bytes.TrimSpace(tok)) > 0 {
				return nil, errors.New("text outside the element")
			}
		case xml.Directive:
			return nil, errors.New("a document type")
		}
	}
	if root == nil {
		return nil, errors.New("no element")
	}
	return root, nil
}

// parseConfig reads what a config element holds.
func parseConfig(inner string) (*Node, error) {
	return Parse([]byte(`<config xmlns="` + nsBase + `" xmlns:nc="` + nsBase + `">` + inner + `</config>`))
}
