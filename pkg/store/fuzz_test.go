package store

import (
	"bytes"
	"testing"
)

// Whatever the bytes are, decoding ends without a panic, and what is accepted is
// encoded to the same bytes again.
func FuzzDecoders(f *testing.F) {
	e, _ := encodeEntry(Entry{Seq: 1, Who: "a", Action: "b"}, sum{})
	f.Add(e)
	ops := []op{{bucket: 'l', key: "k", value: []byte("v")}, {remove: true, bucket: 'l', key: "k"}}
	f.Add(encodeOps(ops))
	line, _ := encodeHeader(header{Schema: 1, Site: "plant", Generation: 1})
	frame, _, _ := encodeFrame(1, newImage(header{}, line).last, encodeOps(ops[1:]))
	f.Add(append(line, frame...))
	h, _ := encodeHead(newImage(header{}, line).head())
	f.Add(h)
	f.Fuzz(func(t *testing.T, b []byte) {
		if e, _, err := decodeEntry(b); err == nil {
			var prev sum
			copy(prev[:], b[len(entryMagic)+8:])
			if again, _ := encodeEntry(e, prev); !bytes.Equal(again, b) {
				t.Errorf("entry %x became %x", b, again)
			}
		}
		if ops, err := decodeOps(b); err == nil {
			if again, err := decodeOps(encodeOps(ops)); err != nil || len(again) != len(ops) {
				t.Errorf("%x: %v", b, err)
			}
		}
		decodeHead(b)
		if m, err := scan(bytes.NewReader(b), int64(len(b)), "fuzz", 1); err == nil && m.end > int64(len(b)) {
			t.Errorf("a file of %d bytes is whole to %d", len(b), m.end)
		}
	})
}
