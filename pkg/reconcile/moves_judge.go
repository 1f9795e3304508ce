package reconcile

import (
	"net/netip"
	"slices"

	"bulkhead/inventory"
	"bulkhead/pkg/config"
	"bulkhead/pkg/live"
	"bulkhead/pkg/packet"
)

// ofClass is a part of the addresses of a class.
type ofClass struct {
	class int
	addrs packet.Addrs
}

// judging holds policy tests against addresses that move.
type judging struct {
	f      *Footing
	x      *Coming
	moved  []netip.Addr // all that have moved since the footing was got, in order
	others packet.Addrs
	parts  []ofClass // what has not moved, and then what has; worked out when first asked for
}

// tests says whether the site's policy tests hold of the addresses that move, and that
// each has somebody left to be about. Of all others they hold as they did.
func (f *Footing) tests(x *Coming, list []live.Moving) error {
	j := &judging{f: f, x: x}
	for a := range f.moved {
		j.moved = append(j.moved, a)
	}
	slices.SortFunc(j.moved, netip.Addr.Compare)
	j.others = packet.AllAddrs().Subtract(hosts(j.moved...))
	for i := range f.s.Config.Tests {
		if err := j.test(&f.s.Config.Tests[i], list); err != nil {
			return err
		}
	}
	return nil
}

// test judges one test.
func (j *judging) test(t *config.TestCase, list []live.Moving) error {
	from, to := j.end(t.From), j.end(t.To)
	if from.IsEmpty() || to.IsEmpty() {
		return wait("test %q is about nobody then", t.Name)
	}
	svc := packet.ServicesOf(t.Ranges)
	judge := func(src, dst ofClass) error {
		four := src.addrs.First().Is4()
		if src.addrs.Single() && src.addrs.Equal(dst.addrs) {
			return nil
		}
		if reason := j.f.s.judgeTest(t, src.class, dst.class, src.addrs, dst.addrs, ofFamily(svc, four)); reason != "" {
			return wait("test %q fails then: %s", t.Name, reason)
		}
		return nil
	}
	var senders, receivers [2][]ofClass // by family
	for k := range list {
		a := list[k].Addr
		one, family := ofClass{list[k].Class, hosts(a)}, 0
		if a.Is4() {
			family = 1
		}
		if from.Contains(a) {
			for _, dst := range j.in(&receivers[family], to, a.Is4()) {
				if err := judge(one, dst); err != nil {
					return err
				}
			}
		}
		if to.Contains(a) {
			for _, src := range j.in(&senders[family], from, a.Is4()) {
				if err := judge(src, one); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// in cuts an end of a test into what is of one class, of one family. It is kept in known.
func (j *judging) in(known *[]ofClass, end packet.Addrs, four bool) []ofClass {
	if *known != nil {
		return *known
	}
	if j.parts == nil {
		m := j.f.s.Matrix
		for i := range m.Classes {
			if of := m.Classes[i].Addrs.Intersect(j.others); !of.IsEmpty() {
				j.parts = append(j.parts, ofClass{i, of})
			}
		}
		for _, a := range j.moved {
			j.parts = append(j.parts, ofClass{j.f.moved[a], hosts(a)})
		}
	}
	end = end.OfFamily(four)
	out := []ofClass{}
	for _, p := range j.parts {
		if of := p.addrs.Intersect(end); !of.IsEmpty() {
			out = append(out, ofClass{p.class, of})
		}
	}
	*known = out
	return out
}

// end gives the addresses of an end of a test on the coming site.
func (j *judging) end(e config.End) packet.Addrs {
	m := j.f.s.Matrix
	switch e.Kind {
	case config.EndAsset:
		if a := j.x.Inventory.Lookup(e.Name); a != nil {
			return packet.AddrsOf(a.Addresses...)
		}
		return packet.Addrs{}
	case config.EndGroup:
		set, _ := m.GroupAddrs(e.Name)
		var here []netip.Addr
		for _, a := range j.moved {
			if slices.Contains(m.GroupNames(j.f.moved[a]), e.Name) {
				here = append(here, a)
			}
		}
		return set.Intersect(j.others).Union(hosts(here...))
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
