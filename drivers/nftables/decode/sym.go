package decode

import "encoding/binary"

// kind says where a byte in a register came from.
type kind uint8

const (
	symConst  kind = iota
	symSrc         // byte idx of the flow's source address
	symDst         // byte idx of the flow's destination address
	symProto       // the protocol of the service
	symNum         // byte idx of the service's number: 0 high, 1 low, 2 the answering ICMP type
	symSport       // byte idx of the flow's source port
	symIif         // byte idx of the incoming interface's name
	symOif         // byte idx of an outgoing interface's name: not "lo", else unknown
	symIfidx       // byte idx of an interface index: not the loopback's, else unknown
	symOpaque      // anything
	symUnset       // never written by this rule
)

// sym is one byte of a register: (x & and) ^ xor, where x is the byte that kind
// and idx name. and is zero exactly if the byte is known.
type sym struct {
	kind     kind
	idx      uint8
	and, xor uint8
}

func konst(b byte) sym { return sym{xor: b} }

func from(k kind, idx int) sym { return sym{kind: k, idx: uint8(idx), and: 0xff} }

func opaque() sym { return sym{kind: symOpaque, and: 0xff} }

// unknownByte reports whether nothing is known of where the byte came from.
func (s sym) unknownByte() bool { return s.kind == symOpaque || s.kind == symUnset }

// masked applies a mask and an exclusive or.
func (s sym) masked(mask, xor byte) sym {
	s.and &= mask
	s.xor = s.xor&mask ^ xor
	if s.and == 0 {
		s.kind, s.idx = symConst, 0
	}
	return s
}

// plain reports whether the byte is x itself.
func (s sym) plain() bool { return s.and == 0xff && s.xor == 0 }

// registers is the register file. Nothing in it survives a rule: nft always
// loads before it compares, and a rule that reads what it did not write reads an
// unknown value here.
type registers [regBytes]sym

func (r *registers) reset() {
	for i := range r {
		r[i] = sym{kind: symUnset, and: 0xff}
	}
}

// put stores bytes and zeroes the rest of the last word, as nft_data_copy and
// nft_reg_store8/16 do.
func (r *registers) put(at int, b []sym) {
	copy(r[at:], b)
	for i := at + len(b); i%4 != 0 && i < regBytes; i++ {
		r[i] = konst(0)
	}
}

func (r *registers) putBytes(at int, b []byte) {
	for i, c := range b {
		r[at+i] = konst(c)
	}
	for i := at + len(b); i%4 != 0 && i < regBytes; i++ {
		r[i] = konst(0)
	}
}

// putHost stores a 32-bit number in host order.
func (r *registers) putHost(at int, v uint32) {
	var b [4]byte
	binary.NativeEndian.PutUint32(b[:], v)
	r.putBytes(at, b[:])
}

// putWord stores a value that may be unknown, or a function of an address.
func (r *run) putWord(t *track, at int, w word) {
	if w.known() {
		t.regs.putHost(at, uint32(w))
		return
	}
	if id, ok := w.fn(); ok {
		r.putWordFn(t, at, id)
		return
	}
	t.regs.putOpaque(at, 4)
}

func (r *registers) putOpaque(at, n int) {
	for i := range n {
		if at+i < regBytes {
			r[at+i] = opaque()
		}
	}
}

// word reads a 32-bit number in host order; it is unknown unless all its bytes
// are known.
func (r *registers) word(at int) word {
	var b [4]byte
	for i := range b {
		if r[at+i].and != 0 {
			return anyWord
		}
		b[i] = r[at+i].xor
	}
	return word(binary.NativeEndian.Uint32(b[:]))
}

// known gives the bytes if all of them are known.
func known(key []sym, buf []byte) ([]byte, bool) {
	buf = buf[:0]
	for _, s := range key {
		if s.and != 0 {
			return nil, false
		}
		buf = append(buf, s.xor)
	}
	return buf, true
}

// word is a 32-bit number, or anyWord, which stands for one that is not known.
type word uint64

const (
	anyWord word = 1 << 32
	noWord  word = 1 << 33 // nothing was written
)

func (w word) known() bool { return w < anyWord }
