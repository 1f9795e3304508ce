package prove

import (
	"cmp"
	"slices"

	"bulkhead/pkg/compile"
)

// combos are the combinations of what the tables say that occur, each with a source at
// which it does. A destination is taken from node to node of a tree as one table after
// the other says something of it; a node is all that was said so far.
type combos struct {
	cells []compile.Cell // by label of a table of policy; 0 is none
	nodes []node
	kids  map[node]int32
	base  []int32 // node of each destination before any source is known
	// alone are the labels that a source has by itself, in the order of ownSteps, and
	// its isolation; labels numbers them.
	ownSteps []step
	alone    map[string]int32
	// found are the combinations, without two alike: all of them if complete is set.
	found    []combo
	complete bool
	work     int
	err      error // why they cannot be found
}

// node is one more word of a table on what another node says.
type node struct {
	parent int32
	step   int32 // -1 for isolation
	label  int32
}

// combo is a combination.
type combo struct{ src, node int32 }

// step is a table that says something of pairs: one of the device, or of policy.
type step struct {
	at     int  // its place in profiles
	device bool // it is a lookup
	number int  // of the lookup or of the table of policy
	rows   map[int32][]hit
	cols   [][]int32 // destinations by what is seen of them
}

// hit is what a table says of a row and a column.
type hit struct{ col, label int32 }

// maxWork bounds the steps of a survey: some ten seconds. A right device of a site that
// needs more is not proved.
const maxWork = 1 << 29

// prepare reads the tables.
func (s *survey) prepare() error {
	s.kids, s.alone = map[node]int32{}, map[string]int32{}
	s.nodes, s.cells = []node{{parent: -1}}, []compile.Cell{nil}
	var all []step
	for k := range s.w.s.list {
		st := &s.w.s.list[k]
		x := step{at: 1 + k, number: k, rows: map[int32][]hit{}}
		known := map[*compile.Segment]int32{}
		err := s.w.cells(st, s.w.identity(st, false), s.w.identity(st, true), func(r, c int32, cell compile.Cell) error {
			if s.work++; s.work > maxWork {
				return errTooMuch
			}
			if len(cell) == 0 {
				return nil
			}
			n, ok := known[&cell[0]]
			if !ok {
				n = int32(len(s.cells))
				known[&cell[0]] = n
				s.cells = append(s.cells, cell)
			}
			x.rows[r] = append(x.rows[r], hit{c, n})
			return nil
		})
		if err != nil {
			return err
		}
		all = append(all, x)
	}
	for i := range s.lookups {
		x := step{at: 1 + len(s.w.s.list) + i, device: true, number: i, rows: map[int32][]hit{}}
		for key, o := range s.lookups[i][0].Entries {
			if o != 0 {
				x.rows[key[0]] = append(x.rows[key[0]], hit{key[1], o})
			}
		}
		for _, hits := range x.rows {
			slices.SortFunc(hits, func(a, b hit) int { return cmp.Compare(a.col, b.col) })
		}
		all = append(all, x)
	}
	s.sort(all)
	return nil
}

// sort sets apart the tables that go by one end. The others are asked in the order in
// which they tell few sources apart, so that much is done once for many of them.
func (s *survey) sort(all []step) {
	src, dst := &s.ends[0], &s.ends[1]
	var byDst []step
	for _, x := range all {
		x.cols = nil
		for n := range dst.list {
			v := dst.list[n].seen[x.at]
			for len(x.cols) <= int(v) {
				x.cols = append(x.cols, nil)
			}
			x.cols[v] = append(x.cols[v], int32(n))
		}
		switch {
		case dst.values[x.at] <= 1:
			s.ownSteps = append(s.ownSteps, x)
		case src.values[x.at] <= 1:
			byDst = append(byDst, x)
		default:
			s.steps = append(s.steps, x)
		}
	}
	slices.SortStableFunc(s.steps, func(a, b step) int { return cmp.Compare(src.values[a.at], src.values[b.at]) })
	s.base = make([]int32, len(dst.list))
	for n := range dst.list {
		s.base[n] = s.kid(0, -1, dst.list[n].seen[0])
	}
	s.ownSteps = append(s.ownSteps, byDst...) // numbered after the others, see tuple
	for i := range s.ownSteps {
		x := &s.ownSteps[i]
		if dst.values[x.at] <= 1 || len(src.list) == 0 {
			continue
		}
		for _, h := range x.rows[src.list[0].seen[x.at]] {
			for _, n := range x.columns(h.col) {
				s.base[n] = s.kid(s.base[n], int32(len(s.steps)+i), h.label)
			}
		}
	}
}

// columns are the destinations of which a table sees something.
func (x *step) columns(v int32) []int32 {
	if int(v) >= len(x.cols) {
		return nil
	}
	return x.cols[v]
}

// kid is the node of one more word.
func (s *survey) kid(parent, step, label int32) int32 {
	key := node{parent, step, label}
	n, ok := s.kids[key]
	if !ok {
		n = int32(len(s.nodes))
		s.nodes = append(s.nodes, key)
		s.kids[key] = n
	}
	return n
}

// ownLabel is what tables that go by the source say of one, and its isolation.
func (s *survey) ownLabels(src int32) []int32 {
	p := &s.ends[0].list[src]
	out := []int32{p.seen[0]}
	for i := range s.ownSteps {
		x := &s.ownSteps[i]
		label := int32(0)
		if s.ends[1].values[x.at] == 1 {
			for _, h := range x.rows[p.seen[x.at]] {
				if len(x.columns(h.col)) > 0 {
					label = h.label
				}
			}
		}
		out = append(out, label)
	}
	return out
}

// row holds the nodes of all destinations for one source.
type row struct {
	s    *survey
	node []int32
	undo [][]change // by step
	done []int32    // what was seen of the source, by step
	// live are the nodes that some destination is at, count how many are.
	live       []int32
	at, counts []int32 // by node
}

type change struct{ dst, from int32 }

func (s *survey) newRow() *row {
	r := &row{s: s, node: slices.Clone(s.base)}
	for _, n := range r.node {
		r.enter(n)
	}
	return r
}

func (r *row) enter(n int32) {
	for int(n) >= len(r.counts) {
		r.counts, r.at = append(r.counts, 0), append(r.at, 0)
	}
	if r.counts[n]++; r.counts[n] == 1 {
		r.at[n] = int32(len(r.live))
		r.live = append(r.live, n)
	}
}

func (r *row) leave(n int32) {
	if r.counts[n]--; r.counts[n] == 0 {
		last := r.live[len(r.live)-1]
		r.live[r.at[n]], r.at[last] = last, r.at[n]
		r.live = r.live[:len(r.live)-1]
	}
}

// to brings the row to a source, beginning from where it is.
func (r *row) to(src int32) {
	s := r.s
	seen := s.ends[0].list[src].seen
	same := 0
	for same < len(r.done) && r.done[same] == seen[s.steps[same].at] {
		same++
	}
	for k := len(r.done) - 1; k >= same; k-- {
		for _, c := range slices.Backward(r.undo[k]) {
			r.leave(r.node[c.dst])
			r.node[c.dst] = c.from
			r.enter(c.from)
		}
		r.undo[k] = r.undo[k][:0]
	}
	r.done = r.done[:same]
	for k := same; k < len(s.steps); k++ {
		if k == len(r.undo) {
			r.undo = append(r.undo, nil)
		}
		x := &s.steps[k]
		from, label, to := int32(-1), int32(-1), int32(-1)
		for _, h := range x.rows[seen[x.at]] {
			for _, dst := range x.columns(h.col) {
				if old := r.node[dst]; old != from || h.label != label {
					from, label, to = old, h.label, s.kid(old, int32(k), h.label)
				}
				r.undo[k] = append(r.undo[k], change{dst, from})
				r.leave(from)
				r.node[dst] = to
				r.enter(to)
			}
		}
		s.work += len(r.undo[k])
		r.done = append(r.done, seen[x.at])
	}
}

// enumerate finds the combinations that occur.
func (s *survey) enumerate() error {
	if s.complete || s.err != nil {
		return s.err
	}
	known := map[combo]bool{}
	r := s.newRow()
	for _, src := range s.sources() {
		r.to(src)
		if s.work += len(r.live); s.work > maxWork {
			s.found, s.err = nil, errTooMuch
			return s.err
		}
		key := profileKey(s.ownLabels(src))
		own, ok := s.alone[key]
		if !ok {
			own = int32(len(s.alone))
			s.alone[key] = own
		}
		for _, n := range r.live {
			if c := (combo{own, n}); !known[c] {
				known[c] = true
				s.found = append(s.found, combo{src, n})
			}
		}
	}
	s.complete = true
	return nil
}

// tuple is a combination spelled out.
type tuple struct {
	outcomes []int32 // by lookup
	cells    []int32 // by table of policy; 0 is none
	isolated [2]bool // the source's egress, the destination's ingress
}

func (s *survey) newTuple() *tuple {
	return &tuple{outcomes: make([]int32, len(s.lookups)), cells: make([]int32, len(s.w.s.list))}
}

// fill spells a combination out.
func (s *survey) fill(t *tuple, c combo) {
	clear(t.outcomes)
	clear(t.cells)
	put := func(x *step, label int32) {
		if x.device {
			t.outcomes[x.number] = label
		} else {
			t.cells[x.number] = label
		}
	}
	own := s.ownLabels(c.src)
	t.isolated = [2]bool{own[0] == 1, false}
	for i, label := range own[1:] {
		put(&s.ownSteps[i], label)
	}
	for n := c.node; n > 0; n = s.nodes[n].parent {
		switch x := &s.nodes[n]; {
		case x.step < 0:
			t.isolated[1] = x.label == 1
		case int(x.step) < len(s.steps):
			put(&s.steps[x.step], x.label)
		default:
			put(&s.ownSteps[int(x.step)-len(s.steps)], x.label)
		}
	}
}

// where finds a pair of a combination between which a packet can go.
func (s *survey) where(c combo) (src, dst int32, ok bool) {
	want := profileKey(s.ownLabels(c.src))
	r := s.newRow()
	for _, src := range s.sources() {
		if profileKey(s.ownLabels(src)) != want {
			continue
		}
		r.to(src)
		for dst, n := range r.node {
			if n != c.node {
				continue
			}
			if _, _, ok := s.addrs(src, int32(dst)); ok {
				return src, int32(dst), true
			}
		}
	}
	return 0, 0, false
}
