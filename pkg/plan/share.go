package plan

import (
	"encoding/binary"
	"math"
	"net/netip"
	"slices"
	"sort"

	"bulkhead/pkg/compile"
	"bulkhead/pkg/driver"
	"bulkhead/pkg/packet"
	"bulkhead/pkg/prove"
)

// The share of flows newly denied.
//
// Counted over the whole space, the addresses that nobody has would decide it, and of
// the services those that nobody uses. So it is counted in what the site names. Each
// address or prefix of an asset, and each prefix of a group, counts as one address
// (of what they contain nothing counts besides), and all that is left of a family
// counts as one more. The line of services is cut wherever anything that the device
// permits, before or after, begins or ends; each piece counts as one service. A flow
// is one address to another by one service, at a hook that judges it. The share is,
// of the flows that the device permits now, the part that it would not.
//
// A share of pairs of addresses that lose anything at all would be simpler, and is
// 100 % where one service is closed for everybody.

// Up to maxSharePairs pairs of address sets are all looked at. Beyond, a fixed sample
// of shareSamples sources by as many destinations is, drawn evenly by weight: a group
// that holds a hundredth of the addresses is drawn some times. A site that names more
// than shareNames addresses is sampled in those alone, because to partition its
// addresses takes seconds.
const (
	maxSharePairs = 1 << 18
	shareNames    = 1 << 9
	shareSamples  = 256
)

// sharer sums up what a device permits now, and what of it would be denied.
type sharer struct {
	named     []netip.Addr // in order, without repeats
	ids       map[string]int
	sets      []packet.Services
	most      int                // pairs of sets that are all looked at
	names     int                // named addresses up to which sets are looked at
	weight    map[[2]int]float64 // by what is permitted now, and after
	order     [][2]int           // keys in the order in which they came: sums are the same each time
	estimated bool
}

func newSharer(named []netip.Addr) *sharer {
	named = slices.Clone(named)
	slices.SortFunc(named, netip.Addr.Compare)
	return &sharer{named: slices.Compact(named), ids: map[string]int{}, most: maxSharePairs, names: shareNames, weight: map[[2]int]float64{}}
}

// side is a part of one side's partition, with its weight.
type side struct {
	joint  packet.Joint
	weight float64
}

// sides weighs parts. What the site does not name counts as one address for each
// family, shared evenly by the parts that hold nothing else.
func (s *sharer) sides(parts []packet.Joint, without packet.Addrs) []side {
	out := make([]side, len(parts))
	nobody := map[bool][]int{}
	for i, p := range parts {
		n := s.count(p.Addrs)
		if n == 0 && !p.Addrs.Subtract(without).IsEmpty() {
			four := p.Addrs.First().Is4()
			nobody[four] = append(nobody[four], i)
		}
		out[i] = side{p, float64(n - s.count(p.Addrs.Intersect(without)))}
	}
	for _, list := range nobody {
		for _, i := range list {
			out[i].weight = 1 / float64(len(list))
		}
	}
	return out
}

// count is how many of the addresses that the site names are in a set.
func (s *sharer) count(a packet.Addrs) int {
	n := 0
	for _, r := range a.Runs() {
		lo := sort.Search(len(s.named), func(i int) bool { return s.named[i].Compare(r.From) >= 0 })
		hi := sort.Search(len(s.named), func(i int) bool { return s.named[i].Compare(r.To) > 0 })
		n += hi - lo
	}
	return n
}

// add counts all pairs of two sides. permit gives what passes now, and what would.
func (s *sharer) add(at []*compile.Point, hook string, srcs, dsts []side, permit func(a, b packet.Joint) (have, want packet.Services)) {
	each := func(a, b *side, weight float64) {
		x, y := a.joint.Addrs.First(), b.joint.Addrs.First()
		if x.Is4() != y.Is4() || !slices.ContainsFunc(at, func(p *compile.Point) bool { return p.Sees(hook, x, y) }) {
			return
		}
		have, want := permit(a.joint, b.joint)
		s.note(have, want, weight)
	}
	if len(srcs)*len(dsts) <= s.most {
		for i := range srcs {
			for j := range dsts {
				w := srcs[i].weight * dsts[j].weight
				if srcs[i].joint.A == dsts[j].joint.A {
					// An address to itself is nobody's flow, named or not.
					both := srcs[i].joint.Addrs.Intersect(dsts[j].joint.Addrs)
					w -= float64(s.count(both))
					if both.Single() && srcs[i].joint.Addrs.Single() && dsts[j].joint.Addrs.Single() {
						w = 0
					}
				}
				if w > 0 {
					each(&srcs[i], &dsts[j], w)
				}
			}
		}
		return
	}
	s.estimated = true
	from, wa := sample(srcs)
	to, wb := sample(dsts)
	w := wa * wb / float64(len(from)*len(to))
	for _, i := range from {
		for _, j := range to {
			each(&srcs[i], &dsts[j], w)
		}
	}
}

// large reports whether to sample the addresses that the site names.
func (s *sharer) large() bool { return s != nil && len(s.named) > s.names }

// sampled counts a sample of the addresses that the site names at one hook. An
// endpoint judges few of all pairs, so that its own addresses are drawn apart.
func (s *sharer) sampled(m *compile.Matrix, hook string, at []*compile.Point, own packet.Addrs, now, then *driver.Decoded) {
	s.estimated = true
	var inner, outer []netip.Addr
	for _, a := range s.named {
		protected := slices.ContainsFunc(at, func(p *compile.Point) bool { return p.Protects.Contains(a) })
		switch {
		case hook == compile.HookForward && own.Contains(a): // never forwarded
		case hook != compile.HookForward && protected:
			inner = append(inner, a)
		default:
			outer = append(outer, a)
		}
	}
	judges := map[string]judge{}
	pairs := func(from, to []netip.Addr) {
		srcs, dsts := evenly(from, shareSamples), evenly(to, shareSamples)
		w := float64(len(from)) * float64(len(to)) / float64(max(1, len(srcs)*len(dsts)))
		for _, x := range srcs {
			in := home(at, x)
			j, ok := judges[in]
			if !ok {
				j = newJudge(m, hook, in, at, now, then)
				judges[in] = j
			}
			for _, y := range dsts {
				if x == y || x.Is4() != y.Is4() || !slices.ContainsFunc(at, func(p *compile.Point) bool { return p.Sees(hook, x, y) }) {
					continue
				}
				s.note(j.have(x, y), j.want(x, y), w)
			}
		}
	}
	pairs(inner, inner)
	pairs(inner, outer)
	pairs(outer, inner)
	if hook == compile.HookForward {
		pairs(outer, outer)
	}
}

// evenly draws n from a list, in order.
func evenly(list []netip.Addr, n int) []netip.Addr {
	if len(list) <= n {
		return list
	}
	out := make([]netip.Addr, n)
	for k := range out {
		out[k] = list[(2*k+1)*len(list)/(2*n)]
	}
	return out
}

// judge says of two addresses what passes now, and what would.
type judge struct {
	have, want func(src, dst netip.Addr) packet.Services
}

func newJudge(m *compile.Matrix, hook, in string, at []*compile.Point, now, then *driver.Decoded) judge {
	j := judge{have: judgeBy(now, hook, in, at)}
	if then != nil {
		j.want = judgeBy(then, hook, in, at)
	} else {
		j.want = prove.At(m, at, driver.Situation{Hook: hook, Tracking: driver.TrackNew, In: in, SrcPortLo: 40000, SrcPortHi: 40000})
	}
	return j
}

func judgeBy(state *driver.Decoded, hook, in string, at []*compile.Point) func(src, dst netip.Addr) packet.Services {
	rel := relationOf(state, hook, in, at)
	src, dst := &driver.Parts{Addrs: rel.Src}, &driver.Parts{Addrs: rel.Dst}
	return func(x, y netip.Addr) packet.Services {
		i, j := src.Find(x), dst.Find(y)
		out := rel.Permit(i, j)
		if rel.Rest != nil {
			out = out.Union(driver.Permits(rel.Rest(i, j), x, y))
		}
		return out
	}
}

// sample draws from the sides evenly by weight, and gives their weight in all.
func sample(sides []side) (drawn []int, total float64) {
	for i := range sides {
		total += sides[i].weight
	}
	at, upTo := -1, 0.0
	for k := range shareSamples {
		for point := (float64(k) + 0.5) / shareSamples * total; at < 0 || upTo < point && at+1 < len(sides); {
			at++
			upTo += sides[at].weight
		}
		drawn = append(drawn, at)
	}
	return drawn, total
}

// note adds the weight of a pair to those that fare alike.
func (s *sharer) note(have, want packet.Services, weight float64) {
	key := [2]int{s.id(have), s.id(want)}
	if _, ok := s.weight[key]; !ok {
		s.order = append(s.order, key)
	}
	s.weight[key] += weight
}

// id numbers equal sets of services alike.
func (s *sharer) id(x packet.Services) int {
	var buf [128]byte
	key := buf[:0]
	for _, sp := range x {
		key = binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(key, sp.Lo), sp.Hi)
	}
	n, ok := s.ids[string(key)]
	if !ok {
		n = len(s.sets)
		s.ids[string(key)] = n
		s.sets = append(s.sets, slices.Clone(x))
	}
	return n
}

// share is the result: nil where the device permits nothing now that could be lost.
func (s *sharer) share() *Share {
	var cuts []uint32
	for _, set := range s.sets {
		for _, sp := range set {
			cuts = append(cuts, sp.Lo, sp.Hi+1)
		}
	}
	slices.Sort(cuts)
	cuts = slices.Compact(cuts)
	pieces := func(x packet.Services) float64 {
		n := 0
		for _, sp := range x {
			lo, _ := slices.BinarySearch(cuts, sp.Lo)
			hi, _ := slices.BinarySearch(cuts, sp.Hi+1)
			n += hi - lo
		}
		return float64(n)
	}
	had, lost := 0.0, 0.0
	for _, key := range s.order {
		have, want := s.sets[key[0]], s.sets[key[1]]
		had += s.weight[key] * pieces(have)
		lost += s.weight[key] * pieces(have.Subtract(want))
	}
	if had == 0 {
		return nil
	}
	return &Share{Percent: math.Round(lost/had*1000) / 10, Estimated: s.estimated}
}
