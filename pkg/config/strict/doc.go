// Package strict decodes YAML with no tolerance: every key must be known, every
// value of the right type, and every mistake is reported with its file, line
// and column, all of them in one pass.
//
// What may stand in a file is written once, as Values. A Value knows both how to
// read a node into a Go variable and what JSON Schema describes it, so the
// decoder and the schema that editors use cannot drift apart.
//
// Absent and empty differ: a key without a value ("members:") is an error, and a
// List that was given can tell so.
package strict

import (
	"errors"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"

	"bulkhead/pkg/diag"
)

// aliasVisits bounds how many nodes the aliases of one file may add to it. They
// let a small file name the same subtree again and again; the schema's depth is
// fixed, so this is the only way in which it could grow.
const aliasVisits = 200_000

// Decoder reads one file.
type Decoder struct {
	File   string
	Source []byte // the file, for the places of texts in block style; may be nil
	Diags  *diag.List
	visits int
}

// Named is a scalar and where it stands.
type Named struct {
	Value string
	Pos   diag.Pos
	Len   int // columns that it takes in the file
}

// Schema is a JSON Schema fragment (draft 2020-12).
type Schema map[string]any

// Value is one thing that may stand in a file. Schema is a function because
// most decoding never asks for it.
type Value struct {
	Schema func() Schema
	Read   func(d *Decoder, n *yaml.Node)
}

// Key is one key of an object.
type Key struct {
	Name     string
	Doc      string // one sentence, shown by editors
	Required bool
	Value    Value
}

// Mistake is an error with a hint that would help.
type Mistake struct{ Message, Hint string }

func (m *Mistake) Error() string { return m.Message }

// Pos is where a node stands.
func (d *Decoder) Pos(n *yaml.Node) diag.Pos {
	return diag.Pos{File: d.File, Line: n.Line, Col: n.Column}
}

// Errorf reports an error at a node.
func (d *Decoder) Errorf(n *yaml.Node, format string, args ...any) *diag.Diagnostic {
	e := d.Diags.Errorf(d.Pos(n), format, args...)
	e.Len = width(n)
	return e
}

// Report adds err, which concerns what stands at at, and its hint if it has one.
func (d *Decoder) Report(at Named, err error) {
	Report(d.Diags, at, err)
}

// Report adds err, which concerns what stands at at, and its hint if it has one.
func Report(l *diag.List, at Named, err error) {
	e := l.Errorf(at.Pos, "%s", err.Error())
	e.Len = at.Len
	var m *Mistake
	if errors.As(err, &m) {
		e.Hint = m.Hint
	}
}

// named takes a scalar node as text.
func (d *Decoder) named(n *yaml.Node) Named {
	return Named{Value: n.Value, Pos: d.Pos(n), Len: width(n)}
}

// width is how many columns a scalar takes, as far as one can tell without its
// source: escapes and line breaks in it are not counted.
func width(n *yaml.Node) int {
	if n.Kind != yaml.ScalarNode {
		return 1
	}
	w := utf8.RuneCountInString(n.Value)
	switch {
	case n.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0:
		return 1
	case n.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle) != 0:
		w += 2
	}
	return w
}

// enter follows aliases, counts the visit, and refuses a node without a value.
func (d *Decoder) enter(n *yaml.Node) (*yaml.Node, bool) {
	// A node takes at least one byte, so a file without aliases never gets there.
	limit := len(d.Source) + aliasVisits
	if d.visits++; d.visits > limit {
		if d.visits == limit+1 {
			d.Errorf(n, "the file is too large once its aliases are expanded")
		}
		return n, false
	}
	if n.Kind == yaml.AliasNode && n.Alias != nil {
		n = n.Alias
	}
	if n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" {
		d.Errorf(n, "a value is missing").Hint = "write the value, or remove the key; an empty list is [], an empty map {}"
		return n, false
	}
	return n, true
}

// kindName says what a node is, in words.
func kindName(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a map"
	case yaml.SequenceNode:
		return "a list"
	}
	switch n.ShortTag() {
	case "!!str":
		return "text"
	case "!!int", "!!float":
		return "a number"
	case "!!bool":
		return "true or false"
	case "!!timestamp":
		return "a time"
	case "!!null":
		return "nothing"
	}
	return "a value tagged " + n.ShortTag()
}
