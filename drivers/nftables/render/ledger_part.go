package render

import (
	"maps"
	"slices"

	"bulkhead/drivers/nftables/ruleset"
)

// Part gives the sets of pairs, rulesets and verdicts as they stand in the ledger, of
// t's shapes, with those elements alone that flows from addresses of some words to
// addresses of others can find: entries of those words' pairs, what these lead to, and
// so on. All other sets are t's own.
//
// A packet of such a flow fares alike by the part and by the whole: every lookup on its
// way finds the same element, or none.
func (l *Ledger) Part(t *ruleset.Table, from, to []uint32) []ruleset.Set {
	elems := map[string][]ruleset.Element{}
	for k := range l.pairs {
		elems[pairSet(k)] = nil
	}
	for _, set := range slices.Concat(verdictSets, []string{setSvc, setSvcRange, setProto, setRest}) {
		elems[set] = nil
	}
	rulesets := map[uint32]bool{}
	for k := range l.pairs {
		l.among(k, from, to, func(src, dst, id uint32) {
			elems[pairSet(k)] = append(elems[pairSet(k)], ruleset.Element{Key: join(native(src), native(dst)), Data: native(id)})
			rulesets[id] = true
		})
	}
	verdicts := map[uint32]bool{verdictDefaultPermit: true, verdictDefaultDeny: true}
	for _, id := range slices.Sorted(maps.Keys(rulesets)) {
		for _, p := range l.parts[id] {
			elems[p.set] = append(elems[p.set], p.el)
			verdicts[word(p.el.Data)] = true
		}
	}
	for again := true; again; {
		again = false
		for id := range verdicts {
			for _, p := range l.marks[id] {
				if v := word(p.el.Data); len(p.el.Data) == 4 && !verdicts[v] {
					verdicts[v], again = true, true
				}
			}
		}
	}
	for _, id := range slices.Sorted(maps.Keys(verdicts)) {
		for _, p := range l.marks[id] {
			elems[p.set] = append(elems[p.set], p.el)
		}
	}
	out := make([]ruleset.Set, len(t.Sets))
	for i := range t.Sets {
		out[i] = t.Sets[i]
		es, ours := elems[out[i].Name]
		if ours {
			sortElements(es)
			out[i].Elements = es
		}
	}
	return out
}

// among calls f for the entries of a space from some words to others.
func (l *Ledger) among(k int, from, to []uint32, f func(src, dst, id uint32)) {
	rm, cm := l.Masks(k)
	rows, cols := map[uint32]bool{}, map[uint32]bool{}
	for _, w := range from {
		rows[w&rm] = true
	}
	for _, w := range to {
		cols[w&cm] = true
	}
	if len(rows)*len(cols) > len(l.pairs[k]) {
		for key, id := range l.pairs[k] {
			if rows[key[0]] && cols[key[1]] {
				f(key[0], key[1], id)
			}
		}
		return
	}
	for r := range rows {
		for c := range cols {
			if id, ok := l.pairs[k][[2]uint32{r, c}]; ok {
				f(r, c, id)
			}
		}
	}
}

// Pairs are the entries of a space as they have to be.
func (l *Ledger) Pairs(space int) map[[2]uint32]uint32 { return l.pairs[space] }

// PairSet names the set of a space's pairs.
func PairSet(space int) string { return pairSet(space) }

// Fate is the same for two pairs of words only if every lookup on the way of flows
// between them finds the same: the ruleset in each space, and what is left to the
// isolation of the two.
func (l *Ledger) Fate(src, dst uint32) string {
	out := make([]byte, 0, 4*len(l.pairs)+2)
	for k := range l.pairs {
		rm, cm := l.Masks(k)
		out = append(out, native(l.pairs[k][[2]uint32{src & rm, dst & cm}])...)
	}
	const isolation = classEgress | classInto
	return string(append(out, byte(src&isolation>>24), byte(dst&isolation>>24)))
}
