package inventory

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
)

// AttrInstanceID is the attribute that holds the identity which a cloud or a
// hypervisor gave an asset. Two entries with the same one are one asset.
const AttrInstanceID = "instance_id"

// How many host addresses one MAC may have in one source before it counts as a
// router. A host with IPv6 privacy extensions (RFC 8981) keeps up to a week's
// temporary addresses, so the IPv6 number is the larger one.
const (
	DefaultRouterIPv4 = 8
	DefaultRouterIPv6 = 16
)

// MergeOptions says how reports are joined. The zero value is usable.
type MergeOptions struct {
	// Precedence names sources, the one that wins a conflict first. Sources that
	// it does not name come after, "files" before all others, then by name.
	Precedence []string
	// Keys are fields ("attributes.serial", "labels.tag") that identify an asset
	// besides its ID, its instance ID and its MACs.
	Keys []string
	// RouterIPv4 and RouterIPv6 are the most addresses of a family that a MAC of
	// a learned entry may have; with more it is a router, whose addresses are
	// other machines'. 0 means the default. What a file declares, and what has an
	// instance ID, is taken at its word.
	RouterIPv4, RouterIPv6 int
}

// Merge joins reports into one inventory.
//
// Entries are one asset if they have the same ID, else the same instance ID,
// else the same configured key, else the same MAC. Two entries of one source
// with different IDs are never one asset. Sources that may create assets come
// first; the others add to what is there, each as far as its trust goes, and
// what they may not set stays in the asset's facts as evidence. So a machine
// that clones a MAC gains nothing from a source that is trusted with evidence
// only: its address enters no asset, and stays unknown.
func Merge(reports []Report, opt MergeOptions) *Inventory {
	m := newMerger(opt, reports)
	for _, e := range m.entries {
		m.add(e)
	}
	return m.finish()
}

// entry is one asset of one report, on its way into the inventory.
type entry struct {
	asset  Asset
	facts  []Fact
	source string
	trust  Trust
	rank   int
}

// claim is a statement that a cluster accepted, and how strong it is.
type claim struct {
	fact Fact
	rank int
}

// cluster is an asset in the making.
type cluster struct {
	id     string
	bySrc  map[string]string // source -> the ID that it uses
	claims []claim           // accepted
	facts  []Fact            // evidence
	pos    Asset             // only Pos counts: the declaration of the strongest source
	prefs  []netip.Prefix
	macs   []string
	attach []Attachment
}

type merger struct {
	opt       MergeOptions
	entries   []entry
	clusters  []*cluster
	index     map[string][]*cluster // identity -> who has it
	holders   map[netip.Prefix][]*cluster
	wide      []*cluster // hold a prefix wider than a host
	routers   map[[2]string]bool
	evidence  []Evidence
	conflicts []Conflict
}

func newMerger(opt MergeOptions, reports []Report) *merger {
	opt.RouterIPv4 = cmp.Or(opt.RouterIPv4, DefaultRouterIPv4)
	opt.RouterIPv6 = cmp.Or(opt.RouterIPv6, DefaultRouterIPv6)
	m := &merger{opt: opt, index: map[string][]*cluster{}, holders: map[netip.Prefix][]*cluster{}}
	rank := ranks(opt.Precedence, reports)
	for _, r := range reports {
		for _, a := range r.Assets {
			a = canonical(a)
			m.entries = append(m.entries, entry{
				asset: a, facts: a.statements(r.Source, r.Seen), source: r.Source, trust: r.Trust, rank: rank[r.Source],
			})
		}
	}
	slices.SortFunc(m.entries, compareEntry)
	m.routers = findRouters(m.entries, opt)
	return m
}

// canonical copies an entry and puts its lists in order, so that a source which
// reports in another order reports the same.
func canonical(a Asset) Asset {
	addrs := make([]netip.Prefix, 0, len(a.Addresses))
	for _, p := range a.Addresses {
		addrs = append(addrs, p.Masked())
	}
	a.Addresses = sortPrefixes(addrs)
	a.MACs = slices.Compact(slices.Sorted(slices.Values(a.MACs)))
	a.Attachments = slices.Compact(slices.SortedFunc(slices.Values(a.Attachments), compareAttachment))
	return a
}

// ranks numbers sources by precedence, the strongest 0.
func ranks(precedence []string, reports []Report) map[string]int {
	rank := map[string]int{}
	put := func(name string) {
		if _, ok := rank[name]; !ok {
			rank[name] = len(rank)
		}
	}
	for _, name := range precedence {
		put(name)
	}
	put(FileSource)
	var rest []string
	for _, r := range reports {
		rest = append(rest, r.Source)
	}
	slices.Sort(rest)
	for _, name := range rest {
		put(name)
	}
	return rank
}

// compareEntry puts sources that create assets first, then by precedence. The
// rest makes the order total, so that it does not depend on the input's.
func compareEntry(a, b entry) int {
	first := func(e entry) int {
		if e.trust.createsAssets() {
			return 0
		}
		return 1
	}
	return cmp.Or(
		cmp.Compare(first(a), first(b)), cmp.Compare(a.rank, b.rank), cmp.Compare(a.trust, b.trust),
		cmp.Compare(a.asset.ID, b.asset.ID), comparePos(a.asset.Pos, b.asset.Pos),
		slices.CompareFunc(a.facts, b.facts, compareFact))
}

// findRouters returns the MACs, by source, that have more addresses than a host.
func findRouters(entries []entry, opt MergeOptions) map[[2]string]bool {
	held := map[[2]string]map[netip.Prefix]bool{}
	for _, e := range entries {
		if !learned(&e.asset) {
			continue
		}
		for _, mac := range e.asset.MACs {
			key := [2]string{e.source, mac}
			if held[key] == nil {
				held[key] = map[netip.Prefix]bool{}
			}
			for _, p := range e.asset.Addresses {
				held[key][p] = true
			}
		}
	}
	out := map[[2]string]bool{}
	for key, ps := range held {
		v4, v6 := 0, 0
		for p := range ps {
			if p.Addr().Is4() {
				v4++
			} else {
				v6++
			}
		}
		if v4 > opt.RouterIPv4 || v6 > opt.RouterIPv6 {
			out[key] = true
		}
	}
	return out
}

// learned reports whether an entry stands on observation alone.
func learned(a *Asset) bool { return a.Pos.File == "" && a.Attributes[AttrInstanceID] == "" }

func (m *merger) isRouter(e *entry) bool {
	return learned(&e.asset) && slices.ContainsFunc(e.asset.MACs, func(mac string) bool {
		return m.routers[[2]string{e.source, mac}]
	})
}

func (m *merger) setAside(e entry, why Reason) {
	e.asset.Facts = e.facts
	for i := range e.asset.Facts {
		e.asset.Facts[i].Evidence = true
	}
	m.evidence = append(m.evidence, Evidence{Source: e.source, Reason: why, Entry: tidy(e.asset)})
}

// tidy replaces absent lists by empty ones, so that they print alike.
func tidy(a Asset) Asset {
	if a.Addresses == nil {
		a.Addresses = []netip.Prefix{}
	}
	if a.MACs == nil {
		a.MACs = []string{}
	}
	if a.Labels == nil {
		a.Labels = map[string]string{}
	}
	if a.Attributes == nil {
		a.Attributes = map[string]string{}
	}
	return a
}

// finish resolves what the clusters claim, and looks for conflicts among them.
func (m *merger) finish() *Inventory {
	inv := &Inventory{Assets: []Asset{}, Evidence: m.evidence, Conflicts: []Conflict{}}
	for _, c := range m.clusters {
		a, conflicts := c.resolve()
		inv.Assets = append(inv.Assets, a)
		m.conflicts = append(m.conflicts, conflicts...)
	}
	slices.SortFunc(inv.Assets, func(a, b Asset) int { return cmp.Compare(a.ID, b.ID) })
	m.conflicts = append(m.conflicts, heldTwice(inv.Assets)...)
	m.conflicts = append(m.conflicts, sharedMACs(inv.Assets)...)
	slices.SortFunc(m.conflicts, compareConflict)
	inv.Conflicts = append(inv.Conflicts, slices.CompactFunc(m.conflicts, func(a, b Conflict) bool {
		return compareConflict(a, b) == 0
	})...)
	slices.SortFunc(inv.Evidence, compareEvidence)
	if inv.Evidence == nil {
		inv.Evidence = []Evidence{}
	}
	return inv
}

func compareEvidence(a, b Evidence) int {
	return cmp.Or(cmp.Compare(a.Source, b.Source), cmp.Compare(a.Reason, b.Reason), cmp.Compare(a.Entry.ID, b.Entry.ID),
		slices.CompareFunc(a.Entry.Facts, b.Entry.Facts, compareFact))
}

// resolve turns the accepted claims into an asset. Of several values of one
// field the one of the strongest source holds; the others become evidence.
func (c *cluster) resolve() (Asset, []Conflict) {
	a := tidy(Asset{ID: c.id, Pos: c.pos.Pos})
	a.Addresses = append(a.Addresses, sortPrefixes(c.prefs)...)
	a.MACs = append(a.MACs, slices.Compact(slices.Sorted(slices.Values(c.macs)))...)
	a.Attachments = slices.Compact(slices.SortedFunc(slices.Values(c.attach), compareAttachment))

	fields := map[string][]claim{}
	for _, cl := range c.claims {
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
			con.Claims = append(con.Claims, Claim{Asset: c.id, Source: cl.fact.Source, Value: cl.fact.Value, Pos: cl.fact.Pos})
		}
		if slices.ContainsFunc(con.Claims, func(cl Claim) bool { return cl.Value != won }) {
			conflicts = append(conflicts, con)
		}
	}
	a.Facts = append(a.Facts, c.facts...)
	slices.SortFunc(a.Facts, compareFact)
	a.Facts = slices.Compact(a.Facts)
	return a, conflicts
}
