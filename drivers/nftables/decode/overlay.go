package decode

import (
	"encoding/binary"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"
)

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
	if m.over[id] == nil {
		m.over[id] = []string{s.rs.Name}
		if base >= 0 {
			m.over[id] = append(slices.Clone(m.over[base]), s.rs.Name)
		}
	}
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
