package inventory

import (
	"cmp"
	"net/netip"
	"slices"

	"bulkhead/pkg/diag"
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
//
// The inventory shares facts and maps with the reports where nothing had to be
// changed: neither may be written to afterwards.
func Merge(reports []Report, opt MergeOptions) *Inventory {
	m := newMerger(opt, reports)
	for _, e := range m.order {
		m.add(e)
	}
	return m.finish()
}

// entry is one asset of one report, on its way into the inventory. The asset is
// the report's own where its lists are in order, so it is only read.
type entry struct {
	asset *Asset
	facts []Fact // perhaps the report's own
	*origin
}

// origin is the report that an entry came with.
type origin struct {
	source string
	trust  Trust
	rank   int
}

// claim is a statement that a cluster accepted, and how strong it is.
type claim struct {
	fact Fact
	rank int
}

// cluster is an asset in the making. Nearly all are made by one entry and stay
// so; what it takes to combine several is made when the second one comes.
type cluster struct {
	first  *entry
	pos    diag.Pos // the declaration of the strongest source
	wideAt int      // its place in merger.wide, from 1; 0 if it has no prefix wider than a host
	rest   *combined
}

// combined is what several entries say of one asset, the first one included.
type combined struct {
	bySrc  map[string]string // source -> the ID that it uses
	claims []claim           // accepted
	facts  []Fact            // evidence
	prefs  []netip.Prefix
	macs   []string
	attach []Attachment
}

func (c *cluster) id() string { return c.first.asset.ID }

type merger struct {
	opt       MergeOptions
	order     []*entry
	clusters  []*cluster
	pool      []cluster // clusters are cut from it
	ids       map[string]*cluster
	index     map[identity][]*cluster // identities other than IDs -> who has them
	keys      []identity              // to be used again
	hits      []*cluster              // to be used again
	routers   map[[2]string]bool
	evidence  []Evidence
	conflicts []Conflict
	holders
}

func newMerger(opt MergeOptions, reports []Report) *merger {
	opt.RouterIPv4 = cmp.Or(opt.RouterIPv4, DefaultRouterIPv4)
	opt.RouterIPv6 = cmp.Or(opt.RouterIPv6, DefaultRouterIPv6)
	total := 0
	for _, r := range reports {
		total += len(r.Assets)
	}
	m := &merger{
		opt: opt, order: make([]*entry, 0, total), clusters: make([]*cluster, 0, total),
		ids: make(map[string]*cluster, total), index: map[identity][]*cluster{},
	}
	entries := make([]entry, 0, total)
	rank := ranks(opt.Precedence, reports)
	for _, r := range reports {
		from := &origin{r.Source, r.Trust, rank[r.Source]}
		m.conflicts = append(m.conflicts, r.Conflicts...)
		m.asked = m.asked || r.Trust.setsAddresses() && !r.Trust.createsAssets()
		for i := range r.Assets {
			a := canonical(&r.Assets[i])
			entries = append(entries, entry{asset: a, facts: a.statements(r.Source, r.Seen), origin: from})
			m.order = append(m.order, &entries[len(entries)-1])
		}
	}
	if !slices.IsSortedFunc(m.order, compareEntry) {
		slices.SortFunc(m.order, compareEntry)
	}
	m.routers = findRouters(m.order, opt)
	return m
}

// canonical puts an entry's lists in order, so that a source which reports in
// another order reports the same. An entry that is not in order is copied.
func canonical(a *Asset) *Asset {
	ordered := func(p, q netip.Prefix) bool { return ComparePrefix(p, q) < 0 }
	if strictly(a.Addresses, ordered) && strictly(a.MACs, func(x, y string) bool { return x < y }) && len(a.Attachments) == 0 &&
		!slices.ContainsFunc(a.Addresses, func(p netip.Prefix) bool { return p != p.Masked() }) {
		return a
	}
	out := *a
	out.Addresses = make([]netip.Prefix, 0, len(a.Addresses))
	for _, p := range a.Addresses {
		out.Addresses = append(out.Addresses, p.Masked())
	}
	out.Addresses = sortPrefixes(out.Addresses)
	out.MACs = slices.Compact(slices.Sorted(slices.Values(a.MACs)))
	out.Attachments = slices.Compact(slices.SortedFunc(slices.Values(a.Attachments), compareAttachment))
	return &out
}

// strictly reports whether a list is in order without repeats.
func strictly[T any](list []T, less func(a, b T) bool) bool {
	for i := 1; i < len(list); i++ {
		if !less(list[i-1], list[i]) {
			return false
		}
	}
	return true
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
func compareEntry(a, b *entry) int {
	if a.origin != b.origin {
		first := func(e *entry) int {
			if e.trust.createsAssets() {
				return 0
			}
			return 1
		}
		if c := cmp.Or(cmp.Compare(first(a), first(b)), cmp.Compare(a.rank, b.rank), cmp.Compare(a.trust, b.trust)); c != 0 {
			return c
		}
	}
	if c := cmp.Compare(a.asset.ID, b.asset.ID); c != 0 {
		return c
	}
	if c := comparePos(a.asset.Pos, b.asset.Pos); c != 0 {
		return c
	}
	return slices.CompareFunc(a.facts, b.facts, compareFact)
}

// findRouters returns the MACs, by source, that have more addresses than a host.
func findRouters(entries []*entry, opt MergeOptions) map[[2]string]bool {
	// Addresses by MAC and family, only as many as it takes to be a router.
	held := map[[2]string]*[2][]netip.Prefix{}
	out := map[[2]string]bool{}
	for _, e := range entries {
		if !learned(e.asset) {
			continue
		}
		for _, mac := range e.asset.MACs {
			key := [2]string{e.source, mac}
			ps := held[key]
			if ps == nil {
				ps = &[2][]netip.Prefix{}
				held[key] = ps
			}
			for _, p := range e.asset.Addresses {
				family, limit := 0, opt.RouterIPv4
				if !p.Addr().Is4() {
					family, limit = 1, opt.RouterIPv6
				}
				if len(ps[family]) <= limit && !slices.Contains(ps[family], p) {
					ps[family] = append(ps[family], p)
				}
				if len(ps[family]) > limit {
					out[key] = true
				}
			}
		}
	}
	return out
}

// learned reports whether an entry stands on observation alone.
func learned(a *Asset) bool { return a.Pos.File == "" && a.Attributes[AttrInstanceID] == "" }

func (m *merger) isRouter(e *entry) bool {
	return len(m.routers) > 0 && learned(e.asset) && slices.ContainsFunc(e.asset.MACs, func(mac string) bool {
		return m.routers[[2]string{e.source, mac}]
	})
}

func (m *merger) setAside(e *entry, why Reason) {
	a := *e.asset
	a.Facts = slices.Clone(e.facts)
	for i := range a.Facts {
		a.Facts[i].Evidence = true
	}
	m.evidence = append(m.evidence, Evidence{Source: e.source, Reason: why, Entry: tidy(a)})
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
