package prove

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"bulkhead/pkg/compile"
	"bulkhead/pkg/driver"
	"bulkhead/pkg/packet"
	"bulkhead/pkg/policy"
)

// Standing is a device that was proved whole, and of which it is shown, address by
// address, that it stays so while addresses come to other classes. What is shown
// of an address is what the whole proof shows of every one: that each table sees
// of it what stands, by the policies that name its class, for what the table must
// know; and that what no table decides goes by its isolation. Entries of tables
// speak of what is seen, and were proved.
type Standing struct {
	m      *compile.Matrix
	sides  []*policySide
	group  map[string]int
	meet   []packet.Bits // group -> groups that have an address in common with it
	reason string        // why nothing can be shown of single addresses; "" if it can

	moved   map[netip.Addr]*identity // addresses that have moved since
	ids     identities
	amended bool // policies have changed since: sides say nothing any more
	holds   Holds
	parts   *wideParts // see wide
}

// Identity is what an address is to policy: its groups, and its values of the
// labels that policies compare.
type Identity struct {
	Groups []string
	Labels map[string][]string
}

// Stand proves a device whole. The Standing is nil unless every point is proved.
func Stand(m *compile.Matrix, points []compile.Point, d *driver.Decoded) (*Standing, []Result) {
	pr := newProver(m)
	out := deviceBy(pr, m, points, d, nil)
	for i := range out {
		if !out[i].Proved {
			return nil, out
		}
	}
	s := &Standing{m: m, moved: map[netip.Addr]*identity{}, ids: identities{byKey: map[string]*identity{}}, group: map[string]int{}, meet: make([]packet.Bits, len(m.Groups))}
	for i := range m.Groups {
		s.group[m.Groups[i].Name] = i
		s.meet[i] = packet.NewBits(len(m.Groups))
	}
	for c := range m.Classes {
		has := packet.NewBits(len(m.Groups))
		for _, g := range m.Classes[c].Groups {
			has.Set(g)
		}
		for _, g := range m.Classes[c].Groups {
			for w := range has {
				s.meet[g][w] |= has[w]
			}
		}
	}
	for i := range d.Relations {
		rel := &d.Relations[i]
		asked := slices.ContainsFunc(points, func(p compile.Point) bool { return slices.Contains(p.Hooks(), rel.Situation.Hook) })
		if asked && (rel.Rest == nil || rel.ByWord) {
			s.reason = "the device does not judge by tables alone"
		}
	}
	for _, side := range pr.sides {
		if side.used {
			s.sides = append(s.sides, side)
		}
	}
	if pr.uniformly {
		s.reason = "the device decides something without a look at tables"
	}
	if len(s.sides) == 0 {
		s.reason = "no table was looked at"
	}
	return s, out
}

// ByItself says why no address can be shown by itself on this device; nil if it can.
func (s *Standing) ByItself() error {
	if s.reason != "" {
		return errors.New(s.reason)
	}
	return nil
}

// Moved shows that the device treats an address as policy says, given what it
// holds for the address. An error says that this could not be
// shown, and the device has to be proved whole: it may be in order all the same.
func (s *Standing) Moved(mv *driver.Moved, id Identity) error {
	a := mv.Addr
	if s.reason != "" {
		return fmt.Errorf("cannot prove %s by itself: %s", a, s.reason)
	}
	groups, values, err := s.numbers(id)
	if err == nil {
		// Where policies have changed since, the tables' sides say nothing any more.
		if err = s.likeAnother(mv, groups, values); err != nil && !s.amended {
			err = s.byTables(mv, groups, values)
		}
	}
	if err != nil {
		return fmt.Errorf("cannot prove %s by itself: %w", a, err)
	}
	s.note(a, groups, values)
	s.meets(groups)
	return nil
}

// numbers gives an identity by the numbers of the matrix.
func (s *Standing) numbers(id Identity) (groups []int, values packet.Bits, err error) {
	values, ok := s.m.ValueBits(id.Labels)
	if !ok {
		return nil, nil, errors.New("it carries a value of a compared label that no class has")
	}
	groups = make([]int, 0, len(id.Groups))
	for _, name := range id.Groups {
		g, ok := s.group[name]
		if !ok {
			return nil, nil, fmt.Errorf("group %q is not known", name)
		}
		groups = append(groups, g)
	}
	slices.Sort(groups)
	return groups, values, nil
}

// meets notes that some groups have an address in common.
func (s *Standing) meets(groups []int) {
	for _, g := range groups {
		for _, h := range groups {
			s.meet[g].Set(h)
		}
	}
}

// byTables shows that each table sees of an address what stands, by the policies that
// name it, for what the table must know.
func (s *Standing) byTables(mv *driver.Moved, groups []int, values packet.Bits) error {
	egress, ingress := false, false
	for _, g := range groups {
		egress = egress || s.m.Groups[g].Isolate.Egress()
		ingress = ingress || s.m.Groups[g].Isolate.Ingress()
	}
	if err := s.meeting(groups); err != nil {
		return err
	}
	for _, side := range s.sides {
		if err := side.moved(mv, groups, values, egress, ingress); err != nil {
			return err
		}
	}
	return nil
}

// meeting checks that the order in which the tables are asked holds for groups that
// have an address in common for the first time: it was proved for those that had
// one.
func (s *Standing) meeting(groups []int) error {
	in := packet.NewBits(len(s.m.Groups))
	for _, g := range groups {
		if !s.meet[g].Has(g) {
			return fmt.Errorf("group %q had no address before, and its policies may be in no table", s.m.Groups[g].Name)
		}
		in.Set(g)
	}
	for i, g := range groups {
		for _, h := range groups[:i] {
			if s.meet[g].Has(h) {
				continue
			}
			for _, side := range s.sides {
				for _, to := range []bool{false, true} {
					if u, v, wrong := s.disorder(side, g, h, in, to); wrong {
						return fmt.Errorf("policy %q stands before %q, and its table is asked later", s.m.Policies[v].Name, s.m.Policies[u].Name)
					}
				}
			}
		}
	}
	return nil
}

// disorder finds two policies, one of each group at one end, that are asked in
// another order than theirs where it matters: u first, although v stands before it.
func (s *Standing) disorder(side *policySide, g, h int, in packet.Bits, to bool) (u, v int, wrong bool) {
	for k := range side.list {
		for l := range side.list {
			if k >= l {
				continue
			}
			for _, pair := range [2][2]int{{g, h}, {h, g}} {
				for _, a := range side.list[k].naming(pair[0], to) {
					for _, b := range side.list[l].naming(pair[1], to) {
						if b.Policy < a.Policy && s.disagree(a, b, in, to) {
							return a.Policy, b.Policy, true
						}
					}
				}
			}
		}
	}
	return 0, 0, false
}

// naming lists the units of a table that name a group at one end.
func (st *stage) naming(g int, to bool) []compile.Unit {
	list := st.from[g]
	if to {
		list = st.to[g]
	}
	out := make([]compile.Unit, 0, len(list))
	for _, n := range list {
		out = append(out, st.units[n])
	}
	return out
}

// disagree reports whether two units could say different things of one flow, given
// that their groups at one end meet.
func (s *Standing) disagree(a, b compile.Unit, in packet.Bits, to bool) bool {
	pa, pb := &s.m.Policies[a.Policy], &s.m.Policies[b.Policy]
	if (pa.Action == policy.Allow) == (pb.Action == policy.Allow) ||
		pa.Direction != policy.Both && pb.Direction != policy.Both && pa.Direction != pb.Direction {
		return false
	}
	x, y := a.To, b.To
	if to {
		x, y = a.From, b.From
	}
	if !s.meet[x].Has(y) && !(in.Has(x) && in.Has(y)) {
		return false
	}
	return len(packet.ServicesOf(pa.Ranges).Intersect(packet.ServicesOf(pb.Ranges))) > 0
}

// moved checks all that was looked up of the address's family.
func (p *policySide) moved(mv *driver.Moved, groups []int, values packet.Bits, egress, ingress bool) error {
	four, word := mv.Addr.Is4(), mv.Word
	row, col := p.m.Profile(groups, values)
	checked := 0
	for key, n := range p.cache.keys {
		if n.four != four || !n.shown {
			continue
		}
		want, ok := p.wants(key.st, key.col, groups, values, row, col)
		if !ok {
			return fmt.Errorf("no class is named by the same policies of a table")
		}
		if n.see == nil || !mv.SeenBy(n.words) {
			return fmt.Errorf("it is not known what a table sees of an address")
		}
		v, ok := n.see(word)
		if !ok || int(v) >= len(n.of) || n.of[v] < 0 {
			return fmt.Errorf("a table sees of it what it saw of no address before")
		}
		if n.of[v] != want {
			return fmt.Errorf("a table takes it for another class (%s)", n.rep[v].First())
		}
		checked++
	}
	for _, e := range p.cache.ends {
		if e.four != four {
			continue
		}
		if want, ok := p.wants(e.st, e.col, groups, values, row, col); !ok || int(want) >= len(e.n.of) || e.n.of[want] < 0 {
			return fmt.Errorf("no class of its family is named by the same policies of a table")
		}
	}
	for _, sv := range p.cache.surveyed {
		if sv.four != four {
			continue
		}
		checked++
		for _, dst := range []bool{false, true} {
			if err := p.surveyed(sv, dst, mv, groups, values, isolated(egress, ingress, dst), row, col); err != nil {
				return err
			}
		}
	}
	if checked == 0 {
		return fmt.Errorf("no table of its family was looked at")
	}
	return p.cache.defaultsHold(mv, egress, ingress)
}

// surveyed checks that an address fares at one end like others of which a survey looked
// at every pair.
func (p *policySide) surveyed(sv *survey, dst bool, mv *driver.Moved, groups []int, values packet.Bits, isolated int32, row, col int) error {
	seen := []int32{isolated}
	for k := range p.list {
		n, ok := p.wants(&p.list[k], dst, groups, values, row, col)
		if !ok {
			return fmt.Errorf("no class is named by the same policies of a table")
		}
		seen = append(seen, n)
	}
	for _, l := range sv.lookups {
		first := int32(-1)
		for _, t := range l { // they hold the same, but may have words from other maps
			see := t.SeeSrc
			if dst {
				see = t.SeeDst
			}
			if see == nil || !mv.SeenBy(t.Words) {
				return fmt.Errorf("it is not known what a table sees of an address")
			}
			v, ok := see(mv.Word)
			if !ok || first >= 0 && v != first {
				return fmt.Errorf("a table sees of it what it saw of no address before")
			}
			first = v
		}
		seen = append(seen, first)
	}
	if _, ok := sv.ends[sideOfEnd(dst)].index[profileKey(seen)]; !ok {
		return fmt.Errorf("no class of its family is seen like that by all tables")
	}
	return nil
}

// wants is the number of what a table must know of addresses in some groups; row and
// col are those of the matrix.
func (p *policySide) wants(st *stage, isCol bool, groups []int, values packet.Bits, row, col int) (int32, bool) {
	switch {
	case st.whole && isCol:
		return int32(col), col >= 0
	case st.whole:
		return int32(row), row >= 0
	}
	return st.numberOf(isCol, groups, values)
}

// asDefault is one look at what no table decided: which sorts of addresses there
// were at either end.
type asDefault struct {
	four     bool
	tables   []*driver.Table
	src, dst map[string]int
}

// defaultsHold checks that an address is of a sort that was looked at.
func (c *cache) defaultsHold(mv *driver.Moved, egress, ingress bool) error {
	four, word := mv.Addr.Is4(), mv.Word
	for i := range c.defaults {
		d := &c.defaults[i]
		if d.four != four {
			continue
		}
		for _, end := range []struct {
			known    map[string]int
			isolated bool
			see      func(t *driver.Table) func(uint32) (int32, bool)
		}{
			{d.src, egress, func(t *driver.Table) func(uint32) (int32, bool) { return t.SeeSrc }},
			{d.dst, ingress, func(t *driver.Table) func(uint32) (int32, bool) { return t.SeeDst }},
		} {
			seen := make([]int32, len(d.tables))
			for k, t := range d.tables {
				see := end.see(t)
				if see == nil || !mv.SeenBy(t.Words) {
					return fmt.Errorf("it is not known what a table of the default sees of an address")
				}
				v, ok := see(word)
				if !ok {
					return fmt.Errorf("a table of the default sees of it what it saw of no address before")
				}
				seen[k] = v
			}
			if _, ok := end.known[sortKey(end.isolated, seen)]; !ok {
				return fmt.Errorf("the default of its class is not what its isolation says")
			}
		}
	}
	return nil
}
