package netconftest

// selection says what of a tree a subtree filter takes: an element as a whole, or as far
// as elements in it are taken.
type selection map[*Node]bool // true: as a whole

// filter returns the part of a tree that a subtree filter takes (RFC 6241 section 6). The
// root is always there.
func filter(root, f *Node) *Node {
	sel := selection{}
	for _, c := range root.Children {
		for _, x := range f.Children {
			sel.match(x, c)
		}
	}
	out := &Node{Name: root.Name}
	out.Children = sel.take(root)
	return out
}

// match marks what one element of a filter takes of one of the tree; it reports whether
// that is anything.
func (s selection) match(f, n *Node) bool {
	if f.Name.Local != n.Name.Local || f.Name.Space != "" && f.Name.Space != n.Name.Space {
		return false
	}
	if len(f.Children) == 0 {
		if f.Text != "" && f.canonical() != n.canonical() {
			return false
		}
		s[n] = true
		return true
	}
	var content, others []*Node
	for _, x := range f.Children {
		if x.Text != "" {
			content = append(content, x)
		} else {
			others = append(others, x)
		}
	}
	var equal []*Node
	for _, x := range content {
		found := false
		for _, c := range n.Children {
			if c.Name.Local == x.Name.Local && (x.Name.Space == "" || c.Name.Space == x.Name.Space) && c.canonical() == x.canonical() {
				found = true
				equal = append(equal, c)
			}
		}
		if !found {
			return false
		}
	}
	if len(others) == 0 {
		s[n] = true
		return true
	}
	some := len(equal) > 0
	for _, x := range others {
		for _, c := range n.Children {
			some = s.match(x, c) || some
		}
	}
	if !some {
		return false
	}
	for _, c := range equal {
		s[c] = true
	}
	if _, marked := s[n]; !marked {
		s[n] = false
	}
	return true
}

// take copies what is marked below an element.
func (s selection) take(n *Node) []*Node {
	var out []*Node
	for _, c := range n.Children {
		whole, some := s[c]
		switch {
		case whole:
			out = append(out, c.clone())
		case some:
			out = append(out, &Node{Name: c.Name, Text: c.Text, Prefixes: c.Prefixes, Children: s.take(c)})
		}
	}
	return out
}
