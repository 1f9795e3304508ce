package aws

import (
	"net/netip"
	"slices"

	"bulkhead/pkg/compile"
	"bulkhead/pkg/packet"
	"bulkhead/pkg/policy"
)

// ports is a run of source ports that some overlay tells from the others.
type ports struct{ lo, hi uint16 }

// wanted is what the points ask for, part by part.
type wanted struct {
	view   *compile.View
	points []*compile.Point // that enforce
	first  string           // of all points, by name
	parts  []packet.Addrs   // a partition of the address space; each of one family
	class  []int            // part -> class of the view
	runs   []ports
	cells  map[int]packet.Services
	all    packet.Addrs // what the points protect
}

// newWanted cuts the address space by the view, the overlays, and some sets besides.
func newWanted(view *compile.View, points []compile.Point, more []packet.Addrs) *wanted {
	w := &wanted{view: view, cells: map[int]packet.Services{}}
	sets := append([]packet.Addrs{packet.AddrsOf(netip.MustParsePrefix("0.0.0.0/0")), compile.Multicast()}, more...)
	for i := range points {
		p := &points[i]
		if !p.Endpoint {
			continue
		}
		if w.first == "" || p.Name < w.first {
			w.first = p.Name
		}
		if p.Mode == policy.Observe {
			continue // there is no way to count and not to drop: nothing is installed
		}
		w.points = append(w.points, p)
		w.all = w.all.Union(p.Protects)
		sets = append(sets, p.Protects)
		for _, f := range p.Failsafe {
			sets = append(sets, f.From, f.To)
		}
	}
	if w.first == "" {
		return w
	}
	slices.SortFunc(w.points, func(a, b *compile.Point) int { return slices.Compare([]byte(a.Name), []byte(b.Name)) })
	classes := make([]packet.Addrs, len(view.Classes))
	for i := range view.Classes {
		classes[i] = view.Classes[i].Addrs
	}
	for _, j := range packet.Join(classes, packet.PartitionAddrs(sets)) {
		w.parts, w.class = append(w.parts, j.Addrs), append(w.class, j.A)
	}
	w.runs = w.sourcePorts()
	return w
}

// sourcePorts cuts the source ports where DHCP or a failsafe's answers tell them apart.
func (w *wanted) sourcePorts() []ports {
	starts := []int{0, 67, 68, 69, 546, 547, 548}
	for _, p := range w.points {
		for _, f := range p.Failsafe {
			for _, s := range f.Services {
				for proto := s.Lo >> 16; proto <= s.Hi>>16; proto++ {
					if packet.HasPorts(uint8(proto)) {
						starts = append(starts, int(max(s.Lo, proto<<16)&0xffff), int(min(s.Hi, proto<<16|0xffff)&0xffff)+1)
					}
				}
			}
		}
	}
	slices.Sort(starts)
	starts = slices.Compact(starts)
	var out []ports
	for i, lo := range starts {
		hi := 65535
		if i+1 < len(starts) {
			hi = starts[i+1] - 1
		}
		if lo <= 65535 {
			out = append(out, ports{uint16(lo), uint16(min(hi, 65535))})
		}
	}
	return out
}

func (w *wanted) four(part int) bool { return w.parts[part].First().Is4() }

func (w *wanted) multicast(part int) bool { return compile.Multicast().Contains(w.parts[part].First()) }

// exact is what must happen between two parts at a hook.
func (w *wanted) exact(hook string, src, dst int, run ports) packet.Services {
	return w.ask(hook, src, dst, run, true)
}

// policy is exact without what a network needs: that much a group must say.
func (w *wanted) policy(src, dst int, run ports) packet.Services {
	return w.ask(compile.HookOutput, src, dst, run, false)
}

func (w *wanted) ask(hook string, src, dst int, run ports, essential bool) packet.Services {
	s, d := w.parts[src].First(), w.parts[dst].First()
	out := packet.AllServices()
	for _, p := range w.points {
		if !p.Sees(hook, s, d) {
			continue
		}
		h := compile.FlowHeader(hook, "", s, d, run.lo, run.hi, false)
		mine := p.FailsafeServices(h).Union(w.cell(w.class[src], w.class[dst]))
		if essential {
			mine = mine.Union(p.Essential(h))
		}
		out = out.Intersect(mine)
	}
	return out
}

func (w *wanted) cell(src, dst int) packet.Services {
	id := w.view.CellID(src, dst)
	if s, ok := w.cells[id]; ok {
		return s
	}
	s := w.view.Matrix.Services(w.view.Cell(src, dst), func(o *compile.Outcome) bool { return o.Permit })
	w.cells[id] = s
	return s
}

// seer is the point whose residue flows between two parts are.
func (w *wanted) seer(hook string, src, dst int) string {
	for _, p := range w.points {
		if p.Sees(hook, w.parts[src].First(), w.parts[dst].First()) {
			return p.Name
		}
	}
	return w.first
}
