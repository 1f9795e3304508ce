package decode

import (
	"math/bits"
	"slices"

	"bulkhead/pkg/packet"
)

// Where the classes of a ruleset have too many pairs to walk, a walk stops at each
// lookup of a pair: its classes are those that the rules before tell apart (zones,
// failsafe addresses), which are few, and its results name the nodes at which it
// stopped. What those nodes do is then asked of the diagram itself, which has as
// many branches as there are rulesets. Such an answer may take a way through the
// diagram for possible that no pair of addresses takes. It errs on the side of a
// finding, never on the side of silence.

// DefaultPairs is up to how many pairs of classes of a family are walked one by one.
const DefaultPairs = 1 << 14

// tooMany reports whether the pairs of a view are too many.
func (v *view) tooMany() bool {
	if v.pending || len(v.m.joints) == 0 {
		return false
	}
	for fam := range v.classes {
		if len(v.classes[fam][axisSrc].addrs)*len(v.classes[fam][axisDst].addrs) > v.m.pairs {
			return true
		}
	}
	return false
}

// pendingAt is the result of a walk that stops at a lookup of a pair.
func (m *machine) pendingAt(n int32) int32 {
	return m.results.id(result{open: m.results.openSet([]entrance{{m.nodes[n].st.svc, n}})})
}

// each calls f for every node that a node leads to in one step, until it returns
// false. Ways that only an interface or a source port opens are all taken.
func (m *machine) each(n int32, f func(kid int32) bool) {
	nd := &m.nodes[n] // what f does may move it
	switch nd.kind {
	case nodeUnion, nodeMask:
		for _, p := range nd.parts {
			if !f(p) {
				return
			}
		}
	case nodeSplit:
		switch ask := nd.ask; ask.axis {
		case axisPair:
			if !f(m.kid(n, 0)) {
				return
			}
			for _, val := range m.joints[ask.con].data {
				if !f(m.kid(n, val)) {
					return
				}
			}
		case axisIface:
			for val := range int32(len(m.ifaces)) {
				if !f(m.kid(n, val)) {
					return
				}
			}
		default:
			for val := range m.cons[ask.con].n {
				if !f(m.kid(n, val)) {
					return
				}
			}
		}
	}
}

// answers lists what a need can be answered with.
func (m *machine) answers(ask need) []int32 {
	switch ask.axis {
	case axisIface:
		return upTo(len(m.ifaces))
	case axisPair:
		return append([]int32{0}, m.joints[ask.con].data...)
	}
	return upTo(int(m.cons[ask.con].n))
}

// enter looks for questions about the source port and the interface behind a node
// at which a walk stops: those are for the walk to tell apart.
func (v *view) enter(n int32) {
	if !v.entered.add(n) {
		return
	}
	if nd := &v.m.nodes[n]; nd.kind == nodeSplit {
		switch {
		case nd.ask.axis == axisIface:
			v.grown = v.grown || !v.named
			v.named, v.innerIface = true, true
		case nd.ask.axis == axisPort:
			v.innerPort = true
			if !slices.Contains(v.ports, nd.ask.con) {
				v.ports = append(v.ports, nd.ask.con)
				v.grown = true
			}
		}
	}
	before := len(v.m.ifaces)
	v.m.each(n, func(kid int32) bool {
		v.enter(kid)
		return true
	})
	if len(v.m.ifaces) > before {
		v.grown = true
		v.entered.remove(n) // a name that was met further down is a way here, too
	}
}

// ends is what may become of the services of a node.
type ends struct{ accept, drop, bare packet.Services }

// bitset is a set of nodes. There are as many as nodes, and one for each component.
type bitset []uint64

// add reports whether a node was not there before.
func (b *bitset) add(n int32) bool {
	w, bit := int(n>>6), uint64(1)<<(n&63)
	if w >= len(*b) {
		*b = append(*b, make([]uint64, max(w+1-len(*b), len(*b)))...)
	}
	old := (*b)[w]
	(*b)[w] = old | bit
	return old&bit == 0
}

func (b bitset) has(n int32) bool {
	w := int(n >> 6)
	return w < len(b) && b[w]&(1<<(n&63)) != 0
}

func (b *bitset) remove(n int32) {
	if w := int(n >> 6); w < len(*b) {
		(*b)[w] &^= 1 << (n & 63)
	}
}

// each calls f for every node of the set.
func (b bitset) each(f func(n int32)) {
	for w, word := range b {
		for ; word != 0; word &= word - 1 {
			f(int32(w<<6 + bits.TrailingZeros64(word)))
		}
	}
}

// endsOf unites the leaves behind a node.
func (m *machine) endsOf(n int32) *ends {
	if int(n) < len(m.ends) && m.ends[n] != nil {
		return m.ends[n]
	}
	if int(n) >= len(m.ends) {
		m.ends = append(m.ends, make([]*ends, len(m.nodes)-len(m.ends))...)
	}
	e := &ends{}
	m.ends[n] = e
	nd := m.nodes[n]
	if nd.kind == nodeLeaf {
		r := m.results.list[nd.res]
		e.accept, e.drop, e.bare = m.svc.sets[r.accept], m.svc.sets[r.drop], m.svc.sets[r.bare]
		return e
	}
	var accept, drop, bare unions
	m.each(n, func(kid int32) bool {
		k := m.endsOf(kid)
		accept.add(k.accept)
		drop.add(k.drop)
		bare.add(k.bare)
		return true
	})
	e.accept, e.drop, e.bare = accept.all(), drop.all(), bare.all()
	if nd.kind == nodeMask {
		set := m.svc.sets[nd.svc]
		e.accept, e.drop, e.bare = e.accept.Intersect(set), e.drop.Intersect(set), e.bare.Intersect(set)
	}
	return e
}

// piece is some services of a node, or a part of a result.
type piece struct {
	svc  packet.Services
	node int32
}

// widerOpen reports whether b may let something through that a does not, where a
// walk stopped in one of them.
func (m *machine) widerOpen(a, b result) bool {
	w := &comparison{m: m, seen: map[[3]int32]bool{}}
	px, py := m.pieces(a), m.pieces(b)
	for _, y := range py {
		for _, x := range px {
			if w.wider(x.node, y.node, x.svc.Intersect(y.svc)) {
				return true
			}
		}
	}
	return false
}

// pieces cuts a result into services that fare by one node.
func (m *machine) pieces(r result) []piece {
	var out []piece
	if s := m.svc.sets[r.accept]; len(s) > 0 {
		out = append(out, piece{s, m.leaf(m.results.id(result{accept: r.accept}))})
	}
	if s := m.svc.sets[r.drop]; len(s) > 0 {
		out = append(out, piece{s, m.leaf(m.results.id(result{drop: r.drop}))})
	}
	for _, e := range m.results.opens[r.open] {
		out = append(out, piece{m.svc.sets[e.svc], e.node})
	}
	return out
}

// comparison holds two nodes against each other.
type comparison struct {
	m     *machine
	seen  map[[3]int32]bool // compared, or being compared
	steps int
}

// maxCompare bounds a comparison. Beyond it the answer is that they differ.
const maxCompare = 1 << 22

// wider reports whether b may accept one of some services that a may drop.
func (c *comparison) wider(a, b int32, svc packet.Services) bool {
	if a == b || len(svc) == 0 {
		return false
	}
	m := c.m
	if len(svc.Intersect(m.endsOf(b).accept).Intersect(m.endsOf(a).drop)) == 0 {
		return false
	}
	x, y := m.nodes[a], m.nodes[b]
	if x.kind == nodeLeaf || y.kind == nodeLeaf {
		return true // some way to the other's leaf is a way to the difference
	}
	key := [3]int32{a, b, m.svc.id(svc)}
	if c.seen[key] {
		return false
	}
	c.seen[key] = true
	if c.steps++; c.steps > maxCompare {
		return true
	}
	switch {
	case x.kind == nodeSplit && y.kind == nodeSplit && x.ask == y.ask:
		// Where they are alike for all services they are for some: a table is come upon
		// with other services from every ruleset of the one before.
		all := m.svc.sets[x.st.svc].Intersect(m.svc.sets[y.st.svc])
		if count(all) > count(svc) && !c.wider(a, b, all) {
			return false
		}
		for _, val := range m.answers(x.ask) {
			if c.wider(m.kid(a, val), m.kid(b, val), svc) {
				return true
			}
		}
		return false
	case x.kind == nodeMask:
		return c.wider(x.parts[0], b, svc.Intersect(m.svc.sets[x.svc]))
	case y.kind == nodeMask:
		return c.wider(a, y.parts[0], svc.Intersect(m.svc.sets[y.svc]))
	case x.kind == nodeUnion:
		return c.anyKid(a, func(kid int32) bool { return c.wider(kid, b, c.only(x, kid, svc)) })
	}
	return c.anyKid(b, func(kid int32) bool { return c.wider(a, kid, c.only(y, kid, svc)) })
}

// only restricts services to those of a part of a union.
func (c *comparison) only(of node, kid int32, svc packet.Services) packet.Services {
	if of.kind != nodeUnion {
		return svc
	}
	return svc.Intersect(c.m.svc.sets[c.m.servicesOf(kid)])
}

func (c *comparison) anyKid(n int32, f func(kid int32) bool) bool {
	found := false
	c.m.each(n, func(kid int32) bool {
		found = f(kid)
		return !found
	})
	return found
}
