package aws

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"bulkhead/pkg/compile"
	"bulkhead/pkg/driver"
	"bulkhead/pkg/driver/want"
	"bulkhead/pkg/packet"
	"bulkhead/pkg/policy"
)

// Render gives the state in which every interface that points protect carries the groups
// of its unit. Whatever others have is in it unchanged, but for the groups that exclusive
// takes off.
func (d *Driver) Render(desired driver.Desired, have driver.State) (*driver.Rendered, error) {
	h, err := stateOf(have)
	if err != nil {
		return nil, err
	}
	r := &renderer{site: d.site, have: h, next: h.clone()}
	out := &driver.Rendered{State: r.next}
	r.next.Limits = d.limits()
	r.limit, r.most = r.next.Limits.Rules, r.next.Limits.Groups
	budget := 0
	for _, name := range []string{"rules", "elements"} {
		if b := desired.Budget[name]; b > 0 && (budget == 0 || b < budget) {
			budget = b
		}
	}
	var list []*unit
	var e *effects
	if desired.View != nil {
		var w *want.Ends
		w, list = units(h, desired.View, desired.Points, fixedSets(h))
		if w.First != "" {
			e = newEffects(w, list, h, widens(w.Points, desired.Inexact))
			out.Residue = e.residue()
			out.Essential = essential()
		}
	}
	for _, u := range list {
		u.rules = e.unitRules(u)
	}
	if d.settings.References && len(list) > 0 {
		e.refer(list, r.limit)
	}
	for _, u := range list {
		if w := u.weight(); budget > 0 && w.most() > budget {
			return nil, fmt.Errorf("%w: the interfaces like %q need rules that weigh %s, and the budget is %d", driver.ErrRefused, u.members[0].ID, w, budget)
		}
	}
	if err := r.assign(list); err != nil {
		return nil, err
	}
	r.release(list)
	var protects packet.Addrs
	for i := range desired.Points {
		if p := &desired.Points[i]; p.Mode != policy.Observe {
			protects = protects.Union(p.Protects)
		}
	}
	moves := r.functions(list, protects, d.settings.Functions)
	r.next.Groups = r.groups()
	if out.Usage, err = usage(r.next, h, r.limit, r.most); err != nil {
		return nil, err
	}
	out.Notes = slices.Concat(moves, tracked(h, r.next), h.exposed(desired.Asked, d.settings.VPCs))
	return out, nil
}

func essential() []string {
	return []string{"neighbour discovery, DHCP of the VPC, its DNS, the metadata service and the clock: AWS lets them pass whatever security groups say"}
}

func widens(points []*compile.Point, by map[string]driver.Inexact) bool {
	return len(points) > 0 && !slices.ContainsFunc(points, func(p *compile.Point) bool { return by[p.Name] != driver.Widen })
}

// unitRules writes what a unit's interfaces may send and receive.
func (e *effects) unitRules(u *unit) []Rule {
	var out []Rule
	for _, four := range []bool{true, false} {
		i := slices.IndexFunc(u.parts, func(p int) bool { return e.w.Four(p) == four })
		if i < 0 {
			continue // no address of the family, and nothing to permit
		}
		var in, to []peer
		for q := range e.w.Parts {
			if e.w.Four(q) == four {
				in = append(in, peer{e.w.Parts[q], e.rules(q, u.parts[i])})
				to = append(to, peer{e.w.Parts[q], e.rules(u.parts[i], q)})
			}
		}
		out = append(append(out, rulesOf(false, cover(in))...), rulesOf(true, cover(to))...)
	}
	slices.SortFunc(out, Rule.compare)
	return slices.Compact(out)
}

// renderer gives units their groups.
type renderer struct {
	site        string
	have, next  *State
	limit, most int
	taken       map[string]bool  // identity groups that a unit has
	made        []Group          // all groups of ours in the next state
	reserved    map[string]Group // new identity groups whose names are settled before they are filled
}

// held is a group of ours that is there, with its overflow groups and who carries it.
type held struct {
	identity *Group
	overflow []*Group
	rules    []Rule // of all of them
	what     map[Rule]bool
	members  []string
	uneven   bool // its interfaces do not all carry all of it
}

func (r *renderer) held() []*held {
	var out []*held
	at := map[string]*held{} // by the keys of the identity group and of its overflow groups
	for i := range r.have.Groups {
		if g := &r.have.Groups[i]; g.Ours && g.Of == "" {
			h := &held{identity: g, rules: slices.Clone(g.Rules)}
			at[g.Key], out = h, append(out, h)
		}
	}
	for i := range r.have.Groups {
		if o := &r.have.Groups[i]; o.Ours && o.Of != "" && at[o.Of] != nil {
			h := at[o.Of]
			h.overflow, h.rules = append(h.overflow, o), append(h.rules, o.Rules...)
		}
	}
	for k := range r.have.Interfaces {
		n := &r.have.Interfaces[k]
		ours, _ := r.have.ours(n)
		for _, key := range ours {
			h := at[key]
			if h == nil {
				continue // an overflow group
			}
			h.members = append(h.members, n.ID)
			if len(ours) != 1+len(h.overflow) || slices.ContainsFunc(h.overflow, func(o *Group) bool { return !slices.Contains(ours, o.Key) }) {
				h.uneven = true
			}
		}
	}
	for _, h := range out {
		h.what = whats(h.rules)
	}
	return out
}

// match is a group that a unit could keep.
type match struct {
	u       int
	h       *held
	overlap int
	rank    int // 0 is best
}

// assign gives each unit the group that it can keep, or a new one. It can keep one of the
// same rules, whoever carries it; one that exactly its interfaces carry, if old and new
// rules have room together; and one that nobody carries. Any other would, while the change
// is made, give an interface rules that are neither its old ones nor its new ones.
func (r *renderer) assign(list []*unit) error {
	if slices.ContainsFunc(list, func(u *unit) bool { return len(u.refs) > 0 }) {
		return r.settle(list)
	}
	r.taken = map[string]bool{}
	var matches []match
	there := r.held()
	for i, u := range list {
		for _, h := range there {
			if m, ok := r.match(u, h); ok {
				m.u = i
				matches = append(matches, m)
			}
		}
	}
	slices.SortStableFunc(matches, func(a, b match) int {
		return cmp.Or(cmp.Compare(a.rank, b.rank), cmp.Compare(b.overlap, a.overlap), strings.Compare(a.h.identity.Key, b.h.identity.Key), cmp.Compare(a.u, b.u))
	})
	done := map[int]bool{}
	for _, m := range matches {
		if done[m.u] || r.taken[m.h.identity.Key] {
			continue
		}
		if err := r.place(list[m.u], m.h); err != nil {
			continue // old and new rules have no room together; a new group will do
		}
		done[m.u], r.taken[m.h.identity.Key] = true, true
	}
	for i, u := range list {
		if done[i] {
			continue
		}
		if u.function != "" {
			return r.noRoom(u)
		}
		if err := r.place(u, nil); err != nil {
			return err
		}
	}
	return nil
}

// noRoom refuses a function whose rules cannot change in place.
func (r *renderer) noRoom(u *unit) error {
	return fmt.Errorf("%w: the group of function %q has no room for its old and new rules together (each at most %d, by direction and family); a higher quota of rules per group helps, or fewer and larger prefixes", driver.ErrRefused, u.function, r.limit)
}

func (r *renderer) match(u *unit, h *held) (match, bool) {
	m := match{h: h}
	if h.identity.VPC != u.vpc || h.identity.Function != u.function {
		return m, false
	}
	var ids []string
	for _, n := range u.members {
		ids = append(ids, n.ID)
		if slices.Contains(h.members, n.ID) {
			m.overlap++
		}
	}
	same := sameRules(h.what, u.rules) && !h.uneven
	members := slices.Equal(ids, h.members)
	switch {
	case same && members:
		m.rank = 0
	case same && m.overlap > 0:
		m.rank = 1
	case members && !h.uneven:
		m.rank = 2
	case same:
		m.rank = 3
	case len(h.members) == 0:
		m.rank = 4
	default:
		return m, false
	}
	return m, true
}

func sameRules(have map[Rule]bool, want []Rule) bool {
	if len(have) != len(want) {
		return false // want has none twice (unitRules)
	}
	for _, r := range want {
		if !have[r.what()] {
			return false
		}
	}
	return true
}

func whats(list []Rule) map[Rule]bool {
	out := map[Rule]bool{}
	for _, r := range list {
		out[r.what()] = true
	}
	return out
}

// place puts a unit's rules into groups: those that are there stay where they are, others
// go where there is room beside what is still to be removed.
func (r *renderer) place(u *unit, h *held) error {
	foreign, err := r.foreign(u)
	if err != nil {
		return err
	}
	var groups []Group
	var rooms []room
	left := map[Rule]bool{}
	for _, x := range u.rules {
		left[x.what()] = true
	}
	if h != nil {
		for _, g := range append([]*Group{h.identity}, h.overflow...) {
			n := *g
			n.Rules, n.Points = nil, nil
			rm := room{limit: r.limit}
			for _, x := range g.Rules {
				if len(h.members) > 0 || left[x.what()] { // nobody carries it: what must go goes first
					rm.used.add(x)
				}
				if left[x.what()] {
					delete(left, x.what())
					n.Rules = append(n.Rules, x)
				}
			}
			groups, rooms = append(groups, n), append(rooms, rm)
		}
	} else {
		g := r.fresh(u.vpc)
		if u.key != "" {
			g = r.reserved[u.key] // others name it already
		}
		groups = append(groups, g)
		rooms = append(rooms, room{limit: r.limit})
	}
	for _, x := range u.rules {
		if !left[x.what()] {
			continue
		}
		i := slices.IndexFunc(rooms, func(rm room) bool { return rm.fits(x) })
		if i < 0 {
			i = len(groups)
			groups = append(groups, r.more(groups))
			rooms = append(rooms, room{limit: r.limit})
		}
		rooms[i].used.add(x)
		groups[i].Rules = append(groups[i].Rules, x)
	}
	kept := groups[:1]
	for _, g := range groups[1:] {
		if len(g.Rules) > 0 {
			kept = append(kept, g)
		}
	}
	if len(kept)+foreign > r.most || u.function != "" && len(kept) > 1 {
		return tooMuch(u, weigh(u.rules), r.most-foreign, r.limit)
	}
	kept[0].Points = u.points
	var keys []string
	for i := range kept {
		slices.SortFunc(kept[i].Rules, Rule.compare)
		keys = append(keys, kept[i].Key)
	}
	r.made = append(r.made, kept...)
	return r.attach(u, keys)
}

// fresh is a new group, by the smallest number that no group of the VPC has.
func (r *renderer) fresh(vpc string) Group {
	for n := 1; ; n++ {
		name := groupName(r.site, n)
		if r.free(vpc, name) && !slices.ContainsFunc(r.have.Names[vpc], func(s string) bool { return strings.HasPrefix(s, strings.ToLower(name)+" overflow") }) {
			return Group{Key: key(vpc, name), Name: name, VPC: vpc, Ours: true}
		}
	}
}

func (r *renderer) free(vpc, name string) bool {
	low := strings.ToLower(name)
	if _, ok := r.reserved[key(vpc, name)]; ok {
		return false
	}
	return !slices.Contains(r.have.Names[vpc], low) && !slices.ContainsFunc(r.made, func(g Group) bool { return g.Key == key(vpc, name) })
}

// more is another overflow group.
func (r *renderer) more(groups []Group) Group {
	id := groups[0]
	for n := 1; ; n++ {
		name := overflowName(id.Name, n)
		if r.free(id.VPC, name) && !slices.ContainsFunc(groups, func(g Group) bool { return g.Name == name }) {
			return Group{Key: key(id.VPC, name), Name: name, VPC: id.VPC, Ours: true, Of: id.Key}
		}
	}
}

// foreign counts the groups of others that stay on a unit's interfaces.
func (r *renderer) foreign(u *unit) (most int, err error) {
	for _, n := range u.members {
		stay, _ := r.stay(n)
		most = max(most, len(stay))
	}
	return most, nil
}

// stay splits the groups of others on an interface into those that stay beside ours, and
// those that go.
func (r *renderer) stay(n *Interface) (stay, gone []string) {
	_, foreign := r.have.ours(n)
	if n.Function != "" {
		return foreign, nil // to take one off would move the function
	}
	for _, k := range foreign {
		if g := r.have.group(k); !r.next.Limits.Exclusive || g == nil || g.Kept != "" {
			stay = append(stay, k)
		} else {
			gone = append(gone, k)
		}
	}
	return stay, gone
}

// attach puts groups on a unit's interfaces.
func (r *renderer) attach(u *unit, keys []string) error {
	for _, m := range u.members {
		n := r.next.iface(m.ID)
		stay, gone := r.stay(m)
		if len(gone) > 0 {
			before := slices.Compact(slices.Sorted(slices.Values(slices.Concat(m.Before, gone))))
			if _, ok := beforeTag(r.site, before); !ok {
				return fmt.Errorf("%w: interface %q carries %d groups of others, more than a tag can remember; take some off first", driver.ErrRefused, n.ID, len(gone))
			}
			n.Before = before
		}
		n.Groups = slices.Sorted(slices.Values(slices.Concat(stay, keys)))
	}
	return nil
}

// release takes our groups off the interfaces of no unit. One that would carry none gets
// the VPC's default group: it cannot carry none.
func (r *renderer) release(list []*unit) {
	in := map[string]bool{}
	for _, u := range list {
		for _, n := range u.members {
			in[n.ID] = true
		}
	}
	for i := range r.next.Interfaces {
		n := &r.next.Interfaces[i]
		ours, foreign := r.have.ours(n)
		if in[n.ID] || len(ours) == 0 && n.Before == nil || slices.ContainsFunc(ours, func(k string) bool { return r.have.group(k).Function != "" }) {
			continue
		}
		back := slices.Clone(foreign)
		for _, id := range n.Before {
			if slices.Contains(r.have.There, id) {
				back = append(back, id)
			}
		}
		if len(back) == 0 {
			back = r.fallback(n)
		}
		n.Groups, n.Before = slices.Compact(slices.Sorted(slices.Values(back))), nil
	}
}

// fallback is the VPC's default group.
func (r *renderer) fallback(n *Interface) []string {
	for _, v := range r.have.VPCs {
		if v.ID == n.VPC && v.Group != "" {
			return []string{v.Group}
		}
	}
	return nil
}

// groups lists the groups of the next state.
func (r *renderer) groups() []Group {
	out := slices.Clone(r.made)
	for _, g := range r.have.Groups {
		if !g.Ours {
			out = append(out, g)
		}
	}
	slices.SortFunc(out, func(a, b Group) int { return strings.Compare(a.Key, b.Key) })
	return out
}
