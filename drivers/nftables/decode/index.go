package decode

import (
	"slices"
	"strings"
)

// segment is a run of key bytes of one origin. class is one of: 'c' known, 'a'
// the first address in the key, 'b' the second, 'p' the protocol, 'n' the
// service's number, 's' the source port, 'i' the interface name, '?' unknown.
type segment struct {
	off, n int
	class  byte
	desc   string // which bytes, for 'n', 's' and 'i'
}

// shape says where the bytes of a key come from. Keys of one shape are looked up
// in one index.
type shape struct {
	segs         []segment
	sig          string
	sideA, sideB kind // symSrc, symDst, or symConst if there is none
}

// classOf gives the class of one key byte; addresses are told apart later.
func classOf(s sym) byte {
	if s.and == 0 {
		return 'c'
	}
	if !s.plain() {
		return '?'
	}
	switch s.kind {
	case symSrc:
		return 'S'
	case symDst:
		return 'D'
	case symProto:
		return 'p'
	case symNum:
		return 'n'
	case symSport:
		return 's'
	case symIif:
		return 'i'
	}
	return '?'
}

// shapeOf cuts a key into segments: at changes of origin for single keys, which
// compare byte by byte; at fields for ranges, where a field of mixed origin is
// unknown.
func shapeOf(key []sym, fields []fieldSpan, addrBytes int) shape {
	var segs []segment
	if fields == nil {
		for i := 0; i < len(key); {
			c := classOf(key[i])
			j := i + 1
			for j < len(key) && classOf(key[j]) == c {
				j++
			}
			segs = append(segs, segment{off: i, n: j - i, class: c})
			i = j
		}
	} else {
		for _, f := range fields {
			c := classOf(key[f.off])
			for _, b := range key[f.off : f.off+f.n] {
				if classOf(b) != c {
					c = '?'
				}
			}
			segs = append(segs, segment{off: f.off, n: f.n, class: c})
		}
	}
	return finishShape(key, segs, addrBytes)
}

func finishShape(key []sym, segs []segment, addrBytes int) shape {
	var sh shape
	for i := range segs {
		g := &segs[i]
		switch g.class {
		case 'S', 'D':
			side := symSrc
			if g.class == 'D' {
				side = symDst
			}
			g.class = sh.address(key[g.off:g.off+g.n], side, addrBytes)
		case 'n', 's', 'i':
			g.desc = describe(key[g.off : g.off+g.n])
		case 'p':
			if g.n != 1 {
				g.class = '?' // the protocol twice in a row: nobody writes that
			}
		}
	}
	var b strings.Builder
	for _, g := range segs {
		b.WriteByte(g.class)
		b.WriteByte(byte(g.off))
		b.WriteByte(byte(g.n))
		b.WriteByte(byte(len(g.desc)))
		b.WriteString(g.desc)
	}
	sh.segs, sh.sig = segs, b.String()
	return sh
}

// address gives an address segment its place: only a whole address, and each
// side once, can be indexed.
func (sh *shape) address(key []sym, side kind, addrBytes int) byte {
	if len(key) != addrBytes {
		return '?'
	}
	for i, b := range key {
		if int(b.idx) != i {
			return '?'
		}
	}
	switch {
	case sh.sideA == symConst:
		sh.sideA = side
		return 'a'
	case sh.sideB == symConst && sh.sideA != side:
		sh.sideB = side
		return 'b'
	}
	return '?'
}

func describe(key []sym) string {
	b := make([]byte, len(key))
	for i, s := range key {
		b[i] = s.idx
	}
	return string(b)
}

// index finds the elements of a set that a key of one shape may match.
type index struct {
	shape
	a, b           int32 // constructs, by number; -1 if there is none
	aLists, bLists [][]int32
	buckets        map[bucket][]int32
	wild           []int32    // elements whose known part is no single value
	partA, partB   []int32    // of each element
	boxes          []protoNum // what services an element's key allows, once asked for
	boxed          []bool
}

type bucket struct {
	a, b  int32
	known string
}

// indexFor returns the index for a key. It is found by where the bytes of the key
// come from, so that the shape of a key that is looked up a million times is worked
// out once.
func (m *machine) indexFor(s *set, key []sym, dom uint8) *index {
	var buf [2*regBytes + 1]byte
	origin := append(buf[:0], dom)
	for _, b := range key {
		c := classOf(b)
		if c == 'c' {
			b.idx = 0
		}
		origin = append(origin, c, b.idx)
	}
	if ix, ok := s.origins[string(origin)]; ok {
		return ix
	}
	ix := m.indexOf(s, shapeOf(key, s.fields, addrLen(dom)), dom)
	s.origins[string(origin)] = ix
	return ix
}

// indexOf returns the index for a key's shape, building it at first use.
func (m *machine) indexOf(s *set, sh shape, dom uint8) *index {
	key := string([]byte{dom}) + sh.sig
	if ix, ok := s.indexes[key]; ok {
		return ix
	}
	ix := &index{shape: sh, a: -1, b: -1, buckets: map[bucket][]int32{}}
	ix.partA = make([]int32, len(s.elems))
	ix.partB = make([]int32, len(s.elems))
	for _, g := range sh.segs {
		switch g.class {
		case 'a':
			ix.a, ix.aLists = m.addressParts(s, g, dom, ix.partA, nil)
		case 'b':
			ix.b, ix.bLists = m.addressParts(s, g, dom, ix.partB, ix.partA)
		}
	}
	ix.fill(s)
	s.indexes[key] = ix
	return ix
}

// addressParts numbers the address ranges of a set's elements so that two ranges
// get one number if the rest of their elements is the same. A class map with
// 100,000 addresses and 300 classes has 300 numbers.
func (m *machine) addressParts(s *set, g segment, dom uint8, out, other []int32) (int32, [][]int32) {
	raw := map[string]int{}
	var ranges []part
	var rests [][]string
	for i := range s.elems {
		e := &s.elems[i]
		lo, hi := e.lo[g.off:g.off+g.n], e.hi[g.off:g.off+g.n]
		key := string(lo) + string(hi)
		r, ok := raw[key]
		if !ok {
			r = len(ranges)
			raw[key] = r
			ranges = append(ranges, part{lo: numberOf(lo), hi: numberOf(hi)})
			rests = append(rests, nil)
		}
		rests[r] = append(rests[r], restOf(e, g, other, i))
		out[i] = int32(r)
	}
	canon := map[string]int32{}
	for r, rest := range rests {
		slices.Sort(rest)
		key := strings.Join(slices.Compact(rest), "")
		id, ok := canon[key]
		if !ok {
			id = int32(len(canon))
			canon[key] = id
		}
		ranges[r].id = id
	}
	for i := range out {
		out[i] = ranges[out[i]].id
	}
	c, lists := cells(dom, ranges)
	m.cons = append(m.cons, c)
	return int32(len(m.cons) - 1), lists
}

// restOf is an element without one address part, as an unambiguous string.
func restOf(e *element, g segment, other []int32, i int) string {
	b := make([]byte, 0, 2*len(e.lo)+12)
	b = append(b, e.lo[:g.off]...)
	b = append(b, e.lo[g.off+g.n:]...)
	b = append(b, e.hi[:g.off]...)
	b = append(b, e.hi[g.off+g.n:]...)
	b = append(b, byte(e.datum), byte(e.datum>>8), byte(e.datum>>16), byte(e.datum>>24), 0)
	if e.opaque {
		b[len(b)-1] = 1
	}
	if other != nil {
		v := other[i]
		b = append(b, byte(v), byte(v>>8), byte(v>>16), byte(v>>24))
	}
	return string(b)
}

// fill puts each element where its known part and its address parts lead.
// Elements that differ in nothing but the address within one part are kept once.
func (ix *index) fill(s *set) {
	seen := map[string]bool{}
	for i := range s.elems {
		e := &s.elems[i]
		at := bucket{a: ix.partA[i], b: ix.partB[i]}
		exact := true
		var kn, rest []byte
		for _, g := range ix.segs {
			lo, hi := e.lo[g.off:g.off+g.n], e.hi[g.off:g.off+g.n]
			switch g.class {
			case 'c':
				exact = exact && string(lo) == string(hi)
				kn = append(kn, lo...)
			case 'a', 'b':
				continue
			}
			rest = append(append(rest, lo...), hi...)
		}
		rest = append(rest, byte(e.datum), byte(e.datum>>8), byte(e.datum>>16), byte(e.datum>>24))
		if ix.a >= 0 {
			key := listKey([]int32{at.a, at.b}) + string(rest)
			if seen[key] && !e.opaque {
				continue
			}
			seen[key] = true
		}
		if !exact {
			ix.wild = append(ix.wild, int32(i))
			continue
		}
		at.known = string(kn)
		ix.buckets[at] = append(ix.buckets[at], int32(i))
	}
}

// candidates appends the elements that agree with the known part of a key and
// with the values of its addresses.
func (ix *index) candidates(out []int32, s *set, key []sym, va, vb int32) []int32 {
	kn := make([]byte, 0, regBytes)
	for _, g := range ix.segs {
		if g.class == 'c' {
			for _, b := range key[g.off : g.off+g.n] {
				kn = append(kn, b.xor)
			}
		}
	}
	one := []int32{0}
	as, bs := one, one
	if ix.a >= 0 {
		as = ix.aLists[va]
	}
	if ix.b >= 0 {
		bs = ix.bLists[vb]
	}
	for _, a := range as {
		for _, b := range bs {
			out = append(out, ix.buckets[bucket{a, b, string(kn)}]...)
		}
	}
	for _, i := range ix.wild {
		if slices.Contains(as, ix.partA[i]) && slices.Contains(bs, ix.partB[i]) && ix.knownInside(&s.elems[i], key) {
			out = append(out, i)
		}
	}
	return out
}

// knownInside compares the known segments of a key with an element's ranges.
func (ix *index) knownInside(e *element, key []sym) bool {
	for _, g := range ix.segs {
		if g.class != 'c' {
			continue
		}
		v := make([]byte, g.n)
		for i := range v {
			v[i] = key[g.off+i].xor
		}
		if string(v) < string(e.lo[g.off:g.off+g.n]) || string(v) > string(e.hi[g.off:g.off+g.n]) {
			return false
		}
	}
	return true
}
