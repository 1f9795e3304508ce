// Package prove compares what a device does, decoded from its native state, with
// what policy and the point's overlays say it must do: exactly, over the whole
// space of addresses of both families and all services. The result is equality
// or a concrete packet that is treated differently, with the native rule and the
// policy on either side.
package prove

import (
	"maps"
	"net/netip"
	"slices"

	"bulkhead/pkg/compile"
	"bulkhead/pkg/driver"
	"bulkhead/pkg/packet"
	"bulkhead/pkg/policy"
)

// Expected is what the points at one hook must do together in one situation.
type Expected struct {
	m      *compile.Matrix
	points []*compile.Point
	s      driver.Situation
	// Addrs partitions the address space so that all addresses of one part are
	// treated alike on either end.
	Addrs []packet.Addrs
	class []int
	memo  map[[2]int]packet.Services
	cells map[int]packet.Services

	back    *Expected // what opens flows from all source ports; nil but for Stateless
	answers map[[2]int]packet.Services
}

// NewExpected works out what the points must do in the situation.
func NewExpected(m *compile.Matrix, points []*compile.Point, s driver.Situation) *Expected {
	classes := make([]packet.Addrs, len(m.Classes))
	for i := range m.Classes {
		classes[i] = m.Classes[i].Addrs
	}
	e := &Expected{m: m, points: points, s: s, memo: map[[2]int]packet.Services{}, cells: map[int]packet.Services{}}
	for _, j := range packet.Join(classes, overlays(points)) {
		e.Addrs = append(e.Addrs, j.Addrs)
		e.class = append(e.class, j.A)
	}
	return e
}

// At gives what the points must let pass between two addresses in the situation, for
// those who ask for a few: nothing is partitioned. Not safe for several goroutines.
func At(m *compile.Matrix, points []*compile.Point, s driver.Situation) func(src, dst netip.Addr) packet.Services {
	e := &Expected{m: m, points: points, s: s, memo: map[[2]int]packet.Services{}, cells: map[int]packet.Services{}}
	return e.at
}

// asked reports whether the matrix says what one part may open to another.
func (e *Expected) asked(src, dst int) bool {
	return e.m.Asked(e.class[src], false) && e.m.Asked(e.class[dst], true)
}

// overlays partitions the addresses by what the points do whatever policy says.
func overlays(points []*compile.Point) []packet.Addrs {
	sets := []packet.Addrs{compile.Multicast(), v4()}
	for _, p := range points {
		sets = append(sets, p.Protects, p.DHCPServers)
		for _, port := range slices.Sorted(maps.Keys(p.Ports)) {
			sets = append(sets, p.Ports[port])
		}
		for _, f := range p.Failsafe {
			sets = append(sets, f.From, f.To)
		}
		for _, z := range p.Zones {
			for _, mask := range z.Masks {
				sets = append(sets, packet.AddrsOf(mask))
			}
		}
	}
	for _, exempt := range []string{"169.254.0.0/16", "fe80::/10", "0.0.0.0/32", "::/128"} {
		sets = append(sets, packet.AddrsOf(netip.MustParsePrefix(exempt)))
	}
	return packet.PartitionAddrs(sets)
}

func v4() packet.Addrs { return packet.AddrsOf(netip.MustParsePrefix("0.0.0.0/0")) }

// Permit returns the services that must pass from one part to another.
func (e *Expected) Permit(src, dst int) packet.Services {
	key := [2]int{src, dst}
	if s, ok := e.memo[key]; ok {
		return s
	}
	s := e.permit(e.Addrs[src].First(), e.Addrs[dst].First(), e.class[src], e.class[dst])
	e.memo[key] = s
	return s
}

// expectedRow is what must pass from one part to each other, for those who go through all pairs
// and come to few of them twice.
type expectedRow struct {
	e        *Expected
	src      int
	services []packet.Services
	known    []bool
}

func (e *Expected) newRow() *expectedRow {
	return &expectedRow{e: e, src: -1, services: make([]packet.Services, len(e.Addrs)), known: make([]bool, len(e.Addrs))}
}

// of turns to another source.
func (r *expectedRow) of(src int) {
	if r.src != src {
		r.src = src
		clear(r.known)
	}
}

func (r *expectedRow) permit(dst int) packet.Services {
	if !r.known[dst] {
		e := r.e
		r.known[dst] = true
		r.services[dst] = e.permit(e.Addrs[r.src].First(), e.Addrs[dst].First(), e.class[r.src], e.class[dst])
	}
	return r.services[dst]
}

func (e *Expected) permit(src, dst netip.Addr, srcClass, dstClass int) packet.Services {
	if src.Is4() != dst.Is4() {
		return nil // no packet has ends of two families
	}
	must, may := e.overlay(src, dst)
	if may.Equal(must) {
		return must
	}
	return must.Union(may.Intersect(e.cell(srcClass, dstClass)))
}

// at is what must pass between two addresses.
func (e *Expected) at(src, dst netip.Addr) packet.Services {
	return e.permit(src, dst, e.m.ClassOf(src), e.m.ClassOf(dst))
}

// overlay gives the services that pass between two addresses whatever policy says,
// and those that pass if policy permits them, which include the former.
func (e *Expected) overlay(src, dst netip.Addr) (must, may packet.Services) {
	must, may = packet.AllServices(), packet.AllServices()
	for _, p := range e.points {
		low, high := e.overlayAt(p, src, dst)
		must, may = must.Intersect(low), may.Intersect(high)
	}
	return must, may
}

func (e *Expected) overlayAt(p *compile.Point, src, dst netip.Addr) (must, may packet.Services) {
	h := compile.FlowHeader(e.s.Hook, e.s.In, src, dst, e.s.SrcPortLo, e.s.SrcPortHi, e.s.Tracking == driver.TrackReply)
	must = p.Essential(h)
	if e.s.Hook == compile.HookForward && p.CheckSpoof(e.s.In, h.Src).Action == compile.SpoofEnforce {
		return must, must
	}
	if p.Mode == policy.Observe || !p.Sees(e.s.Hook, h.Src, h.Dst) {
		return packet.AllServices(), packet.AllServices()
	}
	return must.Union(p.FailsafeServices(h)), packet.AllServices()
}

func (e *Expected) cell(src, dst int) packet.Services {
	id := e.m.CellID(src, dst)
	if s, ok := e.cells[id]; ok {
		return s
	}
	s := e.m.Services(e.m.Cells[id], e.stands)
	e.cells[id] = s
	return s
}

// stands reports whether an outcome permits in the situation.
func (e *Expected) stands(o *compile.Outcome) bool {
	if e.s.Expired && !o.Deadline.IsZero() {
		return e.m.Outcomes[o.After].Permit
	}
	return o.Permit
}
