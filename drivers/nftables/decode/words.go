package decode

import (
	"encoding/binary"
	"slices"
)

// A mark or priority that a rule took out of a map by an address is kept as that
// function of the address, a word of its own kind, and not as one of its values:
// a site has tens of thousands of values on either side of a packet, and a state
// for each pair of them would never come to an end. A value is asked for where a
// rule looks at it, and only as far as the rule looks: the masked bits that it
// compares, or the pair that it looks up.

// fnWord marks words that are functions of an address: the number of the wordFn
// is in the low bits.
const fnWord word = 1 << 34

func (w word) fn() (int32, bool) {
	return int32(w &^ fnWord), w&fnWord != 0
}

// wordFn is a function of one end of the flow. The construct numbers its values,
// and machine.conWords gives the word of each.
type wordFn struct {
	axis axis
	con  int32
}

func (m *machine) fnWord(f wordFn) word {
	words := m.conWords[f.con]
	if len(words) == 1 {
		return word(words[0])
	}
	id, ok := m.fnKey[f]
	if !ok {
		id = int32(len(m.fns))
		m.fns = append(m.fns, f)
		m.fnKey[f] = id
	}
	return fnWord | word(id)
}

// wordCon makes a construct whose values are words. Equal words get one value, in
// order of first appearance along the line.
func (m *machine) wordCon(key string, build func(push func(at u128, w uint32)) uint8) int32 {
	var words []uint32
	id := m.construct(key, func() *construct {
		index := map[uint32]int32{}
		c := &construct{}
		c.dom = build(func(at u128, w uint32) {
			v, ok := index[w]
			if !ok {
				v = int32(len(words))
				index[w] = v
				words = append(words, w)
			}
			if len(c.starts) == 0 {
				c.starts, c.vals = append(c.starts, at), append(c.vals, v)
				return
			}
			c.push(at, v)
		})
		c.n = int32(len(words))
		return c
	})
	if words != nil {
		m.conWords[id] = words
	}
	return id
}

// maskedCon is a construct of words under and, then exclusive or.
func (m *machine) maskedCon(con int32, and, xor uint32) int32 {
	if and == ^uint32(0) && xor == 0 {
		return con
	}
	key := wordKey{con: con, and: and, xor: xor}
	if id, ok := m.maskKey[key]; ok {
		return id
	}
	words := m.conWords[con]
	index := map[uint32]int32{}
	var out []uint32
	c := m.cons[con]
	masked := &construct{dom: c.dom, of: c, by: make([]int32, len(words))}
	for i, w := range words {
		v, ok := index[w&and^xor]
		if !ok {
			v = int32(len(out))
			index[w&and^xor] = v
			out = append(out, w&and^xor)
		}
		masked.by[i] = v
	}
	masked.n = int32(len(out))
	id := int32(len(m.cons))
	m.cons = append(m.cons, masked)
	m.conWords[id] = out
	m.derive(id, con, func(v int) int32 { return masked.by[v] })
	m.looks[id] = look{con: con, and: and, xor: xor}
	m.maskKey[key] = id
	return id
}

// wordKey is what is done with a construct of words.
type wordKey struct {
	con      int32
	and, xor uint32
}

// derivation says that a construct is a function of another one: by gives its
// value for each value of base. Base itself is derived from none.
type derivation struct {
	base int32
	by   []int32
}

// derive notes that id is a function of con.
func (m *machine) derive(id, con int32, of func(v int) int32) {
	d := derivation{base: con}
	if up, ok := m.derived[con]; ok {
		d.base = up.base
		for _, v := range up.by {
			d.by = append(d.by, of(int(v)))
		}
	} else {
		for v := range m.cons[con].n {
			d.by = append(d.by, of(int(v)))
		}
	}
	m.derived[id] = d
}

// wordTest is the construct that tells whether masked bits of a word have a
// value. Where all words answer alike, the answer comes instead.
func (m *machine) wordTest(con int32, mask, val uint32) (test int32, always, constant bool) {
	key := wordKey{con, mask, val}
	t, ok := m.testKey[key]
	if !ok {
		t.test, t.always, t.constant = m.newWordTest(con, mask, val)
		m.testKey[key] = t
	}
	return t.test, t.always, t.constant
}

// wordAnswer is what wordTest found out.
type wordAnswer struct {
	test             int32
	always, constant bool
}

func (m *machine) newWordTest(con int32, mask, val uint32) (test int32, always, constant bool) {
	words := m.conWords[con]
	yes := 0
	for _, w := range words {
		if w&mask == val {
			yes++
		}
	}
	if yes == 0 || yes == len(words) {
		return -1, yes > 0, true
	}
	c := m.cons[con]
	out := &construct{dom: c.dom, n: 2, of: c, by: make([]int32, len(words))}
	for i, w := range words {
		if w&mask == val {
			out.by[i] = 1
		}
	}
	test = int32(len(m.cons))
	m.cons = append(m.cons, out)
	m.derive(test, con, func(v int) int32 { return out.by[v] })
	m.looks[test] = look{con: con, and: mask, is: val, test: true}
	return test, false, false
}

// symWord is the first kind of register bytes that come out of a function of an
// address: byte idx of the function in slot kind-symWord of the run.
const symWord kind = 32

func (s sym) fromWord() bool { return s.kind >= symWord }

// putWordFn stores such a function in a register.
func (r *run) putWordFn(t *track, at int, fn int32) {
	slot := slices.Index(r.slots, fn)
	if slot < 0 {
		slot = len(r.slots)
		if int(symWord)+slot > 255 {
			t.regs.putOpaque(at, 4)
			return
		}
		r.slots = append(r.slots, fn)
	}
	for i := range 4 {
		t.regs[at+i] = from(symWord+kind(slot), i)
	}
}

// fnOf gives the function that a register byte comes from.
func (r *run) fnOf(k kind) wordFn { return r.m.fns[r.slots[k-symWord]] }

// settled asks for the value of every bit in a key that comes out of a function
// of an address, and puts the values there.
func (r *run) settled(key []sym) ([]sym, bool) {
	if !slices.ContainsFunc(key, sym.fromWord) {
		return key, true
	}
	out := slices.Clone(key)
	for i := range out {
		if !out[i].fromWord() {
			continue
		}
		k := out[i].kind
		var mask [4]byte
		for _, s := range out {
			if s.kind == k {
				mask[s.idx] |= s.and
			}
		}
		f := r.fnOf(k)
		if f.axis == axisNamed {
			var b [4]byte
			binary.NativeEndian.PutUint32(b[:], r.m.reveal(r.m.tails.names[f.con], binary.NativeEndian.Uint32(mask[:])))
			for j, s := range out {
				if s.kind == k {
					out[j] = konst(b[s.idx]&s.and ^ s.xor)
				}
			}
			continue
		}
		con := r.m.maskedCon(f.con, binary.NativeEndian.Uint32(mask[:]), 0)
		words := r.m.conWords[con]
		v := int32(0)
		if len(words) > 1 {
			var ok bool
			if v, ok = r.fact(f.axis, con); !ok {
				return nil, false
			}
		}
		var b [4]byte
		binary.NativeEndian.PutUint32(b[:], words[v])
		for j, s := range out {
			if s.kind == k {
				out[j] = konst(b[s.idx]&s.and ^ s.xor)
			}
		}
	}
	return out, true
}

// settleRegs does the same for registers in place.
func (r *run) settleRegs(t *track, at, n int) bool {
	key, ok := r.settled(t.regs[at : at+n])
	if ok {
		copy(t.regs[at:at+n], key)
	}
	return ok
}

// wordAt reads a 32-bit register that is stored: a number, a function of an
// address, or anyWord.
func (r *run) wordAt(t *track, at int) (word, bool) {
	if n, ok := r.namedKey(t.regs[at : at+4]); ok {
		return r.m.nameWord(n), true
	}
	if !slices.ContainsFunc(t.regs[at:at+4], sym.fromWord) {
		return t.regs.word(at), true
	}
	k, and, xor, whole := wholeWord(t.regs[at : at+4])
	if !whole {
		if !r.settleRegs(t, at, 4) {
			return 0, false
		}
		return t.regs.word(at), true
	}
	f := r.fnOf(k)
	f.con = r.m.maskedCon(f.con, and, xor)
	return r.m.fnWord(f), true
}

// wholeWord recognises four bytes that are those of one function of an address, in
// their order.
func wholeWord(key []sym) (k kind, and, xor uint32, ok bool) {
	var a, x [4]byte
	for i, s := range key {
		if s.and != 0 {
			if !s.fromWord() || ok && s.kind != k || int(s.idx) != i {
				return 0, 0, 0, false
			}
			k, ok = s.kind, true
		}
		a[i], x[i] = s.and, s.xor
	}
	return k, binary.NativeEndian.Uint32(a[:]), binary.NativeEndian.Uint32(x[:]), ok
}

// equalWords answers whether the bytes of a key that come out of functions of
// addresses are those of data.
func (r *run) equalWords(key []sym, data []byte) (holds, ok bool) {
	for i, s := range key {
		if !s.fromWord() || slices.ContainsFunc(key[:i], func(p sym) bool { return p.kind == s.kind }) {
			continue
		}
		var p pattern
		for j, b := range key {
			if b.kind == s.kind && !p.add(b, data[j]) {
				return false, true
			}
		}
		f := r.fnOf(s.kind)
		mask, val := binary.NativeEndian.Uint32(p.mask[:4]), binary.NativeEndian.Uint32(p.val[:4])
		if f.axis == axisNamed {
			if !r.m.ask(question{naming: r.m.tails.names[f.con], mask: mask, val: val}).holds {
				return false, true
			}
			continue
		}
		test, always, constant := r.m.wordTest(f.con, mask, val)
		if constant {
			if !always {
				return false, true
			}
			continue
		}
		v, ok := r.fact(f.axis, test)
		if !ok {
			return false, false
		}
		if v == 0 {
			return false, true
		}
	}
	return true, true
}
