package aws

import (
	"net/netip"
	"slices"

	"bulkhead/pkg/packet"
)

// A rule may name the group of a peer instead of its addresses. AWS resolves that to the
// private addresses of the interfaces that carry the group, in the same VPC or in one that an
// active peering joins to it within the region (VPC user guide, "Security group referencing").

// reference is a rule that names the group of another unit, or of its own.
type reference struct {
	to   *unit
	rule Rule // without the name
}

// weight is what a unit's rules count, whether they name groups or prefixes.
func (u *unit) weight() weight {
	w := weigh(u.rules)
	for _, x := range u.refs {
		w.add(Rule{Egress: x.rule.Egress, Peer: "-"})
	}
	return w
}

// refer lets the rules of units name each other's groups where they can. Where that would
// weigh more than a group has room for, and prefixes less, they stay.
func (e *effects) refer(list []*unit, limit int) {
	can := e.nameable(list)
	for _, u := range list {
		if u.function != "" {
			continue // its rules fit one group, and a change of peers must not need another
		}
		rules, refs := e.naming(u, can)
		n := unit{rules: rules, refs: refs}
		if w := n.weight().most(); w > limit && w > weigh(u.rules).most() {
			continue
		}
		u.rules, u.refs = rules, refs
	}
}

// nameable gives the units whose groups rules may name: a name must stand for exactly the
// unit's addresses. Those that share an address with another interface are not, since a
// prefix means both; nor those with delegated prefixes, of which AWS does not say whether a
// name stands for them; nor functions, whose interfaces Lambda changes as it likes.
func (e *effects) nameable(list []*unit) []*unit {
	on := map[netip.Prefix]int{}
	var delegated packet.Builder
	for i := range e.state.Interfaces {
		for _, a := range e.state.Interfaces[i].Addrs {
			if on[a]++; !a.IsSingleIP() {
				delegated.AddPrefix(a)
			}
		}
	}
	wide := delegated.Addrs()
	var out []*unit
	for _, u := range list {
		ok := u.function == "" && !wide.Overlaps(u.addrs)
		for _, n := range u.members {
			ok = ok && !slices.ContainsFunc(n.Addrs, func(a netip.Prefix) bool { return on[a] > 1 })
		}
		for _, p := range u.parts {
			ok = ok && len(e.hold[p]) == 1
		}
		if ok {
			out = append(out, u)
		}
	}
	return out
}

// joins reports whether rules of a group of the one VPC may name groups of the other.
func (s *State) joins(a, b string) bool {
	return a == b || slices.Contains(s.Active, [2]string{min(a, b), max(a, b)})
}

// part is a unit's first part of a family, -1 if it has no address of it. All of them fare
// alike (effects.block).
func (e *effects) part(u *unit, four bool) int {
	i := slices.IndexFunc(u.parts, func(p int) bool { return e.w.Four(p) == four })
	if i < 0 {
		return -1
	}
	return u.parts[i]
}

// between is what passes from a part to a peer's, or to it from there.
func (e *effects) between(egress bool, at, peer int) packet.Services {
	if egress {
		return e.rules(at, peer)
	}
	return e.rules(peer, at)
}

// naming writes the rules of a unit with the names of those units that can be named.
func (e *effects) naming(u *unit, can []*unit) (rules []Rule, refs []reference) {
	for _, egress := range []bool{false, true} {
		names := e.common(u, can, egress)
		holes := e.holes(u, names, egress)
		for _, v := range can {
			list := natives(names[v].Subtract(holes))
			if whole := natives(names[v]); len(list) > len(whole) {
				list = whole // said twice, and by fewer rules: everything, and not all but one port
			}
			for _, n := range list {
				n.Egress = egress
				if u.vpc != v.vpc {
					n.PeerVPC = v.vpc
				}
				refs = append(refs, reference{v, n})
			}
			names[v] = names[v].Subtract(holes)
		}
		for _, four := range []bool{true, false} {
			at := e.part(u, four)
			if at < 0 {
				continue
			}
			var peers []peer
			for q := range e.w.Parts {
				if e.w.Four(q) == four {
					peers = append(peers, peer{e.w.Parts[q], rest(e.between(egress, at, q), e.nameOf(q, names), four)})
				}
			}
			rules = append(rules, rulesOf(egress, cover(peers))...)
		}
	}
	slices.SortFunc(rules, Rule.compare)
	return slices.Compact(rules), refs
}

// rest is what is left to say by prefixes of what a peer may have. Of ICMP of the other family
// prefixes say nothing but as a part of everything.
func rest(all, name packet.Services, four bool) packet.Services {
	left := all.Subtract(name)
	if !left.Intersect(otherICMP(four)).IsEmpty() {
		return all
	}
	return left
}

// nameOf is what the unit that holds a part has by its name.
func (e *effects) nameOf(part int, names map[*unit]packet.Services) packet.Services {
	if len(e.hold[part]) != 1 {
		return nil
	}
	return names[e.hold[part][0]]
}

// common is what a unit's rules of one direction can say by name. A name is about both
// families, so that only what the peer may have in both is said by it: "icmp" by name would
// let the ICMP of IPv4 pass in packets of IPv6.
func (e *effects) common(u *unit, can []*unit, egress bool) map[*unit]packet.Services {
	names := map[*unit]packet.Services{}
	for _, v := range can {
		if !e.state.joins(u.vpc, v.vpc) {
			continue
		}
		var both packet.Services
		first := true
		for _, four := range []bool{true, false} {
			at, peer := e.part(u, four), e.part(v, four)
			if at < 0 || peer < 0 {
				continue
			}
			if s := e.between(egress, at, peer); first {
				both, first = s, false
			} else {
				both = both.Intersect(s)
			}
		}
		if !both.IsEmpty() {
			names[v] = both
		}
	}
	return names
}

// known are addresses that have the same services, and the same of them by a name.
type known struct {
	services, name packet.Services
	build          packet.Builder
	addrs          packet.Addrs
}

// holes are the services that prefixes say better for all: those that are needed anyway would
// get holes by leaving out who is named. A network of which one interface is named would be
// cut into thirty.
func (e *effects) holes(u *unit, names map[*unit]packet.Services, egress bool) packet.Services {
	var out packet.Services
	if len(names) == 0 {
		return nil
	}
	for _, four := range []bool{true, false} {
		at := e.part(u, four)
		if at < 0 {
			continue
		}
		index := map[string]int{}
		var list []known
		for q := range e.w.Parts {
			if e.w.Four(q) != four {
				continue
			}
			s := e.between(egress, at, q)
			if s.IsEmpty() {
				continue
			}
			name := e.nameOf(q, names)
			k := s.String() + "|" + name.String()
			n, ok := index[k]
			if !ok {
				n = len(list)
				index[k] = n
				list = append(list, known{services: s, name: name})
			}
			list[n].build.AddSet(e.w.Parts[q])
		}
		for i := range list {
			list[i].addrs = list[i].build.Addrs()
		}
		for _, s := range pieces(list) {
			var plain, all packet.Builder
			some := false
			for i := range list {
				x := &list[i]
				if !x.services.Contains(s[0].Lo) {
					continue
				}
				all.AddSet(x.addrs)
				if x.name.Contains(s[0].Lo) {
					some = true
				} else {
					plain.AddSet(x.addrs)
				}
			}
			if some && len(plain.Addrs().Prefixes()) > len(all.Addrs().Prefixes()) {
				out = out.Union(s)
			}
		}
	}
	return out
}

// pieces cuts services where those of anybody begin or end.
func pieces(list []known) []packet.Services {
	var cuts []uint32
	for i := range list {
		for _, s := range slices.Concat(list[i].services, list[i].name) {
			cuts = append(cuts, s.Lo, s.Hi+1)
		}
	}
	slices.Sort(cuts)
	cuts = slices.Compact(cuts)
	var out []packet.Services
	for i := 0; i+1 < len(cuts); i++ {
		out = append(out, packet.Services{{Lo: cuts[i], Hi: cuts[i+1] - 1}})
	}
	return out
}
