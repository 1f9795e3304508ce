package netconftest

import (
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"bulkhead/internal/tries"
)

var testKeys = map[string][]string{"/l": {"k"}, "/c/l": {"k"}, "/c/l/m": {"k", "j"}, "/tag": {"."}}

// config reads what a config element holds; x is the namespace of its elements.
func config(t testing.TB, text string) *Node {
	t.Helper()
	n, err := parseConfig(`<x xmlns="urn:x" xmlns:p="urn:p" xmlns:q="urn:p">` + text + `</x>`)
	if err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	return &Node{Name: n.Name, Children: n.Children[0].Children}
}

// short writes a tree so that it can be compared: without namespaces.
func short(n *Node) string {
	var b strings.Builder
	for _, c := range n.Children {
		if len(c.Children) == 0 && c.Text != "" {
			fmt.Fprintf(&b, "%s=%s ", c.Name.Local, c.canonical())
		} else {
			fmt.Fprintf(&b, "%s{%s} ", c.Name.Local, short(c))
		}
	}
	return strings.TrimSpace(b.String())
}

// What every operation makes of a tree, and what it is refused for (RFC 6241 section 7.2).
func TestEdit(t *testing.T) {
	const have = `<a>1</a><l><k>1</k><v>x</v></l><l><k>2</k><v>y</v></l><c><b>2</b></c><tag>u</tag>`
	for _, c := range []struct{ op, edit, want, tags string }{
		{"merge", ``, "a=1 l{k=1 v=x} l{k=2 v=y} c{b=2} tag=u", ""},
		{"merge", `<a>2</a>`, "a=2 l{k=1 v=x} l{k=2 v=y} c{b=2} tag=u", ""},
		{"merge", `<l><v>z</v><k>1</k></l><l><k>3</k></l>`, "a=1 l{k=1 v=z} l{k=2 v=y} c{b=2} tag=u l{k=3}", ""},
		{"merge", `<l nc:operation="replace"><k>1</k><w>1</w></l>`, "a=1 l{k=1 w=1} l{k=2 v=y} c{b=2} tag=u", ""},
		{"merge", `<c nc:operation="replace"/>`, "a=1 l{k=1 v=x} l{k=2 v=y} c{} tag=u", ""},
		{"merge", `<l nc:operation="delete"><k>1</k></l>`, "a=1 l{k=2 v=y} c{b=2} tag=u", ""},
		{"merge", `<l nc:operation="remove"><k>9</k></l><c><b nc:operation="remove"/></c>`, "a=1 l{k=1 v=x} l{k=2 v=y} c{} tag=u", ""},
		{"merge", `<l nc:operation="delete"><k>9</k></l>`, "", "data-missing"},
		{"merge", `<l nc:operation="create"><k>1</k></l>`, "", "data-exists"},
		{"merge", `<l nc:operation="create"><k>0</k><v>n</v></l>`, "a=1 l{k=1 v=x} l{k=2 v=y} c{b=2} tag=u l{k=0 v=n}", ""},
		{"merge", `<tag>v</tag><tag>u</tag>`, "a=1 l{k=1 v=x} l{k=2 v=y} c{b=2} tag=u tag=v", ""},
		{"merge", `<tag nc:operation="delete">u</tag><tag nc:operation="delete">w</tag>`, "", "data-missing"},
		{"merge", `<l><v>z</v></l>`, "", "missing-element"},
		{"merge", `<l><k>1</k></l><l><k>1</k></l>`, "", "operation-failed"},
		{"merge", `<a>1</a><a>2</a>`, "", "operation-failed"},
		{"merge", `<c>text</c>`, "", "invalid-value"},
		{"merge", `<a><b/></a>`, "", "invalid-value"},
		{"merge", `<a nc:operation="insert">1</a>`, "", "bad-attribute"},
		{"merge", `<a b="c">1</a>`, "", "unknown-attribute"},
		{"merge", `<l xmlns:y="urn:ietf:params:xml:ns:yang:1" y:insert="first"><k>0</k></l>`, "", "bad-attribute"},
		{"merge", `<l nc:operation="delete"><k>8</k></l><l nc:operation="create"><k>1</k></l>`, "", "data-missing data-exists"},
		{"merge", `<z xmlns="urn:z"/>`, "", "unknown-namespace"},
		{"merge", `<c><l><k>1</k><m><k>1</k><j>2</j></m><m><k>1</k><j>3</j></m></l></c>`, "a=1 l{k=1 v=x} l{k=2 v=y} c{b=2 l{k=1 m{k=1 j=2} m{k=1 j=3}}} tag=u", ""},
		{"replace", `<a>2</a>`, "a=2", ""},
		{"replace", ``, "", ""},
		{"none", `<l><k>1</k><v nc:operation="replace">z</v></l>`, "a=1 l{k=1 v=z} l{k=2 v=y} c{b=2} tag=u", ""},
		{"none", `<l><k>1</k><v>z</v></l>`, "a=1 l{k=1 v=x} l{k=2 v=y} c{b=2} tag=u", ""},
		{"none", `<l><k>9</k><v nc:operation="create">z</v></l>`, "", "data-missing"},
		{"none", `<l nc:operation="merge"><k>9</k></l>`, "a=1 l{k=1 v=x} l{k=2 v=y} c{b=2} tag=u l{k=9}", ""},
	} {
		root := config(t, have)
		e := &editor{keys: testKeys, spaces: []string{"urn:x"}}
		e.edit(root, config(t, c.edit), c.op)
		var tags []string
		for _, err := range e.errs {
			tags = append(tags, err.Tag)
		}
		if got := strings.Join(tags, " "); got != c.tags {
			t.Errorf("%s %s: refused for %q, want %q", c.op, c.edit, got, c.tags)
		} else if c.tags == "" && short(root) != c.want {
			t.Errorf("%s %s: %s, want %s", c.op, c.edit, short(root), c.want)
		}
	}
}

// What a subtree filter takes (RFC 6241 section 6).
func TestFilter(t *testing.T) {
	const have = `<a>1</a><l><k>1</k><v>x</v><w>1</w></l><l><k>2</k><v>y</v></l><c><b>2</b><l><k>1</k></l></c><e/>`
	for _, c := range []struct{ filter, want string }{
		{``, ""},
		{`<a/>`, "a=1"},
		{`<a>1</a>`, "a=1"},
		{`<a>2</a>`, ""},
		{`<l/>`, "l{k=1 v=x w=1} l{k=2 v=y}"},
		{`<l><k>1</k></l>`, "l{k=1 v=x w=1}"},
		{`<l><k>1</k><v/></l>`, "l{k=1 v=x}"},
		{`<l><k>1</k><v/></l><l><k>2</k></l>`, "l{k=1 v=x} l{k=2 v=y}"},
		{`<l><k>1</k><v>y</v></l>`, ""},
		{`<l><k/></l>`, "l{k=1} l{k=2}"},
		{`<l><w/></l>`, "l{w=1}"},
		{`<c><l><k>1</k></l></c>`, "c{l{k=1}}"},
		{`<c><l><k>9</k></l></c>`, ""},
		{`<c><b/></c><c><l/></c>`, "c{b=2 l{k=1}}"},
		{`<n/>`, ""},
		{`<e/>`, "e{}"},
		{`<a xmlns="urn:other"/>`, ""},
		{`<a xmlns=""/>`, "a=1"},
	} {
		if got := short(filter(config(t, have), config(t, c.filter))); got != c.want {
			t.Errorf("%s: %q, want %q", c.filter, got, c.want)
		}
	}
}

// tree draws a configuration in which values have prefixes and texts what has to be escaped.
func tree(t *rapid.T) *Node {
	var draw func(depth int) *Node
	draw = func(depth int) *Node {
		n := &Node{}
		n.Name.Local = rapid.SampledFrom([]string{"a", "b", "k"}).Draw(t, "name")
		n.Name.Space = rapid.SampledFrom([]string{"urn:x", "urn:y&<\""}).Draw(t, "space")
		if depth > 0 && rapid.Bool().Draw(t, "inner") {
			for range rapid.IntRange(0, 3).Draw(t, "children") {
				n.Children = append(n.Children, draw(depth-1))
			}
			return n
		}
		n.Text = rapid.SampledFrom([]string{"", "1", "<&>\"'", "2001:db8::1", "p:accept", "]]>"}).Draw(t, "text")
		if n.Text == "p:accept" {
			n.Prefixes = map[string]string{"p": rapid.SampledFrom([]string{"urn:p", "urn:q"}).Draw(t, "prefix")}
		}
		return n
	}
	return draw(4)
}

// What is written is read as the same; and merging it into nothing, or itself, is it.
func TestTreesKeepTheirMeaning(t *testing.T) {
	tries.Check(t, func(t *rapid.T) {
		n := tree(t)
		again, err := Parse(n.XML())
		if err != nil || !again.equal(n) || !n.clone().equal(n) {
			t.Fatalf("%s is read as %v, %v", n.XML(), again, err)
		}
		root := &Node{Name: n.Name}
		e := &editor{}
		e.edit(root, n, "merge")
		if len(e.errs) > 0 {
			return // an element twice
		}
		if n.Text = ""; !root.equal(n) {
			t.Fatalf("%s merged into nothing is %s", n.XML(), root.XML())
		}
		if e.edit(root, n, "merge"); len(e.errs) > 0 || !root.equal(n) {
			t.Fatalf("%s merged into itself is %s", n.XML(), root.XML())
		}
		if e.edit(root, n, "replace"); len(e.errs) > 0 || !root.equal(n) {
			t.Fatalf("%s replaced by itself is %s", n.XML(), root.XML())
		}
		if whole := filter(root, n); len(n.Children) > 0 && !whole.equal(filter(whole, n)) {
			t.Fatalf("a filter takes something else of what it took: %s", whole.XML())
		}
	})
}

// Prefixes are names of the text's own; another one for the same namespace changes nothing.
func TestPrefixes(t *testing.T) {
	a, b, c := config(t, `<v>p:z</v>`), config(t, `<v>q:z</v>`), config(t, `<v>r:z</v>`)
	if !a.equal(b) || a.equal(c) || a.Child("v").Value() != "z" || c.Child("v").Value() != "r:z" {
		t.Errorf("%s %s %s", a.XML(), b.XML(), c.XML())
	}
	if a.At("v/w/x").Value() != "" {
		t.Error("what is not there has a value")
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(`<a xmlns="urn:x"><b xmlns:p="urn:p">p:c</b><d/></a>`))
	f.Add([]byte(`<p:a/>`))
	f.Add([]byte(`<!DOCTYPE a><a>text<b/></a>`))
	f.Fuzz(func(t *testing.T, b []byte) {
		n, err := Parse(b)
		if err != nil {
			return
		}
		again, err := Parse(n.XML())
		if err != nil || !again.equal(n) {
			t.Fatalf("%q is written as %q: %v", b, n.XML(), err)
		}
		e := &editor{keys: testKeys}
		e.edit(&Node{}, n, "merge")
		filter(n, n)
	})
}
