package inventory

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"
)

// The kinds of identity, the strongest first.
const (
	byID = iota
	byInstance
	byKey
	byMAC
	identityKinds
)

var identityNames = [identityKinds]string{"ID", "instance ID", "key", "MAC"}

// identity is something that tells an asset from others: a value, and of a
// configured key which field has it.
type identity struct {
	kind         int
	field, value string
}

// identities appends to keys what identifies an entry, of one kind.
func (m *merger) identities(keys []identity, a *Asset, kind int) []identity {
	switch kind {
	case byID:
		if a.ID != "" {
			keys = append(keys, identity{kind: kind, value: a.ID})
		}
	case byInstance:
		if v := a.Attributes[AttrInstanceID]; v != "" {
			keys = append(keys, identity{kind: kind, value: v})
		}
	case byKey:
		for _, k := range m.opt.Keys {
			if v := fieldValue(a, k); v != "" {
				keys = append(keys, identity{kind, k, v})
			}
		}
	case byMAC:
		for _, mac := range a.MACs {
			keys = append(keys, identity{kind: kind, value: mac})
		}
	}
	return keys
}

// have calls f for each cluster that has an identity. An ID is one cluster's:
// whoever reports it joins the one that has it.
func (m *merger) have(k identity, f func(*cluster)) {
	if k.kind == byID {
		if c := m.ids[k.value]; c != nil {
			f(c)
		}
		return
	}
	for _, c := range m.index[k] {
		f(c)
	}
}

// fieldValue returns the label or attribute that a field name names, or "".
func fieldValue(a *Asset, field string) string {
	if name, ok := strings.CutPrefix(field, FieldLabel); ok {
		return a.Labels[name]
	}
	if name, ok := strings.CutPrefix(field, FieldAttribute); ok {
		return a.Attributes[name]
	}
	return ""
}

func isScalar(field string) bool {
	return field == FieldKind || strings.HasPrefix(field, FieldLabel) || strings.HasPrefix(field, FieldAttribute)
}

func setScalar(a *Asset, field, value string) {
	switch {
	case field == FieldKind:
		a.Kind = Kind(value)
	case strings.HasPrefix(field, FieldLabel):
		a.Labels[field[len(FieldLabel):]] = value
	case strings.HasPrefix(field, FieldAttribute):
		a.Attributes[field[len(FieldAttribute):]] = value
	}
}

// add puts one entry where it belongs.
func (m *merger) add(e *entry) {
	if m.isRouter(e) {
		m.setAside(e, Router)
		return
	}
	c, ambiguous := m.find(e)
	switch {
	case ambiguous && (e.asset.ID == "" || !e.trust.createsAssets()):
		m.setAside(e, Ambiguous)
		return
	case c == nil && !e.trust.createsAssets():
		m.setAside(e, Unmatched)
		return
	case c == nil && e.asset.ID == "":
		m.setAside(e, Nameless)
		return
	case c == nil:
		c = m.newCluster(e)
	}
	m.absorb(c, e)
}

func (m *merger) newCluster(e *entry) *cluster {
	if len(m.pool) == 0 {
		m.pool = make([]cluster, min(1024, cap(m.order)-len(m.clusters)))
	}
	c := &m.pool[0]
	m.pool = m.pool[1:]
	c.first = e
	m.clusters = append(m.clusters, c)
	return c
}

// find returns the cluster that an entry belongs to, by its strongest identity,
// and whether that identity points at several. Disagreement is reported.
func (m *merger) find(e *entry) (found *cluster, ambiguous bool) {
	for kind := range identityKinds {
		hits := m.hits[:0]
		m.keys = m.identities(m.keys[:0], e.asset, kind)
		for _, k := range m.keys {
			m.have(k, func(c *cluster) {
				if !slices.Contains(hits, c) && m.mayJoin(c, e, kind) {
					hits = append(hits, c)
				}
			})
		}
		m.hits = hits
		switch {
		case len(hits) == 0:
		case found == nil && len(hits) == 1:
			found = hits[0]
		case found != nil && len(hits) == 1 && hits[0] == found:
		default:
			m.conflicts = append(m.conflicts, ambiguity(e, kind, found, hits))
			if found == nil {
				return nil, true
			}
		}
	}
	return found, false
}

// mayJoin refuses to join two entries of one creating source that it told apart
// itself: by another ID.
func (m *merger) mayJoin(c *cluster, e *entry, kind int) bool {
	if kind == byID || !e.trust.createsAssets() {
		return true
	}
	id, same := c.named(e.source)
	return !same || id == e.asset.ID
}

// named returns the ID that a creating source uses for c, if it did.
func (c *cluster) named(source string) (string, bool) {
	if c.first.source == source {
		return c.id(), true
	}
	if c.rest == nil {
		return "", false
	}
	id, ok := c.rest.bySrc[source]
	return id, ok
}

func ambiguity(e *entry, kind int, found *cluster, hits []*cluster) Conflict {
	con := Conflict{Kind: IdentityAmbiguous, Field: identityNames[kind]}
	if found != nil && !slices.Contains(hits, found) {
		hits = append([]*cluster{found}, hits...)
	}
	for _, c := range hits {
		con.Claims = append(con.Claims, Claim{
			Asset: c.id(), Source: e.source, Value: cmp.Or(e.asset.ID, strings.Join(e.asset.MACs, " ")), Pos: c.pos,
		})
	}
	slices.SortStableFunc(con.Claims, func(a, b Claim) int {
		switch {
		case found != nil && a.Asset == found.id():
			return -1
		case found != nil && b.Asset == found.id():
			return 1
		}
		return compareClaim(a, b)
	})
	return con
}

// absorb adds what an entry says to a cluster, as far as its source is trusted.
func (m *merger) absorb(c *cluster, e *entry) {
	if c.first != e && c.rest == nil {
		c.rest = &combined{bySrc: map[string]string{}}
		taken := map[string]bool{}
		for _, p := range c.first.asset.Addresses {
			taken[FormatPrefix(p)] = true
			c.rest.prefs = append(c.rest.prefs, p)
		}
		c.rest.combine(c.first, taken)
	}
	if e.trust.createsAssets() {
		if _, ok := c.named(e.source); !ok {
			c.rest.bySrc[e.source] = e.asset.ID
		}
		if c.pos.File == "" {
			c.pos = e.asset.Pos
		}
		m.register(c, e.asset)
	}
	taken := m.takeAddresses(c, e)
	if c.first == e {
		return
	}
	c.rest.combine(e, taken)
	if e.asset.ID != "" && e.asset.ID != c.id() {
		c.rest.facts = append(c.rest.facts, Fact{Field: FieldID, Value: e.asset.ID, Source: e.source, Pos: e.asset.Pos, Evidence: true})
	}
}

// register makes a cluster known by all that identifies an entry of it.
func (m *merger) register(c *cluster, a *Asset) {
	if a.ID != "" {
		m.ids[a.ID] = c
	}
	for kind := byInstance; kind < identityKinds; kind++ {
		m.keys = m.identities(m.keys[:0], a, kind)
		for _, k := range m.keys {
			if !slices.Contains(m.index[k], c) {
				m.index[k] = append(m.index[k], c)
			}
		}
	}
}

// combine adds what an entry says. Taken holds the addresses that were.
func (r *combined) combine(e *entry, taken map[string]bool) {
	for _, f := range e.facts {
		switch {
		case f.Evidence:
		case f.Field == FieldKind:
			f.Evidence = !e.trust.createsAssets()
		case isScalar(f.Field):
			f.Evidence = !e.trust.setsLabels()
		case f.Field == FieldAddresses:
			f.Evidence = !taken[f.Value]
		default:
			f.Evidence = !e.trust.setsAddresses()
		}
		if f.Evidence {
			r.facts = append(r.facts, f)
		} else {
			r.claims = append(r.claims, claim{f, e.rank})
		}
	}
	if e.trust.setsAddresses() {
		r.macs = append(r.macs, e.asset.MACs...)
		r.attach = append(r.attach, e.asset.Attachments...)
	}
}

// takeAddresses adds an entry's addresses to c and returns those that it added,
// in the form of facts. A source that may add addresses but create no assets
// does not get one that another machine holds. Of the entry that made c, which
// has them all, nothing is returned.
func (m *merger) takeAddresses(c *cluster, e *entry) map[string]bool {
	if !e.trust.setsAddresses() {
		return nil
	}
	if c.first == e {
		m.note(c, e.asset.Addresses...)
		return nil
	}
	taken := map[string]bool{}
	for _, p := range e.asset.Addresses {
		if !e.trust.createsAssets() {
			if other := m.holder(p, c, m.clusters); other != nil {
				m.conflicts = append(m.conflicts, Conflict{Kind: AddressClaimed, Field: FieldAddresses, Claims: []Claim{
					{Asset: other.id(), Value: FormatPrefix(p), Pos: other.pos},
					{Asset: c.id(), Source: e.source, Value: FormatPrefix(p), Pos: c.pos},
				}})
				continue
			}
		}
		taken[FormatPrefix(p)] = true
		c.rest.prefs = append(c.rest.prefs, p)
		m.note(c, p)
	}
	return taken
}

// prefixes are the addresses that a cluster has so far.
func (c *cluster) prefixes() []netip.Prefix {
	if c.rest == nil {
		return c.first.asset.Addresses
	}
	return c.rest.prefs
}

func (c *cluster) claimsMachine() bool {
	if c.rest == nil {
		return c.first.asset.Kind.ClaimsMachine()
	}
	best, kind := -1, Kind("")
	for _, cl := range c.rest.claims {
		if cl.fact.Field == FieldKind && (best < 0 || cl.rank < best) {
			best, kind = cl.rank, Kind(cl.fact.Value)
		}
	}
	return kind.ClaimsMachine()
}
