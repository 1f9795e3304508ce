package decode

import "slices"

type nodeKind uint8

const (
	nodeLeaf  nodeKind = iota
	nodeSplit          // kids by the value of a construct, made on demand
	nodeUnion          // all of parts apply, each to its own services
	nodeMask           // parts[0], for some services only
)

// node is one node of the decision diagram.
type node struct {
	kind    nodeKind
	res     int32   // of a leaf
	ask     need    // of a split
	parts   []int32 // of a union or a mask
	svc     int32   // of a mask
	*branch         // of a split: most nodes are none, and a ruleset has many
}

// branch is where a split goes on.
type branch struct {
	st    state
	facts []fact
	kids  kids
}

// exit is one way out of a rule: a state, or the end.
type exit struct {
	st       state
	final    bool
	accept   bool
	returned bool   // from a call that is explored
	when     []fact // for which source ports
}

// build returns the node for a state that is about to run a rule, given some
// facts about addresses. It remembers the states at which it began and those at the
// beginning of a chain, where ways meet: remembering each step on the way between
// them would take more memory than all else.
func (m *machine) build(st state, facts []fact) int32 {
	var first state // of the trail; most have no other
	var trail []state
	var id int32
	begun := false
	for {
		if facts == nil {
			st = m.wipe(m.skip(st))
			if !begun || m.prog.begins(st.pos) {
				if n, ok := m.remembered(st); ok {
					id = n
					break
				}
				if begun {
					trail = append(trail, st)
				} else {
					first, begun = st, true
				}
			}
			if exits, ok := m.returned(&st); ok {
				id = m.join(exits)
				break
			}
		}
		exits, ok := m.execute(&st, facts)
		if !ok && m.run.need.axis == axisPair && facts == nil {
			id = m.hub(st)
			break
		}
		if !ok {
			id = m.add(node{kind: nodeSplit, ask: *m.run.need, branch: &branch{st: st, facts: facts}})
			break
		}
		if len(exits) == 1 && !exits[0].final {
			st, facts = exits[0].st, nil
			continue
		}
		id = m.join(exits)
		break
	}
	if begun {
		m.remember(first, id)
	}
	for _, s := range trail {
		m.remember(s, id)
	}
	return id
}

// hub returns the node of a state that is about to look a pair up. It is made for
// all services that entered, and what comes here with fewer takes its part of it:
// every ruleset that leaves some services to the tables that follow would make a
// copy of those tables otherwise, and every ruleset of the next one copies of that.
func (m *machine) hub(st state) int32 {
	svc := st.svc
	st.svc = st.root
	n, ok := m.hubs[st]
	if !ok {
		if exits, ok := m.execute(&st, nil); ok { // cannot be: no service is asked before a pair
			n = m.join(exits)
		} else {
			n = m.add(node{kind: nodeSplit, ask: *m.run.need, branch: &branch{st: st}})
		}
		m.hubs[st] = n
	}
	return m.mask(svc, n)
}

// mask returns the node of some of a node's services.
func (m *machine) mask(svc, n int32) int32 {
	nd := &m.nodes[n]
	switch {
	case nd.kind == nodeLeaf:
		return m.leaf(m.cut(svc, nd.res))
	case nd.kind == nodeSplit && nd.st.svc == svc:
		return n
	case nd.kind == nodeMask:
		return m.mask(m.both(svc, nd.svc), nd.parts[0])
	}
	if len(m.svc.sets[svc]) == 0 {
		return m.leaf(m.results.none)
	}
	key := [2]int32{svc, n}
	id, ok := m.maskMemo[key]
	if !ok {
		id = m.add(node{kind: nodeMask, svc: svc, parts: []int32{n}})
		m.maskMemo[key] = id
	}
	return id
}

// cut restricts a result, or a vector of them, to some services.
func (m *machine) cut(svc, res int32) int32 {
	r := &m.results
	if res == r.none {
		return res
	}
	key := [2]int32{svc, res}
	if v, ok := m.cutMemo[key]; ok {
		return v
	}
	var out int32
	if res < 0 {
		v := make([]int32, len(r.vecs[-1-res]))
		for i := range v {
			v[i] = m.cut(svc, r.pick(res, i))
		}
		out = r.vector(v)
	} else {
		x := r.list[res]
		y := result{
			accept: m.both(svc, x.accept),
			drop:   m.both(svc, x.drop),
			bare:   m.both(svc, x.bare),
			open:   r.openSet(m.cutOpen(r.opens[x.open], svc)),
		}
		if y.accept != 0 || y.open != 0 {
			y.marks = x.marks
		}
		if y.accept != 0 || y.drop != 0 || y.open != 0 {
			y.cause = x.cause
			out = r.id(y)
		} else {
			out = r.none
		}
	}
	m.cutMemo[key] = out
	return out
}

// skip passes over rules for the other family.
func (m *machine) skip(st state) state {
	c, i := m.prog.at(st.pos)
	for i < len(c.rules) && c.rules[i].only != 0 && c.rules[i].only != st.dom {
		i++
		st.pos++
	}
	return st
}

func (m *machine) add(n node) int32 {
	if len(m.nodes) == cap(m.nodes) {
		m.nodes = slices.Grow(m.nodes, len(m.nodes)+64) // append copies large ones five times
	}
	m.nodes = append(m.nodes, n)
	return int32(len(m.nodes) - 1)
}

// remembered looks a state up. Where states hardly ever come twice (those that
// hold the words of two addresses), looking is given up.
func (m *machine) remembered(st state) (int32, bool) {
	c := &m.memoStat[st.pos]
	if c.off {
		return 0, false
	}
	n, ok := m.memo[st]
	if ok {
		c.hit++
	} else {
		c.miss++
		c.off = c.miss > memoTrial && c.hit < c.miss/8
	}
	return n, ok
}

func (m *machine) remember(st state, id int32) {
	if !m.memoStat[st.pos].off {
		m.memo[st] = id
	}
}

// kids maps the answers of a split to nodes. Most splits have few.
type kids struct {
	few   [][2]int32
	dense []int32 // node+1
}

const fewKids = 8

func (k *kids) get(val int32) (int32, bool) {
	if k.dense != nil {
		if int(val) < len(k.dense) && k.dense[val] != 0 {
			return k.dense[val] - 1, true
		}
		return 0, false
	}
	for _, f := range k.few {
		if f[0] == val {
			return f[1], true
		}
	}
	return 0, false
}

func (k *kids) put(val, node int32) {
	if k.dense == nil && len(k.few) < fewKids {
		k.few = append(k.few, [2]int32{val, node})
		return
	}
	if k.dense == nil {
		k.dense = make([]int32, 64)
		for _, f := range k.few {
			k.grow(f[0])
			k.dense[f[0]] = f[1] + 1
		}
		k.few = nil
	}
	k.grow(val)
	k.dense[val] = node + 1
}

func (k *kids) grow(val int32) {
	if int(val) >= len(k.dense) {
		k.dense = append(k.dense, make([]int32, max(int(val)+1-len(k.dense), len(k.dense)))...)
	}
}

// kid returns a split's node for one answer.
func (m *machine) kid(n int32, val int32) int32 {
	nd := &m.nodes[n]
	if k, ok := nd.kids.get(val); ok {
		return k
	}
	facts := make([]fact, len(nd.facts)+1)
	copy(facts, nd.facts)
	facts[len(nd.facts)] = fact{nd.ask, val}
	b := nd.branch
	k := m.build(b.st, facts) // may move m.nodes
	b.kids.put(val, k)
	return k
}

// leaf returns the node of a result.
func (m *machine) leaf(res int32) int32 {
	if n, ok := m.leaves[res]; ok {
		return n
	}
	n := m.add(node{kind: nodeLeaf, res: res})
	m.leaves[res] = n
	return n
}
