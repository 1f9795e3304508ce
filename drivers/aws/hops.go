package aws

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"bulkhead/pkg/driver"
	"bulkhead/pkg/packet"
)

// What a name stands for changes with the call that moves an interface, for every rule that
// says the name. Where that would lead through what neither state permits (direct), a change
// goes by way of four states. In each step but the third what is permitted stays as it is:
//
//  1. beside each name the addresses are written of those who carry it and will move;
//  2. they move to groups with the same rules, which nobody names: peers let them through by
//     their addresses;
//  3. rules change, and only rules: nobody moves, so that every name stands still. Beside
//     the new names the addresses are written of those who will carry them;
//  4. everybody moves to the group that it is to have, which has the same rules;
//  5. what was written beside the names goes, and the groups on the way with it.
//
// In the third step every interface's own rules are its old ones, its new ones, or both, and
// both ends of a flow have the same rule for it: what holds without names holds. Who is not
// judged yet moves in the fourth only, and who no longer will be does last.

// hopper works out the states on the way.
type hopper struct {
	have, want   *State
	moving       []mover
	fam0, fam1   map[string][]string // families of both
	on0, on1     map[string][]*Interface
	used         map[string]bool             // keys of all groups
	beside       [2]map[string]map[Rule]bool // what is written beside names, by identity group: old, new
	spot         map[string]map[Rule]string  // where it is, by identity group
	more         map[string][]Group          // overflow groups for it, without rules
	way          map[string]*layover
	waypoint     map[string]*layover // by interface
	a, b, c, end *State
}

// layover is a group on the way, with its overflow groups.
type layover struct {
	keys     []string
	groups   []Group // without rules
	at       map[Rule]string
	old, new map[Rule]bool
}

// hops gives the states between two others.
func hops(have, want *State, moving []mover) ([]*State, error) {
	h := &hopper{have: have, want: want, moving: moving, fam0: have.families(), fam1: want.families(), on0: have.carriers(), on1: want.carriers(),
		used: map[string]bool{}, spot: map[string]map[Rule]string{}, more: map[string][]Group{}, way: map[string]*layover{}, waypoint: map[string]*layover{}}
	for _, s := range []*State{have, want} {
		for i := range s.Groups {
			h.used[s.Groups[i].Key] = true
		}
		for vpc, names := range s.Names {
			for _, n := range names {
				h.used[key(vpc, n)] = true
			}
		}
	}
	h.beside[0] = h.supplement(have, h.fam0, h.on0, func(m mover) *Interface { return m.was })
	h.beside[1] = h.supplement(want, h.fam1, h.on1, func(m mover) *Interface { return m.is })
	for _, k := range sortedKeys(h.all()) {
		if err := h.place(k); err != nil {
			return nil, err
		}
	}
	h.a = h.first()
	h.c = h.third()
	if err := h.layovers(); err != nil {
		return nil, err
	}
	h.b = h.second()
	h.onTheWay()
	h.end = h.fourth()
	for _, s := range []*State{h.a, h.b, h.c, h.end} {
		if err := h.fits(s); err != nil {
			return nil, err
		}
	}
	return []*State{h.a, h.b, h.c, h.end}, nil
}

// all are the keys of the identity groups of both states.
func (h *hopper) all() map[string]bool {
	out := map[string]bool{}
	for k := range h.fam0 {
		out[k] = true
	}
	for k := range h.fam1 {
		out[k] = true
	}
	return out
}

// supplement gives the addresses of those who move that rules name, by identity group, where
// those rules do not say them already.
func (h *hopper) supplement(s *State, families map[string][]string, on map[string][]*Interface, at func(mover) *Interface) map[string]map[Rule]bool {
	carry := map[string][]*Interface{}
	for _, m := range h.moving {
		for _, k := range at(m).Groups {
			carry[k] = append(carry[k], at(m))
		}
	}
	out := map[string]map[Rule]bool{}
	for id, keys := range families {
		if len(on[id]) == 0 {
			continue // nobody has these rules
		}
		there := map[Rule]bool{}
		builds := map[Rule]*packet.Builder{}
		for _, k := range keys {
			g := s.group(k)
			for _, r := range g.Rules {
				there[r.what()] = true
				if !s.namesOurs(r) {
					continue
				}
				said := map[Rule]bool{}
				for _, n := range carry[r.Peer] {
					if s.joins(g.VPC, n.VPC) {
						spell(said, r, n.Addrs)
					}
				}
				for x := range said {
					p := x.Prefix
					x.Prefix = netip.Prefix{}
					if builds[x] == nil {
						builds[x] = &packet.Builder{}
					}
					builds[x].AddPrefix(p)
				}
			}
		}
		list := map[Rule]bool{}
		for x, b := range builds {
			for _, p := range b.Addrs().Prefixes() {
				if x.Prefix = p; !there[x] {
					list[x] = true
				}
			}
		}
		out[id] = list
	}
	return out
}

func sortedRules(sets ...map[Rule]bool) []Rule {
	var out []Rule
	for _, set := range sets {
		for r := range set {
			out = append(out, r)
		}
	}
	slices.SortFunc(out, Rule.compare)
	return slices.Compact(out)
}

// free is a name that no group has.
func (h *hopper) free(vpc string, name func(n int) string) string {
	for n := 1; ; n++ {
		if s := name(n); !h.used[key(vpc, s)] {
			h.used[key(vpc, s)] = true
			return s
		}
	}
}

// place finds room for what is written beside the names in the rules of a family: beside both
// its old and its new rules, since what is added is seen before anything else goes.
func (h *hopper) place(id string) error {
	type slot struct {
		key      string
		old, new bool // in which states interfaces carry it
		room     room
	}
	var slots []slot
	var identity Group
	for _, k := range slices.Compact(slices.Sorted(slices.Values(slices.Concat(h.fam0[id], h.fam1[id])))) {
		w, i := h.have.group(k), h.want.group(k)
		both := map[Rule]bool{}
		for _, g := range []*Group{w, i} {
			if g == nil {
				continue
			}
			if k == id {
				identity = *g
			}
			for _, r := range g.Rules {
				both[r.what()] = true
			}
		}
		slots = append(slots, slot{k, w != nil, i != nil, room{h.want.Limits.Rules, weigh(sortedRules(both))}})
	}
	h.spot[id] = map[Rule]string{}
	for _, x := range sortedRules(h.beside[0][id], h.beside[1][id]) {
		old, next := h.beside[0][id][x], h.beside[1][id][x]
		i := slices.IndexFunc(slots, func(s slot) bool { return (s.old || !old) && (s.new || !next) && s.room.fits(x) })
		if i < 0 {
			g := Group{VPC: identity.VPC, Ours: true, Of: id, Name: h.free(identity.VPC, func(n int) string { return overflowName(identity.Name, n) })}
			g.Key = key(g.VPC, g.Name)
			h.more[id] = append(h.more[id], g)
			i = len(slots)
			slots = append(slots, slot{g.Key, true, true, room{limit: h.want.Limits.Rules}})
		}
		slots[i].room.used.add(x)
		h.spot[id][x] = slots[i].key
	}
	return nil
}

// written adds to a state what is written beside names, which says 0 for the old ones and 1
// for the new ones, and gives the further overflow groups of each family that are there.
func (h *hopper) written(s *State, which int) map[string][]string {
	extra := map[string][]string{}
	adds := map[string][]Rule{}
	for id, set := range h.beside[which] {
		for _, x := range sortedRules(set) {
			k := h.spot[id][x]
			adds[k] = append(adds[k], x)
		}
		for _, g := range h.more[id] {
			if len(adds[g.Key]) > 0 {
				extra[id] = append(extra[id], g.Key)
				s.Groups = append(s.Groups, g)
			}
		}
	}
	for i := range s.Groups {
		if more := adds[s.Groups[i].Key]; len(more) > 0 {
			g := &s.Groups[i]
			g.Rules = slices.Concat(g.Rules, more)
			slices.SortFunc(g.Rules, Rule.compare)
		}
	}
	sortGroups(s)
	return extra
}

func sortGroups(s *State) {
	slices.SortFunc(s.Groups, func(a, b Group) int { return strings.Compare(a.Key, b.Key) })
}

// with are the groups of an interface with the further ones of their families.
func with(groups []string, extra map[string][]string) []string {
	out := slices.Clone(groups)
	for _, k := range groups {
		out = append(out, extra[k]...)
	}
	slices.Sort(out)
	return out
}

// first is the old state with the addresses of those who will move beside their names.
func (h *hopper) first() *State {
	s := h.have.clone()
	s.Limits = h.want.Limits
	extra := h.written(s, 0)
	for i := range s.Interfaces {
		n := &s.Interfaces[i]
		n.Groups = with(n.Groups, extra)
		if w := h.want.iface(n.ID); w != nil && len(w.Before) > 0 {
			n.Before = w.Before // it is written down before anything is taken off
		}
	}
	return s
}

// layovers makes a group for each kind of interface that moves: those that carry the same and
// will carry the same. It holds the old rules and has room for the new ones. Who is not
// judged needs none.
func (h *hopper) layovers() error {
	for _, m := range h.moving {
		id := h.have.identity(m.was)
		if id == "" {
			continue
		}
		n := h.a.iface(m.was.ID)
		ours, _ := h.a.ours(n)
		next, _ := h.c.ours(h.c.iface(m.was.ID))
		kind := fmt.Sprintf("%s %q %q", n.VPC, ours, next)
		l := h.way[kind]
		if l == nil {
			l = &layover{old: map[Rule]bool{}, new: map[Rule]bool{}, at: map[Rule]string{}}
			collect(l.old, h.a, ours)
			if h.want.identity(m.is) == "" {
				l.new = l.old
			} else {
				collect(l.new, h.c, next)
			}
			h.layover(l, n.VPC, h.have.group(id).Points)
			h.way[kind] = l
		}
		h.waypoint[n.ID] = l
	}
	return nil
}

func collect(into map[Rule]bool, s *State, keys []string) {
	for _, k := range keys {
		for _, r := range s.group(k).Rules {
			into[r.what()] = true
		}
	}
}

func (h *hopper) layover(l *layover, vpc string, points []string) {
	g := Group{VPC: vpc, Ours: true, Points: points, Name: h.free(vpc, func(n int) string { return groupName(h.want.Site, n) })}
	g.Key = key(vpc, g.Name)
	l.groups = []Group{g}
	rooms := []room{{limit: h.want.Limits.Rules}}
	for _, x := range sortedRules(l.old, l.new) {
		i := slices.IndexFunc(rooms, func(r room) bool { return r.fits(x) })
		if i < 0 {
			i = len(rooms)
			rooms = append(rooms, room{limit: h.want.Limits.Rules})
			o := Group{VPC: vpc, Ours: true, Of: g.Key, Name: h.free(vpc, func(n int) string { return overflowName(g.Name, n) })}
			o.Key = key(vpc, o.Name)
			l.groups = append(l.groups, o)
		}
		rooms[i].used.add(x)
		l.at[x] = l.groups[i].Key
	}
	for _, o := range l.groups {
		l.keys = append(l.keys, o.Key)
	}
}

// filled are the groups of a layover with some of its rules.
func (l *layover) filled(rules map[Rule]bool) []Group {
	out := slices.Clone(l.groups)
	for i := range out {
		for _, x := range sortedRules(rules) {
			if l.at[x] == out[i].Key {
				out[i].Rules = append(out[i].Rules, x)
			}
		}
	}
	return out
}

// lay adds the groups on the way to a state and puts those on them who move. All of a
// layover's groups are there from the first, so that nobody moves while rules change.
func (h *hopper) lay(s *State, rules func(*layover) map[Rule]bool) {
	for _, kind := range sortedKeys(h.way) {
		s.Groups = append(s.Groups, h.way[kind].filled(rules(h.way[kind]))...)
	}
	sortGroups(s)
}

func (h *hopper) putOn(s *State) {
	for _, m := range h.moving {
		n := s.iface(m.was.ID)
		if l := h.waypoint[n.ID]; l != nil {
			_, foreign := h.have.ours(m.was)
			n.Groups = slices.Sorted(slices.Values(slices.Concat(foreign, l.keys)))
		} else {
			n.Groups = m.was.Groups
		}
	}
}

// second is the first with everybody who is judged and moves on the way.
func (h *hopper) second() *State {
	s := h.a.clone()
	h.lay(s, func(l *layover) map[Rule]bool { return l.old })
	h.putOn(s)
	return s
}

// third has the new rules, with the addresses of those who will carry them beside the new
// names; those who move are not in it yet (onTheWay). Groups that are to go stay as they
// are: nobody carries them.
func (h *hopper) third() *State {
	s := h.have.clone()
	s.Limits = h.want.Limits
	s.Groups = slices.Clone(h.want.Groups)
	for i := range s.Groups {
		g := &s.Groups[i]
		if old := h.have.group(g.Key); old != nil {
			g.Points = old.Points // tags come last
		}
	}
	extra := h.written(s, 1)
	for _, g := range h.a.Groups {
		if s.group(g.Key) == nil {
			s.Groups = append(s.Groups, g)
			sortGroups(s)
		}
	}
	for i := range s.Interfaces {
		n := &s.Interfaces[i]
		n.Before = h.a.Interfaces[i].Before
		if w := h.want.iface(n.ID); w != nil {
			n.Groups = with(w.Groups, extra)
		}
	}
	return s
}

// onTheWay puts those who move where they are while rules change; end keeps where they go.
func (h *hopper) onTheWay() {
	h.lay(h.c, func(l *layover) map[Rule]bool { return l.new })
	h.end = h.c.clone()
	h.putOn(h.c)
}

// fourth is the third with everybody in place. Functions move, too.
func (h *hopper) fourth() *State {
	h.end.Functions = h.want.Functions
	return h.end
}

// fits refuses a state on the way in which an interface would carry more groups than it may.
func (h *hopper) fits(s *State) error {
	for i := range s.Interfaces {
		n := &s.Interfaces[i]
		if was := h.have.iface(n.ID); len(n.Groups) > s.Limits.Groups && len(n.Groups) > len(was.Groups) {
			return fmt.Errorf("%w: %d interfaces change groups at once, and while they do their addresses stand beside the names of their groups; for that %q has no room: it would need %d groups, and may carry %d. "+
				"Change fewer at once, or raise the quotas of rules per group or groups per interface", driver.ErrRefused, len(h.moving), n.ID, len(n.Groups), s.Limits.Groups)
		}
	}
	return nil
}
