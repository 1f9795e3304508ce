package decode

import "encoding/binary"

// bitwise executes nft_bitwise. It returns false if a fact is missing.
func (r *run) bitwise(t *track, o *op) bool {
	if o.oper != bitwiseMaskXor && (!r.settleRegs(t, o.sreg, o.n) || o.sreg2 >= 0 && !r.settleRegs(t, o.sreg2, o.n)) {
		return false
	}
	var buf [regBytes]sym
	src := buf[:o.n]
	copy(src, t.regs[o.sreg:o.sreg+o.n])
	dst := t.regs[o.dreg : o.dreg+o.n]
	switch o.oper {
	case bitwiseMaskXor:
		for i := range src {
			dst[i] = src[i].masked(o.data[i], o.data2[i])
		}
	case bitwiseAnd, bitwiseOr, bitwiseXor:
		for i := range src {
			if o.sreg2 < 0 {
				dst[i] = combine(o.oper, src[i], konst(o.data[i]))
			} else {
				dst[i] = combine(o.oper, src[i], t.regs[o.sreg2+i])
			}
		}
	default:
		shift(dst, src, binary.NativeEndian.Uint32(o.data), o.oper == bitwiseLshift)
	}
	r.keep(t)
	return true
}

// combine applies and, or, exclusive or to two bytes, if one of them is known.
func combine(oper uint32, a, b sym) sym {
	if a.and == 0 {
		a, b = b, a
	}
	if b.and != 0 {
		return opaque()
	}
	switch oper {
	case bitwiseAnd:
		return a.masked(b.xor, 0)
	case bitwiseOr:
		return a.masked(^b.xor, b.xor)
	}
	return a.masked(0xff, b.xor)
}

// shift moves bits over all words, the first word being the highest and each
// word in host order; only known bytes can be shifted.
func shift(dst, src []sym, by uint32, left bool) {
	words := len(src) / 4
	val := make([]uint32, words)
	buf, ok := known(src, make([]byte, 0, regBytes))
	if !ok || len(src)%4 != 0 || by == 0 || by >= 32 {
		for i := range dst {
			dst[i] = opaque()
		}
		return
	}
	for i := range val {
		val[i] = binary.NativeEndian.Uint32(buf[4*i:])
	}
	var carry uint32
	if left {
		for i := words - 1; i >= 0; i-- {
			val[i], carry = val[i]<<by|carry, val[i]>>(32-by)
		}
	} else {
		for i := range val {
			val[i], carry = carry|val[i]>>by, val[i]<<(32-by)
		}
	}
	for i, v := range val {
		binary.NativeEndian.PutUint32(buf[4*i:], v)
	}
	for i := range dst {
		dst[i] = konst(buf[i])
	}
}

// byteorder executes nft_byteorder: units of size bytes are turned round, as
// many as fit into the length. A length below one unit moves nothing, which is
// what nft emits for single bytes.
func byteorder(regs *registers, o *op) {
	if binary.NativeEndian.Uint16([]byte{0, 1}) == 1 {
		// The network's order is this machine's: a plain copy.
		copy(regs[o.dreg:o.dreg+o.n/int(o.key)*int(o.key)], regs[o.sreg:])
		return
	}
	size := int(o.key)
	for at := 0; at+size <= o.n; at += size {
		var unit [8]sym
		copy(unit[:size], regs[o.sreg+at:])
		for i := range size {
			regs[o.dreg+at+i] = unit[size-1-i]
		}
	}
}
