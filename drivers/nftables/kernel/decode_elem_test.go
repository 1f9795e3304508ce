package kernel

import (
	"bytes"
	"math/rand"
	"reflect"
	"slices"
	"testing"

	"bulkhead/drivers/nftables/ruleset"
)

// FuzzElementDecoder holds the decoder that copies into blocks against the plain
// one, on real messages and on what becomes of them.
func FuzzElementDecoder(f *testing.F) {
	messages(f)
	var b Batch
	b.AddElements(inet, "t", "x", []ruleset.Element{{Key: be(1), Verdict: &ruleset.Verdict{Code: -3, Chain: "a"}, UserData: []byte{0, 2, 'c', 0}},
		{Key: be(2), KeyEnd: be(3), Data: host(4), HasCounter: true, Packets: 4, Bytes: 9, Timeout: 5e9, Expiration: 4e9}, {Key: be(3), Object: "quota"}})
	f.Add(b.buf[nlmsgHdrLen:])
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := decodeElements(bytes.Clone(data), nil)
		want, wantErr := referenceElements(bytes.Clone(data), nil)
		if (err == nil) != (wantErr == nil) {
			t.Fatalf("error %v, want %v", err, wantErr)
		}
		if err == nil && !sameDecoded(got, want) {
			t.Fatalf("%+v, want %+v", got, want)
		}
	})
}

// sameDecoded compares elements field by field, nil and empty bytes being equal.
func sameDecoded(a, b []ruleset.Element) bool {
	norm := func(el []ruleset.Element) []ruleset.Element {
		out := slices.Clone(el)
		for i := range out {
			for _, v := range []*[]byte{&out[i].Key, &out[i].KeyEnd, &out[i].Data, &out[i].UserData} {
				*v = append([]byte{}, *v...)
			}
		}
		return out
	}
	return len(a) == len(b) && reflect.DeepEqual(norm(a), norm(b))
}

// TestDecodedElementsOutliveTheBuffer overwrites the datagram, and appends to
// keys: no element may change by either.
func TestDecodedElementsOutliveTheBuffer(t *testing.T) {
	want := addresses(1500)
	var b Batch
	b.AddElements(inet, "t", "x", want)
	var d elementDecoder
	sent := bytes.Clone(b.buf)
	var got []ruleset.Element
	err := split(sent, func(m message) (err error) {
		got, err = d.decode(m.payload, got)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for i := range sent {
		sent[i] = 0xff
	}
	for i := range got {
		_ = append(got[i].Key, 0xee, 0xee, 0xee, 0xee)
	}
	sameElements(t, got, want)
}

func TestSortElements(t *testing.T) {
	r := rand.New(rand.NewSource(2))
	for round := range 300 {
		el := make([]ruleset.Element, r.Intn(40))
		for i := range el {
			el[i].Key = make([]byte, r.Intn(12))
			for j := range el[i].Key {
				el[i].Key[j] = byte(r.Intn(2))
			}
			el[i].Flags = uint32(r.Intn(2)) * ruleset.ElemIntervalEnd
			el[i].Packets = uint64(i)
		}
		want := slices.Clone(el)
		slices.SortStableFunc(want, func(a, b ruleset.Element) int { return compareElements(&a, &b) })
		sortElements(el)
		if !reflect.DeepEqual(el, want) {
			t.Fatalf("round %d: %+v, want %+v", round, el, want)
		}
	}
}
