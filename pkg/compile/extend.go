package compile

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"bulkhead/pkg/packet"
)

// birth is a class that a layout does not know, or a family that no address of a class
// had.
type birth struct {
	n      int32 // its place; the next one where the class is new
	isNew  bool
	key    string // groups and values
	at     Placement
	has    packet.Bits
	family uint8
}

// Extend works out which entries the tables lack for the class of an address that Place
// has no place for: those of values that a table has not seen together. An error of
// type *Recompile says that entries alone are no help. Nothing is taken over before
// Take; after that Place knows the class.
func (t *Tracker) Extend(addr netip.Addr) (*Amendment, error) {
	if t.births == nil {
		return nil, &Recompile{"one table holds all verdicts"}
	}
	if t.contested {
		return nil, &Recompile{"several machines claim an address"}
	}
	if err := t.membership(addr); err != nil {
		return nil, err
	}
	b := &birth{key: string(t.classBytes(t.in, t.values)), n: int32(len(t.places)), family: 2}
	if addr.Is4() {
		b.family = 1
	}
	if n, known := t.placed[b.key]; known {
		b.n, b.at, b.has = n, t.places[n], t.has[n]
		if t.births.special(b.has) {
			return nil, &Recompile{fmt.Sprintf("no address of the family of %s has had its groups, which a policy that passes, observes or expires names", addr)}
		}
	} else {
		var err error
		if b.at, b.has, err = t.births.valuesOf(t.in, t.values); err != nil {
			return nil, err
		}
		b.isNew = true
	}
	a := &Amendment{t: t, Matrix: t.l.View.Matrix, layout: t.l, book: t.book, Born: true, born: b, Places: append(slices.Clip(t.places), b.at)}
	a.Whole = len(t.l.Spaces) > 0 && t.l.Spaces[0].Whole
	w := &amender{a: a, contents: map[string]int32{}, cells: map[string]int32{}}
	for k := range t.l.Spaces {
		if !t.l.Spaces[k].Whole { // no special policy names it
			w.born(k, b)
		}
	}
	return a, nil
}

// born lists the entries of one table for a class that it has not seen: as a source, as
// a destination, and for flows among its own.
func (w *amender) born(k int, b *birth) {
	t := w.a.t
	sp := &t.l.Spaces[k]
	rowKey, colKey := b.at.key(sp, false), b.at.key(sp, true)
	row, col := keyAt(sp, b.n, b.family, b.has, false), keyAt(sp, b.n, b.family, b.has, true)
	put := func(row, col *keyOf) {
		if row.family&col.family == 0 {
			return
		}
		if c := w.content(sp, t, row, col); c >= 0 {
			w.a.Pairs = append(w.a.Pairs, PairChange{int32(k), row.place, col.place, c})
		}
	}
	// Of what is at the other end only those units matter that name this one.
	far := func(x seenKey, near *keyOf, col bool) *keyOf {
		out := &keyOf{place: x.place, family: x.family, has: t.has[x.place], units: packet.NewBits(len(sp.Units))}
		near.units.Each(func(i int) { out.among(sp, i, col) })
		return out
	}
	newRow, newCol := t.births.rows[k][rowKey].family&b.family == 0, t.births.cols[k][colKey].family&b.family == 0
	if newRow {
		for _, key := range slices.Sorted(maps.Keys(t.births.cols[k])) {
			put(row, far(t.births.cols[k][key], row, true))
		}
	}
	if newCol {
		for _, key := range slices.Sorted(maps.Keys(t.births.rows[k])) {
			put(far(t.births.rows[k][key], col, false), col)
		}
	}
	if newRow || newCol {
		put(row, col)
	}
}

// takeBirth knows a class from here on.
func (t *Tracker) takeBirth(b *birth) {
	if b.isNew {
		t.born++
		t.placed[b.key] = b.n
		t.places, t.family, t.has = append(t.places, b.at), append(t.family, 0), append(t.has, b.has)
		t.births.meets(b.has)
	}
	t.family[b.n] |= b.family
	for k := range t.l.Spaces {
		sp := &t.l.Spaces[k]
		if sp.Whole {
			continue
		}
		see(t.births.rows[k], b.at.key(sp, false), b.n, b.family)
		see(t.births.cols[k], b.at.key(sp, true), b.n, b.family)
	}
}
