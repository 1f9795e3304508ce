package compile

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"sort"

	"bulkhead/pkg/packet"
	"bulkhead/pkg/policy"
)

// Covers reports whether the point drops a denied flow between two addresses; if
// it does not, why.
func (p *Point) Covers(src, dst netip.Addr) (bool, string) {
	sees, why := p.onPath(src, dst)
	if sees && p.Unsure != "" {
		return false, fmt.Sprintf("point %s %s", p.Name, p.Unsure)
	}
	if sees && p.Mode == policy.Observe {
		return false, fmt.Sprintf("point %s only observes", p.Name)
	}
	return sees, why
}

func (p *Point) onPath(src, dst netip.Addr) (bool, string) {
	if p.Endpoint && (p.Protects.Contains(src) || p.Protects.Contains(dst)) {
		if port, both := p.samePort(src, dst); both {
			return false, fmt.Sprintf("both ends hang on port %s of %s, and reach each other without it", port, p.Name)
		}
		if p.SendsOnly && !p.Protects.Contains(src) {
			return false, fmt.Sprintf("point %s filters what is sent at its ports, and not what comes from elsewhere", p.Name)
		}
		return true, ""
	}
	if !p.Transit {
		return false, ""
	}
	if p.Own.Contains(src) || p.Own.Contains(dst) {
		return false, fmt.Sprintf("an address of %s itself, which no point protects", p.Name)
	}
	from, to := p.owners(src), p.owners(dst)
	if len(from) == 0 || len(to) == 0 {
		return false, "an end is in no zone and may be anywhere"
	}
	for _, z := range from {
		if slices.Contains(to, z) {
			return false, fmt.Sprintf("both ends are behind zone %s of %s, in one segment", z.Name, p.Name)
		}
	}
	return true, ""
}

// samePort names the port of the point's device that both addresses hang on, if there is one.
func (p *Point) samePort(src, dst netip.Addr) (port string, both bool) {
	for _, port := range slices.Sorted(maps.Keys(p.Ports)) {
		if p.Ports[port].Contains(src) && p.Ports[port].Contains(dst) {
			return port, true
		}
	}
	return "", false
}

// Covered reports whether any point drops a denied flow between two addresses.
// It names the points that do, or why none does.
func Covered(points []Point, src, dst netip.Addr) (by []string, why string) {
	for i := range points {
		ok, reason := points[i].Covers(src, dst)
		if ok {
			by = append(by, points[i].Name)
		} else if reason != "" && why == "" {
			why = reason
		}
	}
	if len(by) > 0 {
		return by, ""
	}
	if why == "" {
		why = "no point is on its path"
	}
	return nil, why
}

// Uncovered is a set of flows that policy denies and no point drops.
type Uncovered struct {
	Reason   string `json:"reason"`
	Services string `json:"services"`
	// From and To name the groups of the ends, as sets of names.
	From []string `json:"from"`
	To   []string `json:"to"`
	// Pairs counts pairs of address parts that the row sums up.
	Pairs   int        `json:"pairs"`
	Src     netip.Addr `json:"src"` // one flow of them
	Dst     netip.Addr `json:"dst"`
	Service uint32     `json:"service"`
}

// Coverage lists what policy denies and no point drops, summed up by reason.
// Flows between two addresses that no asset holds and no group names are left
// out: they are somebody else's network.
//
// Where there are too many pairs of address parts to look at each, rows are by the
// place of either end alone (zone, point, or neither), which is what decides whether
// a point sees a flow; they name the group "any", and give one denied flow.
func Coverage(m *Matrix, points []Point) []Uncovered {
	return coverage(m, points, maxCoverage)
}

// maxCoverage bounds the pairs of address parts that Coverage looks at: some seconds
// of work.
const maxCoverage = 2 << 20

func coverage(m *Matrix, points []Point, limit int) []Uncovered {
	var sets []packet.Addrs
	for i := range points {
		p := &points[i]
		sets = append(sets, p.Protects, p.Own)
		for _, port := range slices.Sorted(maps.Keys(p.Ports)) {
			sets = append(sets, p.Ports[port])
		}
		for _, z := range p.Zones {
			for _, mask := range z.Masks {
				sets = append(sets, packet.AddrsOf(mask))
			}
		}
	}
	sets = append(sets, packet.AddrsOf(netip.MustParsePrefix("0.0.0.0/0")), Multicast())
	classes := make([]packet.Addrs, len(m.Classes))
	for i := range m.Classes {
		classes[i] = m.Classes[i].Addrs
	}
	places := packet.PartitionAddrs(sets)
	parts := packet.Join(classes, places)
	// With thousands of endpoints nearly every flow has one at an end; asking all points
	// for each pair would take hours.
	guarded := newGuarded(points, places)
	rows := map[string]*Uncovered{}
	if len(parts)*len(parts) > limit {
		m.uncoveredPlaces(rows, points, parts, guarded)
	} else {
		for _, s := range parts {
			for _, d := range parts {
				if !guarded.pair(s.B, d.B) {
					m.uncovered(rows, points, s, d)
				}
			}
		}
	}
	out := make([]Uncovered, 0, len(rows))
	for _, u := range rows {
		out = append(out, *u)
	}
	sort.Slice(out, func(i, j int) bool {
		if out[i].Reason != out[j].Reason {
			return out[i].Reason < out[j].Reason
		}
		if c := slices.Compare(out[i].From, out[j].From); c != 0 {
			return c < 0
		}
		if c := slices.Compare(out[i].To, out[j].To); c != 0 {
			return c < 0
		}
		return out[i].Services < out[j].Services
	})
	return out
}

// guarded tells of each place whether a point drops denied flows from it, and to it, with
// whomever but those behind the same port.
type guarded struct {
	src, dst []bool
	ports    [][]int // place -> ports of any device, numbered
}

func newGuarded(points []Point, places []packet.Addrs) *guarded {
	g := &guarded{make([]bool, len(places)), make([]bool, len(places)), make([][]int, len(places))}
	// A place lies in a set as a whole, so that its first address tells.
	order := make([]int, len(places))
	for n := range order {
		order[n] = n
	}
	slices.SortFunc(order, func(a, b int) int { return places[a].First().Compare(places[b].First()) })
	each := func(in packet.Addrs, f func(place int)) {
		for _, r := range in.Runs() {
			i, _ := slices.BinarySearchFunc(order, r.From, func(n int, a netip.Addr) int { return places[n].First().Compare(a) })
			for ; i < len(order) && places[order[i]].First().Compare(r.To) <= 0; i++ {
				f(order[i])
			}
		}
	}
	port := 0
	for i := range points {
		p := &points[i]
		if !p.Endpoint || p.Unsure != "" || p.Mode == policy.Observe {
			continue
		}
		each(p.Protects, func(n int) { g.src[n], g.dst[n] = true, g.dst[n] || !p.SendsOnly })
		for _, name := range slices.Sorted(maps.Keys(p.Ports)) {
			each(p.Ports[name], func(n int) { g.ports[n] = append(g.ports[n], port) })
			port++
		}
	}
	return g
}

// pair reports whether flows from one place to another need not be looked at.
func (g *guarded) pair(src, dst int) bool {
	if !g.src[src] && !g.dst[dst] {
		return false
	}
	return !slices.ContainsFunc(g.ports[src], func(p int) bool { return slices.Contains(g.ports[dst], p) })
}

// uncoveredPlaces is uncovered for whole places: whether a point sees a flow is the
// same for all addresses of a place. A denied flow between two places is looked for as
// an example; where none is found the row stays, since there may be one.
func (m *Matrix) uncoveredPlaces(rows map[string]*Uncovered, points []Point, parts []packet.Joint, guarded *guarded) {
	in := make([][]packet.Joint, len(guarded.src))
	named := make([]bool, len(guarded.src))
	for _, j := range parts {
		in[j.B] = append(in[j.B], j)
		named[j.B] = named[j.B] || len(m.named(j.A)) > 0
	}
	for a, srcs := range in {
		for b, dsts := range in {
			if len(srcs) == 0 || len(dsts) == 0 || !named[a] && !named[b] || guarded.pair(a, b) {
				continue
			}
			src, dst := srcs[0].Addrs.First(), dsts[0].Addrs.First()
			if src.Is4() != dst.Is4() || Multicast().Contains(src) {
				continue
			}
			by, why := Covered(points, src, dst)
			if len(by) > 0 {
				continue
			}
			why += "; there are too many pairs of groups to list each"
			if old := rows[why]; old != nil {
				old.Pairs += len(srcs) * len(dsts)
				continue
			}
			u := m.deniedBetween(srcs, dsts)
			if u == nil {
				u = &Uncovered{}
				u.Src, u.Dst = twoOf(srcs[0].Addrs, dsts[0].Addrs)
			}
			u.Reason, u.Services, u.From, u.To, u.Pairs = why, "what policy denies", []string{policy.GroupAny}, []string{policy.GroupAny}, len(srcs)*len(dsts)
			rows[why] = u
		}
	}
}

// deniedBetween finds a flow between two places that policy denies, among some
// thousand pairs of parts; nil if it finds none.
func (m *Matrix) deniedBetween(srcs, dsts []packet.Joint) *Uncovered {
	const some = 64
	for i := 0; i < len(srcs); i += 1 + len(srcs)/some {
		for k := 0; k < len(dsts); k += 1 + len(dsts)/some {
			one := map[string]*Uncovered{}
			m.uncovered(one, nil, srcs[i], dsts[k]) // no point at all: whatever is denied
			for _, u := range one {
				return u
			}
		}
	}
	return nil
}

func (m *Matrix) uncovered(rows map[string]*Uncovered, points []Point, s, d packet.Joint) {
	src, dst := s.Addrs.First(), d.Addrs.First()
	if src.Is4() != dst.Is4() || Multicast().Contains(src) || loopback(src) || loopback(dst) {
		return
	}
	if s.A == d.A && s.Addrs.Single() {
		return // an address to itself
	}
	from, to := m.named(s.A), m.named(d.A)
	if len(from) == 0 && len(to) == 0 {
		return
	}
	denied := m.Services(m.Cell(s.A, d.A), func(o *Outcome) bool { return !o.Permit })
	if denied.IsEmpty() {
		return
	}
	by, why := Covered(points, src, dst)
	if len(by) > 0 {
		return
	}
	key := fmt.Sprint(why, from, to, denied)
	u := rows[key]
	if u == nil {
		u = &Uncovered{Reason: why, Services: denied.Text(), From: from, To: to, Service: denied.Example()}
		u.Src, u.Dst = twoOf(s.Addrs, d.Addrs)
		rows[key] = u
	}
	u.Pairs++
}

func loopback(a netip.Addr) bool { return a.IsLoopback() }

// twoOf picks two addresses that differ, as people like to read them.
func twoOf(srcs, dsts packet.Addrs) (src, dst netip.Addr) {
	for _, src = range srcs.Examples() {
		for _, dst = range dsts.Examples() {
			if src != dst {
				return src, dst
			}
		}
	}
	return src, dst
}

// named gives the groups of a class that a site names, without the built-in ones.
func (m *Matrix) named(class int) []string {
	out := []string{}
	for _, name := range m.GroupNames(class) {
		if !policy.BuiltIn(name) {
			out = append(out, name)
		}
	}
	return out
}
