package aws

import (
	"net/netip"
	"slices"
	"strconv"

	"bulkhead/pkg/packet"
)

// mover is an interface that changes class, is judged from now on, or no longer is.
type mover struct{ was, is *Interface }

// names reports whether a rule of ours names a group of ours.
func (s *State) names() bool {
	return slices.ContainsFunc(s.Groups, func(g Group) bool {
		return g.Ours && slices.ContainsFunc(g.Rules, func(r Rule) bool { return s.namesOurs(r) })
	})
}

func (s *State) namesOurs(r Rule) bool {
	g := s.group(r.Peer)
	return r.Peer != "" && g != nil && g.Ours
}

// families are the keys of each identity group with its overflow groups, sorted.
func (s *State) families() map[string][]string {
	out := map[string][]string{}
	for i := range s.Groups {
		if g := &s.Groups[i]; g.Ours && g.Of == "" {
			out[g.Key] = append(out[g.Key], g.Key)
		}
	}
	for i := range s.Groups {
		if g := &s.Groups[i]; g.Ours && g.Of != "" && out[g.Of] != nil {
			out[g.Of] = append(out[g.Of], g.Key)
		}
	}
	for _, keys := range out {
		slices.Sort(keys)
	}
	return out
}

// movers finds them in the order of their calls. An interface that carries only some groups of
// its class, or those of two, has rules that no other has: it counts as one that changes
// class. The interface of a function keeps its groups.
func movers(have, want *State) []mover {
	all := have.families()
	var come, leave []mover
	for i := range want.Interfaces {
		w := &want.Interfaces[i]
		h := have.iface(w.ID)
		if h == nil || h.Function != "" || slices.Equal(h.Groups, w.Groups) {
			continue
		}
		was, is := have.identity(h), want.identity(w)
		ours, _ := have.ours(h)
		if was == is && (was == "" || slices.Equal(ours, all[was])) {
			continue
		}
		if is == "" {
			leave = append(leave, mover{h, w})
		} else {
			come = append(come, mover{h, w})
		}
	}
	return slices.Concat(come, leave)
}

// maxPairs bounds how many interfaces that move at once are held against each other.
const maxPairs = 64

// direct reports whether the calls of one step lead safely from one state to another, though
// rules name groups.
//
// Where nothing moves, a name means the same before, after and in between, and the order of
// one step is right as it is. Else no rule may change but those that name a group which nobody
// carries when they do, and so mean nothing then: then an interface that moves alone has with
// every other what it had before its call, and what it is to have after it. Of several, one
// that has moved may not have with one that has not what neither state lets it have, nor
// lack what both do.
func direct(have, want *State, moving []mover) bool {
	if len(moving) == 0 {
		return true
	}
	if len(moving) > maxPairs {
		return false
	}
	moves := map[string]bool{}
	for _, m := range moving {
		moves[m.was.ID] = true
	}
	for i := range want.Interfaces {
		w := &want.Interfaces[i]
		if h := have.iface(w.ID); h != nil && !moves[w.ID] && !slices.Equal(h.Groups, w.Groups) && (have.identity(h) != "" || want.identity(w) != "") {
			return false
		}
	}
	before, after := have.carriers(), want.carriers()
	for i := range want.Groups {
		w := &want.Groups[i]
		h := have.group(w.Key)
		if !w.Ours || h == nil || len(before[w.Key]) == 0 {
			continue
		}
		add, remove := differ(h.Rules, w.Rules)
		if slices.ContainsFunc(add, func(r Rule) bool { return !want.namesOurs(r) || len(before[r.Peer]) > 0 }) ||
			slices.ContainsFunc(remove, func(r Rule) bool { return !have.namesOurs(r) || len(after[r.Peer]) > 0 }) {
			return false
		}
	}
	p := &pairwise{have: have, want: want, before: before, rules: map[string][]Rule{}}
	for i := range moving {
		for k := i + 1; k < len(moving); k++ {
			if !p.between(moving[i], moving[k]) {
				return false
			}
		}
	}
	return true
}

// pairwise holds two interfaces against each other of which one has moved.
type pairwise struct {
	have, want *State
	before     map[string][]*Interface
	rules      map[string][]Rule // while they move, by group
}

// end is an interface at one moment.
type end struct {
	s *State // whose groups it carries
	n *Interface
}

// between looks at the moment when a has moved and b has not, both ways.
func (p *pairwise) between(a, b mover) bool {
	for _, x := range a.was.Addrs {
		for _, y := range b.was.Addrs {
			if x.Addr().Is4() != y.Addr().Is4() {
				continue
			}
			for _, swap := range []bool{false, true} {
				ask := func(s, t *State, n, m *Interface) (packet.Services, bool) {
					if swap {
						return p.passes(end{t, m}, end{s, n}, y, x)
					}
					return p.passes(end{s, n}, end{t, m}, x, y)
				}
				old, ok1 := ask(p.have, p.have, a.was, b.was)
				next, ok2 := ask(p.want, p.want, a.is, b.is)
				now, ok3 := ask(p.want, p.have, a.is, b.was)
				if !ok1 || !ok2 || !ok3 || !now.Subtract(old.Union(next)).IsEmpty() || !old.Intersect(next).Subtract(now).IsEmpty() {
					return false
				}
			}
		}
	}
	return true
}

// passes is what groups let through from one address to another; ok is false where that is
// not to be told.
func (p *pairwise) passes(from, to end, src, dst netip.Prefix) (packet.Services, bool) {
	out, ok1 := p.side(from, to, true, dst)
	in, ok2 := p.side(to, from, false, src)
	return out.Intersect(in), ok1 && ok2
}

// side is what the groups of an interface let through, to or from an address of a peer. Who
// carries no identity group of ours lets everything pass.
func (p *pairwise) side(at, peer end, egress bool, addr netip.Prefix) (packet.Services, bool) {
	if at.s.identity(at.n) == "" {
		return packet.AllServices(), true
	}
	var out packet.Services
	for _, k := range at.n.Groups {
		if p.have.group(k) == nil && p.want.group(k) == nil {
			return nil, false
		}
		for _, r := range p.of(k) {
			if r.Egress != egress {
				continue
			}
			switch {
			case r.List != "" || r.Unknown != "":
				return nil, false
			case r.Peer != "":
				if !slices.Contains(peer.n.Groups, r.Peer) || !p.have.joins(at.n.VPC, peer.n.VPC) {
					continue
				}
			case r.Prefix.Overlaps(addr) && r.Prefix.Bits() > addr.Bits():
				return nil, false // a part of a delegated prefix
			case !r.Prefix.Overlaps(addr):
				continue
			}
			s, ok := r.services()
			if !ok {
				return nil, false
			}
			out = out.Union(s)
		}
	}
	return out, true
}

func (p *pairwise) of(key string) []Rule {
	if r, ok := p.rules[key]; ok {
		return r
	}
	var out []Rule
	w := p.want.group(key)
	if h := p.have.group(key); h != nil && (w == nil || len(p.before[key]) > 0) {
		out = append(out, h.Rules...)
	} // else it was filled before anybody carries it, with nothing left of what was in it
	if w != nil {
		out = append(out, w.Rules...)
	}
	p.rules[key] = out
	return out
}

// services are those of a rule as natives writes them; ok is false for any other.
func (r Rule) services() (packet.Services, bool) {
	span := func(proto, lo, hi int) (packet.Services, bool) {
		return packet.Services{{Lo: uint32(proto<<16 | lo), Hi: uint32(proto<<16 | hi)}}, lo >= 0 && lo <= hi && hi <= 0xffff
	}
	proto, ok := map[string]int{"tcp": 6, "udp": 17, "icmp": 1, "icmpv6": 58}[r.Protocol]
	switch {
	case r.Protocol == "-1":
		return packet.AllServices(), true
	case !ok:
		n, err := strconv.ParseUint(r.Protocol, 10, 8)
		s, _ := span(int(n), 0, 0xffff)
		return s, err == nil
	case r.From == -1 && r.To == -1:
		return span(proto, 0, 0xffff)
	case proto == 6 || proto == 17:
		return span(proto, r.From, r.To)
	case r.To == -1:
		return span(proto, r.From<<8, r.From<<8|0xff)
	}
	return span(proto, r.From<<8|r.To, r.From<<8|r.To)
}
