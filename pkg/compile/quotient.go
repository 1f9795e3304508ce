package compile

import (
	"math/bits"
	"slices"

	"bulkhead/pkg/packet"
)

// relation is what a policy's same and differ ask of a pair, as labels by number.
type relation struct{ same, differ []int }

// end is one end of a node's units: its keys sorted into kinds, which are all that
// the units tell apart. A site has tens of thousands of keys and few kinds, and
// most questions about keys are questions about kinds.
type end struct {
	keys   *keySet
	kind   []int32 // key -> kind
	weight []int   // kind -> keys
	groups []int32 // the units' groups at this end, by local number
	// facets lists, kind by kind, the local numbers of the groups that hold it, and
	// above those the numbers of the compared values that it carries.
	facets interner[int32]
	offset int32 // added to the number of a value
}

// groupsOf gives the local numbers of the groups that hold a kind.
func (e *end) groupsOf(kind int32) []int32 {
	list := e.facets.at(kind)
	n := 0
	for n < len(list) && list[n] < e.offset {
		n++
	}
	return list[:n]
}

// valuesOf gives the compared values that a kind carries, each above the groups.
func (e *end) valuesOf(kind int32) []int32 { return e.facets.at(kind)[len(e.groupsOf(kind)):] }

// quotient is a node's pairs of kinds.
type quotient struct {
	s         *spacer
	rows      end
	cols      end
	words     int        // of a set of kinds of the destination
	relations []relation // those of the units
	// reach gives, relation by relation and in it group by group of the source, the
	// kinds of the destination that the group's units lead to.
	reach []uint64
	carry []uint64 // compared value -> kinds of the destination that carry it
	out   []uint64
	match []uint64
	// By unit of the node: the local numbers of its groups, and its place in
	// relations.
	fromOf, toOf, relationOf []int32
}

// quotient works a node's kinds out.
func (s *spacer) quotient(nd *node) *quotient {
	q := &quotient{s: s}
	units := nd.list
	number := map[int32]int32{} // relation -> its place in q.relations
	q.fromOf, q.toOf, q.relationOf = make([]int32, len(units)), make([]int32, len(units)), make([]int32, len(units))
	labels := packet.NewBits(len(s.m.b.labels.names))
	for i, u := range units {
		r := s.relationOf[s.units[u].Policy]
		n, ok := number[r]
		if !ok {
			n = int32(len(q.relations))
			number[r] = n
			q.relations = append(q.relations, s.relations[r])
			for _, l := range slices.Concat(s.relations[r].same, s.relations[r].differ) {
				labels.Set(l)
			}
		}
		q.relationOf[i] = n
	}
	s.end(&q.rows, nd.rowDims, labels, func(i int) int { return s.units[units[i]].From }, q.fromOf)
	s.end(&q.cols, nd.colDims, labels, func(i int) int { return s.units[units[i]].To }, q.toOf)

	kinds := q.cols.facets.len()
	q.words = (kinds + 63) / 64
	q.out, q.match = make([]uint64, q.words), make([]uint64, q.words)
	held := make([]uint64, len(q.cols.groups)*q.words) // group -> kinds that it holds
	if nd.related {
		q.carry = make([]uint64, len(s.m.b.labels.sets)*q.words)
	}
	for k := range int32(kinds) {
		for _, f := range q.cols.facets.at(k) {
			if f < q.cols.offset {
				held[int(f)*q.words+int(k/64)] |= 1 << (k % 64)
			} else {
				q.carry[int(f-q.cols.offset)*q.words+int(k/64)] |= 1 << (k % 64)
			}
		}
	}
	q.reach = make([]uint64, len(q.relations)*len(q.rows.groups)*q.words)
	for i := range units {
		at := q.reach[(int(q.relationOf[i])*len(q.rows.groups)+int(q.fromOf[i]))*q.words:][:q.words]
		for w, word := range held[int(q.toOf[i])*q.words:][:q.words] {
			at[w] |= word
		}
	}
	s.work += len(held) + len(q.reach) + len(units)*(q.words+1)
	return q
}

// end sorts the keys at one end. Units that have group(i) there are given its
// local number.
func (s *spacer) end(e *end, dims []int, labels packet.Bits, group func(i int) int, local []int32) {
	for i := range local {
		g := group(i)
		if s.local[g] == 0 {
			e.groups = append(e.groups, int32(g))
			s.local[g] = int32(len(e.groups))
		}
		local[i] = s.local[g] - 1
	}
	e.offset = int32(len(e.groups))
	facets := func(out, features []int32) []int32 {
		for _, f := range features {
			if v := int(f) - len(s.m.Groups); v < 0 {
				if s.local[f] != 0 {
					out = append(out, s.local[f]-1)
				}
			} else if v < len(s.m.b.labels.of) && labels.Has(s.m.b.labels.of[v]) {
				out = append(out, e.offset+int32(v))
			}
		}
		return out
	}
	// What a value says, by dimension: the key of a class says what its values do.
	says := make([]interner[int32], len(dims))
	sig := make([][]int32, len(dims))
	size := 1 // how many tuples there may be; 0 is too many for a table
	var buf []int32
	for i, d := range dims {
		sig[i] = make([]int32, len(s.facts[d]))
		for v, features := range s.facts[d] {
			buf = facets(buf[:0], features)
			sig[i][v], _ = says[i].number(buf)
		}
		s.work += len(s.facts[d])
		if size *= says[i].len(); size > maxTuples {
			size = 0
		}
	}
	common := facets(nil, s.common)
	for _, g := range e.groups {
		s.local[g] = 0
	}
	e.keys = s.keySet(dims)
	n := len(e.keys.reps)
	e.kind = make([]int32, n)
	s.work += n * (len(dims) + 1)
	// First the tuples, then what they say: two tuples may say the same.
	tuple := make([]int32, len(dims))
	var table []int32
	var tuples interner[int32]
	var kindOf []int32
	if size > 0 {
		table = make([]int32, size)
	}
	for k, rep := range e.keys.reps {
		at := 0
		for i, d := range dims {
			tuple[i] = sig[i][s.values[d][rep]]
			at = at*says[i].len() + int(tuple[i])
		}
		if table != nil {
			if table[at] != 0 {
				e.kind[k] = table[at] - 1
				continue
			}
		} else if n, isNew := tuples.number(tuple); !isNew {
			e.kind[k] = kindOf[n]
			continue
		}
		buf = append(buf[:0], common...)
		for i := range dims {
			buf = append(buf, says[i].at(tuple[i])...)
		}
		slices.Sort(buf)
		kind, _ := e.facets.number(buf)
		e.kind[k] = kind
		if table != nil {
			table[at] = kind + 1
		} else {
			kindOf = append(kindOf, kind)
		}
	}
	e.weight = make([]int, e.facets.len())
	for _, kind := range e.kind {
		e.weight[kind]++
	}
}

// maxTuples is up to how many tuples are looked up in a table, not by hash.
const maxTuples = 1 << 16

// columns gives the kinds of the destination that a kind of the source leads to.
// The set is good until the next call.
func (q *quotient) columns(row int32) []uint64 {
	clear(q.out)
	groups := q.rows.groupsOf(row)
	for r := range q.relations {
		plain := len(q.relations[r].same)+len(q.relations[r].differ) == 0
		var match []uint64
		for _, g := range groups {
			from := q.reach[(r*len(q.rows.groups)+int(g))*q.words:][:q.words]
			if plain {
				for w, word := range from {
					q.out[w] |= word
				}
				continue
			}
			if match == nil {
				match = q.matches(row, r)
			}
			for w, word := range from {
				q.out[w] |= word & match[w]
			}
		}
		q.s.work += (len(groups) + 1) * q.words
	}
	return q.out
}

// matches gives the kinds of the destination whose values stand to those of a
// kind of the source as a relation asks. The set is good until the next call.
func (q *quotient) matches(row int32, r int) []uint64 {
	for w := range q.match {
		q.match[w] = ^uint64(0)
	}
	rel := &q.relations[r]
	of := q.s.m.b.labels.of
	values := q.rows.valuesOf(row)
	shared := make([]uint64, q.words)
	share := func(label int) (carries bool) {
		clear(shared)
		for _, f := range values {
			v := int(f - q.rows.offset)
			if of[v] != label {
				continue
			}
			carries = true
			for w, word := range q.carry[v*q.words:][:q.words] {
				shared[w] |= word
			}
		}
		return carries
	}
	for _, label := range rel.same {
		share(label)
		for w := range q.match {
			q.match[w] &= shared[w]
		}
	}
	for _, label := range rel.differ {
		if !share(label) {
			clear(q.match) // one that does not carry the label differs from nothing
			break
		}
		for w := range q.match {
			q.match[w] &^= shared[w]
		}
		clear(shared)
		for v, l := range of {
			if l != label {
				continue
			}
			for w, word := range q.carry[v*q.words:][:q.words] {
				shared[w] |= word
			}
		}
		for w := range q.match {
			q.match[w] &= shared[w]
		}
		q.s.work += len(of) * q.words
	}
	q.s.work += (len(values) + 1) * q.words
	return q.match
}

// countPairs counts the pairs of keys that a space needs, up to a limit: beyond
// that it gives limit+1.
func (s *spacer) countPairs(nd *node, limit int) int {
	return s.quotient(nd).count(limit, nil, nil)
}

// count adds pairs of kinds up, each of so many keys of the source and of the
// destination as it stands for (by default, those of the quotient), up to a limit:
// beyond that it gives limit+1.
func (q *quotient) count(limit int, rows, cols []int) int {
	if rows == nil {
		rows, cols = q.rows.weight, q.cols.weight
	}
	n := 0
	for row := range int32(q.rows.facets.len()) {
		sum := 0
		for w, word := range q.columns(row) {
			for ; word != 0; word &= word - 1 {
				sum += cols[w*64+bits.TrailingZeros64(word)]
				q.s.work++
			}
		}
		if n += sum * rows[row]; n > limit {
			return limit + 1
		}
	}
	return n
}

// spread counts the pairs that a node needs if its keys are finer ones, up to a
// limit: beyond that it gives limit+1.
func (s *spacer) spread(nd *node, rows, cols *keySet, limit int) int {
	if nd.pairs > limit {
		return limit + 1 // finer keys make more pairs, never fewer
	}
	if nd.spreads == nil {
		nd.q, nd.spreads = s.quotient(nd), map[[2]*keySet]int{}
	}
	key := [2]*keySet{rows, cols}
	n, ok := nd.spreads[key]
	if !ok {
		n = nd.q.count(limit, s.finer(&nd.q.rows, rows), s.finer(&nd.q.cols, cols))
		nd.spreads[key] = n
	}
	return n
}

// finer counts, for every kind at an end, the finer keys that it would have.
func (s *spacer) finer(e *end, to *keySet) []int {
	if e.keys == to {
		return e.weight
	}
	fan := e.keys.fans[to]
	if fan == nil {
		fan = make([]int32, len(e.keys.reps))
		for _, rep := range to.reps {
			fan[e.keys.of[rep]]++
		}
		if e.keys.fans == nil {
			e.keys.fans = map[*keySet][]int32{}
		}
		e.keys.fans[to] = fan
		s.work += len(to.reps)
	}
	out := make([]int, len(e.weight))
	for k, kind := range e.kind {
		out[kind] += int(fan[k])
	}
	s.work += len(e.kind)
	return out
}
