package plan

import (
	"net/netip"
	"slices"

	"bulkhead/pkg/compile"
	"bulkhead/pkg/driver"
	"bulkhead/pkg/packet"
	"bulkhead/pkg/prove"
)

// partSamples is how many addresses a bound is drawn from on each side.
const partSamples = 128

// PartShare is the share of the flows that a proved device permits at its forward hook in
// which some addresses have a part, as the sender or the receiver: whatever becomes of
// these addresses, no more can be newly denied. It is counted as the share of an apply
// is, of a sample of what the site names. nil stands for a device that permits nothing.
func PartShare(m *compile.Matrix, points []compile.Point, named, part []netip.Addr) *Share {
	var at []*compile.Point
	var own packet.Addrs
	for i := range points {
		if slices.Contains(points[i].Hooks(), compile.HookForward) {
			at = append(at, &points[i])
		}
		own = own.Union(points[i].Own)
	}
	part = slices.Clone(part)
	slices.SortFunc(part, netip.Addr.Compare)
	s := newSharer(named)
	s.estimated = true
	var rest []netip.Addr
	for _, a := range s.named {
		if _, is := slices.BinarySearchFunc(part, a, netip.Addr.Compare); !is && !own.Contains(a) {
			rest = append(rest, a)
		}
	}
	permits := map[string]func(src, dst netip.Addr) packet.Services{}
	pairs := func(from, to []netip.Addr, lost bool) {
		srcs, dsts := evenly(from, partSamples), evenly(to, partSamples)
		w := float64(len(from)) * float64(len(to)) / float64(max(1, len(srcs)*len(dsts)))
		for _, x := range srcs {
			in := home(at, x)
			permit, ok := permits[in]
			if !ok {
				permit = prove.At(m, at, driver.Situation{Hook: compile.HookForward, Tracking: driver.TrackNew, In: in, SrcPortLo: 40000, SrcPortHi: 40000})
				permits[in] = permit
			}
			for _, y := range dsts {
				if x == y || x.Is4() != y.Is4() || !slices.ContainsFunc(at, func(p *compile.Point) bool { return p.Sees(compile.HookForward, x, y) }) {
					continue
				}
				have := permit(x, y)
				want := have
				if lost {
					want = nil
				}
				s.note(have, want, w)
			}
		}
	}
	pairs(part, part, true)
	pairs(part, rest, true)
	pairs(rest, part, true)
	pairs(rest, rest, false)
	return s.share()
}
