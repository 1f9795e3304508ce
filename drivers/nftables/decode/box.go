package decode

import (
	"fmt"

	"bulkhead/pkg/packet"
)

// boxOf remembers boxed.
func (m *machine) boxOf(ix *index, s *set, i int32) protoNum {
	if ix.boxes == nil {
		ix.boxes, ix.boxed = make([]protoNum, len(s.elems)), make([]bool, len(s.elems))
	}
	if !ix.boxed[i] {
		ix.boxes[i], ix.boxed[i] = m.boxed(ix, &s.elems[i]), true
	}
	return ix.boxes[i]
}

// boxed is the services that an element's key allows.
func (m *machine) boxed(ix *index, e *element) protoNum {
	box := anyService()
	for _, g := range ix.segs {
		lo, hi := e.lo[g.off:g.off+g.n], e.hi[g.off:g.off+g.n]
		switch g.class {
		case 'p':
			box = box.and(protoNum{uint32(lo[0]), uint32(hi[0]), nil})
		case 'n':
			box = box.and(protoNum{0, 255, m.numsBetween(g.desc, lo, hi)})
		}
	}
	return box
}

// numsBetween collects the numbers whose bytes lie between two keys.
func (m *machine) numsBetween(desc string, lo, hi []byte) []packet.Span {
	switch desc {
	case "\x00\x01":
		return span16(uint32(lo[0])<<8|uint32(lo[1]), uint32(hi[0])<<8|uint32(hi[1]))
	case "\x00":
		return span16(uint32(lo[0])<<8, uint32(hi[0])<<8|0xff)
	}
	key := fmt.Sprintf("b%x %x %x", desc, lo, hi)
	if v, ok := m.numRanges[key]; ok {
		return v
	}
	if string(lo) == string(hi) {
		v := numsEqual(desc, lo)
		m.numRanges[key] = v
		return v
	}
	buf := make([]byte, len(desc))
	v := sweep(0xffff, func(n uint32) bool {
		for i := range buf {
			buf[i] = numByte(desc[i], n)
		}
		return string(buf) >= string(lo) && string(buf) <= string(hi)
	})
	m.numRanges[key] = v
	return v
}

// numsEqual collects the numbers whose bytes are those of a key. Each byte is told
// by the high or by the low byte of the number.
func numsEqual(desc string, key []byte) []packet.Span {
	holds := func(n uint32, low bool) bool {
		for i := range key {
			if (desc[i] == 1) == low && numByte(desc[i], n) != key[i] {
				return false
			}
		}
		return true
	}
	lows := sweep(0xff, func(n uint32) bool { return holds(n, true) })
	highs := sweep(0xff, func(n uint32) bool { return holds(n<<8, false) })
	out := []packet.Span{} // not nil, which is all numbers
	for _, h := range highs {
		for n := h.Lo; n <= h.Hi; n++ {
			for _, l := range lows {
				out = append(out, packet.Span{Lo: n<<8 | l.Lo, Hi: n<<8 | l.Hi})
			}
		}
	}
	return append([]packet.Span{}, packet.Spans(out)...)
}

func span16(lo, hi uint32) []packet.Span {
	if lo > hi {
		return []packet.Span{}
	}
	return []packet.Span{{Lo: lo, Hi: hi}}
}
