// Package want works out, from the compiler's view, what a point's hook must let
// through. Renderers stand on it; decoders must not import it.
package want

import (
	"net/netip"
	"slices"

	"bulkhead/pkg/compile"
	"bulkhead/pkg/packet"
	"bulkhead/pkg/policy"
)

// Ports is a run of source ports that some overlay tells from the others.
type Ports struct{ Lo, Hi uint16 }

// AllPorts is every source port.
func AllPorts() Ports { return Ports{0, 65535} }

// Hook is what must happen at one hook.
type Hook struct {
	Name string
	// Parts is a partition of the address space; each part is of one family.
	Parts []packet.Addrs
	// Runs is a partition of the source ports.
	Runs []Ports

	view   *compile.View
	points []*compile.Point
	class  []int // part -> class of the view
	cells  map[int]packet.Services
}

// NewHook works out what the points must do at a hook together. Points in observe
// mode ask for nothing.
func NewHook(view *compile.View, points []compile.Point, name string) *Hook {
	h := &Hook{Name: name, view: view, cells: map[int]packet.Services{}}
	sets := []packet.Addrs{packet.AddrsOf(netip.MustParsePrefix("0.0.0.0/0")), compile.Multicast()}
	for i := range points {
		p := &points[i]
		if p.Mode == policy.Observe || !slices.Contains(p.Hooks(), name) {
			continue
		}
		h.points = append(h.points, p)
		sets = append(sets, p.Protects)
		for _, f := range p.Failsafe {
			sets = append(sets, f.From, f.To)
		}
	}
	if len(h.points) == 0 {
		return h
	}
	classes := make([]packet.Addrs, len(view.Classes))
	for i := range view.Classes {
		classes[i] = view.Classes[i].Addrs
	}
	for _, j := range packet.Join(classes, packet.PartitionAddrs(sets)) {
		h.Parts = append(h.Parts, j.Addrs)
		h.class = append(h.class, j.A)
	}
	h.Runs = h.runs()
	return h
}

// Asked reports whether anything is to be enforced at the hook.
func (h *Hook) Asked() bool { return len(h.points) > 0 }

// runs cuts the source ports where an overlay looks at them.
func (h *Hook) runs() []Ports {
	starts := []int{0}
	one := func(lo, hi int) { starts = append(starts, lo, hi+1) }
	for _, p := range h.points {
		if !p.Off[compile.EssentialDHCP] {
			for _, port := range []int{67, 68, 546, 547} {
				one(port, port)
			}
		}
		for _, f := range p.Failsafe {
			for _, span := range f.Services {
				for proto := span.Lo >> 16; proto <= span.Hi>>16; proto++ {
					if packet.HasPorts(uint8(proto)) {
						one(int(max(span.Lo, proto<<16)&0xffff), int(min(span.Hi, proto<<16|0xffff)&0xffff))
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
			out = append(out, Ports{uint16(lo), uint16(hi)})
		}
	}
	return out
}

// Family reports whether two parts are of one family; no packet has ends of two.
func (h *Hook) Family(src, dst int) bool {
	return h.Parts[src].First().Is4() == h.Parts[dst].First().Is4()
}

// Judged reports whether any point judges packets between the two parts.
func (h *Hook) Judged(src, dst int) bool {
	for _, p := range h.points {
		if p.Sees(h.Name, h.Parts[src].First(), h.Parts[dst].First()) {
			return true
		}
	}
	return false
}

// Receives reports whether flows to the part are judged wherever they come from.
func (h *Hook) Receives(dst int) bool {
	first := h.Parts[dst].First()
	return h.Sends(dst) || h.Name == compile.HookInput && compile.Multicast().Contains(first)
}

// Sends reports whether flows from the part are judged wherever they go.
func (h *Hook) Sends(src int) bool {
	for _, p := range h.points {
		if p.Protects.Contains(h.Parts[src].First()) {
			return true
		}
	}
	return false
}

// Permit gives the services that must pass from one part to another, from the
// given run of source ports.
func (h *Hook) Permit(src, dst int, ports Ports) packet.Services {
	s, d := h.Parts[src].First(), h.Parts[dst].First()
	out := packet.AllServices()
	for _, p := range h.points {
		if !p.Sees(h.Name, s, d) {
			continue
		}
		header := compile.FlowHeader(h.Name, "", s, d, ports.Lo, ports.Hi, false)
		mine := p.Essential(header).Union(p.FailsafeServices(header)).Union(h.cell(h.class[src], h.class[dst]))
		out = out.Intersect(mine)
	}
	return out
}

// Floor gives what must pass from every source port.
func (h *Hook) Floor(src, dst int) packet.Services {
	out := packet.AllServices()
	for _, run := range h.Runs {
		out = out.Intersect(h.Permit(src, dst, run))
	}
	return out
}

func (h *Hook) cell(src, dst int) packet.Services {
	id := h.view.CellID(src, dst)
	if s, ok := h.cells[id]; ok {
		return s
	}
	s := h.view.Matrix.Services(h.view.Cell(src, dst), func(o *compile.Outcome) bool { return o.Permit })
	h.cells[id] = s
	return s
}

// Piece is what one native rule can say about services: a run of protocols with
// everything in them, or one protocol with a run of numbers.
type Piece struct {
	ProtoLo, ProtoHi uint8
	Lo, Hi           uint16
}

// Pieces cuts services into pieces.
func Pieces(s packet.Services) []Piece {
	var out []Piece
	for _, span := range s {
		for lo := span.Lo; ; {
			proto, hi := lo>>16, min(span.Hi, lo|0xffff)
			last := proto
			if lo&0xffff == 0 && hi == lo|0xffff {
				for last < 255 && span.Hi >= (last+1)<<16|0xffff {
					last++
				}
				hi = last<<16 | 0xffff
			}
			out = append(out, Piece{uint8(proto), uint8(last), uint16(lo), uint16(hi)})
			if hi >= span.Hi {
				break
			}
			lo = hi + 1
		}
	}
	return out
}
