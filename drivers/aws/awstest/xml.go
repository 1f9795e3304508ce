package awstest

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"time"
)

// node is an element of an answer. AWS's answers are of elements and text alone.
type node struct {
	name, text string
	kids       []node
}

// leaf is an element with a text.
func leaf(name string, v any) node {
	if t, ok := v.(time.Time); ok {
		return node{name: name, text: t.UTC().Format("2006-01-02T15:04:05.000Z")}
	}
	return node{name: name, text: fmt.Sprint(v)}
}

// opt is an element that is left out if the text is empty.
func opt(name, text string) node {
	if text == "" {
		return node{}
	}
	return leaf(name, text)
}

// elem is an element with others in it.
func elem(name string, kids ...node) node { return node{name: name, kids: kids} }

// set is a list: EC2 puts each of it in an element item.
func set[T any](name string, of []T, kids func(T) []node) node {
	n := node{name: name}
	for _, o := range of {
		n.kids = append(n.kids, elem("item", kids(o)...))
	}
	return n
}

// setOf is a list of texts.
func setOf(name string, of []string) node {
	n := node{name: name}
	for _, s := range of {
		n.kids = append(n.kids, leaf("item", s))
	}
	return n
}

func (n node) write(b *bytes.Buffer) {
	if n.name == "" {
		return
	}
	b.WriteString("<" + n.name + ">")
	_ = xml.EscapeText(b, []byte(n.text)) // a Buffer takes everything
	for _, k := range n.kids {
		k.write(b)
	}
	b.WriteString("</" + n.name + ">")
}

// document is a whole answer with a namespace.
func document(name, space string, kids ...node) []byte {
	var b bytes.Buffer
	b.WriteString(xml.Header + "<" + name)
	if space != "" {
		b.WriteString(` xmlns="` + space + `"`)
	}
	b.WriteString(">")
	for _, k := range kids {
		k.write(&b)
	}
	b.WriteString("</" + name + ">")
	return b.Bytes()
}
