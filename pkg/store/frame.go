package store

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
)

// A frame on disk: magic, length of the payload, number, hash of the frame
// before (of the header line for the first), hash of all that and the payload.
const (
	frameMagic  = "BHF\x01"
	frameSummed = 4 + 4 + 8 + sha256.Size
	frameHeader = frameSummed + sha256.Size
	maxPayload  = 1 << 30
)

type sum = [sha256.Size]byte

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// op puts or removes one value.
type op struct {
	remove bool
	bucket byte
	key    string
	value  []byte
	at     int // of the value in the payload
}

func encodeOps(ops []op) []byte {
	n := 0
	for _, o := range ops {
		n += 2 + 2*binary.MaxVarintLen32 + len(o.key) + len(o.value)
	}
	b := make([]byte, 0, n)
	for i := range ops {
		o := &ops[i]
		kind := byte('+')
		if o.remove {
			kind = '-'
		}
		b = append(b, kind, o.bucket)
		b = binary.AppendUvarint(b, uint64(len(o.key)))
		b = append(b, o.key...)
		if !o.remove {
			b = binary.AppendUvarint(b, uint64(len(o.value)))
			o.at = len(b)
			b = append(b, o.value...)
		}
	}
	return b
}

var errOps = errors.New("a transaction that cannot be read")

func decodeOps(b []byte) ([]op, error) {
	var ops []op
	at := 0
	field := func() ([]byte, bool) {
		n, w := binary.Uvarint(b[at:])
		if w <= 0 || n > uint64(len(b)-at-w) {
			return nil, false
		}
		at += w + int(n)
		return b[at-int(n) : at], true
	}
	for at < len(b) {
		if len(b)-at < 2 || b[at] != '+' && b[at] != '-' {
			return nil, errOps
		}
		o := op{remove: b[at] == '-', bucket: b[at+1]}
		at += 2
		key, ok := field()
		if !ok {
			return nil, errOps
		}
		o.key = string(key)
		if !o.remove {
			if o.value, ok = field(); !ok {
				return nil, errOps
			}
			o.at = at - len(o.value)
		}
		ops = append(ops, o)
	}
	return ops, nil
}

func encodeFrame(seq uint64, prev sum, payload []byte) ([]byte, sum, error) {
	if len(payload) > maxPayload {
		return nil, sum{}, fmt.Errorf("a transaction of %d bytes is too large; the limit is %d", len(payload), maxPayload)
	}
	b := make([]byte, frameHeader, frameHeader+len(payload))
	copy(b, frameMagic)
	binary.BigEndian.PutUint32(b[4:], uint32(len(payload)))
	binary.BigEndian.PutUint64(b[8:], seq)
	copy(b[16:], prev[:])
	s := frameSum(b, payload)
	copy(b[frameSummed:], s[:])
	return append(b, payload...), s, nil
}

func frameSum(header, payload []byte) (s sum) {
	h := sha256.New()
	h.Write(header[:frameSummed])
	h.Write(payload)
	h.Sum(s[:0])
	return s
}

// readFrame reads the frame that must follow (seq, prev). left bounds what is
// allocated, so that a damaged length cannot exhaust the memory.
func readFrame(r io.Reader, left int64, seq uint64, prev sum) (payload []byte, s sum, err error) {
	var h [frameHeader]byte
	if left < frameHeader {
		return nil, s, io.ErrUnexpectedEOF
	}
	if _, err := io.ReadFull(r, h[:]); err != nil {
		return nil, s, err
	}
	n := int64(binary.BigEndian.Uint32(h[4:]))
	switch {
	case string(h[:4]) != frameMagic:
		return nil, s, errors.New("no frame begins here")
	case binary.BigEndian.Uint64(h[8:]) != seq:
		return nil, s, errors.New("a frame is out of sequence")
	case !bytes.Equal(h[16:frameSummed], prev[:]):
		return nil, s, errors.New("a frame does not follow the one before it")
	case n > left-frameHeader || n > maxPayload:
		return nil, s, io.ErrUnexpectedEOF
	}
	payload = make([]byte, n)
	if _, err := io.ReadFull(r, payload); err != nil {
		return nil, s, err
	}
	if s = frameSum(h[:], payload); !bytes.Equal(s[:], h[frameSummed:]) {
		return nil, s, errors.New("a frame does not have the hash that it says")
	}
	return payload, s, nil
}
