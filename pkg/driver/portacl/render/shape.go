package render

import (
	"fmt"
	"strings"

	"bulkhead/pkg/compile"
	"bulkhead/pkg/driver/want"
	"bulkhead/pkg/packet"
)

// shape is what passes from one part to another, for any two that fare alike.
type shape struct {
	four  bool
	opens packet.Services // what may be opened, from every source port
	// extra is what may be opened from some source ports only.
	extra []extra
	// back is what the other part may open to this one, from every source port.
	back   packet.Services
	errors packet.Services // ICMP errors

	always packet.Services // see whole; nil before it is asked
	// cut is what is dropped because nothing can be said of its ports.
	cut packet.Services
}

// extra is what may be opened from one run of source ports only.
type extra struct {
	run      want.Ports
	services packet.Services
}

// shapeOf gives the shape of what a source sends to a destination, by number.
func (x *fabric) shapeOf(src, dst int) int {
	key := [2]int{src, dst}
	if n, ok := x.pairs[key]; ok {
		return n
	}
	s := &shape{four: x.w.Four(src), opens: x.floor(src, dst)}
	for _, r := range x.w.Runs {
		if more := x.opens(src, dst, r).Subtract(s.opens); !more.IsEmpty() {
			s.extra = append(s.extra, extra{r, more})
		}
	}
	if !x.w.Multicast(src) && !x.w.Multicast(dst) {
		s.back = x.floor(dst, src)
		if !s.back.IsEmpty() || !s.opens.IsEmpty() {
			s.errors = errorsOf(s.four)
		}
	}
	for _, proto := range x.f.Blind {
		if s.any(proto) && !s.whole(proto) {
			s.cut = s.cut.Union(line(proto))
		}
	}
	if x.f.Mute != nil {
		for _, proto := range []int{1, 58} {
			if !s.whole(proto) {
				s.cut = s.cut.Union(x.f.Mute(s.four).Intersect(line(proto)))
			}
		}
	}
	text := s.key()
	n, ok := x.index[text]
	if !ok {
		n = len(x.shapes)
		x.index[text] = n
		x.shapes = append(x.shapes, s)
	}
	x.pairs[key] = n
	return n
}

func errorsOf(four bool) packet.Services {
	of := uint32(58)
	if four {
		of = 1
	}
	return compile.ICMPErrors().Intersect(packet.Services{{Lo: of << 16, Hi: of<<16 | 0xffff}})
}

func (s *shape) key() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%v|%v|%v|%v", s.four, s.opens, s.back, s.errors)
	for _, e := range s.extra {
		fmt.Fprintf(&b, "|%d-%d %v", e.run.Lo, e.run.Hi, e.services)
	}
	return b.String()
}

func line(proto int) packet.Services {
	return packet.Services{{Lo: uint32(proto) << 16, Hi: uint32(proto)<<16 | 0xffff}}
}

var tcp = line(6)

// from is what may be opened from a run of source ports.
func (s *shape) from(run want.Ports) packet.Services {
	out := s.opens
	for _, e := range s.extra {
		if e.run.Lo <= run.Lo && run.Hi <= e.run.Hi {
			out = out.Union(e.services)
		}
	}
	return out
}

// passes is what lists let pass from a run of source ports: packets that open flows or are of
// protocols that nobody can tell that of, or TCP segments that open nothing.
func (s *shape) passes(run want.Ports, mid bool) packet.Services {
	answers := compile.Answers(s.back, run.Lo, run.Hi)
	if mid {
		return s.from(run).Union(answers).Intersect(tcp)
	}
	return s.from(run).Union(answers.Subtract(tcp)).Union(s.errors).Subtract(s.cut)
}

// whole reports whether everything of a protocol passes, so that nothing in a packet has to be
// looked at.
func (s *shape) whole(proto int) bool {
	if s.always == nil {
		s.always = append(packet.Services{}, s.opens.Union(compile.Answers(s.back, 0, 65535).Subtract(tcp)).Union(s.errors)...)
	}
	if proto == 6 { // segments that answer are told by their flags
		return line(proto).Subtract(s.opens).IsEmpty()
	}
	return line(proto).Subtract(s.always).IsEmpty()
}

// some reports whether something of a protocol passes from every source port or as an answer:
// what a later fragment may be a piece of.
func (s *shape) some(proto int) bool {
	can := line(proto).Subtract(s.cut)
	if !s.opens.Intersect(can).IsEmpty() {
		return true
	}
	if packet.IsICMP(uint8(proto)) {
		return !compile.Replies(s.back).Intersect(can).IsEmpty()
	}
	return !s.back.Intersect(can).IsEmpty()
}

// any reports whether anything at all of a protocol passes.
func (s *shape) any(proto int) bool {
	can := line(proto).Subtract(s.cut)
	if s.some(proto) || !s.errors.Intersect(can).IsEmpty() {
		return true
	}
	for _, e := range s.extra {
		if !e.services.Intersect(can).IsEmpty() {
			return true
		}
	}
	return false
}

// later is what passes of fragments but the first.
func (s *shape) later(canTell bool) packet.Services {
	var out packet.Services
	for proto := range 256 {
		if s.whole(proto) || canTell && s.some(proto) {
			out = out.Union(line(proto))
		}
	}
	return out
}

// laterAnswers is what later fragments of answers may be pieces of.
func (s *shape) laterAnswers() packet.Services {
	out := compile.Replies(s.back)
	for proto := range 256 {
		mine := s.back.Intersect(line(proto))
		switch {
		case mine.IsEmpty() || packet.IsICMP(uint8(proto)):
		case packet.HasPorts(uint8(proto)):
			out = out.Union(line(proto))
		default:
			out = out.Union(mine)
		}
	}
	return out
}
