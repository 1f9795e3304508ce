package decode

import "slices"

// result is what may happen to the packets of one node: the services that may be
// accepted, and those that may be dropped. A service in both is undecided;
// cause is the expression that made it so.
type result struct {
	accept, drop int32 // interned services
	cause        int32
	marks        int32 // the connection marks that accepted packets may be given
	bare         int32 // what may be accepted after this program took it out of tracking
	open         int32 // what a graph decides, and where it goes on; see pending
}

// results numbers results and remembers unions of them, and vectors of them (one
// for each combination of interface and source ports that a view tells apart).
// A vector that is the same throughout is the number of its result; others are
// negative.
type results struct {
	list  []result
	index map[result]int32
	none  int32 // nothing happens to nobody
	pairs map[[2]int32]int32

	vecs   [][]int32
	vecIdx map[string]int32

	marks   [][]word // sets of marks, sorted
	oneMark map[word]int32
	markIdx map[string]int32

	opens   [][]entrance // sorted by node
	openIdx map[string]int32
}

// entrance is a node at which a walk stopped, and the services for which.
type entrance struct{ svc, node int32 }

func newResults() results {
	r := results{index: map[result]int32{}, pairs: map[[2]int32]int32{}, vecIdx: map[string]int32{}, markIdx: map[string]int32{}, oneMark: map[word]int32{}, openIdx: map[string]int32{}}
	r.markSet(nil)
	r.openSet(nil)
	r.none = r.id(result{})
	return r
}

func (r *results) id(x result) int32 {
	if i, ok := r.index[x]; ok {
		return i
	}
	i := int32(len(r.list))
	r.list = append(r.list, x)
	r.index[x] = i
	return i
}

// markSet numbers a set of marks.
func (r *results) markSet(list []word) int32 {
	slices.Sort(list)
	list = slices.Compact(list)
	b := make([]byte, 0, 8*len(list))
	for _, w := range list {
		for s := 0; s < 40; s += 8 {
			b = append(b, byte(w>>s))
		}
	}
	if i, ok := r.markIdx[string(b)]; ok {
		return i
	}
	i := int32(len(r.marks))
	r.marks = append(r.marks, list)
	r.markIdx[string(b)] = i
	return i
}

// markOne numbers the set of one mark.
func (r *results) markOne(w word) int32 {
	if i, ok := r.oneMark[w]; ok {
		return i
	}
	i := r.markSet([]word{w})
	r.oneMark[w] = i
	return i
}

// openSet numbers a list of entrances in order of their nodes.
func (r *results) openSet(list []entrance) int32 {
	key := make([]int32, 0, 2*len(list))
	for _, e := range list {
		key = append(key, e.svc, e.node)
	}
	k := listKey(key)
	if i, ok := r.openIdx[k]; ok {
		return i
	}
	i := int32(len(r.opens))
	r.opens = append(r.opens, list)
	r.openIdx[k] = i
	return i
}

// cutOpen restricts entrances to some services.
func (m *machine) cutOpen(list []entrance, svc int32) []entrance {
	var out []entrance
	for _, e := range list {
		if s := m.svc.sets[e.svc].Intersect(m.svc.sets[svc]); len(s) > 0 {
			out = append(out, entrance{m.svc.id(s), e.node})
		}
	}
	return out
}

// opens reports whether a walk stopped somewhere on the way to a value.
func (m *machine) opens(vec int32, n int) bool {
	for i := range n {
		if m.results.list[m.results.pick(vec, i)].open != 0 {
			return true
		}
	}
	return false
}

// mergeOpen is the union of two lists of entrances.
func (m *machine) mergeOpen(a, b []entrance) []entrance {
	out := slices.Clone(a)
	for _, e := range b {
		i := slices.IndexFunc(out, func(x entrance) bool { return x.node == e.node })
		if i < 0 {
			out = append(out, e)
			continue
		}
		out[i].svc = m.svc.id(m.svc.sets[out[i].svc].Union(m.svc.sets[e.svc]))
	}
	slices.SortFunc(out, func(x, y entrance) int { return int(x.node) - int(y.node) })
	return out
}

// vector numbers a vector.
func (r *results) vector(v []int32) int32 {
	same := true
	for _, x := range v[1:] {
		same = same && x == v[0]
	}
	if same {
		return v[0]
	}
	key := listKey(v)
	if i, ok := r.vecIdx[key]; ok {
		return i
	}
	i := int32(-1 - len(r.vecs))
	r.vecs = append(r.vecs, append([]int32(nil), v...))
	r.vecIdx[key] = i
	return i
}

// pick is one component of a vector.
func (r *results) pick(vec int32, at int) int32 {
	if vec >= 0 {
		return vec
	}
	return r.vecs[-1-vec][at]
}

// merge is the union of two results or vectors.
func (m *machine) merge(a, b int32) int32 {
	r := &m.results
	switch {
	case a == b || b == r.none:
		return a
	case a == r.none:
		return b
	}
	key := [2]int32{min(a, b), max(a, b)}
	if v, ok := r.pairs[key]; ok {
		return v
	}
	var out int32
	if a >= 0 && b >= 0 {
		x, y := r.list[a], r.list[b]
		out = r.id(result{
			accept: m.svc.id(m.svc.sets[x.accept].Union(m.svc.sets[y.accept])),
			drop:   m.svc.id(m.svc.sets[x.drop].Union(m.svc.sets[y.drop])),
			bare:   m.svc.id(m.svc.sets[x.bare].Union(m.svc.sets[y.bare])),
			cause:  max(x.cause, y.cause),
			marks:  r.markSet(append(slices.Clone(r.marks[x.marks]), r.marks[y.marks]...)),
			open:   r.openSet(m.mergeOpen(r.opens[x.open], r.opens[y.open])),
		})
	} else {
		n := 0
		if a < 0 {
			n = len(r.vecs[-1-a])
		} else {
			n = len(r.vecs[-1-b])
		}
		v := make([]int32, n)
		for i := range v {
			v[i] = m.merge(r.pick(a, i), r.pick(b, i))
		}
		out = r.vector(v)
	}
	r.pairs[key] = out
	return out
}
