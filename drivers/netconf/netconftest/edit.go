package netconftest

import (
	"encoding/xml"
	"fmt"
	"slices"
	"strings"
)

const (
	nsBase   = "urn:ietf:params:xml:ns:netconf:base:1.0"
	nsYang   = "urn:ietf:params:xml:ns:yang:1"
	nsEvents = "urn:ietf:params:xml:ns:netconf:notification:1.0"
)

// editor applies one edit to a tree (RFC 6241 section 7.2). It goes on after an error, to
// report all of them; its caller throws the tree away then.
type editor struct {
	keys   map[string][]string
	spaces []string // that there is a model of; nil for any
	// blind lets a remove below an element that the edit makes pass unread, as netconfd
	// does: it makes there what it is told to remove.
	blind bool
	errs  []Error
}

func (e *editor) fail(err Error) { e.errs = append(e.errs, err) }

// edit applies the children of a config element.
func (e *editor) edit(root, config *Node, op string) {
	if op == "replace" {
		root.Children, op = nil, "merge"
	}
	e.children(root, config, "", "", op, false)
}

func (e *editor) children(target, in *Node, schema, path, op string, fresh bool) {
	seen := map[string]bool{}
	for _, c := range in.Children {
		at := schema + "/" + c.Name.Local
		id, ok := e.identity(c, at, path)
		if !ok {
			continue
		}
		here := path + "/" + id
		if seen[c.Name.Space+" "+here] {
			e.fail(Error{Tag: "operation-failed", AppTag: "too-many-elements", Path: here, Message: "given more than once"})
			continue
		}
		seen[c.Name.Space+" "+here] = true
		if e.spaces != nil && !slices.Contains(e.spaces, c.Name.Space) {
			e.fail(Error{Type: "protocol", Tag: "unknown-namespace", Path: here, BadElement: c.Name.Local, BadNamespace: c.Name.Space})
			continue
		}
		e.apply(target, c, at, here, op, fresh)
	}
}

// identity is an element's step of a path: with its keys if it is an entry of a list.
func (e *editor) identity(n *Node, schema, path string) (string, bool) {
	keys := e.keys[schema]
	if len(keys) == 1 && keys[0] == "." {
		return fmt.Sprintf("%s[.='%s']", n.Name.Local, n.canonical()), true
	}
	id := n.Name.Local
	for _, k := range keys {
		leaf := n.Child(k)
		if leaf == nil {
			e.fail(Error{Type: "protocol", Tag: "missing-element", Path: path + "/" + id, BadElement: k, Message: "an entry without its key"})
			return "", false
		}
		id += fmt.Sprintf("[%s='%s']", k, leaf.canonical())
	}
	return id, true
}

// find is the place of the element in target that n speaks of; -1 if there is none.
func (e *editor) find(target, n *Node, schema string) int {
	keys := e.keys[schema]
	return slices.IndexFunc(target.Children, func(c *Node) bool {
		if c.Name != n.Name {
			return false
		}
		for _, k := range keys {
			x, y := c, n
			if k != "." {
				x, y = c.Child(k), n.Child(k)
			}
			if x == nil || x.canonical() != y.canonical() {
				return false
			}
		}
		return true
	})
}

func (e *editor) apply(target, in *Node, schema, path, op string, fresh bool) {
	for _, a := range in.attrs {
		switch {
		case a.Name == (xml.Name{Space: nsBase, Local: "operation"}):
			if op = a.Value; !slices.Contains([]string{"merge", "replace", "create", "delete", "remove"}, op) {
				e.fail(Error{Type: "protocol", Tag: "bad-attribute", Path: path, BadAttribute: "operation", BadElement: in.Name.Local})
				return
			}
		case a.Name.Space == nsYang: // netconfd 2.13 does not find what they name
			e.fail(Error{Type: "protocol", Tag: "bad-attribute", AppTag: "missing-instance", Path: path, BadAttribute: a.Name.Local, BadElement: in.Name.Local})
			return
		default:
			e.fail(Error{Type: "protocol", Tag: "unknown-attribute", Path: path, BadAttribute: a.Name.Local, BadElement: in.Name.Local})
			return
		}
	}
	if fresh && e.blind && op == "remove" {
		op = "merge"
	}
	i := e.find(target, in, schema)
	switch {
	case i < 0 && (op == "delete" || op == "none"):
		e.fail(Error{Tag: "data-missing", Path: path, BadElement: in.Name.Local, Message: "there is none"})
	case i >= 0 && op == "create":
		e.fail(Error{Tag: "data-exists", Path: path, BadElement: in.Name.Local, Message: "there is one"})
	case op == "remove" || op == "delete":
		var have *Node
		if i >= 0 {
			have = target.Children[i]
			target.Children = slices.Delete(target.Children, i, i+1)
		}
		e.named(have, in, schema, path, op)
	case op == "none":
		if !e.isKey(in, schema) {
			e.children(target.Children[i], in, schema, path, op, false)
		}
	default:
		n := &Node{Name: in.Name}
		if i >= 0 && op == "merge" {
			n = target.Children[i]
		}
		if len(n.Children) > 0 && in.Text != "" || n.Text != "" && len(in.Children) > 0 {
			e.fail(Error{Tag: "invalid-value", Path: path, BadElement: in.Name.Local, Message: "text and elements"})
			return
		}
		if len(in.Children) == 0 {
			n.Text, n.Prefixes = in.Text, in.Prefixes
		}
		if i < 0 {
			target.Children = append(target.Children, n)
		} else {
			target.Children[i] = n
		}
		e.children(n, in, schema, path, op, i < 0)
	}
}

// named refuses a removal that names parts which are to be deleted and are not there.
func (e *editor) named(have, in *Node, schema, path, op string) {
	for _, c := range in.Children {
		at, here, op := schema+"/"+c.Name.Local, path+"/"+c.Name.Local, op
		for _, a := range c.attrs {
			if a.Name == (xml.Name{Space: nsBase, Local: "operation"}) {
				op = a.Value
			}
		}
		if e.isKey(c, at) {
			continue
		}
		var part *Node
		if have != nil {
			if i := e.find(have, c, at); i >= 0 {
				part = have.Children[i]
			}
		}
		if part == nil && op == "delete" {
			e.fail(Error{Tag: "data-missing", Path: here, BadElement: c.Name.Local, Message: "there is none"})
		}
		e.named(part, c, at, here, op)
	}
}

// isKey reports whether a leaf only says which entry of a list is meant.
func (e *editor) isKey(n *Node, schema string) bool {
	list, leaf := schema[:strings.LastIndex(schema, "/")], n.Name.Local
	return slices.Contains(e.keys[list], leaf)
}
