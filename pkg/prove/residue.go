package prove

import (
	"fmt"
	"math/bits"
	"slices"

	"bulkhead/pkg/compile"
	"bulkhead/pkg/driver"
	"bulkhead/pkg/packet"
)

// box is one set of flows that a device cannot express, and that may fare otherwise
// than policy says: pass, if it is wider, else be dropped.
type box struct {
	*driver.Flows
	wider bool
}

// boxesOf gives what of a residue concerns a situation at some points.
func boxesOf(residue []driver.Residue, points []*compile.Point, s driver.Situation) (out []box) {
	for i := range residue {
		r := &residue[i]
		if !slices.ContainsFunc(points, func(p *compile.Point) bool { return p.Name == r.Point }) {
			continue
		}
		for k := range r.Flows {
			if f := &r.Flows[k]; f.Hook == s.Hook && (f.Tracking == "" || f.Tracking == s.Tracking) && f.SrcPortLo <= s.SrcPortLo && s.SrcPortHi <= f.SrcPortHi {
				out = append(out, box{f, r.Wider})
			}
		}
	}
	return out
}

// refine cuts the parts where boxes begin and end.
func (e *Expected) refine(boxes []box) {
	if len(boxes) == 0 {
		return
	}
	var sets []packet.Addrs
	for _, b := range boxes {
		sets = append(sets, b.Src, b.Dst)
	}
	addrs, class := e.Addrs, e.class
	e.Addrs, e.class = nil, nil
	for _, j := range packet.Join(addrs, packet.PartitionAddrs(sets)) {
		e.Addrs, e.class = append(e.Addrs, j.Addrs), append(e.class, class[j.A])
	}
}

// within tells for each part in which boxes it is, as a source and as a destination. Each part
// that was refined is in a box, or out of it, as a whole.
type within struct {
	boxes    []box
	src, dst []packet.Bits
}

func newWithin(boxes []box, parts []packet.Addrs) *within {
	w := &within{boxes: boxes}
	if len(boxes) == 0 {
		return w
	}
	w.src, w.dst = make([]packet.Bits, len(parts)), make([]packet.Bits, len(parts))
	for i := range parts {
		first := parts[i].First()
		w.src[i], w.dst[i] = packet.NewBits(len(boxes)), packet.NewBits(len(boxes))
		for k := range boxes {
			if boxes[k].Src.Contains(first) {
				w.src[i].Set(k)
			}
			if boxes[k].Dst.Contains(first) {
				w.dst[i].Set(k)
			}
		}
	}
	return w
}

// each calls f for the boxes that hold flows between two parts.
func (w *within) each(src, dst int, f func(*box)) {
	if len(w.boxes) == 0 {
		return
	}
	a, b := w.src[src], w.dst[dst]
	for i := range a {
		for word := a[i] & b[i]; word != 0; word &= word - 1 {
			f(&w.boxes[i*64+bits.TrailingZeros64(word)])
		}
	}
}

// touching gives those boxes.
func (w *within) touching(src, dst int) (out []box) {
	w.each(src, dst, func(b *box) { out = append(out, *b) })
	return out
}

// admitted is what a device must let pass between two addresses of boxes: what it does,
// as far as the boxes allow that, and else what policy says. Answers must pass, and yet have
// to be in a box: that they pass unasked is what a device without state cannot express.
func admitted(boxes []box, want, answers, got packet.Services) packet.Services {
	most, least := want, want
	if len(answers) > 0 {
		least = want.Union(answers)
	}
	for _, b := range boxes {
		if b.wider {
			most = most.Union(b.Services)
		} else {
			least = least.Subtract(b.Services)
		}
	}
	if within := got.Intersect(most); !within.Equal(got) {
		return within
	}
	return got.Union(least)
}

// accepted says beside a proof what it leaves out.
func (r *Result) accepted(residue []driver.Residue) {
	for i := range residue {
		if x := &residue[i]; x.Point == r.Point {
			r.Findings = append(r.Findings, driver.Finding{Point: x.Point, Object: x.Kind, Text: fmt.Sprintf("accepted: %s", x.Text), Accepted: true, Harmless: true})
		}
	}
}
