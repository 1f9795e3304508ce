package prove

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"

	"bulkhead/pkg/packet"
	"bulkhead/pkg/policy"
)

// Fates tells what a device makes of flows by the words of their ends.
type Fates interface {
	Holds
	Fate(src, dst uint32) string // see driver.Amender
}

// around sorts everybody by what there is between them and one address: which policies
// name the flows, what the device looks up for them, and isolation.
type around struct {
	s        *Standing
	holds    Fates
	word     uint32
	from, to []namedBy // policies that name the address as a source, and as a destination
	has      packet.Bits
	key      []byte
	seen     [2]map[string]bool
	out      Witnesses
}

// namedBy is a policy as far as the other end is concerned.
type namedBy struct {
	groups   []int
	compares bool
}

// Around chooses addresses of one's family that stand for everybody, given the policies
// that hold and what the one is to them: as Dst for whom it opens flows to, as Src for
// who opens flows to it. It is among both itself. Addresses that have moved and were not
// proved since are left out: they are held against this one in their turn.
func (s *Standing) Around(one netip.Addr, id Identity, policies []policy.Policy, holds Fates) (Witnesses, error) {
	if s.reason != "" {
		return Witnesses{}, fmt.Errorf("cannot prove %s by itself: %s", one, s.reason)
	}
	a := &around{s: s, holds: holds, word: holds.Word(one), has: packet.NewBits(len(s.m.Groups)), seen: [2]map[string]bool{{}, {}}}
	for i := range policies {
		p := &policies[i]
		in := func(list []string) bool {
			return slices.ContainsFunc(list, func(g string) bool { return slices.Contains(id.Groups, g) })
		}
		if in(p.From) {
			a.from = append(a.from, a.named(p, p.To))
		}
		if in(p.To) {
			a.to = append(a.to, a.named(p, p.From))
		}
	}
	w := &collecting{s: s, holds: holds, from: packet.NewBits(len(s.m.Groups)), to: packet.NewBits(len(s.m.Groups)), known: make([]classAt, len(s.m.Classes)), seen: map[witnessOf]int{}}
	w.visit = func(x netip.Addr, groups []int, values packet.Bits, word uint32) {
		if x != one && x.Is4() == one.Is4() {
			a.visit(x, groups, values, word)
		}
	}
	w.collect()
	if w.err != nil {
		return Witnesses{}, fmt.Errorf("cannot prove %s by itself: %w", one, w.err)
	}
	a.out.Src, a.out.Dst = append(a.out.Src, one), append(a.out.Dst, one)
	return a.out, nil
}

func (a *around) named(p *policy.Policy, groups []string) namedBy {
	out := namedBy{compares: len(p.Same)+len(p.Differ) > 0}
	for _, name := range groups {
		if g, ok := a.s.group[name]; ok {
			out.groups = append(out.groups, g)
		}
	}
	return out
}

func (a *around) visit(x netip.Addr, groups []int, values packet.Bits, word uint32) {
	clear(a.has)
	egress, ingress := false, false
	for _, g := range groups {
		a.has.Set(g)
		egress = egress || a.s.m.Groups[g].Isolate.Egress()
		ingress = ingress || a.s.m.Groups[g].Isolate.Ingress()
	}
	for end, list := range [2][]namedBy{a.to, a.from} {
		isolated, fate := egress, a.holds.Fate
		src, dst := word, a.word // x opens flows to the one
		if end == 1 {
			isolated, src, dst = ingress, a.word, word
		}
		a.key = a.key[:0]
		if isolated {
			a.key = append(a.key, 1)
		}
		compares := false
		for i := range list {
			if slices.ContainsFunc(list[i].groups, a.has.Has) {
				a.key = binary.LittleEndian.AppendUint32(a.key, uint32(i)+2)
				compares = compares || list[i].compares
			}
		}
		a.key = append(a.key, 0xff, 0xff, 0xff, 0xff)
		if compares {
			for _, v := range values {
				a.key = binary.LittleEndian.AppendUint64(a.key, v)
			}
		}
		a.key = append(a.key, fate(src, dst)...)
		if a.seen[end][string(a.key)] {
			continue
		}
		a.seen[end][string(a.key)] = true
		if end == 0 {
			a.out.Src = append(a.out.Src, x)
		} else {
			a.out.Dst = append(a.out.Dst, x)
		}
	}
}
