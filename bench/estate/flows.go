package estate

import (
	"fmt"
	"net/netip"
	"slices"

	"bulkhead/pkg/policy"
)

// Flow is a UDP flow between two hosts of an estate.
type Flow struct {
	Src, Dst netip.Addr
	Port     uint16 // the destination's
}

// Permitted draws n UDP flows of one family that the policies permit, each with a
// policy, a member of either of its groups and a port of its own. So what is said of
// them rests on the generator's own knowledge of its groups; the packets that
// arrive confirm it.
func (e *Estate) Permitted(n int, ipv6 bool) ([]Flow, error) {
	r := stream(Seed, fmt.Sprintf("permitted %v", ipv6))
	var from []*policy.Policy
	for i := range e.Book.Policies {
		if p := &e.Book.Policies[i]; p.Action == policy.Allow && slices.ContainsFunc(p.Ranges, isUDP) {
			from = append(from, p)
		}
	}
	return e.draw(n, func() (Flow, bool) {
		if len(from) == 0 {
			return Flow{}, false
		}
		p := from[r.below(len(from))]
		src, okSrc := e.member(r, p.From[0], ipv6)
		dst, okDst := e.member(r, p.To[0], ipv6)
		var udps []policy.Range
		for _, x := range p.Ranges {
			if isUDP(x) {
				udps = append(udps, x)
			}
		}
		x := udps[r.below(len(udps))]
		port := max(1, uint16(int(x.Lo)+r.below(int(x.Hi)-int(x.Lo)+1)))
		return Flow{e.hosts[src].addr, e.hosts[dst].addr, port}, okSrc && okDst && src != dst && e.permits(src, dst, port)
	})
}

// Denied draws n UDP flows of one family between hosts of the estate that no policy
// permits, or one denies.
func (e *Estate) Denied(n int, ipv6 bool) ([]Flow, error) {
	r := stream(Seed, fmt.Sprintf("denied %v", ipv6))
	return e.draw(n, func() (Flow, bool) {
		src, okSrc := e.member(r, policy.GroupAny, ipv6)
		dst, okDst := e.member(r, policy.GroupAny, ipv6)
		port := uint16(1 + r.below(maxPort))
		return Flow{e.hosts[src].addr, e.hosts[dst].addr, port}, okSrc && okDst && src != dst && !e.permits(src, dst, port)
	})
}

func isUDP(r policy.Range) bool { return r.Proto == udp }

// draw takes n different flows, and gives up where there are none to be found.
func (e *Estate) draw(n int, one func() (Flow, bool)) ([]Flow, error) {
	seen := make(map[Flow]bool, n)
	out := make([]Flow, 0, n)
	for tries := 0; len(out) < n; tries++ {
		if tries > 1000+200*n {
			return nil, fmt.Errorf("site %q has only %d of %d such flows, as far as one can tell by %d tries", e.Name, len(out), n, tries)
		}
		if f, ok := one(); ok && !seen[f] {
			seen[f] = true
			out = append(out, f)
		}
	}
	return out, nil
}

// member draws a host of a group, by trying: groups are large, or listed.
func (e *Estate) member(r *random, group string, ipv6 bool) (int, bool) {
	m := e.groups[group]
	for range 4000 {
		i := r.below(len(e.hosts))
		if m.want == nil {
			i = m.list[r.below(len(m.list))]
		}
		if e.hosts[i].addr.Is6() == ipv6 && e.in(m, i) {
			return i, true
		}
	}
	return 0, false
}

// in reports whether a host is in a group.
func (e *Estate) in(m *members, h int) bool {
	if m.want != nil {
		for l, values := range m.want {
			if !slices.Contains(values, e.hosts[h].values[l]) {
				return false
			}
		}
		return true
	}
	if m.set == nil {
		m.set = make([]uint64, len(e.hosts)/64+1)
		for _, i := range m.list {
			m.set[i/64] |= 1 << (i % 64)
		}
	}
	return m.set[h/64]&(1<<(h%64)) != 0
}

// permits judges a UDP flow between hosts: by the first policy on either side. All
// hosts are isolated, so where there is none the flow is denied. Nothing that is
// generated says pass, observe, differ or expires.
func (e *Estate) permits(src, dst int, port uint16) bool {
	side := func(not policy.Direction) bool {
		for i := range e.Book.Policies {
			p := &e.Book.Policies[i]
			if p.Direction == not || !slices.ContainsFunc(p.Ranges, func(r policy.Range) bool { return isUDP(r) && r.Lo <= port && port <= r.Hi }) {
				continue
			}
			if e.in(e.groups[p.From[0]], src) && e.in(e.groups[p.To[0]], dst) && e.same(p, src, dst) {
				return p.Action == policy.Allow
			}
		}
		return false
	}
	return side(policy.Ingress) && side(policy.Egress)
}

func (e *Estate) same(p *policy.Policy, a, b int) bool {
	for _, name := range p.Same {
		l := slices.IndexFunc(e.labels, func(l label) bool { return l.name == name })
		if e.hosts[a].values[l] != e.hosts[b].values[l] {
			return false
		}
	}
	return true
}
