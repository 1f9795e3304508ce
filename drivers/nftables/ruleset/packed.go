package ruleset

import (
	"encoding/binary"
	"errors"
	"time"
)

// Elements are written down in a form of their own: a large table has hundreds of
// thousands, and a change must be in the journal before it is made.

// What an element has besides its bytes.
const (
	packVerdict = 1 << iota
	packCounter
	packOpaque
)

// PackElements writes elements down exactly.
func PackElements(elems []Element) []byte {
	size := 0
	for i := range elems {
		size += 24 + len(elems[i].Key) + len(elems[i].KeyEnd) + len(elems[i].Data) + len(elems[i].UserData)
	}
	b := binary.AppendUvarint(make([]byte, 0, size), uint64(len(elems)))
	for i := range elems {
		e := &elems[i]
		var has byte
		if e.Verdict != nil {
			has |= packVerdict
		}
		if e.HasCounter {
			has |= packCounter
		}
		if e.Opaque {
			has |= packOpaque
		}
		b = append(b, has)
		for _, part := range [][]byte{e.Key, e.KeyEnd, e.Data, e.UserData} {
			b = packBytes(b, part)
		}
		b = packBytes(b, []byte(e.Object))
		b = binary.AppendUvarint(b, uint64(e.Flags))
		b = binary.AppendVarint(b, int64(e.Timeout))
		b = binary.AppendVarint(b, int64(e.Expiration))
		b = binary.AppendUvarint(b, e.Packets)
		b = binary.AppendUvarint(b, e.Bytes)
		if e.Verdict != nil {
			b = binary.AppendVarint(b, int64(e.Verdict.Code))
			b = packBytes(b, []byte(e.Verdict.Chain))
		}
	}
	return b
}

// packBytes tells nil from nothing: an element without data is another one than one
// with none.
func packBytes(b, part []byte) []byte {
	if part == nil {
		return append(b, 0)
	}
	return append(binary.AppendUvarint(b, uint64(len(part))+1), part...)
}

// errPacked is all that can be said of bytes that are no elements.
var errPacked = errors.New("not elements as they are written down")

// UnpackElements reads what PackElements wrote.
func UnpackElements(b []byte) ([]Element, error) {
	u := unpacker{b: b}
	n := u.uvarint()
	const least = 11 // bytes of an element
	if n > uint64(len(b))/least+1 {
		return nil, errPacked
	}
	var out []Element
	if n > 0 {
		out = make([]Element, n)
	}
	for i := range out {
		e := &out[i]
		has := u.byte()
		e.Key, e.KeyEnd, e.Data, e.UserData = u.bytes(), u.bytes(), u.bytes(), u.bytes()
		e.Object = string(u.bytes())
		e.Flags = uint32(u.uvarint())
		e.Timeout, e.Expiration = time.Duration(u.varint()), time.Duration(u.varint())
		e.Packets, e.Bytes = u.uvarint(), u.uvarint()
		e.HasCounter, e.Opaque = has&packCounter != 0, has&packOpaque != 0
		if has&packVerdict != 0 {
			e.Verdict = &Verdict{Code: int32(u.varint()), Chain: string(u.bytes())}
		}
		if u.bad {
			return nil, errPacked
		}
	}
	if u.bad || len(u.b) > 0 {
		return nil, errPacked
	}
	return out, nil
}

type unpacker struct {
	b   []byte
	bad bool
}

func (u *unpacker) byte() byte {
	if len(u.b) == 0 {
		u.bad = true
		return 0
	}
	x := u.b[0]
	u.b = u.b[1:]
	return x
}

func (u *unpacker) uvarint() uint64 {
	x, n := binary.Uvarint(u.b)
	return next(u, x, n)
}

func (u *unpacker) varint() int64 {
	x, n := binary.Varint(u.b)
	return next(u, x, n)
}

func next[T any](u *unpacker, x T, n int) T {
	if n <= 0 {
		u.bad = true
		var none T
		return none
	}
	u.b = u.b[n:]
	return x
}

// bytes gives a part of what is read, not a copy.
func (u *unpacker) bytes() []byte {
	n := u.uvarint()
	if n == 0 || u.bad {
		return nil
	}
	if n--; n > uint64(len(u.b)) {
		u.bad = true
		return nil
	}
	x := u.b[:n:n]
	u.b = u.b[n:]
	return x
}
