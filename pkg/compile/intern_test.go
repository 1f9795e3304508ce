package compile

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"bulkhead/internal/tries"
)

// Equal lists have one number, different ones different numbers, in the order in
// which they came, and the list is found again under its number.
func TestInterner(t *testing.T) {
	tries.Check(t, func(t *rapid.T) {
		var in interner[int32]
		for range rapid.IntRange(1, 2).Draw(t, "rounds") {
			in.reset()
			want := map[string]int32{}
			for range rapid.IntRange(0, 300).Draw(t, "lists") {
				list := rapid.SliceOfN(rapid.Int32Range(-1, 3), 0, 5).Draw(t, "list")
				n, isNew := in.number(list)
				old, known := want[fmt.Sprint(list)]
				if known == isNew || known && old != n || !known && int(n) != len(want) {
					t.Fatalf("%v has number %d (new: %v), had %d (%v)", list, n, isNew, old, known)
				}
				want[fmt.Sprint(list)] = n
				if !equal(in.at(n), list) {
					t.Fatalf("number %d is %v, not %v", n, in.at(n), list)
				}
			}
			if in.len() != len(want) {
				t.Fatalf("%d lists, want %d", in.len(), len(want))
			}
		}
	})
}

// Lists whose hashes are one are still told apart.
func TestInternerCollision(t *testing.T) {
	var in interner[int32]
	in.number([]int32{1})
	in.hashes[0] = hashOf([]int32{2})
	in.grow() // files the first list under the second one's hash
	if n, isNew := in.number([]int32{2}); n != 1 || !isNew {
		t.Errorf("a list was taken for another one with its hash: %d %v", n, isNew)
	}
}
