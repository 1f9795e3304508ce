package kernel

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
)

// errMalformed is what a decoder says of bytes that are no netlink message.
var errMalformed = errors.New("malformed netlink message")

// attrs walks a run of netlink attributes (struct nlattr). The first thing that
// is wrong ends the walk and stays in err, so that a decoder checks it once.
type attrs struct {
	rest []byte
	typ  uint16 // without NLA_F_NESTED and NLA_F_NET_BYTEORDER
	val  []byte // the payload; it aliases the message
	err  error
}

// walk begins a walk over b.
func walk(b []byte) attrs { return attrs{rest: b} }

// next steps to the next attribute; false at the end and after an error.
func (a *attrs) next() bool {
	if a.err != nil || len(a.rest) == 0 {
		return false
	}
	if len(a.rest) < nlaHdrLen {
		a.err = fmt.Errorf("%w: %d bytes after the last attribute", errMalformed, len(a.rest))
		return false
	}
	n := int(binary.NativeEndian.Uint16(a.rest))
	if n < nlaHdrLen || n > len(a.rest) {
		a.err = fmt.Errorf("%w: attribute of %d bytes in %d", errMalformed, n, len(a.rest))
		return false
	}
	a.typ = binary.NativeEndian.Uint16(a.rest[2:]) & nlaTypeMask
	a.val = a.rest[nlaHdrLen:n:n]
	a.rest = a.rest[min(align(n), len(a.rest)):]
	return true
}

// wrong records that the current attribute has an unexpected length.
func (a *attrs) wrong(want string) {
	if a.err == nil {
		a.err = fmt.Errorf("%w: attribute %d has %d bytes, want %s", errMalformed, a.typ, len(a.val), want)
	}
}

// u8, u16, u32 and u64 read the current attribute as a big-endian number, as
// nf_tables, ctnetlink and nfnetlink_log write them.
func (a *attrs) u8() uint8 {
	if len(a.val) != 1 {
		a.wrong("1")
		return 0
	}
	return a.val[0]
}

func (a *attrs) u16() uint16 {
	if len(a.val) != 2 {
		a.wrong("2")
		return 0
	}
	return binary.BigEndian.Uint16(a.val)
}

func (a *attrs) u32() uint32 {
	if len(a.val) != 4 {
		a.wrong("4")
		return 0
	}
	return binary.BigEndian.Uint32(a.val)
}

func (a *attrs) u64() uint64 {
	if len(a.val) != 8 {
		a.wrong("8")
		return 0
	}
	return binary.BigEndian.Uint64(a.val)
}

// str reads the current attribute as a string that ends at the first NUL.
func (a *attrs) str() string {
	if i := bytes.IndexByte(a.val, 0); i >= 0 {
		return string(a.val[:i])
	}
	return string(a.val)
}

// sub hands the attributes nested in the current one to f.
func (a *attrs) sub(f func(in *attrs)) {
	in := walk(a.val)
	for in.next() {
		f(&in)
	}
	if a.err == nil {
		a.err = in.err
	}
}

// genmsg splits a payload into struct nfgenmsg and the attributes behind it.
func genmsg(payload []byte) (family uint8, resID uint16, in attrs, err error) {
	if len(payload) < nfgenLen {
		return 0, 0, attrs{}, fmt.Errorf("%w: %d bytes, too short for struct nfgenmsg", errMalformed, len(payload))
	}
	return payload[0], binary.BigEndian.Uint16(payload[2:]), walk(payload[nfgenLen:]), nil
}

// host16 is v as the network sees two bytes in host order.
func host16(v uint16) uint16 {
	return binary.BigEndian.Uint16(binary.NativeEndian.AppendUint16(nil, v))
}

func align(n int) int { return (n + nlmsgAlign - 1) &^ (nlmsgAlign - 1) }

// appendPad fills b up to a multiple of four.
func appendPad(b []byte) []byte {
	for len(b)%nlmsgAlign != 0 {
		b = append(b, 0)
	}
	return b
}

// appendAttr appends one attribute with its padding. The caller keeps the value
// under 65,532 bytes, the most that nlattr.nla_len can say.
func appendAttr(b []byte, typ uint16, val []byte) []byte {
	b = binary.NativeEndian.AppendUint16(b, uint16(nlaHdrLen+len(val)))
	b = binary.NativeEndian.AppendUint16(b, typ)
	return appendPad(append(b, val...))
}

// appendString appends a NUL-terminated string.
func appendString(b []byte, typ uint16, s string) []byte {
	b = binary.NativeEndian.AppendUint16(b, uint16(nlaHdrLen+len(s)+1))
	b = binary.NativeEndian.AppendUint16(b, typ)
	b = append(b, s...)
	return appendPad(append(b, 0))
}

func appendU16(b []byte, typ, v uint16) []byte {
	b = binary.NativeEndian.AppendUint16(b, nlaHdrLen+2)
	b = binary.NativeEndian.AppendUint16(b, typ)
	return append(binary.BigEndian.AppendUint16(b, v), 0, 0)
}

func appendU32(b []byte, typ uint16, v uint32) []byte {
	b = binary.NativeEndian.AppendUint16(b, nlaHdrLen+4)
	b = binary.NativeEndian.AppendUint16(b, typ)
	return binary.BigEndian.AppendUint32(b, v)
}

func appendU64(b []byte, typ uint16, v uint64) []byte {
	b = binary.NativeEndian.AppendUint16(b, nlaHdrLen+8)
	b = binary.NativeEndian.AppendUint16(b, typ)
	return binary.BigEndian.AppendUint64(b, v)
}

// openNest begins a nested attribute and returns where it begins, for closeNest.
func openNest(b []byte, typ uint16) ([]byte, int) {
	at := len(b)
	b = binary.NativeEndian.AppendUint16(b, 0)
	return binary.NativeEndian.AppendUint16(b, typ|nested), at
}

// closeNest writes the length of the nest that begins at at. It reports false
// where 16 bits do not hold it: the kernel would read a truncated list and say
// nothing.
func closeNest(b []byte, at int) bool {
	n := len(b) - at
	if n > 0xffff {
		return false
	}
	binary.NativeEndian.PutUint16(b[at:], uint16(n))
	return true
}

// appendHeader begins a message (struct nlmsghdr, struct nfgenmsg) and returns
// where, for closeMessage.
func appendHeader(b []byte, typ, flags uint16, seq uint32, family uint8, resID uint16) ([]byte, int) {
	at := len(b)
	b = binary.NativeEndian.AppendUint32(b, 0)
	b = binary.NativeEndian.AppendUint16(b, typ)
	b = binary.NativeEndian.AppendUint16(b, flags)
	b = binary.NativeEndian.AppendUint32(b, seq)
	b = binary.NativeEndian.AppendUint32(b, 0) // nlmsg_pid: the kernel knows the sender
	b = append(b, family, 0)                   // version NFNETLINK_V0
	return binary.BigEndian.AppendUint16(b, resID), at
}

// closeMessage writes the length of the message that begins at at.
func closeMessage(b []byte, at int) {
	binary.NativeEndian.PutUint32(b[at:], uint32(len(b)-at))
}
