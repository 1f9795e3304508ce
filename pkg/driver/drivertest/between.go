package drivertest

import (
	"fmt"

	"bulkhead/pkg/driver"
	"bulkhead/pkg/packet"
)

// between demands of a state on the way from one to another: what both permit it
// permits, and what it permits one of them permits. It gives the first flow that
// breaks this, "" if none does.
func between(old, mid, next *driver.Decoded) string {
	index := func(d *driver.Decoded) map[group][]*driver.Relation {
		out := map[group][]*driver.Relation{}
		for i := range d.Relations {
			g := groupOf(d.Relations[i].Situation)
			out[g] = append(out[g], &d.Relations[i])
		}
		return out
	}
	olds, nexts := index(old), index(next)
	for i := range mid.Relations {
		m := &mid.Relations[i]
		s := m.Situation
		var starts []int
		for _, list := range [][]*driver.Relation{of(olds, s), of(nexts, s)} {
			for _, r := range list {
				starts = append(starts, int(r.Situation.SrcPortLo))
			}
		}
		for _, run := range runs(s.SrcPortLo, s.SrcPortHi, starts) {
			o, n := at(of(olds, s), run[0]), at(of(nexts, s), run[0])
			if o == nil || n == nil {
				return fmt.Sprintf("hook %q (%s), source port %d, is not in the old or the new state", s.Hook, s.Tracking, run[0])
			}
			if text := outside(o, m, n); text != "" {
				return fmt.Sprintf("hook %s, source ports %d-%d: %s", s.Hook, run[0], run[1], text)
			}
		}
	}
	return ""
}

// of gives the relations of a situation: those of its port, or of all ports that nobody speaks
// of.
func of(all map[group][]*driver.Relation, s driver.Situation) []*driver.Relation {
	g := groupOf(s)
	if list := all[g]; len(list) > 0 {
		return list
	}
	g.port = ""
	return all[g]
}

func at(list []*driver.Relation, port uint16) *driver.Relation {
	for _, r := range list {
		if r.Situation.SrcPortLo <= port && port <= r.Situation.SrcPortHi {
			return r
		}
	}
	return nil
}

// triple is a set of addresses that three states each treat alike.
type triple struct {
	addrs       packet.Addrs
	old, mid, n int
}

func triples(old, mid, next []packet.Addrs) []triple {
	joint := packet.Join(old, mid)
	sets := make([]packet.Addrs, len(joint))
	for i := range joint {
		sets[i] = joint[i].Addrs
	}
	var out []triple
	for _, j := range packet.Join(sets, next) {
		out = append(out, triple{j.Addrs, joint[j.A].A, joint[j.A].B, j.B})
	}
	return out
}

func outside(o, m, n *driver.Relation) string {
	srcs, dsts := triples(o.Src, m.Src, n.Src), triples(o.Dst, m.Dst, n.Dst)
	for _, a := range srcs {
		for _, b := range dsts {
			if a.addrs.First().Is4() != b.addrs.First().Is4() {
				continue
			}
			before, now, after := o.Permit(a.old, b.old), m.Permit(a.mid, b.mid), n.Permit(a.n, b.n)
			if now.Equal(before) || now.Equal(after) {
				continue
			}
			if leak := now.Subtract(before).Subtract(after); !leak.IsEmpty() {
				return fmt.Sprintf("%s -> %s %s passes, and neither the old nor the new state permits it: %s", a.addrs, b.addrs, leak, why(m, a.addrs, b.addrs, leak))
			}
			if lost := before.Intersect(after).Subtract(now); !lost.IsEmpty() {
				return fmt.Sprintf("%s -> %s %s is dropped, and both the old and the new state permit it: %s", a.addrs, b.addrs, lost, why(m, a.addrs, b.addrs, lost))
			}
		}
	}
	return ""
}
