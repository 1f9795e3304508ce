package compile

import (
	"math/bits"
	"slices"

	"bulkhead/pkg/packet"
)

// keyOf is what a table looks up of places at one end.
type keyOf struct {
	place  int32 // one that has it
	family uint8
	has    packet.Bits // features of the place
	units  packet.Bits // of the table, that name those places
}

// keyAt is what a table looks up of a place with some features.
func keyAt(sp *Space, place int32, family uint8, has packet.Bits, col bool) *keyOf {
	x := &keyOf{place: place, family: family, has: has, units: packet.NewBits(len(sp.Units))}
	for i := range sp.Units {
		x.among(sp, i, col)
	}
	return x
}

// among notes whether a unit names the places.
func (x *keyOf) among(sp *Space, unit int, col bool) {
	u := &sp.Units[unit]
	if !col && x.has.Has(u.From) || col && x.has.Has(u.To) {
		x.units.Set(unit)
	}
}

// rowKeys lists, by what table k looks up of sources, the places in a group.
func (a *Amendment) rowKeys(k, group int) map[string]int32 {
	return a.t.keysOf(&a.layout.Spaces[k], group, false)
}

func (a *Amendment) colKeys(k, group int) map[string]int32 {
	return a.t.keysOf(&a.layout.Spaces[k], group, true)
}

func (t *Tracker) keysOf(sp *Space, group int, col bool) map[string]int32 {
	out := map[string]int32{}
	for n := range t.places {
		if !t.has[n].Has(group) {
			continue
		}
		key := t.places[n].key(sp, col)
		if _, ok := out[key]; !ok {
			out[key] = int32(n)
		}
	}
	return out
}

// key is what a table looks up of a place.
func (p *Placement) key(sp *Space, col bool) string {
	c := LayoutClass{Values: p.Values, EgressIsolated: p.EgressIsolated, IngressIsolated: p.IngressIsolated}
	if col {
		return sp.DstKey(&c)
	}
	return sp.SrcKey(&c)
}

// amender works the entries out that changed policies concern.
type amender struct {
	a        *Amendment
	contents map[string]int32 // list of policies -> its contents
	cells    map[string]int32
}

// pairs lists every pair of keys that a unit concerns which is new or gone, with what
// stands there once it is.
func (a *Amendment) pairs(touched []touchedUnit, old *Matrix) {
	w := &amender{a: a, contents: map[string]int32{}, cells: map[string]int32{}}
	bySpace := make([][]touchedUnit, len(a.layout.Spaces))
	for _, u := range touched {
		bySpace[u.space] = append(bySpace[u.space], u)
	}
	for k, list := range bySpace {
		if len(list) > 0 {
			w.space(k, list)
		}
	}
	if a.Whole {
		w.whole(old)
	}
}

// space does one table. Its keys are in order of place, so that the same change gives
// the same list.
func (w *amender) space(k int, touched []touchedUnit) {
	a, t := w.a, w.a.t
	sp := &a.layout.Spaces[k]
	seen := map[[2]string]bool{}
	rows, cols := map[string]*keyOf{}, map[string]*keyOf{}
	for _, u := range touched {
		from := w.keys(rows, k, a.rowKeys(k, u.From), false)
		to := w.keys(cols, k, a.colKeys(k, u.To), true)
		for _, r := range from {
			for _, c := range to {
				if pair := [2]string{r, c}; seen[pair] {
					continue
				} else {
					seen[pair] = true
				}
				row, col := rows[r], cols[c]
				if row.family&col.family == 0 {
					continue
				}
				a.Pairs = append(a.Pairs, PairChange{int32(k), row.place, col.place, w.content(sp, t, row, col)})
			}
		}
	}
}

// keys looks keys up, and gives them in order of place.
func (w *amender) keys(known map[string]*keyOf, k int, list map[string]int32, col bool) []string {
	t, sp := w.a.t, &w.a.layout.Spaces[k]
	out := make([]string, 0, len(list))
	for key, place := range list {
		out = append(out, key)
		if known[key] != nil {
			continue
		}
		seen := t.births.rows[k]
		if col {
			seen = t.births.cols[k]
		}
		x := keyAt(sp, place, seen[key].family, t.has[place], col)
		known[key] = x
	}
	slices.SortFunc(out, func(x, y string) int { return int(list[x] - list[y]) })
	return out
}

// content gives what the units say that name a pair of keys, -1 for nothing.
func (w *amender) content(sp *Space, t *Tracker, row, col *keyOf) int32 {
	m := w.a.Matrix
	var list []int
	for i := range row.units {
		for word := row.units[i] & col.units[i]; word != 0; word &= word - 1 {
			p := sp.Units[64*i+bits.TrailingZeros64(word)].Policy
			if len(list) > 0 && list[len(list)-1] == p {
				continue
			}
			if pp := &m.Policies[p]; len(pp.Same)+len(pp.Differ) > 0 && !m.b.labels.relates(pp, t.valuesOf(row.has), t.valuesOf(col.has)) {
				continue
			}
			list = append(list, p)
		}
	}
	if len(list) == 0 {
		return -1
	}
	key := packet.NewBits(len(m.Policies))
	for _, p := range list {
		key.Set(p)
	}
	text := key.Key()
	id, ok := w.contents[text]
	if !ok {
		id = w.intern(m.b.walker.partial(list))
		w.contents[text] = id
	}
	return id
}

func (w *amender) intern(c Cell) int32 {
	text := cellKey(c)
	id, ok := w.cells[text]
	if !ok {
		id = int32(len(w.a.Contents))
		w.a.Contents = append(w.a.Contents, c)
		w.cells[text] = id
	}
	return id
}

// whole does the table of pairs that are judged whole: of the pairs that a changed
// policy concerns, those that a special one names, or did.
func (w *amender) whole(old *Matrix) {
	a, t := w.a, w.a.t
	before, after := t.specialPairs(old), t.specialPairs(a.Matrix)
	seen := map[[2]int32]bool{}
	views := map[int32]*[2]view{}
	ids := map[int32]int32{} // cell of the matrix -> contents
	for i := range a.Changed {
		p := &a.Changed[i]
		src, dst := t.placesIn(a.Matrix, p.From), t.placesIn(a.Matrix, p.To)
		// A policy that is judged apart matters where a special one stands beside it.
		mine := special(p)
		for _, s := range src {
			for _, d := range dst {
				pair := [2]int32{s, d}
				if t.family[s]&t.family[d] == 0 || seen[pair] {
					continue
				}
				is, was := after.name(t, s, d), mine || before.name(t, s, d)
				if !is && !was {
					continue
				}
				seen[pair] = true
				c := PairChange{Src: s, Dst: d, Content: -1}
				if is {
					cell := a.Matrix.b.pair(t.view(views, a.Matrix, s)[0], t.view(views, a.Matrix, d)[1])
					id, ok := ids[cell]
					if !ok {
						id = w.intern(a.Matrix.Cells[cell])
						ids[cell] = id
					}
					c.Content = id
				}
				a.Pairs = append(a.Pairs, c)
			}
		}
	}
}

// placesIn lists the places in any of some groups.
func (t *Tracker) placesIn(m *Matrix, groups []string) (out []int32) {
	for n := range t.places {
		if slices.ContainsFunc(groups, func(name string) bool { g, ok := m.b.groups[name]; return ok && t.has[n].Has(g) }) {
			out = append(out, int32(n))
		}
	}
	return out
}

// specialsOf says which special policies name a place at either end.
type specialsOf struct {
	m        *Matrix
	policies []int
	from, to []packet.Bits // of each, the places
}

func (t *Tracker) specialPairs(m *Matrix) *specialsOf {
	s := &specialsOf{m: m}
	bitsOf := func(groups []string) packet.Bits {
		out := packet.NewBits(len(t.places))
		for _, n := range t.placesIn(m, groups) {
			out.Set(int(n))
		}
		return out
	}
	for p := range m.Policies {
		if special(&m.Policies[p]) {
			s.policies = append(s.policies, p)
			s.from, s.to = append(s.from, bitsOf(m.Policies[p].From)), append(s.to, bitsOf(m.Policies[p].To))
		}
	}
	return s
}

// name reports whether a special policy names a pair, whatever its labels say: a pair
// that none concerns in the end may have an entry that says what the other tables do.
func (s *specialsOf) name(t *Tracker, src, dst int32) bool {
	for i := range s.policies {
		if s.from[i].Has(int(src)) && s.to[i].Has(int(dst)) {
			return true
		}
	}
	return false
}

// view is what policies make of a place as a source and as a destination.
func (t *Tracker) view(known map[int32]*[2]view, m *Matrix, n int32) *[2]view {
	if v := known[n]; v != nil {
		return v
	}
	var groups []int
	t.has[n].Each(func(f int) {
		if f < len(m.Groups) {
			groups = append(groups, f)
		}
	})
	row, col := m.b.views(groups, t.valuesOf(t.has[n]))
	// Groups that no policy names are not among the place's: isolation is.
	row.isolated, col.isolated = t.places[n].EgressIsolated, t.places[n].IngressIsolated
	known[n] = &[2]view{row, col}
	return known[n]
}
