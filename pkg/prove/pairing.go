package prove

import (
	"cmp"
	"reflect"
	"slices"

	"bulkhead/pkg/compile"
	"bulkhead/pkg/driver"
)

// pairing is what a lookup's entries find for the pairs that a table of policy says
// something of: which outcomes stand against which cells. It says nothing of what an
// outcome does. A device asks one lookup in many situations and on many ways, and each
// is a table of its own with the same entries: the pairs are gone through once for all
// of them.
type pairing struct {
	entries map[[2]int32]int32 // held, so that no other map takes its place
	pairs   int                // how many were gone through
	met     []meeting
	// full is set if every pair has an entry: a question about one end.
	full bool
}

// meeting is an outcome and a cell that stand against each other, at one pair.
type meeting struct {
	r, c    int32
	outcome int32
	cell    compile.Cell
}

type pairingKey struct {
	st         *stage
	entries    uintptr
	rows, cols *numbering
}

// pairing goes through the pairs of a table once.
func (w *walker) pairing(st *stage, t *driver.Table, rows, cols *numbering) (*pairing, error) {
	key := pairingKey{st, reflect.ValueOf(t.Entries).Pointer(), rows, cols}
	if p, ok := w.cache.pairings[key]; ok {
		return p, nil
	}
	p := &pairing{entries: t.Entries}
	known := map[goodKey]bool{}
	meet := func(r, c int32, cell compile.Cell) {
		p.pairs++
		o := t.Entries[[2]int32{r, c}]
		k := goodKey{o, nil}
		if len(cell) > 0 {
			k.cell = &cell[0]
		}
		if !known[k] {
			known[k] = true
			p.met = append(p.met, meeting{r, c, o, cell})
		}
	}
	seen := make(map[[2]int32]bool, len(t.Entries))
	err := w.cells(st, rows, cols, func(r, c int32, cell compile.Cell) error {
		if cell == nil {
			return nil // it may have no entry; if it has one, that is looked at below
		}
		seen[[2]int32{r, c}] = true
		meet(r, c, cell)
		return nil
	})
	if err != nil {
		return nil, err
	}
	entries := 0
	var others [][2]int32
	for key := range t.Entries {
		if int(key[0]) >= len(rows.of) || int(key[1]) >= len(cols.of) || rows.of[key[0]] < 0 || cols.of[key[1]] < 0 {
			continue
		}
		entries++
		if !seen[key] {
			others = append(others, key)
		}
	}
	slices.SortFunc(others, func(a, b [2]int32) int { return cmp.Or(cmp.Compare(a[0], b[0]), cmp.Compare(a[1], b[1])) })
	for _, key := range others {
		cell := w.s.content(nil)
		if st.whole {
			cell = w.s.m.Cells[w.wholeCell(rows.of[key[0]], cols.of[key[1]])]
		}
		meet(key[0], key[1], cell)
	}
	p.full = entries == rows.count()*cols.count()
	w.cache.pairings[key] = p
	return p, nil
}
