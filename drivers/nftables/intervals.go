package nftables

import (
	"bytes"
	"slices"

	"bulkhead/drivers/nftables/ruleset"
)

// run is one interval of a plain interval set: its start, and the end element
// that closes it (nil where it reaches the last key).
type run struct {
	start ruleset.Element
	end   *ruleset.Element
}

// runsOf pairs the elements of a plain interval set. An end that closes nothing
// is dropped: nft puts one at key 0 into every set, and it means nothing.
func runsOf(es []ruleset.Element) []run {
	sorted := slices.Clone(es)
	slices.SortStableFunc(sorted, func(a, b ruleset.Element) int {
		if c := bytes.Compare(a.Key, b.Key); c != 0 {
			return c
		}
		return int(b.Flags&ruleset.ElemIntervalEnd) - int(a.Flags&ruleset.ElemIntervalEnd)
	})
	var out []run
	for i := range sorted {
		e := &sorted[i]
		if e.Flags&ruleset.ElemIntervalEnd == 0 {
			out = append(out, run{start: *e})
		} else if n := len(out); n > 0 && out[n-1].end == nil {
			out[n-1].end = e
		}
	}
	return out
}

// diffRuns compares a plain interval set run by run. The kernel deletes a run
// whole: a start without its end, followed by another run's end, is an element
// that it does not find.
func diffRuns(h, w *ruleset.Set) elementDelta {
	d := elementDelta{set: w, before: map[string]ruleset.Element{}}
	key := func(r *run) string {
		k := string(r.start.Key) + "-"
		if r.end != nil {
			k += string(r.end.Key)
		}
		return k
	}
	want := map[string]*run{}
	wants := runsOf(w.Elements)
	for i := range wants {
		want[key(&wants[i])] = &wants[i]
	}
	if h != nil {
		for _, r := range runsOf(h.Elements) {
			k := key(&r)
			if n := want[k]; n != nil && sameElement(&r.start, &n.start) {
				delete(want, k)
				continue
			}
			d.before[elementKey(&r.start)] = r.start
			d.del = appendRun(d.del, &r)
		}
	}
	for i := range wants {
		if want[key(&wants[i])] != nil {
			d.add = appendRun(d.add, &wants[i])
		}
	}
	return d
}

func appendRun(es []ruleset.Element, r *run) []ruleset.Element {
	es = append(es, r.start)
	if r.end != nil {
		es = append(es, *r.end)
	}
	return es
}
