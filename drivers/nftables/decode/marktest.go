package decode

import (
	"encoding/binary"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"
)

// markTest is what one rule does with the flow's mark: it compares it under a mask,
// or looks it up under a mask. Rules that do anything else with it (copy it, say)
// tell all marks apart.
type markTest struct {
	apart     bool
	mask, xor uint32
	data      []byte // to compare with, or
	set       string
}

// findMarkReads lists the rules that look at the flow's mark.
func (p *program) findMarkReads() {
	p.markReads = map[*rule]int{}
	for i := range p.chains {
		for k := range p.chains[i].rules {
			r := &p.chains[i].rules[k]
			if !loads(r, opCtLoad, unix.NFT_CT_MARK) {
				continue
			}
			p.markReads[r] = len(p.markTests)
			p.markTests = append(p.markTests, markTestOf(r))
		}
	}
	if len(p.markTests) > 64 {
		p.markReads, p.markTests = nil, nil
	}
}

// markTestOf recognises `ct mark [& m] == c` and `ct mark [& m] @set`: a load, the
// mask, and the test, one after the other, and nothing in the rule that reads the
// register again.
func markTestOf(r *rule) markTest {
	apart := markTest{apart: true}
	at := slices.IndexFunc(r.ops, func(o op) bool { return o.code == opCtLoad && o.key == unix.NFT_CT_MARK })
	reg, rest := r.ops[at].dreg, r.ops[at+1:]
	t := markTest{mask: ^uint32(0)}
	if len(rest) > 0 && rest[0].code == opBitwise && rest[0].oper == bitwiseMaskXor && rest[0].n == 4 && rest[0].sreg == reg && rest[0].dreg == reg {
		t.mask, t.xor = binary.NativeEndian.Uint32(rest[0].data), binary.NativeEndian.Uint32(rest[0].data2)
		rest = rest[1:]
	}
	if len(rest) == 0 || rest[0].sreg != reg {
		return apart
	}
	switch o := &rest[0]; {
	case o.code == opCmp && o.n == 4 && (o.oper == unix.NFT_CMP_EQ || o.oper == unix.NFT_CMP_NEQ):
		t.data = o.data
	case o.code == opLookup && o.oper != lookupVerdict && o.dreg < 0:
		t.set = o.set
	default:
		return apart
	}
	// A later read may be of another load into the register. It is taken for the mark.
	if slices.ContainsFunc(rest[1:], func(o op) bool { return o.sreg >= 0 || o.sreg2 >= 0 || o.code == opUnknown }) {
		return apart
	}
	return t
}

// readsAt gives the rules that look at the flow's mark and may still run.
func (m *machine) readsAt(pos, stack int32) uint64 {
	key := uint64(uint32(pos))<<32 | uint64(uint32(stack))
	if v, ok := m.readMemo[key]; ok {
		return v
	}
	f := m.live.flows[pos]
	out := f.reads
	fr := m.frames.list[stack]
	if fr.parent >= 0 && f.back {
		out |= m.readsAt(fr.ret, fr.parent)
	}
	if s := m.prog.steps[fr.step]; !s.last {
		next := fr.step + 1
		out |= m.readsAt(m.prog.chains[m.prog.steps[next].chain].off, m.frames.base(next))
	}
	m.readMemo[key] = out
	return out
}

// standFor gives a mark that fares like another one in all of some rules: the first
// such mark that was met.
func (m *machine) standFor(w word, reads uint64) word {
	if !w.known() || m.prog.markReads == nil {
		return w
	}
	key := standKey{w, reads}
	stand, ok := m.standOf[key]
	if !ok {
		stand = m.newStand(w, reads)
		m.standOf[key] = stand
	}
	return stand
}

// standKey is a mark and the rules that may still look at it.
type standKey struct {
	mark  word
	reads uint64
}

func (m *machine) newStand(w word, reads uint64) word {
	var native [4]byte
	sig := fmt.Sprintf("%x", reads)
	for k, t := range m.prog.markTests {
		if reads>>k&1 == 0 {
			continue
		}
		s := m.sets[t.set]
		if t.apart || t.data == nil && (s == nil || s.bad != "" || s.rs.KeyLen != 4) {
			return w
		}
		binary.NativeEndian.PutUint32(native[:], uint32(w)&t.mask^t.xor)
		if t.data != nil {
			sig += fmt.Sprintf(" %v", string(native[:]) == string(t.data))
			continue
		}
		for _, e := range s.holding(native[:]) {
			sig += fmt.Sprintf(" %d,%v", s.elems[e].datum, s.elems[e].opaque)
		}
		sig += ";"
	}
	stand, ok := m.stands[sig]
	if !ok {
		stand = w
		m.stands[sig] = w
	}
	return stand
}
