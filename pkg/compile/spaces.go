package compile

import (
	"fmt"

	"bulkhead/pkg/packet"
	"bulkhead/pkg/policy"
)

// spacer works out a layout of several spaces.
//
// A feature is something that an address has or has not: a group that a policy
// names, a value of a compared label, being claimed by several machines. Classes
// are told apart by their features and isolation alone.
type spacer struct {
	v      *View
	m      *Matrix
	b      Bounds
	l      *Layout
	has    []packet.Bits // class -> features
	count  []int         // feature -> classes that have it
	dimOf  []int         // feature -> dimension, -1 where all classes have it or none
	values [][]int32     // dimension -> class -> value
	facts  [][][]int32   // dimension -> value -> its features
	common []int32       // features that all classes have
	units  []Unit
	order  []node
	work   int
	keys   map[string]*keySet

	relations  []relation // the distinct ones; the first asks nothing
	relationOf []int32    // policy -> its relation
	local      []int32    // feature -> local number + 1 while an end is worked out, else 0
}

// maxWork bounds the search for a layout, in steps of some nanoseconds each, so
// that a hostile or unlucky site ends in a refusal and not in a dead controller.
const maxWork = 1 << 32

func classSpaces(v *View, b Bounds) (*Layout, error) {
	s := &spacer{v: v, m: v.Matrix, b: b, l: &Layout{View: v}, keys: map[string]*keySet{}}
	s.regroup()
	if err := s.dimensions(); err != nil {
		return nil, err
	}
	s.l.Contents = nil
	s.listUnits()
	if err := s.whole(); err != nil {
		return nil, err
	}
	if err := s.blocks(); err != nil {
		return nil, err
	}
	if err := s.merge(); err != nil {
		return nil, err
	}
	return s.l, s.emit()
}

// special reports whether a policy's effect cannot be told by "allows", "denies"
// or "says nothing" for each side: pairs that it concerns are judged whole.
func special(p *policy.Policy) bool {
	return p.Action == policy.Pass || p.Mode == policy.Observe || !p.Expires.IsZero()
}

// features: groups first, then values of labels, then contested addresses.
func (s *spacer) labelFeature(value int) int { return len(s.m.Groups) + value }

// regroup makes the classes: all addresses with the same features and isolation.
func (s *spacer) regroup() {
	m := s.m
	used := make([]bool, len(m.Groups))
	for i := range m.Policies {
		for _, list := range [][]string{m.Policies[i].From, m.Policies[i].To} {
			for _, name := range list {
				if g, ok := m.b.groups[name]; ok {
					used[g] = true
				}
			}
		}
	}
	contestedFrom := len(m.Groups) + len(m.b.labels.sets)
	features := contestedFrom
	contested := map[int]int{}
	for i := range m.Classes {
		if len(m.rows[m.Classes[i].row]) > 1 {
			contested[i] = features
			features++
		}
	}
	var index interner[uint64]
	of := make([]int32, len(m.Classes)) // class of the matrix -> class
	s.l.Classes = make([]LayoutClass, 0, len(m.Classes))
	words := len(packet.NewBits(features))
	has := make(packet.Bits, words+1) // features and isolation
	for i := range m.Classes {
		c := &m.Classes[i]
		clear(has)
		for _, g := range c.Groups {
			if used[g] {
				has.Set(g)
			}
		}
		c.values.Each(func(v int) { has.Set(s.labelFeature(v)) })
		if f, ok := contested[i]; ok {
			has.Set(f)
		}
		egress, ingress := m.isolation(i)
		has[words] = uint64(bit(egress)<<1 | bit(ingress))
		n, isNew := index.number(has)
		if isNew {
			s.l.Classes = append(s.l.Classes, LayoutClass{EgressIsolated: egress, IngressIsolated: ingress, rep: i})
		}
		of[i] = n
	}
	members := listed(of, index.len())
	s.has = make([]packet.Bits, len(members))
	for n, list := range members {
		s.has[n] = packet.Bits(index.at(int32(n))[:words])
		s.l.Classes[n].Addrs = m.addrsOf(list)
	}
	s.count = make([]int, features)
	for _, has := range s.has {
		has.Each(func(f int) { s.count[f]++ })
	}
}

// listed turns "which one each is in" round: it lists, one by one, what is in it.
// All lists lie in one block.
func listed(of []int32, n int) [][]int32 {
	count := make([]int, n)
	for _, x := range of {
		count[x]++
	}
	block := make([]int32, len(of))
	out := make([][]int32, n)
	for x, c := range count {
		out[x], block = block[:0:c], block[c:]
	}
	for i, x := range of {
		out[x] = append(out[x], int32(i))
	}
	return out
}

// addrsOf gives the addresses of some classes together.
func (m *Matrix) addrsOf(classes []int32) packet.Addrs {
	if len(classes) == 1 {
		return m.Classes[classes[0]].Addrs
	}
	n := 0
	for _, c := range classes {
		n += len(m.Classes[c].Addrs.Runs())
	}
	runs := make([]packet.Range, 0, n)
	for _, c := range classes {
		runs = append(runs, m.Classes[c].Addrs.Runs()...)
	}
	return packet.AddrRanges(runs)
}

// listUnits lists the policies by their groups, and what they compare.
func (s *spacer) listUnits() {
	m := s.m
	s.local = make([]int32, len(s.count))
	s.relations = []relation{{}}
	s.relationOf = make([]int32, len(m.Policies))
	known := map[string]int32{fmt.Sprint(relation{}): 0}
	for p := range m.Policies {
		if special(&m.Policies[p]) {
			continue
		}
		if rel := s.relationBy(&m.Policies[p]); len(rel.same)+len(rel.differ) > 0 {
			n, ok := known[fmt.Sprint(rel)]
			if !ok {
				n = int32(len(s.relations))
				known[fmt.Sprint(rel)] = n
				s.relations = append(s.relations, rel)
			}
			s.relationOf[p] = n
		}
		for _, f := range m.Policies[p].From {
			from, ok := m.b.groups[f]
			if !ok || s.count[from] == 0 {
				continue
			}
			for _, t := range m.Policies[p].To {
				if to, ok := m.b.groups[t]; ok && s.count[to] != 0 {
					s.units = append(s.units, Unit{p, from, to})
				}
			}
		}
	}
}

func (s *spacer) relationBy(p *policy.Policy) relation {
	var rel relation
	for _, name := range p.Same {
		rel.same = append(rel.same, s.m.b.labels.place[name])
	}
	for _, name := range p.Differ {
		rel.differ = append(rel.differ, s.m.b.labels.place[name])
	}
	return rel
}

// keySet numbers the tuples of values that classes have in some dimensions.
type keySet struct {
	of   []int32             // class -> key
	reps []int32             // key -> a class that has it
	fans map[*keySet][]int32 // a finer set -> key -> how many of its keys lie in this one
}

func (s *spacer) keySet(dims []int) *keySet {
	name := fmt.Sprint(dims)
	if k, ok := s.keys[name]; ok {
		return k
	}
	k := &keySet{of: make([]int32, len(s.l.Classes))}
	index := make(map[uint64]int32, 1024)
	wide := map[string]int32{}
	// Tuples are packed into one number while they fit.
	bits := 0
	for _, d := range dims {
		bits += width(s.l.Dims[d].Values)
	}
	for c := range s.l.Classes {
		var n int32
		var ok bool
		if bits <= 64 {
			var key uint64
			for _, d := range dims {
				key = key<<width(s.l.Dims[d].Values) | uint64(s.values[d][c])
			}
			if n, ok = index[key]; !ok {
				n = int32(len(k.reps))
				index[key] = n
			}
		} else {
			key := s.l.Classes[c].key(dims, false)
			if n, ok = wide[key]; !ok {
				n = int32(len(k.reps))
				wide[key] = n
			}
		}
		if !ok {
			k.reps = append(k.reps, int32(c))
		}
		k.of[c] = n
	}
	s.keys[name] = k
	s.work += len(s.l.Classes)
	return k
}

// width gives the bits that n values need.
func width(n int) int {
	w := 0
	for 1<<w < n {
		w++
	}
	return w
}
