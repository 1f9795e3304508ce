package reconcile

import (
	"net/netip"
	"slices"

	"bulkhead/inventory"
	"bulkhead/pkg/config"
	"bulkhead/pkg/live"
	"bulkhead/pkg/packet"
)

// tests says whether the site's policy tests hold of the addresses that move, and that
// each has somebody left to be about. Of all others they hold as they did.
func (f *Footing) tests(x *Coming, list []live.Moving) error {
	m := f.s.Matrix
	var moved []netip.Addr
	for a := range f.moved {
		moved = append(moved, a)
	}
	slices.SortFunc(moved, netip.Addr.Compare)
	others := packet.AllAddrs().Subtract(hosts(moved...))
	for i := range f.s.Config.Tests {
		t := &f.s.Config.Tests[i]
		from, to := f.end(x, t.From, moved, others), f.end(x, t.To, moved, others)
		if from.IsEmpty() || to.IsEmpty() {
			return wait("test %q is about nobody then", t.Name)
		}
		svc := packet.ServicesOf(t.Ranges)
		judge := func(i, j int, src, dst packet.Addrs) error {
			if src.First().Is4() != dst.First().Is4() || src.Single() && src.Equal(dst) {
				return nil
			}
			if reason := f.s.judgeTest(t, i, j, src, dst, ofFamily(svc, src.First().Is4())); reason != "" {
				return wait("test %q fails then: %s", t.Name, reason)
			}
			return nil
		}
		for k := range list {
			a, class := list[k].Addr, list[k].Class
			one := hosts(a)
			sends, receives := from.Contains(a), to.Contains(a)
			if !sends && !receives {
				continue
			}
			for j := range m.Classes {
				of := m.Classes[j].Addrs.OfFamily(a.Is4()).Intersect(others)
				if dst := of.Intersect(to); sends && !dst.IsEmpty() {
					if err := judge(class, j, one, dst); err != nil {
						return err
					}
				}
				if src := of.Intersect(from); receives && !src.IsEmpty() {
					if err := judge(j, class, src, one); err != nil {
						return err
					}
				}
			}
			for _, b := range moved {
				other := hosts(b)
				if sends && to.Contains(b) {
					if err := judge(class, f.moved[b], one, other); err != nil {
						return err
					}
				}
				if receives && from.Contains(b) {
					if err := judge(f.moved[b], class, other, one); err != nil {
						return err
					}
				}
			}
		}
	}
	return nil
}

// end gives the addresses of an end of a test on the coming site.
func (f *Footing) end(x *Coming, e config.End, moved []netip.Addr, others packet.Addrs) packet.Addrs {
	switch e.Kind {
	case config.EndAsset:
		if a := x.Inventory.Lookup(e.Name); a != nil {
			return packet.AddrsOf(a.Addresses...)
		}
		return packet.Addrs{}
	case config.EndGroup:
		set, _ := f.s.Matrix.GroupAddrs(e.Name)
		var here []netip.Addr
		for _, a := range moved {
			if slices.Contains(f.s.Matrix.GroupNames(f.moved[a]), e.Name) {
				here = append(here, a)
			}
		}
		return set.Intersect(others).Union(hosts(here...))
	}
	return packet.AddrsOf(e.Prefix)
}

// hosts is the set of some addresses.
func hosts(list ...netip.Addr) packet.Addrs {
	out := make([]netip.Prefix, len(list))
	for i, a := range list {
		out[i] = inventory.HostPrefix(a)
	}
	return packet.AddrsOf(out...)
}
