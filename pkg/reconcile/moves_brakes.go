package reconcile

import (
	"fmt"
	"slices"

	"bulkhead/inventory"
	"bulkhead/pkg/packet"
	"bulkhead/pkg/policy"
)

// brakes looks at what assets leave: the groups that they were in, or the site.
func (f *Footing) brakes(changed []*inventory.Asset, gone []string) error {
	s := f.s
	limit := s.Config.Settings.Limits.AssetsLostPercent
	if f.gone += len(gone); f.gone*100 > limit*f.ids {
		return wait("more than %d %% of the assets are gone (assets_lost_percent)", limit)
	}
	for _, id := range gone {
		f.left(f.groupsOf(id), nil)
		f.of[id] = nil
	}
	for _, a := range changed {
		m := f.groups.Reclassify(a)
		if len(m.Undecided) > 0 {
			return wait("asset %q lacks what decides whether it belongs to group %q", a.ID, m.Undecided[0].Group)
		}
		now := s.groupsBy(a.ID, m.Groups)
		f.left(f.groupsOf(a.ID), now)
		f.of[a.ID] = now
	}
	for name, n := range f.lost {
		if n*100 > limit*f.had[name] && f.had[name] > 0 {
			return wait("group %s loses more than %d %% of its assets (assets_lost_percent)", name, limit)
		}
	}
	return nil
}

// left counts the groups that an asset is no longer in. One that comes back, or was not
// there at the last apply, is counted all the same: that errs to the side of waiting.
func (f *Footing) left(was, is []string) {
	for _, name := range was {
		if !slices.Contains(is, name) {
			f.lost[name]++
		}
	}
}

// groupsOf gives the groups of an asset, by what it is, before a change.
func (f *Footing) groupsOf(id string) []string {
	if of, ok := f.of[id]; ok {
		return of
	}
	if f.now.Inventory.Lookup(id) == nil {
		return nil
	}
	var where []string
	for name, ids := range f.now.Members.Matches {
		if _, in := slices.BinarySearch(ids, id); in {
			where = append(where, name)
		}
	}
	return f.s.groupsBy(id, where)
}

// groupsBy gives the groups of an asset, if `where` of some selects it.
func (s *Site) groupsBy(id string, where []string) (out []string) {
	m := &membership{book: map[string]*policy.Group{}, where: map[string][]string{}, place: map[string]int{id: 0}, done: map[string][]int{}}
	for i := range s.Config.Book.Groups {
		m.book[s.Config.Book.Groups[i].Name] = &s.Config.Book.Groups[i]
	}
	for _, name := range where {
		m.where[name] = []string{id}
	}
	for i := range s.Config.Book.Groups {
		if name := s.Config.Book.Groups[i].Name; len(m.of(name)) > 0 {
			out = append(out, name)
		}
	}
	return out
}

// nearlyMost is how many addresses a group may lack for them to be kept apart.
const nearlyMost = 1 << 12

// nearlyAll gives the addresses that ends of allow policies lack to be all of a family,
// where these are few: one of them that joins could make something open to everybody,
// which is a brake's to hold. tight is set if there are such ends, the group any aside.
func nearlyAll(s *Site) (out packet.Addrs, tight bool) {
	every := packet.AllAddrs()
	seen := map[string]bool{}
	for i := range s.Matrix.Policies {
		p := &s.Matrix.Policies[i]
		if p.Action != policy.Allow || p.Mode != policy.Enforce {
			continue
		}
		for _, end := range [][]string{p.From, p.To} {
			key := fmt.Sprint(end)
			if seen[key] || slices.Contains(end, policy.GroupAny) {
				continue
			}
			seen[key] = true
			var set packet.Addrs
			for _, n := range end {
				a, _ := s.Matrix.GroupAddrs(n)
				set = set.Union(a)
			}
			for _, family := range every.Runs() {
				left := packet.AddrRanges([]packet.Range{family}).Subtract(set)
				if few(left) {
					out, tight = out.Union(left), true
				}
			}
		}
	}
	return out, tight
}

// few reports whether a set has at most nearlyMost addresses.
func few(a packet.Addrs) bool {
	n := 0
	for _, p := range a.Prefixes() {
		if p.Addr().BitLen()-p.Bits() > 12 {
			return false
		}
		if n += 1 << (p.Addr().BitLen() - p.Bits()); n > nearlyMost {
			return false
		}
	}
	return true
}
