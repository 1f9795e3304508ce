package render

import (
	"slices"
	"sort"
	"strings"

	"bulkhead/drivers/nftables/ruleset"
)

// tidy takes out rulesets that no pair leads to any more, and verdicts that none gives:
// a mark that still lets flows through, and that no rule gives, would be anybody's.
func (w *amending) tidy() {
	l := w.l
	slices.Sort(w.left)
	var idle []uint32 // verdicts that nothing gives any more
	take := func(v uint32) {
		if l.given[v]--; l.given[v] == 0 {
			idle = append(idle, v)
		}
	}
	for _, id := range slices.Compact(w.left) {
		if l.uses[id] > 0 {
			continue
		}
		for _, p := range l.parts[id] {
			w.drop(p.set, p.el)
			take(word(p.el.Data))
		}
		delete(l.by, l.ids.rulesets[id])
		delete(l.ids.rulesets, id)
		delete(l.parts, id)
		delete(l.uses, id)
	}
	for len(idle) > 0 {
		v := idle[0]
		idle = idle[1:]
		if l.given[v] > 0 || v < firstVerdict && !Partial(v) {
			continue // a default is everybody's
		}
		for _, p := range l.marks[v] {
			w.drop(p.set, p.el)
			delete(l.known, markIn{p.set, word(p.el.Key)})
			if comment := p.el.Comment(); comment != "" && !strings.HasSuffix(comment, reversedNote) {
				delete(l.ids.verdicts, comment)
			}
			if len(p.el.Data) == 4 {
				take(word(p.el.Data))
			}
		}
		delete(l.marks, v)
		for key, id := range l.ids.partials {
			if id == v {
				delete(l.ids.partials, key)
			}
		}
	}
}

// drop takes an element out: one that was to be added is not.
func (w *amending) drop(set string, e ruleset.Element) {
	key := func(x *ruleset.Element) string { return string(x.Key) + "\x00" + string(x.KeyEnd) }
	if i := slices.IndexFunc(w.add[set], func(x ruleset.Element) bool { return key(&x) == key(&e) }); i >= 0 {
		w.add[set] = slices.Delete(w.add[set], i, i+1)
		return
	}
	w.del[set] = append(w.del[set], ruleset.Element{Key: e.Key, KeyEnd: e.KeyEnd})
}

// numbers writes down up to which ids are taken.
func (w *amending) numbers() {
	l := w.l
	var rows []uint32
	for row := range l.keep {
		if row < keepField && l.ids.next[row] != 0 && l.keep[row] != l.ids.next[row] {
			rows = append(rows, row)
		}
	}
	sort.Slice(rows, func(i, j int) bool { return rows[i] < rows[j] })
	for _, row := range rows {
		w.del[setKeep] = append(w.del[setKeep], ruleset.Element{Key: native(row)})
		w.add[setKeep] = append(w.add[setKeep], ruleset.Element{Key: native(row), Data: native(l.ids.next[row])})
		l.keep[row] = l.ids.next[row]
	}
}
