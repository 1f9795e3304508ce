package nftables

import (
	"bytes"

	"bulkhead/drivers/nftables/ruleset"
)

// ascending reports whether elements are in order of key, no key twice. What the
// kernel is read as, and what is rendered, is so.
func ascending(es []ruleset.Element) bool {
	for i := 1; i < len(es); i++ {
		if bytes.Compare(es[i-1].Key, es[i].Key) >= 0 {
			return false
		}
	}
	return true
}

// diffAscending is diffElements for elements in order of key: it walks along both
// lists, where a map of the keys of a million would cost a second.
func diffAscending(h, w *ruleset.Set) elementDelta {
	d := elementDelta{set: w, before: map[string]ruleset.Element{}}
	gone := func(e *ruleset.Element, replaced bool) {
		d.before[elementKey(e)] = *e
		if !replaced && e.Timeout > 0 && e.Expiration < aboutToExpire {
			return
		}
		d.del = append(d.del, *e)
	}
	i, k := 0, 0
	for i < len(h.Elements) || k < len(w.Elements) {
		order := -1
		switch {
		case i == len(h.Elements):
			order = 1
		case k < len(w.Elements):
			order = bytes.Compare(h.Elements[i].Key, w.Elements[k].Key)
		}
		switch {
		case order < 0:
			gone(&h.Elements[i], false)
			i++
		case order > 0:
			d.add = append(d.add, w.Elements[k])
			k++
		default:
			old, new := &h.Elements[i], &w.Elements[k]
			same := old.Flags == new.Flags && bytes.Equal(old.KeyEnd, new.KeyEnd)
			if !same || !sameElement(old, new) {
				gone(old, same)
				d.add = append(d.add, *new)
			}
			i++
			k++
		}
	}
	return d
}
