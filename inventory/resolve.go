package inventory

import (
	"cmp"
	"maps"
	"slices"
)

// finish resolves what the clusters claim, and looks for conflicts among them.
func (m *merger) finish() *Inventory {
	inv := &Inventory{Assets: []Asset{}, Evidence: m.evidence, Conflicts: []Conflict{}}
	inv.Assets = slices.Grow(inv.Assets, len(m.clusters))
	byID := func(a, b *cluster) int { return cmp.Compare(a.id(), b.id()) }
	if !slices.IsSortedFunc(m.clusters, byID) {
		slices.SortFunc(m.clusters, byID)
	}
	none := map[string]string{} // one for all that have no labels, or no attributes
	for _, c := range m.clusters {
		if c.rest == nil {
			inv.Assets = append(inv.Assets, c.alone(none))
			continue
		}
		a, conflicts := c.resolve()
		inv.Assets = append(inv.Assets, a)
		m.conflicts = append(m.conflicts, conflicts...)
	}
	m.conflicts = append(m.conflicts, heldTwice(inv.Assets)...)
	m.conflicts = append(m.conflicts, heldInTwoVPCs(inv.Assets)...)
	m.conflicts = append(m.conflicts, sharedMACs(inv.Assets)...)
	slices.SortFunc(m.conflicts, compareConflict)
	inv.Conflicts = append(inv.Conflicts, slices.CompactFunc(m.conflicts, func(a, b Conflict) bool {
		return compareConflict(a, b) == 0
	})...)
	inv.Evidence = sortedEvidence(inv.Evidence)
	return inv
}

// sortedEvidence sorts by pointer: an Evidence is large, and there may be as many
// of them as a network has strangers.
func sortedEvidence(list []Evidence) []Evidence {
	ps := make([]*Evidence, len(list))
	for i := range list {
		ps[i] = &list[i]
	}
	slices.SortFunc(ps, compareEvidence)
	out := make([]Evidence, len(list))
	for i, p := range ps {
		out[i] = *p
	}
	return out
}

func compareEvidence(a, b *Evidence) int {
	if c := cmp.Or(cmp.Compare(a.Source, b.Source), cmp.Compare(a.Reason, b.Reason), cmp.Compare(a.Entry.ID, b.Entry.ID)); c != 0 {
		return c
	}
	return slices.CompareFunc(a.Entry.Facts, b.Entry.Facts, compareFact)
}

// alone is the asset of a cluster that one entry made: what that says, since it
// came from a source that is trusted with everything. None is the map of those
// who have no labels, or no attributes.
func (c *cluster) alone(none map[string]string) Asset {
	a := *c.first.asset
	a.Pos, a.Facts = c.pos, c.first.facts
	if len(a.Attachments) == 0 {
		a.Attachments = nil
	}
	if len(a.Labels) == 0 {
		a.Labels = none
	}
	if len(a.Attributes) == 0 {
		a.Attributes = none
	}
	return tidy(a)
}

// resolve turns the accepted claims into an asset. Of several values of one
// field the one of the strongest source holds; the others become evidence.
func (c *cluster) resolve() (Asset, []Conflict) {
	a := tidy(Asset{ID: c.id(), Pos: c.pos})
	a.Addresses = append(a.Addresses, sortPrefixes(c.rest.prefs)...)
	a.MACs = append(a.MACs, slices.Compact(slices.Sorted(slices.Values(c.rest.macs)))...)
	a.Attachments = slices.Compact(slices.SortedFunc(slices.Values(c.rest.attach), compareAttachment))

	fields := map[string][]claim{}
	for _, cl := range c.rest.claims {
		if isScalar(cl.fact.Field) {
			fields[cl.fact.Field] = append(fields[cl.fact.Field], cl)
		} else {
			a.Facts = append(a.Facts, cl.fact)
		}
	}
	var conflicts []Conflict
	for _, field := range slices.Sorted(maps.Keys(fields)) {
		cs := fields[field]
		slices.SortFunc(cs, func(x, y claim) int {
			return cmp.Or(cmp.Compare(x.rank, y.rank), compareFact(x.fact, y.fact))
		})
		won := cs[0].fact.Value
		setScalar(&a, field, won)
		con := Conflict{Kind: ValuesDiffer, Field: field}
		for _, cl := range cs {
			cl.fact.Evidence = cl.fact.Value != won
			a.Facts = append(a.Facts, cl.fact)
			con.Claims = append(con.Claims, Claim{Asset: c.id(), Source: cl.fact.Source, Value: cl.fact.Value, Pos: cl.fact.Pos})
		}
		if slices.ContainsFunc(con.Claims, func(cl Claim) bool { return cl.Value != won }) {
			conflicts = append(conflicts, con)
		}
	}
	a.Facts = append(a.Facts, c.rest.facts...)
	slices.SortFunc(a.Facts, compareFact)
	a.Facts = slices.Compact(a.Facts)
	return a, conflicts
}
