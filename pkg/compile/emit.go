package compile

import (
	"encoding/binary"
	"math/bits"
	"slices"

	"bulkhead/pkg/packet"
	"bulkhead/pkg/policy"
)

// emitter writes the entries and contents of spaces.
type emitter struct {
	s        *spacer
	lists    interner[int32] // lists of policies
	contents []int32         // list -> its contents
	byCell   map[string]int32
	total    int // entries
	buf      []int32
}

// emit writes the entries and contents of every space.
func (s *spacer) emit() error {
	e := &emitter{s: s, byCell: map[string]int32{}}
	for i, c := range s.l.Contents {
		e.byCell[cellKey(c)] = int32(i)
	}
	families := familiesOf(s.l.Classes)
	for n := range s.order {
		if err := e.space(&s.order[n], families); err != nil {
			return err
		}
	}
	s.l.Sided = s.l.Sided || s.sidedPolicies()
	return nil
}

// space writes one space: row by row, and in a row in order of the columns.
func (e *emitter) space(nd *node, families []uint8) error {
	s := e.s
	space := Space{RowDims: nd.rowDims, ColDims: nd.colDims, Entries: make([]Entry, 0, nd.pairs)}
	for _, u := range nd.list {
		space.Units = append(space.Units, s.units[u])
	}
	f := e.filling(nd)
	rows, cols := &f.q.rows, &f.q.cols
	// Representatives alone may have no family in common where others with their
	// keys have.
	rowFam, colFam := rows.keys.families(families), cols.keys.families(families)
	for r, src := range rows.keys.reps {
		kind := rows.kind[r]
		for _, c := range f.columns(kind) {
			if rowFam[r]&colFam[c] == 0 {
				continue
			}
			if e.total++; e.total > s.b.Elements {
				return s.tooMany(nd)
			}
			space.Entries = append(space.Entries, Entry{src, cols.keys.reps[c], f.content(kind, cols.kind[c])})
		}
	}
	s.l.Spaces = append(s.l.Spaces, space)
	return nil
}

// families gives the families of the classes that have each key.
func (k *keySet) families(of []uint8) []uint8 {
	out := make([]uint8, len(k.reps))
	for c, key := range k.of {
		out[key] |= of[c]
	}
	return out
}

// filling is one space at work. Entries of the same two kinds have the same
// contents.
type filling struct {
	e     *emitter
	q     *quotient
	units []int32

	words      int      // of a set of units, by their places in the list
	rowUnits   []uint64 // kind of the source -> its units
	colUnits   []uint64
	keysOf     [][]int32 // kind of the destination -> keys
	rowColumns [][]int32 // kind of the source -> keys of the destination
	known      map[uint64]int32
	marks      packet.Bits   // keys of the destination
	matchedFor int32         // the kind of the source that matched is of
	matched    []packet.Bits // relation -> kinds of the destination
}

func (e *emitter) filling(nd *node) *filling {
	q := nd.q
	if q == nil {
		q = e.s.quotient(nd)
	}
	f := &filling{e: e, q: q, units: nd.list, words: (len(nd.list) + 63) / 64, matchedFor: -1, known: map[uint64]int32{}}
	byFrom := make([]uint64, len(q.rows.groups)*f.words)
	byTo := make([]uint64, len(q.cols.groups)*f.words)
	for i, n := range q.fromOf {
		byFrom[int(n)*f.words+i/64] |= 1 << (i % 64)
		byTo[int(q.toOf[i])*f.words+i/64] |= 1 << (i % 64)
	}
	f.rowUnits, f.colUnits = q.rows.unitSets(byFrom, f.words), q.cols.unitSets(byTo, f.words)
	f.rowColumns = make([][]int32, q.rows.facets.len())
	f.keysOf = make([][]int32, q.cols.facets.len())
	for k, kind := range q.cols.kind {
		f.keysOf[kind] = append(f.keysOf[kind], int32(k))
	}
	f.marks = packet.NewBits(len(q.cols.kind))
	f.matched = make([]packet.Bits, len(q.relations))
	return f
}

// unitSets gives the units of every kind, of those of its groups.
func (e *end) unitSets(byGroup []uint64, words int) []uint64 {
	out := make([]uint64, e.facets.len()*words)
	for kind := range int32(e.facets.len()) {
		at := out[int(kind)*words:][:words]
		for _, g := range e.groupsOf(kind) {
			for w, word := range byGroup[int(g)*words:][:words] {
				at[w] |= word
			}
		}
	}
	return out
}

// columns lists the keys of the destination that a kind of the source leads to.
func (f *filling) columns(row int32) []int32 {
	if out := f.rowColumns[row]; out != nil {
		return out
	}
	n := 0
	for w, word := range f.q.columns(row) {
		for ; word != 0; word &= word - 1 {
			for _, k := range f.keysOf[w*64+bits.TrailingZeros64(word)] {
				f.marks.Set(int(k))
				n++
			}
		}
	}
	out := make([]int32, 0, n)
	if n > 0 {
		f.marks.Each(func(k int) { out = append(out, int32(k)) })
		clear(f.marks)
	}
	f.rowColumns[row] = out
	return out
}

// content gives the contents of two kinds.
func (f *filling) content(row, col int32) int32 {
	key := uint64(row)<<32 | uint64(col)
	if id, ok := f.known[key]; ok {
		return id
	}
	list := f.e.buf[:0]
	rows, cols := f.rowUnits[int(row)*f.words:][:f.words], f.colUnits[int(col)*f.words:][:f.words]
	for w, word := range rows {
		for word &= cols[w]; word != 0; word &= word - 1 {
			i := w*64 + bits.TrailingZeros64(word)
			if !f.relates(row, col, int(f.q.relationOf[i])) {
				continue
			}
			if p := int32(f.e.s.units[f.units[i]].Policy); len(list) == 0 || list[len(list)-1] != p {
				list = append(list, p)
			}
		}
	}
	f.e.buf = list
	id := f.e.content(list)
	f.known[key] = id
	return id
}

// relates reports whether two kinds stand to each other as a relation asks.
func (f *filling) relates(row, col int32, r int) bool {
	if rel := &f.q.relations[r]; len(rel.same)+len(rel.differ) == 0 {
		return true
	}
	if f.matchedFor != row {
		f.matchedFor = row
		clear(f.matched)
	}
	if f.matched[r] == nil {
		f.matched[r] = slices.Clone(f.q.matches(row, r))
	}
	return f.matched[r].Has(int(col))
}

// content gives the contents that a list of policies makes.
func (e *emitter) content(list []int32) int32 {
	n, isNew := e.lists.number(list)
	if !isNew {
		return e.contents[n]
	}
	s := e.s
	policies := make([]int, len(list))
	for i, p := range list {
		policies[i] = int(p)
	}
	cell := s.m.b.walker.partial(policies)
	text := cellKey(cell)
	id, ok := e.byCell[text]
	if !ok {
		id = int32(len(s.l.Contents))
		s.l.Contents = append(s.l.Contents, cell)
		e.byCell[text] = id
	}
	for _, seg := range cell {
		o := &s.m.Outcomes[seg.Outcome]
		s.l.Sided = s.l.Sided || o.EgressOpen != o.IngressOpen
	}
	e.contents = append(e.contents, id)
	return id
}

// sidedPolicies reports whether some plain policy judges one side only. Then a
// space can decide a side against which a later one decides.
func (s *spacer) sidedPolicies() bool {
	return slices.ContainsFunc(s.units, func(u Unit) bool { return s.m.Policies[u.Policy].Direction != policy.Both })
}

func cellKey(c Cell) string {
	b := make([]byte, 0, 8*len(c))
	for _, s := range c {
		b = binary.BigEndian.AppendUint32(b, s.Span.Lo)
		b = binary.BigEndian.AppendUint32(b, uint32(s.Outcome))
	}
	return string(b)
}
