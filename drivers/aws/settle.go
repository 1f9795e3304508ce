package aws

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"
)

// settle gives each unit its group where rules name groups. A unit keeps the group whose
// rules mean the most alike among those that its interfaces carry, whoever else carries it, so
// that an interface which changes class is what moves. The order of the calls sees to what
// lies between (hops.go).
func (r *renderer) settle(list []*unit) error {
	there := r.held()
	barred := map[[2]string]bool{} // unit's first interface, and group: no room for old and new rules
	for {
		r.made, r.reserved = nil, map[string]Group{}
		r.next.Interfaces = slices.Clone(r.have.Interfaces)
		kept := r.keep(list, there, barred)
		for i, u := range list {
			if kept[i] != nil {
				u.key = kept[i].identity.Key
				continue
			}
			if u.function != "" {
				return r.noRoom(u)
			}
			g := r.fresh(u.vpc)
			u.key, r.reserved[g.Key] = g.Key, g
		}
		again := false
		for i, u := range list {
			own := u.rules
			u.rules = u.resolved()
			err := r.place(u, kept[i])
			u.rules = own
			if err != nil && kept[i] == nil {
				return err
			}
			if err != nil {
				again, barred[[2]string{u.members[0].ID, u.key}] = true, true
				break
			}
		}
		if !again {
			return nil
		}
	}
}

// resolved are a unit's rules with the keys of the groups that they name.
func (u *unit) resolved() []Rule {
	out := slices.Clone(u.rules)
	for _, x := range u.refs {
		n := x.rule
		n.Peer = x.to.key
		out = append(out, n)
	}
	slices.SortFunc(out, Rule.compare)
	return slices.Compact(out)
}

// flat are a unit's rules with the addresses that its names stand for.
func (u *unit) flat() map[Rule]bool {
	out := whats(u.rules)
	for _, x := range u.refs {
		for _, n := range x.to.members {
			spell(out, x.rule, n.Addrs)
		}
	}
	return out
}

// spell adds what a rule that names a group says of some of its addresses. EC2 takes no ICMP
// of the other family with a network; by a name it means nothing that a machine sends.
func spell(out map[Rule]bool, r Rule, addrs []netip.Prefix) {
	for _, a := range addrs {
		if a.Addr().Is4() && r.Protocol == "icmpv6" || !a.Addr().Is4() && r.Protocol == "icmp" {
			continue
		}
		n := r.what()
		n.Peer, n.PeerVPC, n.Prefix = "", "", a
		out[n] = true
	}
}

// likeness is how much of what two sets of rules say both say: common of all.
type likeness struct{ common, all int }

func alikeness(a, b map[Rule]bool) likeness {
	n := 0
	for r := range a {
		if b[r] {
			n++
		}
	}
	if len(a)+len(b) == 0 {
		return likeness{1, 1}
	}
	return likeness{n, len(a) + len(b) - n}
}

func (l likeness) compare(o likeness) int { return cmp.Compare(l.common*o.all, o.common*l.all) }

// keep chooses among the groups that are there; nil is none.
func (r *renderer) keep(list []*unit, there []*held, barred map[[2]string]bool) []*held {
	type option struct {
		u       int
		h       *held
		like    likeness
		overlap int
	}
	on := r.have.carriers()
	flats := make([]map[Rule]bool, len(there))
	var options []option
	for i, u := range list {
		ids := map[string]bool{}
		for _, n := range u.members {
			ids[n.ID] = true
		}
		var mine map[Rule]bool
		for k, h := range there {
			if h.identity.VPC != u.vpc || h.identity.Function != u.function || barred[[2]string{u.members[0].ID, h.identity.Key}] {
				continue
			}
			o := option{u: i, h: h}
			for _, id := range h.members {
				if ids[id] {
					o.overlap++
				}
			}
			if o.overlap == 0 && len(h.members) > 0 {
				continue
			}
			if mine == nil {
				mine = u.flat()
			}
			if flats[k] == nil {
				flats[k] = r.have.spelt(h.rules, on)
			}
			o.like = alikeness(mine, flats[k])
			options = append(options, o)
		}
	}
	slices.SortStableFunc(options, func(a, b option) int {
		none := func(o option) int { return min(o.overlap, 1) }
		return cmp.Or(cmp.Compare(none(b), none(a)), b.like.compare(a.like), cmp.Compare(b.overlap, a.overlap), strings.Compare(a.h.identity.Key, b.h.identity.Key), cmp.Compare(a.u, b.u))
	})
	out, taken := make([]*held, len(list)), map[*held]bool{}
	for _, o := range options {
		if out[o.u] == nil && !taken[o.h] {
			out[o.u], taken[o.h] = o.h, true
		}
	}
	return out
}

// carriers are the interfaces that carry each group.
func (s *State) carriers() map[string][]*Interface {
	out := map[string][]*Interface{}
	for i := range s.Interfaces {
		for _, k := range s.Interfaces[i].Groups {
			out[k] = append(out[k], &s.Interfaces[i])
		}
	}
	return out
}

// spelt are rules with the addresses of our groups that they name.
func (s *State) spelt(rules []Rule, on map[string][]*Interface) map[Rule]bool {
	out := map[Rule]bool{}
	for _, x := range rules {
		if g := s.group(x.Peer); x.Peer == "" || g == nil || !g.Ours {
			out[x.what()] = true
			continue
		}
		for _, n := range on[x.Peer] {
			spell(out, x, n.Addrs)
		}
	}
	return out
}
