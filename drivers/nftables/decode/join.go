package decode

import (
	"slices"

	"bulkhead/pkg/packet"
)

// join makes one node of all ways out of a rule. Leaves are merged at once.
func (m *machine) join(exits []exit) int32 {
	res := m.results.none
	var parts []int32
	take := func(n int32) {
		if m.nodes[n].kind == nodeLeaf {
			res = m.merge(res, m.nodes[n].res)
			return
		}
		if slices.Contains(parts, n) {
			return
		}
		// Two parts of one node are one part.
		for i, p := range parts {
			if m.whole(p) == m.whole(n) {
				both := m.svc.sets[m.servicesOf(p)].Union(m.svc.sets[m.servicesOf(n)])
				parts[i] = m.mask(m.svc.id(both), m.whole(n))
				return
			}
		}
		parts = append(parts, n)
	}
	takeAll := func(n int32) {
		if m.nodes[n].kind != nodeUnion {
			take(n)
			return
		}
		for _, p := range m.nodes[n].parts {
			take(p)
		}
	}
	var ported []exit
	for _, e := range exits {
		n := int32(0)
		if len(e.when) > 0 {
			ported = append(ported, e)
			continue
		}
		if !e.final {
			if list, ok := m.finish(e.st); ok {
				for _, r := range list {
					res = m.merge(res, r)
				}
				continue
			}
		}
		if e.final {
			n = m.leaf(m.ending(e))
		} else {
			n = m.build(e.st, nil)
		}
		takeAll(n)
	}
	for len(ported) > 0 {
		var n int32
		n, ported = m.portNode(ported)
		takeAll(n)
	}
	if res != m.results.none || len(parts) == 0 {
		parts = append(parts, m.leaf(res))
	}
	if len(parts) == 1 {
		return parts[0]
	}
	slices.Sort(parts)
	return m.add(node{kind: nodeUnion, parts: parts})
}

// portNode makes a node of those ways out of a call that ask about the source port
// what the first of them asks first, and gives the other ways.
func (m *machine) portNode(exits []exit) (id int32, others []exit) {
	ask := exits[0].when[0].need
	b := &branch{st: exits[0].st}
	by := make([][]exit, m.cons[ask.con].n)
	var svc packet.Services
	for _, e := range exits {
		if e.when[0].need != ask {
			others = append(others, e)
			continue
		}
		svc = svc.Union(m.svc.sets[e.st.svc])
		val := e.when[0].val
		e.when = e.when[1:]
		by[val] = append(by[val], e)
	}
	b.st.svc = m.svc.id(svc)
	same := true
	for val, list := range by {
		n := m.join(list)
		same = same && (val == 0 || n == id)
		id = n
		b.kids.put(int32(val), n)
	}
	if !same {
		id = m.add(node{kind: nodeSplit, ask: ask, branch: b})
	}
	return id, others
}

// whole is the node that a mask takes a part of; others are whole.
func (m *machine) whole(n int32) int32 {
	if m.nodes[n].kind == nodeMask {
		return m.nodes[n].parts[0]
	}
	return n
}

// servicesOf is the services that a node is about.
func (m *machine) servicesOf(n int32) int32 {
	nd := &m.nodes[n]
	switch nd.kind {
	case nodeSplit:
		return nd.st.svc
	case nodeMask:
		return nd.svc
	case nodeLeaf:
		r := m.results.list[nd.res]
		return m.svc.id(m.svc.sets[r.accept].Union(m.svc.sets[r.drop]))
	}
	var all packet.Services
	for _, p := range nd.parts {
		all = all.Union(m.svc.sets[m.servicesOf(p)])
	}
	return m.svc.id(all)
}

// ending is the result of a final verdict.
func (m *machine) ending(e exit) int32 {
	r := result{cause: e.st.cause}
	if e.accept {
		r.accept = e.st.svc
		if w := e.st.env.assigned; w != noWord {
			r.marks = m.results.markOne(w)
		}
		if e.st.env.bare {
			r.bare = e.st.svc
		}
	} else {
		r.drop = e.st.svc
	}
	return m.results.id(r)
}
