package drivertest

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"bulkhead/pkg/compile"
	"bulkhead/pkg/driver"
	"bulkhead/pkg/packet"
	"bulkhead/pkg/policy"
	"bulkhead/pkg/prove"
)

// difference finds the first flow that a decoded state treats otherwise than the
// goal says; "" if there is none. It is stricter than the proof in three ways: it
// cuts source ports where the goal tells them apart, also if the device does not;
// it demands that the relations leave no packet out; and it admits what a residue
// enumerates and nothing else.
func difference(g *goal, d *driver.Decoded, residue []driver.Residue) string {
	if s := complete(g.want.Points, d); s != "" {
		return s
	}
	stateless := map[string]bool{}
	for i := range d.Relations {
		if s := d.Relations[i].Situation; s.Tracking == driver.TrackMid {
			stateless[s.Hook] = true
		}
	}
	for i := range d.Relations {
		rel := &d.Relations[i]
		var at []*compile.Point
		for k := range g.want.Points {
			if slices.Contains(g.want.Points[k].Hooks(), rel.Situation.Hook) {
				at = append(at, &g.want.Points[k])
			}
		}
		starts := cuts(at)
		if stateless[rel.Situation.Hook] && rel.Situation.Tracking != driver.TrackLater {
			for i := range g.want.View.Matrix.Policies {
				for _, r := range g.want.View.Matrix.Policies[i].Ranges {
					starts = append(starts, int(r.Lo), int(r.Hi)+1)
				}
			}
		}
		if rel.Situation.Tracking == driver.TrackLater {
			starts = nil
		}
		for _, port := range portsOf(at, rel, d) {
			r := *rel
			r.Situation.Port = port
			for _, run := range runs(r.Situation.SrcPortLo, r.Situation.SrcPortHi, starts) {
				if s := differs(g.want.View.Matrix, at, &r, run, stateless[r.Situation.Hook], residue); s != "" {
					return s
				}
			}
		}
	}
	return ""
}

// portsOf lists the ports of which a relation speaks, as far as points judge there.
func portsOf(points []*compile.Point, rel *driver.Relation, d *driver.Decoded) []string {
	all, asked := map[string]bool{}, false
	for _, p := range points {
		asked = asked || p.Ports != nil
		for port := range p.Ports {
			all[port] = true
		}
	}
	switch port := rel.Situation.Port; {
	case !asked:
		return []string{port}
	case port != "":
		if !all[port] {
			return nil
		}
		return []string{port}
	}
	for i := range d.Relations {
		if s := d.Relations[i].Situation; s.Hook == rel.Situation.Hook && s.Tracking == rel.Situation.Tracking {
			delete(all, s.Port)
		}
	}
	return slices.Sorted(maps.Keys(all))
}

// comesBy reports whether a packet goes through a port in the direction of a hook: from or to
// somebody who hangs there. Where nothing filters what is received, what is sent from another
// port was filtered there.
func comesBy(points []*compile.Point, s driver.Situation, open bool, src, dst netip.Addr) bool {
	if s.Port == "" {
		return true
	}
	at := func(a netip.Addr, some bool) bool {
		return slices.ContainsFunc(points, func(p *compile.Point) bool {
			if p.Mode == policy.Observe {
				return false
			}
			for port, addrs := range p.Ports {
				if (some || port == s.Port) && addrs.Contains(a) && p.Protects.Contains(a) {
					return true
				}
			}
			return false
		})
	}
	if s.Hook == compile.HookOutput {
		return at(src, false)
	}
	return (at(dst, false) || compile.Multicast().Contains(dst)) && !(open && at(src, true))
}

// cuts lists the source ports at which something in the points' overlays changes.
func cuts(points []*compile.Point) []int {
	out := []int{67, 68, 69, 546, 547, 548}
	for _, p := range points {
		for _, f := range p.Failsafe {
			for _, s := range f.Services {
				out = append(out, int(s.Lo&0xffff), int(s.Hi&0xffff)+1)
			}
		}
	}
	return out
}

// runs cuts a run of source ports at the given starts.
func runs(lo, hi uint16, starts []int) [][2]uint16 {
	at := []int{int(lo)}
	for _, s := range starts {
		if int(lo) < s && s <= int(hi) {
			at = append(at, s)
		}
	}
	slices.Sort(at)
	at = slices.Compact(at)
	var out [][2]uint16
	for i, s := range at {
		end := int(hi)
		if i+1 < len(at) {
			end = at[i+1] - 1
		}
		out = append(out, [2]uint16{uint16(s), uint16(end)})
	}
	return out
}

// differs compares one relation for one run of source ports.
func differs(m *compile.Matrix, at []*compile.Point, rel *driver.Relation, run [2]uint16, stateless bool, residue []driver.Residue) string {
	s := rel.Situation
	s.SrcPortLo, s.SrcPortHi = run[0], run[1]
	e := prove.NewExpected(m, at, s)
	if stateless {
		e.Stateless()
	}
	boxes := boxesOf(residue, s)
	var sets []packet.Addrs
	for _, b := range boxes {
		sets = append(sets, b.Src, b.Dst)
	}
	parts := packet.PartitionAddrs(sets)
	srcs, dsts := joinResidue(e.Addrs, rel.Src, parts), joinResidue(e.Addrs, rel.Dst, parts)
	for _, a := range srcs {
		for _, b := range dsts {
			if a.addrs.First().Is4() != b.addrs.First().Is4() || a.addrs.Single() && a.addrs.Equal(b.addrs) {
				continue
			}
			if !comesBy(at, s, rel.Open, a.addrs.First(), b.addrs.First()) {
				continue
			}
			want, got := e.Permit(a.expected, b.expected), rel.Permit(a.decoded, b.decoded)
			in := occurs(s.Tracking, a.addrs.First().Is4())
			if rel.Domain != nil {
				in = in.Intersect(rel.Domain)
			}
			want, got = want.Intersect(in), got.Intersect(in)
			most, least := want, want.Union(e.Answers(a.expected, b.expected).Intersect(in))
			for _, x := range boxes {
				if !x.Src.Contains(a.addrs.First()) || !x.Dst.Contains(b.addrs.First()) {
					continue
				}
				if x.wider {
					most = most.Union(x.Services)
				} else {
					least = least.Subtract(x.Services)
				}
			}
			wrong, verb := got.Subtract(most), "lets through"
			if wrong.IsEmpty() {
				wrong, verb = least.Subtract(got), "drops"
			}
			if !wrong.IsEmpty() {
				return fmt.Sprintf("%s %s -> %s %s (hook %s, source ports %d-%d) by %s", verb, a.addrs, b.addrs, wrong, s.Hook, run[0], run[1],
					why(rel, a.addrs, b.addrs, wrong))
			}
		}
	}
	return ""
}

// occurs gives the services that packets of a family can have in a tracking
// situation: an ICMP message that is no query of the family opens no flow that could have later packets (RFC 792,
// RFC 4443, RFC 4620), and no helper expects one.
func occurs(t driver.Tracking, four bool) packet.Services {
	all := packet.AllServices()
	switch t {
	case driver.TrackNew, driver.TrackUntracked, driver.TrackLater:
		return all
	case driver.TrackMid:
		return packet.Services{{Lo: 6 << 16, Hi: 6<<16 | 0xffff}}
	}
	var queries []packet.Span
	ids := []uint32{58<<8 | 128, 58<<8 | 139}
	if four {
		ids = []uint32{1<<8 | 8, 1<<8 | 13, 1<<8 | 15, 1<<8 | 17}
	}
	for _, q := range ids {
		queries = append(queries, packet.Span{Lo: q << 8, Hi: q<<8 | 0xff})
	}
	none := all.Subtract(packet.Services{{Lo: 1 << 16, Hi: 1<<16 | 0xffff}, {Lo: 58 << 16, Hi: 58<<16 | 0xffff}})
	if t == driver.TrackRelated {
		return none
	}
	return none.Union(packet.Spans(queries))
}

func why(rel *driver.Relation, src, dst packet.Addrs, services packet.Services) string {
	if rel.Why == nil {
		return "(unknown)"
	}
	return rel.Why(src.First(), dst.First(), services[0].Lo)
}

// box is one set of flows of a residue.
type box struct {
	driver.Flows
	wider bool
}

func boxesOf(residue []driver.Residue, s driver.Situation) []box {
	var out []box
	for _, r := range residue {
		for _, f := range r.Flows {
			if f.Hook == s.Hook && (f.Tracking == "" || f.Tracking == s.Tracking) && f.SrcPortLo <= s.SrcPortLo && s.SrcPortHi <= f.SrcPortHi {
				out = append(out, box{f, r.Wider})
			}
		}
	}
	return out
}

// cell is a set of addresses that the goal, the device and the residue each treat
// alike.
type cell struct {
	addrs             packet.Addrs
	expected, decoded int
}

func joinResidue(expected, decoded, residue []packet.Addrs) []cell {
	joint := packet.Join(expected, decoded)
	sets := make([]packet.Addrs, len(joint))
	for i := range joint {
		sets[i] = joint[i].Addrs
	}
	var out []cell
	for _, j := range packet.Join(sets, residue) {
		out = append(out, cell{j.Addrs, joint[j.A].A, joint[j.A].B})
	}
	return out
}

// group names what relations of different source ports have in common.
type group struct {
	hook     string
	tracking driver.Tracking
	in       string
	port     string
	expired  bool
}

func groupOf(s driver.Situation) group { return group{s.Hook, s.Tracking, s.In, s.Port, s.Expired} }

// complete demands that the relations speak of every packet: both ends cover the
// whole address space once, the source ports leave no gap, and each hook of each
// point is there. A packet that no relation speaks of would be proved by silence.
func complete(points []compile.Point, d *driver.Decoded) string {
	ports := map[group][][2]uint16{}
	for i := range d.Relations {
		r := &d.Relations[i]
		for end, parts := range map[string][]packet.Addrs{"sources": r.Src, "destinations": r.Dst} {
			if s := partition(parts); s != "" {
				return fmt.Sprintf("the %s of %+v %s", end, r.Situation, s)
			}
		}
		g := groupOf(r.Situation)
		ports[g] = append(ports[g], [2]uint16{r.Situation.SrcPortLo, r.Situation.SrcPortHi})
	}
	for g, list := range ports {
		slices.SortFunc(list, func(a, b [2]uint16) int { return cmp.Compare(a[0], b[0]) })
		next := 0
		for _, run := range list {
			if int(run[0]) != next {
				return fmt.Sprintf("source ports from %d at hook %q (%s) are left out or told twice", next, g.hook, g.tracking)
			}
			next = int(run[1]) + 1
		}
		if next != 65536 {
			return fmt.Sprintf("source ports from %d at hook %q (%s) are left out", next, g.hook, g.tracking)
		}
	}
	for i := range points {
		for _, h := range points[i].Hooks() {
			found := false
			for g := range ports {
				found = found || g.hook == h && g.tracking == driver.TrackNew
			}
			if !found {
				return fmt.Sprintf("nothing is said of first packets at hook %q of point %q", h, points[i].Name)
			}
		}
	}
	return ""
}

func partition(parts []packet.Addrs) string {
	var all []packet.Range
	for _, p := range parts {
		all = append(all, p.Runs()...)
	}
	slices.SortFunc(all, func(a, b packet.Range) int { return a.From.Compare(b.From) })
	for i := 1; i < len(all); i++ {
		if !all[i-1].To.Less(all[i].From) {
			return fmt.Sprintf("hold %s twice", all[i].From)
		}
	}
	if !packet.AddrRanges(all).Equal(packet.AllAddrs()) {
		return "leave addresses out"
	}
	return ""
}
