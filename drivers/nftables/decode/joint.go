package decode

import (
	"encoding/binary"
	"slices"
)

// axisPair is the axis of lookups that take a word of either end of the flow. Its
// needs name a joint.
const axisPair axis = 4

// joint is a lookup whose key is made of a word of the source and a word of the
// destination: what it finds is a function of the pair of values that two
// constructs give.
type joint struct {
	set  *set
	a, b int32 // constructs on the source and on the destination
	// found gives the datum+1 that a pair of values finds; absent is a miss, which is
	// value 0.
	found map[[2]int32]int32
	data  []int32 // the values that can be found, in order
	rep   map[int32]*element
}

// at is the value of the joint for a pair of values.
func (j *joint) at(a, b int32) int32 { return j.found[[2]int32{a, b}] }

// side is the part of a key that one end's word makes up.
type side struct {
	used     bool
	fn       wordFn
	and, xor [4]byte
	at       [4]int8 // byte of the word -> place in the key, or -1
}

// pairOf recognises a key that is made of a word of the source, a word of the
// destination and known bytes.
func (r *run) pairOf(s *set, key []sym) (id int32, ok bool) {
	if !s.exact {
		return 0, false
	}
	var sides [2]side
	kinds := [2]kind{}
	var buf [regBytes]byte
	known := buf[:len(key)] // the bytes that are known; others zero
	for i, b := range key {
		if b.and == 0 {
			known[i] = b.xor
			continue
		}
		if !b.fromWord() {
			return 0, false
		}
		f := r.fnOf(b.kind)
		if f.axis == axisNamed {
			return 0, false
		}
		x := &sides[f.axis]
		if !x.used {
			*x = side{used: true, fn: f, at: [4]int8{-1, -1, -1, -1}}
			kinds[f.axis] = b.kind
		}
		if kinds[f.axis] != b.kind || x.at[b.idx] >= 0 {
			return 0, false
		}
		x.at[b.idx], x.and[b.idx], x.xor[b.idx] = int8(i), b.and, b.xor
	}
	if !sides[axisSrc].used || !sides[axisDst].used {
		return 0, false
	}
	return r.m.jointOf(s, known, &sides)
}

func (m *machine) jointOf(s *set, known []byte, sides *[2]side) (int32, bool) {
	key := jointKey{set: s, sides: *sides}
	copy(key.known[:], known)
	if id, ok := m.jointKey[key]; ok {
		return id, id >= 0
	}
	id := m.newJoint(s, known, sides)
	m.jointKey[key] = id
	return id, id >= 0
}

// jointKey is a set and what its key is made of.
type jointKey struct {
	set   *set
	known [regBytes]byte
	sides [2]side
}

// newJoint reads a set as a table of pairs. It returns -1 if a match may stop the
// rule.
func (m *machine) newJoint(s *set, known []byte, sides *[2]side) int32 {
	j := &joint{set: s, found: make(map[[2]int32]int32, len(s.elems)), rep: map[int32]*element{}}
	var index [2]map[uint32]int32
	cons := [2]*int32{&j.a, &j.b}
	free := make([]bool, len(known)) // bytes that a word makes up
	for k := range sides {
		x := &sides[k]
		*cons[k] = m.maskedCon(x.fn.con, binary.NativeEndian.Uint32(x.and[:]), 0)
		index[k] = map[uint32]int32{}
		for v, w := range m.conWords[*cons[k]] {
			index[k][w] = int32(v)
		}
		for _, at := range x.at {
			if at >= 0 {
				free[at] = true
			}
		}
	}
	for i := range s.elems {
		e := &s.elems[i]
		if e.opaque {
			return -1
		}
		var vals [2]int32
		fits := true
		for k := range sides {
			w, ok := sides[k].of(e.lo)
			v, held := index[k][w]
			fits = fits && ok && held
			vals[k] = v
		}
		for at, b := range e.lo {
			fits = fits && (free[at] || b == known[at])
		}
		if !fits {
			continue // no packet has this key
		}
		d := e.datum + 1
		j.found[vals] = d
		if j.rep[d] == nil {
			j.rep[d] = e
			j.data = append(j.data, d)
		}
	}
	slices.Sort(j.data)
	m.joints = append(m.joints, j)
	return int32(len(m.joints) - 1)
}

// of reads the masked word that a key asks for; ok is not set if no word has it.
func (x *side) of(key []byte) (w uint32, ok bool) {
	var b [4]byte
	for i, at := range x.at {
		if at < 0 {
			continue
		}
		b[i] = key[at] ^ x.xor[i]
		if b[i]&^x.and[i] != 0 {
			return 0, false
		}
	}
	return binary.NativeEndian.Uint32(b[:]), true
}

// lookUpPair answers a lookup by a pair of words.
func (r *run) lookUpPair(t *track, id int32) ([]match, bool) {
	v, ok := r.fact(axisPair, id)
	if !ok {
		return nil, false
	}
	if v == 0 {
		return nil, true
	}
	return []match{{svc: t.svc, elem: r.m.joints[id].rep[v], sure: true}}, true
}
