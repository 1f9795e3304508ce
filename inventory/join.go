package inventory

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"
)

// The kinds of identity, the strongest first. Each is a prefix in merger.index.
const (
	byID = iota
	byInstance
	byKey
	byMAC
	identityKinds
)

var identityNames = [identityKinds]string{"ID", "instance ID", "key", "MAC"}

// identities lists what identifies an entry, by kind, as keys of merger.index.
func (m *merger) identities(a *Asset) [identityKinds][]string {
	var out [identityKinds][]string
	if a.ID != "" {
		out[byID] = []string{"id\x00" + a.ID}
	}
	if v := a.Attributes[AttrInstanceID]; v != "" {
		out[byInstance] = []string{"instance\x00" + v}
	}
	for _, k := range m.opt.Keys {
		if v := fieldValue(a, k); v != "" {
			out[byKey] = append(out[byKey], "key\x00"+k+"\x00"+v)
		}
	}
	for _, mac := range a.MACs {
		out[byMAC] = append(out[byMAC], "mac\x00"+mac)
	}
	return out
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
func (m *merger) add(e entry) {
	if m.isRouter(&e) {
		m.setAside(e, Router)
		return
	}
	ids := m.identities(&e.asset)
	c, ambiguous := m.find(&e, ids)
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
		c = &cluster{id: e.asset.ID, bySrc: map[string]string{}}
		m.clusters = append(m.clusters, c)
	}
	m.absorb(c, e, ids)
}

// find returns the cluster that an entry belongs to, by its strongest identity,
// and whether that identity points at several. Disagreement is reported.
func (m *merger) find(e *entry, ids [identityKinds][]string) (found *cluster, ambiguous bool) {
	for kind, keys := range ids {
		var hits []*cluster
		for _, k := range keys {
			for _, c := range m.index[k] {
				if !slices.Contains(hits, c) && m.mayJoin(c, e, kind) {
					hits = append(hits, c)
				}
			}
		}
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
	id, same := c.bySrc[e.source]
	return !same || id == e.asset.ID
}

func ambiguity(e *entry, kind int, found *cluster, hits []*cluster) Conflict {
	con := Conflict{Kind: IdentityAmbiguous, Field: identityNames[kind]}
	if found != nil && !slices.Contains(hits, found) {
		hits = append([]*cluster{found}, hits...)
	}
	for _, c := range hits {
		con.Claims = append(con.Claims, Claim{
			Asset: c.id, Source: e.source, Value: cmp.Or(e.asset.ID, strings.Join(e.asset.MACs, " ")), Pos: c.pos.Pos,
		})
	}
	slices.SortStableFunc(con.Claims, func(a, b Claim) int {
		switch {
		case found != nil && a.Asset == found.id:
			return -1
		case found != nil && b.Asset == found.id:
			return 1
		}
		return compareClaim(a, b)
	})
	return con
}

// absorb adds what an entry says to a cluster, as far as its source is trusted.
func (m *merger) absorb(c *cluster, e entry, ids [identityKinds][]string) {
	if e.trust.createsAssets() {
		if _, ok := c.bySrc[e.source]; !ok {
			c.bySrc[e.source] = e.asset.ID
		}
		if c.pos.Pos.File == "" {
			c.pos.Pos = e.asset.Pos
		}
		for _, k := range slices.Concat(ids[:]...) {
			if !slices.Contains(m.index[k], c) {
				m.index[k] = append(m.index[k], c)
			}
		}
	}
	taken := m.takeAddresses(c, &e)
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
			c.facts = append(c.facts, f)
		} else {
			c.claims = append(c.claims, claim{f, e.rank})
		}
	}
	if e.trust.setsAddresses() {
		c.macs = append(c.macs, e.asset.MACs...)
		c.attach = append(c.attach, e.asset.Attachments...)
	}
	if e.asset.ID != "" && e.asset.ID != c.id {
		c.facts = append(c.facts, Fact{Field: FieldID, Value: e.asset.ID, Source: e.source, Pos: e.asset.Pos, Evidence: true})
	}
}

// takeAddresses adds an entry's addresses to c and returns those that it added,
// in the form of facts. A source that may add addresses but create no assets
// does not get one that another machine holds.
func (m *merger) takeAddresses(c *cluster, e *entry) map[string]bool {
	taken := map[string]bool{}
	if !e.trust.setsAddresses() {
		return taken
	}
	for _, p := range e.asset.Addresses {
		if !e.trust.createsAssets() {
			if other := m.holder(p, c); other != nil {
				m.conflicts = append(m.conflicts, Conflict{Kind: AddressClaimed, Field: FieldAddresses, Claims: []Claim{
					{Asset: other.id, Value: FormatPrefix(p), Pos: other.pos.Pos},
					{Asset: c.id, Source: e.source, Value: FormatPrefix(p), Pos: c.pos.Pos},
				}})
				continue
			}
		}
		taken[FormatPrefix(p)] = true
		c.prefs = append(c.prefs, p)
		if IsHost(p) {
			m.holders[p] = append(m.holders[p], c)
		} else if !slices.Contains(m.wide, c) {
			m.wide = append(m.wide, c)
		}
	}
	return taken
}

// holder returns a machine other than c that holds all or part of p, or nil.
func (m *merger) holder(p netip.Prefix, c *cluster) *cluster {
	for _, h := range m.holders[p] {
		if h != c && h.claimsMachine() {
			return h
		}
	}
	for _, h := range m.wide {
		if h != c && h.claimsMachine() && slices.ContainsFunc(h.prefs, p.Overlaps) {
			return h
		}
	}
	if !IsHost(p) {
		for _, h := range m.clusters {
			if h != c && h.claimsMachine() && slices.ContainsFunc(h.prefs, p.Overlaps) {
				return h
			}
		}
	}
	return nil
}

func (c *cluster) claimsMachine() bool {
	best, kind := -1, Kind("")
	for _, cl := range c.claims {
		if cl.fact.Field == FieldKind && (best < 0 || cl.rank < best) {
			best, kind = cl.rank, Kind(cl.fact.Value)
		}
	}
	return kind.ClaimsMachine()
}
