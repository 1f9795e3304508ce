package want

import (
	"net/netip"
	"slices"

	"bulkhead/pkg/compile"
	"bulkhead/pkg/packet"
	"bulkhead/pkg/policy"
)

// Ends is what the points of a device at the ends of flows ask for at both of their hooks,
// part by part. Points in observe mode ask for nothing.
type Ends struct {
	// Parts is a partition of the address space; each part is of one family.
	Parts []packet.Addrs
	// Runs is a partition of the source ports.
	Runs []Ports
	// All is what the points protect.
	All packet.Addrs
	// First names the first of all points, those included that observe; "" if there is none.
	First string

	// Points are those that enforce, by name.
	Points []*compile.Point

	view  *compile.View
	class []int // part -> class of the view
	cells map[int]packet.Services
}

// NewEnds cuts the address space by the view, the overlays, and some sets besides.
func NewEnds(view *compile.View, points []compile.Point, more []packet.Addrs) *Ends {
	w := &Ends{view: view, cells: map[int]packet.Services{}}
	sets := append([]packet.Addrs{packet.AddrsOf(netip.MustParsePrefix("0.0.0.0/0")), compile.Multicast()}, more...)
	for i := range points {
		p := &points[i]
		if !p.Endpoint {
			continue
		}
		if w.First == "" || p.Name < w.First {
			w.First = p.Name
		}
		if p.Mode == policy.Observe {
			continue // there is no way to count and not to drop: nothing is installed
		}
		w.Points = append(w.Points, p)
		w.All = w.All.Union(p.Protects)
		sets = append(sets, p.Protects)
		for _, f := range p.Failsafe {
			sets = append(sets, f.From, f.To)
		}
	}
	if w.First == "" {
		return w
	}
	slices.SortFunc(w.Points, func(a, b *compile.Point) int { return slices.Compare([]byte(a.Name), []byte(b.Name)) })
	classes := make([]packet.Addrs, len(view.Classes))
	for i := range view.Classes {
		classes[i] = view.Classes[i].Addrs
	}
	for _, j := range packet.Join(classes, packet.PartitionAddrs(sets)) {
		w.Parts, w.class = append(w.Parts, j.Addrs), append(w.class, j.A)
	}
	w.Runs = w.sourcePorts()
	return w
}

// sourcePorts cuts the source ports where DHCP or a failsafe's answers tell them apart.
func (w *Ends) sourcePorts() []Ports {
	starts := []int{0, 67, 68, 69, 546, 547, 548}
	for _, p := range w.Points {
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
	var out []Ports
	for i, lo := range starts {
		hi := 65535
		if i+1 < len(starts) {
			hi = starts[i+1] - 1
		}
		if lo <= 65535 {
			out = append(out, Ports{uint16(lo), uint16(min(hi, 65535))})
		}
	}
	return out
}

// Four reports whether a part is of IPv4.
func (w *Ends) Four(part int) bool { return w.Parts[part].First().Is4() }

// Multicast reports whether a part is of group addresses.
func (w *Ends) Multicast(part int) bool { return compile.Multicast().Contains(w.Parts[part].First()) }

// Exact is what must happen between two parts at a hook.
func (w *Ends) Exact(hook string, src, dst int, run Ports) packet.Services {
	return w.ask(hook, src, dst, run, true)
}

// Policy is Exact without what a network needs: that much a group must say.
func (w *Ends) Policy(src, dst int, run Ports) packet.Services {
	return w.ask(compile.HookOutput, src, dst, run, false)
}

func (w *Ends) ask(hook string, src, dst int, run Ports, essential bool) packet.Services {
	s, d := w.Parts[src].First(), w.Parts[dst].First()
	out := packet.AllServices()
	for _, p := range w.Points {
		if !p.Sees(hook, s, d) {
			continue
		}
		h := compile.FlowHeader(hook, "", s, d, run.Lo, run.Hi, false)
		mine := p.FailsafeServices(h).Union(w.Cell(src, dst))
		if essential {
			mine = mine.Union(p.Essential(h))
		}
		out = out.Intersect(mine)
	}
	return out
}

// CellID numbers what policy says between two parts: pairs of one number fare alike by it.
func (w *Ends) CellID(src, dst int) int { return w.view.CellID(w.class[src], w.class[dst]) }

// Cell is what policy permits between two parts.
func (w *Ends) Cell(src, dst int) packet.Services {
	id := w.CellID(src, dst)
	if s, ok := w.cells[id]; ok {
		return s
	}
	s := w.view.Matrix.Services(w.view.Cell(w.class[src], w.class[dst]), func(o *compile.Outcome) bool { return o.Permit })
	w.cells[id] = s
	return s
}

// Seer is the point whose residue flows between two parts are.
func (w *Ends) Seer(hook string, src, dst int) string {
	for _, p := range w.Points {
		if p.Sees(hook, w.Parts[src].First(), w.Parts[dst].First()) {
			return p.Name
		}
	}
	return w.First
}

// Class is the class of a part: parts of one class are treated alike by policy.
func (w *Ends) Class(part int) int { return w.class[part] }

// Wants reports whether some point that enforces lets a kind of essential traffic pass.
func (w *Ends) Wants(essential string) bool {
	return slices.ContainsFunc(w.Points, func(p *compile.Point) bool { return !p.Off[essential] })
}
