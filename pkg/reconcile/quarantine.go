package reconcile

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"bulkhead/inventory"
	"bulkhead/pkg/compile"
	"bulkhead/pkg/config"
	"bulkhead/pkg/packet"
	"bulkhead/pkg/policy"
)

// Quarantine cuts an asset off, whatever policy says: nothing passes to it or from it
// but what is essential. It is no part of the site directory, because it is decided
// in a hurry.
type Quarantine struct {
	Asset  string    `json:"asset"`
	Since  time.Time `json:"since"`
	Until  time.Time `json:"until"`
	Who    string    `json:"who"`
	Reason string    `json:"reason"`
}

// InQuarantine tells which assets of a site, by its name, are in quarantine.
type InQuarantine func(site string) ([]Quarantine, error)

// ActiveQuarantines gives those that have not ended, in order of the asset.
func ActiveQuarantines(all []Quarantine, now time.Time) []Quarantine {
	var out []Quarantine
	for _, q := range all {
		if now.Before(q.Until) {
			out = append(out, q)
		}
	}
	slices.SortFunc(out, func(a, b Quarantine) int { return strings.Compare(a.Asset, b.Asset) })
	return out
}

// quarantine puts the built-in group and its denies in front of a site's policies.
// An asset that is no longer there is in no quarantine.
func quarantine(cfg *config.Site, all []Quarantine, assets []inventory.Asset) {
	var members []string
	for _, q := range all {
		if slices.ContainsFunc(assets, func(a inventory.Asset) bool { return a.ID == q.Asset }) {
			members = append(members, q.Asset)
		}
	}
	if len(members) == 0 {
		return
	}
	book := *cfg.Book
	book.Groups = append(slices.Clone(book.Groups), policy.Group{Name: policy.GroupQuarantined, Members: members, Isolate: policy.IsolateNone})
	deny := func(name string, from, to string) policy.Policy {
		return policy.Policy{Name: name, From: []string{from}, To: []string{to}, Action: policy.Deny, Tier: policy.Emergency,
			Order: policy.OrderQuarantine, Direction: policy.Both, Mode: policy.Enforce, Log: true, Ranges: policy.AnyService()}
	}
	book.Policies = append(slices.Clone(book.Policies),
		deny("quarantine-from", policy.GroupQuarantined, policy.GroupAny), deny("quarantine-to", policy.GroupAny, policy.GroupQuarantined))
	policy.SortPolicies(book.Policies)
	cfg.Book = &book
}

// CheckQuarantine refuses what would cut the controller or an operator off: assets
// that are an end of a failsafe flow, and the points' own addresses.
func (s *Site) CheckQuarantine(asset string, devices []*Device) (*inventory.Asset, error) {
	i := slices.IndexFunc(s.Inventory.Assets, func(a inventory.Asset) bool { return a.ID == asset })
	if i < 0 {
		return nil, fmt.Errorf("there is no asset %q", asset)
	}
	a := &s.Inventory.Assets[i]
	if len(a.Addresses) == 0 {
		return nil, fmt.Errorf("asset %q has no address: there is nothing to cut off", asset)
	}
	its := packet.AddrsOf(a.Addresses...)
	for _, d := range devices {
		for k := range d.Points {
			p := &d.Points[k]
			if own := its.Intersect(p.Own); !own.IsEmpty() {
				return nil, fmt.Errorf("asset %q has %s, an address of point %q itself: the controller would be cut off", asset, own, p.Name)
			}
			if f := failsafeOf(p, its); f != nil {
				return nil, fmt.Errorf("asset %q is an end of a failsafe flow of point %q (%s), which passes whatever policy says", asset, p.Name, f.Cause)
			}
		}
	}
	return a, nil
}

func failsafeOf(p *compile.Point, its packet.Addrs) *compile.Failsafe {
	for i := range p.Failsafe {
		f := &p.Failsafe[i]
		if !its.Intersect(f.From).IsEmpty() || !its.Intersect(f.To).IsEmpty() {
			return f
		}
	}
	return nil
}
