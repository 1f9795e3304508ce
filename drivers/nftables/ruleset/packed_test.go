package ruleset

import (
	"reflect"
	"testing"
	"time"

	"pgregory.net/rapid"

	"bulkhead/internal/tries"
)

func drawElement(t *rapid.T) Element {
	part := func(name string) []byte {
		if rapid.Bool().Draw(t, name+" is there") {
			return rapid.SliceOfN(rapid.Byte(), 0, 20).Draw(t, name)
		}
		return nil
	}
	e := Element{Key: part("key"), KeyEnd: part("key end"), Data: part("data"), UserData: part("user data"),
		Object: rapid.String().Draw(t, "object"), Flags: rapid.Uint32().Draw(t, "flags"),
		Timeout: time.Duration(rapid.Int64().Draw(t, "timeout")), Expiration: time.Duration(rapid.Int64().Draw(t, "expiration")),
		Packets: rapid.Uint64().Draw(t, "packets"), Bytes: rapid.Uint64().Draw(t, "bytes"),
		HasCounter: rapid.Bool().Draw(t, "counter"), Opaque: rapid.Bool().Draw(t, "opaque")}
	if rapid.Bool().Draw(t, "verdict") {
		e.Verdict = &Verdict{Code: rapid.Int32().Draw(t, "code"), Chain: rapid.String().Draw(t, "chain")}
	}
	return e
}

// What is written down is what is read back, every field of it: a field that is added to
// Element and forgotten here would be lost from every state that a rollback restores.
func TestPackedElements(t *testing.T) {
	if n := reflect.TypeFor[Element]().NumField(); n != 13 {
		t.Fatalf("an element has %d fields: write the new ones down, and draw them", n)
	}
	tries.Check(t, func(t *rapid.T) {
		want := rapid.SliceOfN(rapid.Custom(drawElement), 1, 5).Draw(t, "elements")
		b := PackElements(want)
		got, err := UnpackElements(b)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Fatalf("%+v\n%+v\n%v", want, got, err)
		}
		cut := rapid.IntRange(0, len(b)-1).Draw(t, "cut")
		if _, err := UnpackElements(b[:cut]); err == nil {
			t.Fatalf("a part of %d bytes of %d is taken for all", cut, len(b))
		}
	})
}

func FuzzUnpackElements(f *testing.F) {
	f.Add(PackElements([]Element{{Key: []byte{1}, Verdict: &Verdict{Code: -3, Chain: "x"}}, {}}))
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := UnpackElements(b)
		if err != nil {
			return
		}
		again, err := UnpackElements(PackElements(got))
		if err != nil || !reflect.DeepEqual(got, again) && len(got) > 0 {
			t.Errorf("%+v, again %+v %v", got, again, err)
		}
	})
}
