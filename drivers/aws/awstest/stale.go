package awstest

import "slices"

// staleRead is a picture of the region before a write that the reads to come still see.
type staleRead struct {
	t    *tables
	left int
	flap bool
}

// written notes a write, with the picture before it.
func (w *World) written(in *regionState, kinds []Kind, before *tables) {
	for _, k := range kinds {
		if n := w.faults.stale[k]; n > 0 {
			in.stale[k] = append(in.stale[k], staleRead{t: before, left: n, flap: w.faults.flap[k] > 0})
		}
	}
}

// view is the region as a read sees it, and uses up one read of every write that is
// not seen everywhere yet.
func (in *regionState) view(kinds []Kind) *tables {
	t := in.t
	for _, k := range kinds {
		reads := in.stale[k]
		if len(reads) == 0 {
			continue
		}
		if first := reads[0]; !first.flap || first.left%2 == 1 {
			t = t.with(k, first.t)
		}
		for i := range reads {
			reads[i].left--
		}
		in.stale[k] = slices.DeleteFunc(reads, func(r staleRead) bool { return r.left <= 0 })
	}
	return t
}

// Settle ends all staleness: reads see everything from now on, and so does who names
// a new group or deletes one that was given up.
func (w *World) Settle() {
	defer w.lock()()
	for _, in := range w.regions {
		clear(in.stale)
	}
	clear(w.faults.hidden)
	clear(w.faults.detaching)
}
