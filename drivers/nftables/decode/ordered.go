package decode

import (
	"fmt"

	"golang.org/x/sys/unix"

	"bulkhead/pkg/packet"
)

// ordered answers a predicate on the order of a key's bytes. Only keys whose
// bytes all come from one origin can be ordered; others may go either way.
func (r *run) ordered(t *track, key []sym, f func([]byte) bool, o *op) (answer, bool) {
	key, ok := r.settled(key)
	if !ok {
		return answer{}, false
	}
	unsure := answer{t.svc, false}
	if b, ok := known(key, make([]byte, 0, regBytes)); ok {
		if f(b) {
			return answer{t.svc, true}, true
		}
		return answer{nil, true}, true
	}
	origin := symConst
	for _, s := range key {
		switch {
		case s.and == 0:
		case s.unknownByte() || s.kind == symOif || s.kind == symIfidx || s.kind == symIif:
			return unsure, true
		case origin != symConst && origin != s.kind:
			return unsure, true
		default:
			origin = s.kind
		}
	}
	buf := make([]byte, len(key))
	fill := func(at func(idx uint8) byte) []byte {
		for i, s := range key {
			buf[i] = s.xor
			if s.and != 0 {
				buf[i] = at(s.idx)&s.and ^ s.xor
			}
		}
		return buf
	}
	switch origin {
	case symProto:
		yes := protosWhere(func(p byte) bool { return f(fill(func(uint8) byte { return p })) })
		return answer{t.svc.Intersect(yes), true}, true
	case symNum:
		nums := r.m.numsOrdered(key, o, func(n uint32) bool {
			return f(fill(func(idx uint8) byte { return numByte(idx, n) }))
		})
		return answer{protoNum{0, 255, nums}.within(t.svc), true}, true
	case symSport:
		v, ok := r.sport(r.m.numsOrdered(key, o, func(n uint32) bool {
			return f(fill(func(idx uint8) byte { return numByte(idx, n) }))
		}))
		if !v {
			return answer{nil, true}, ok
		}
		return answer{t.svc, true}, ok
	}
	return r.orderedAddress(t, key, origin, o)
}

// numsOrdered remembers what an ordered comparison of a service number gives.
func (m *machine) numsOrdered(key []sym, o *op, f func(uint32) bool) []packet.Span {
	id := fmt.Sprintf("o%d %d %x %x %v", o.code, o.oper, o.data, o.data2, key)
	if v, ok := m.numRanges[id]; ok {
		return v
	}
	v := sweep(0xffff, f)
	m.numRanges[id] = v
	return v
}

// orderedAddress compares the leading bytes of an address: a run of addresses,
// or two.
func (r *run) orderedAddress(t *track, key []sym, side kind, o *op) (answer, bool) {
	n := addrLen(r.st.dom)
	for i, s := range key {
		if !s.plain() || s.kind != side || int(s.idx) != i || i >= n {
			return answer{t.svc, false}, true
		}
	}
	low, high := make([]byte, n), make([]byte, n)
	bound := func(data []byte) (lo, hi u128) {
		for i := range n {
			low[i], high[i] = 0, 0xff
			if i < len(data) {
				low[i], high[i] = data[i], data[i]
			}
		}
		return numberOf(low), numberOf(high)
	}
	lo, hi := bound(o.data)
	var run part
	zero, last := u128{}, domMax(r.st.dom)
	empty := false
	switch {
	case o.code == opRange:
		_, to := bound(o.data2)
		run = part{lo: lo, hi: to}
		empty = to.cmp(lo) < 0
	case o.oper == unix.NFT_CMP_LT:
		run, empty = part{lo: zero, hi: lo.prev()}, lo == zero
	case o.oper == unix.NFT_CMP_LTE:
		run = part{lo: zero, hi: hi}
	case o.oper == unix.NFT_CMP_GT:
		run, empty = part{lo: hi.next(), hi: last}, hi == last
	default:
		run = part{lo: lo, hi: last}
	}
	if empty {
		return answer{nil, true}, true
	}
	v, ok := r.address(side, r.m.member(r.st.dom, []part{run}))
	if v == 0 {
		return answer{nil, true}, ok
	}
	return answer{t.svc, true}, ok
}
