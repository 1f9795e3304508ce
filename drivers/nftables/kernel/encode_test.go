package kernel

import (
	"bytes"
	"testing"

	"bulkhead/drivers/nftables/ruleset"
)

// TestPlainElementsAreEncodedAsAll holds the short way for elements of a key and
// data against the general one, of every length and over old bytes.
func TestPlainElementsAreEncodedAsAll(t *testing.T) {
	for keyLen := 1; keyLen <= maxData; keyLen++ {
		for dataLen := 0; dataLen <= 17; dataLen++ {
			e := ruleset.Element{Key: bytes.Repeat([]byte{7}, keyLen), Data: bytes.Repeat([]byte{9}, dataLen)}
			var b Batch
			used := bytes.Repeat([]byte{0xaa}, 256)[:0]
			got := b.appendElement(used, &batchOp{}, &e, true)
			want, at := openNest(nil, nftaListElem)
			want = appendKey(want, &e)
			want = appendElementData(want, &e)
			closeNest(want, at)
			if !bytes.Equal(got, want) {
				t.Fatalf("key of %d bytes, data of %d:\n%x, want\n%x", keyLen, dataLen, got, want)
			}
		}
	}
}
