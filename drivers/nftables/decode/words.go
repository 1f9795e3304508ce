package decode

import (
	"encoding/binary"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"
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
	return test, false, false
}

// overlay is a rule that does nothing but put what a map says of an address into
// the mark or the priority: `meta mark set ip saddr map @m`. Where the map says
// nothing, the rule stops and the old word stays.
type overlay struct {
	dom    uint8
	offset uint32 // of the address in the network header
	set    string
	prio   bool
}

// overlayOf recognises such a rule. One that is written in another way is
// executed step by step.
func overlayOf(r *rule) *overlay {
	ops := r.ops
	if r.only == 0 || len(ops) != 5 {
		return nil
	}
	ops = ops[2:]
	load, look, set := &ops[0], &ops[1], &ops[2]
	if load.code != opPayload || load.base != unix.NFT_PAYLOAD_NETWORK_HEADER || load.n != addrLen(r.only) ||
		look.code != opLookup || look.invert || look.oper == lookupVerdict || look.sreg != load.dreg || look.dreg < 0 ||
		set.code != opMetaSet || set.sreg != look.dreg {
		return nil
	}
	if set.key != unix.NFT_META_MARK && set.key != unix.NFT_META_PRIORITY {
		return nil
	}
	return &overlay{dom: r.only, offset: load.offset, set: look.set, prio: set.key == unix.NFT_META_PRIORITY}
}

// runOverlay executes an overlay without asking for anything. It returns false if
// the rule has to be executed step by step.
func (r *run) runOverlay(st *state, o *overlay) bool {
	if r.concrete || st.dom != o.dom {
		return false
	}
	s := r.m.sets[o.set]
	if s == nil || s.bad != "" || s.catchall != nil || !s.rs.IsMap() || s.rs.DataLen != 4 || int(s.rs.KeyLen) != addrLen(st.dom) {
		return false
	}
	side := r.networkByte(int(o.offset))
	ax := axisSrc
	switch {
	case side.idx != 0 || !side.plain():
		return false
	case side.kind == symDst:
		ax = axisDst
	case side.kind != symSrc:
		return false
	}
	old := st.env.mark
	if o.prio {
		old = st.env.prio
	}
	base := int32(-1)
	if id, ok := old.fn(); ok {
		if r.m.fns[id].axis != ax {
			return false
		}
		base = r.m.fns[id].con
	} else if !old.known() {
		return false
	}
	con, ok := r.m.overlaid(s, st.dom, base, uint32(old))
	if !ok {
		return false
	}
	w := r.m.fnWord(wordFn{ax, con})
	out := outcome{svc: r.m.svc.sets[st.svc], env: st.env}
	if o.prio {
		out.env.prio = w
	} else {
		out.env.mark = w
	}
	r.outs = append(r.outs[:0], out)
	return true
}

// overlaid is the construct of a word that a map is laid over: the old words are
// those of base, or one word where base is negative.
func (m *machine) overlaid(s *set, dom uint8, base int32, old uint32) (int32, bool) {
	runs, ok := m.mapRuns(s, dom)
	if !ok {
		return 0, false
	}
	if base >= 0 {
		old = 0
	}
	if s.total {
		base, old = -1, 0 // nothing of the old word is left, and what it was makes no difference
	}
	key := overKey{s, dom, base, old}
	if id, ok := m.overKey[key]; ok {
		return id, true
	}
	id := m.wordCon(fmt.Sprintf("over %d %d %x %s", dom, base, old, s.rs.Name), func(push func(u128, uint32)) uint8 {
		below := &construct{starts: []u128{{}}, vals: []int32{0}}
		words := []uint32{old}
		if base >= 0 {
			below, words = m.cons[base].draw(), m.conWords[base]
		}
		at, b := u128{}, 0 // where the line has been written up to, and the run below there
		fill := func(to u128, all bool) {
			for all || at.cmp(to) < 0 {
				for b+1 < len(below.starts) && below.starts[b+1].cmp(at) <= 0 {
					b++
				}
				push(at, words[below.vals[b]])
				if b+1 == len(below.starts) {
					return
				}
				at = below.starts[b+1]
			}
		}
		for i := range runs {
			r := &runs[i]
			fill(r.lo, false)
			push(r.lo, r.word)
			if r.hi == domMax(dom) {
				return dom
			}
			at = r.hi.next()
		}
		fill(u128{}, true)
		return dom
	})
	m.overKey[key] = id
	return id, true
}

// overKey is a map that is laid over old words.
type overKey struct {
	s    *set
	dom  uint8
	base int32
	old  uint32
}

// wordRun is a run of addresses that a map gives one word.
type wordRun struct {
	lo, hi u128
	word   uint32
}

// mapRuns lists the elements of a map from addresses to words in order. It
// returns false for maps in which an address may find more than one, or in which
// a match may stop the rule.
func (m *machine) mapRuns(s *set, dom uint8) ([]wordRun, bool) {
	if s.runs != nil || s.unrun {
		return s.runs, !s.unrun
	}
	runs := make([]wordRun, 0, len(s.elems))
	for i := range s.elems {
		e := &s.elems[i]
		d := s.data[e.datum].data
		if e.opaque || len(d) != 4 {
			s.unrun = true
			return nil, false
		}
		runs = append(runs, wordRun{numberOf(e.lo), numberOf(e.hi), binary.NativeEndian.Uint32(d)})
	}
	slices.SortFunc(runs, func(a, b wordRun) int { return a.lo.cmp(b.lo) })
	for i := 1; i < len(runs); i++ {
		if runs[i].lo.cmp(runs[i-1].hi) <= 0 {
			s.unrun = true
			return nil, false
		}
	}
	s.runs = runs
	s.total = len(runs) > 0 && runs[0].lo == u128{} && runs[len(runs)-1].hi == domMax(dom)
	for i := 1; i < len(runs); i++ {
		s.total = s.total && runs[i-1].hi.next() == runs[i].lo
	}
	return runs, true
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
