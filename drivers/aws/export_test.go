package aws

import "bulkhead/pkg/driver"

// Compared counts the pairs of parts that rendering judges one by one, and all pairs.
func Compared(want driver.Desired, have *State) (one, all int) {
	w, list := units(have, want.View, want.Points, fixedSets(have))
	e := newEffects(w, list, have, false)
	e.residue()
	return e.compared, len(w.Parts) * len(w.Parts) * len(w.Runs) * 2
}
