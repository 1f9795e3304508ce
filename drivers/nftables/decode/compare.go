package decode

import (
	"bytes"

	"golang.org/x/sys/unix"

	"bulkhead/pkg/packet"
)

// answer is for which services a predicate holds. Where sure is not set, the
// services in yes may or may not satisfy it, whatever is known.
type answer struct {
	yes  packet.Services
	sure bool
}

// compare executes cmp (nft_cmp_eval: memcmp of registers with data).
func (r *run) compare(t *track, o *op) bool {
	key := t.regs[o.sreg : o.sreg+o.n]
	var a answer
	var ok bool
	switch o.oper {
	case unix.NFT_CMP_EQ, unix.NFT_CMP_NEQ:
		a, ok = r.equal(t, key, o.data)
	default:
		a, ok = r.ordered(t, key, func(b []byte) bool {
			c := bytes.Compare(b, o.data)
			switch o.oper {
			case unix.NFT_CMP_LT:
				return c < 0
			case unix.NFT_CMP_LTE:
				return c <= 0
			case unix.NFT_CMP_GT:
				return c > 0
			}
			return c >= 0
		}, o)
	}
	return ok && r.branch(t, a, o.oper == unix.NFT_CMP_NEQ)
}

// between executes range.
func (r *run) between(t *track, o *op) bool {
	key := t.regs[o.sreg : o.sreg+o.n]
	a, ok := r.ordered(t, key, func(b []byte) bool {
		return bytes.Compare(b, o.data) >= 0 && bytes.Compare(b, o.data2) <= 0
	}, o)
	return ok && r.branch(t, a, o.oper == unix.NFT_RANGE_NEQ)
}

// branch goes on with the services for which a predicate holds and stops the
// rule for the others.
func (r *run) branch(t *track, a answer, negate bool) bool {
	no := without(t.svc, a.yes)
	yes := a.yes
	if !a.sure && len(yes) > 0 {
		cause := r.m.causeOf(r.st.pos, r.op)
		u := *t
		u.cause = cause
		r.keepOnly(&u, yes)
		r.breaks(&u, yes)
		yes = nil
	}
	if negate {
		yes, no = no, yes
	}
	r.keepOnly(t, yes)
	r.breaks(t, no)
	return true
}

// pattern is what an equality asks of the bytes of one origin.
type pattern struct {
	mask, val [nameLen]byte
	used      bool
}

func (p *pattern) add(s sym, want byte) bool {
	p.used = true
	w := (want ^ s.xor) & s.and
	if int(s.idx) >= len(p.mask) || (p.val[s.idx]^w)&p.mask[s.idx]&s.and != 0 {
		return false
	}
	p.mask[s.idx] |= s.and
	p.val[s.idx] |= w
	return true
}

// matches tests a value of the origin.
func (p *pattern) matches(idx int, b byte) bool { return (b^p.val[idx])&p.mask[idx] == 0 }

// equal answers whether the bytes of a key are those of data. Equality of the
// whole is equality of the parts, so each origin is asked by itself.
func (r *run) equal(t *track, key []sym, data []byte) (answer, bool) {
	var pats [symUnset + 1]pattern
	for i, s := range key {
		if (data[i]^s.xor)&^s.and != 0 {
			return answer{nil, true}, true // a known bit differs
		}
		if s.and != 0 && !s.unknownByte() && !s.fromWord() && !pats[s.kind].add(s, data[i]) {
			return answer{nil, true}, true // two demands on one byte
		}
		if s.and != 0 && s.unknownByte() {
			pats[symOpaque].used = true
		}
	}
	a := answer{t.svc, !pats[symOpaque].used}
	if p := &pats[symProto]; p.used {
		a.yes = a.yes.Intersect(r.m.protosMatching(p))
	}
	if p := &pats[symNum]; p.used && len(a.yes) > 0 {
		nums := r.m.numsWhere(p)
		a.yes = protoNum{0, 255, nums}.within(a.yes)
	}
	if len(a.yes) == 0 {
		return answer{nil, true}, true
	}
	if holds, ok := r.equalWords(key, data); !ok || !holds {
		return answer{nil, true}, ok
	}
	return r.equalRest(a, &pats)
}

// equalRest asks the axes that need facts. A certain no saves asking further.
func (r *run) equalRest(a answer, pats *[symUnset + 1]pattern) (answer, bool) {
	never := answer{nil, true}
	if p := &pats[symIif]; p.used {
		v, ok := r.fact(axisIface, -1)
		if !ok {
			return a, false
		}
		holds, exact := r.m.nameMatches(r.m.ifaces[v], p)
		if !holds {
			return never, true
		}
		a.sure = a.sure && exact
	}
	if p := &pats[symOif]; p.used {
		if isName(p, "lo") {
			return never, true
		}
		a.sure = false
	}
	if p := &pats[symIfidx]; p.used {
		if loopbackIndex(p) {
			return never, true
		}
		a.sure = false
	}
	for _, side := range []kind{symSrc, symDst} {
		p := &pats[side]
		if !p.used {
			continue
		}
		con, ok := r.m.prefixOf(r.st.dom, p)
		if !ok {
			a.sure = false
			continue
		}
		v, ok := r.address(side, con)
		if !ok {
			return a, false
		}
		if v == 0 {
			return never, true
		}
	}
	if p := &pats[symSport]; p.used {
		v, ok := r.sport(r.m.numsWhere(p))
		if !ok {
			return a, false
		}
		if !v {
			return never, true
		}
	}
	return a, true
}

// sport asks whether the source port lies in some runs.
func (r *run) sport(runs []packet.Span) (bool, bool) {
	parts := make([]part, len(runs))
	for i, s := range runs {
		parts[i] = part{lo: u128{0, uint64(s.Lo)}, hi: u128{0, uint64(s.Hi)}}
	}
	switch {
	case len(runs) == 0:
		return false, true
	case runs[0] == packet.Span{Lo: 0, Hi: 0xffff}:
		return true, true
	}
	v, ok := r.fact(axisPort, r.m.member(domPort, parts))
	return v != 0, ok
}

// isName reports whether a pattern is a whole name.
func isName(p *pattern, name string) bool {
	for i := range len(name) {
		if p.mask[i] != 0xff || p.val[i] != name[i] {
			return false
		}
	}
	return p.mask[len(name)] == 0xff && p.val[len(name)] == 0
}

// loopbackIndex reports whether a pattern is the index of the loopback
// interface, which is 1 in every network namespace.
func loopbackIndex(p *pattern) bool {
	var s registers
	s.putHost(0, 1)
	for i := range 4 {
		if p.mask[i] != 0xff || p.val[i] != s[i].xor {
			return false
		}
	}
	return true
}

// nameMatches compares a class of interfaces with a pattern. exact is not set if
// the pattern tests single bits, which classes cannot follow.
func (m *machine) nameMatches(f iface, p *pattern) (holds, exact bool) {
	n := 0
	for n < nameLen && p.mask[n] == 0xff {
		n++
	}
	for _, b := range p.mask[n:] {
		if b != 0 {
			return true, false
		}
	}
	return m.begins(f, p.val[:n]), true
}

// prefixOf makes the construct for a pattern on an address, if it asks for a
// prefix; other masks would cut the address space into too many pieces.
func (m *machine) prefixOf(dom uint8, p *pattern) (int32, bool) {
	n := addrLen(dom)
	ended := false
	hi := p.val
	for i := range n {
		b := p.mask[i]
		if ended && b != 0 || b != 0 && b|(b-1) != 0xff {
			return 0, false
		}
		ended = ended || b != 0xff
		hi[i] |= ^b
	}
	return m.member(dom, []part{{lo: numberOf(p.val[:n]), hi: numberOf(hi[:n])}}), true
}

// numsWhere collects the service numbers, or ports, that satisfy a pattern.
func (m *machine) numsWhere(p *pattern) []packet.Span {
	key := "p" + string(p.mask[:3]) + string(p.val[:3])
	if v, ok := m.numRanges[key]; ok {
		return v
	}
	v := sweep(0xffff, func(n uint32) bool {
		for i := range 3 {
			if p.mask[i] != 0 && !p.matches(i, numByte(uint8(i), n)) {
				return false
			}
		}
		return true
	})
	m.numRanges[key] = v
	return v
}

// protosMatching collects the services of the protocols that satisfy a pattern.
func (m *machine) protosMatching(p *pattern) packet.Services {
	key := [2]byte{p.mask[0], p.val[0]}
	s, ok := m.protoRanges[key]
	if !ok {
		s = protosWhere(func(b byte) bool { return p.matches(0, b) })
		m.protoRanges[key] = s
	}
	return s
}

// protosWhere collects the services of the protocols that satisfy f.
func protosWhere(f func(byte) bool) packet.Services {
	spans := sweep(255, func(v uint32) bool { return f(byte(v)) })
	for i := range spans {
		spans[i] = packet.Span{Lo: spans[i].Lo << 16, Hi: spans[i].Hi<<16 | 0xffff}
	}
	return spans
}
