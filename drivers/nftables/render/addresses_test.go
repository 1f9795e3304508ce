package render

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"bulkhead/internal/tries"
)

// Places come out in order, whichever bytes of them differ. A byte that is taken for the
// same in all of them leaves runs in the wrong order, and the wrong run stretched over
// what lies between.
func TestSortPlaced(t *testing.T) {
	tries.Checks(t, 2000, func(t *rapid.T) {
		few := rapid.SampledFrom([]uint64{0, 1, 0x100, 0x10000, 0x0a000000, 0x0a000102, 0xff00ff, 1 << 63})
		list := rapid.SliceOfNDistinct(rapid.Custom(func(t *rapid.T) placed {
			return placed{hi: few.Draw(t, "hi"), lo: few.Draw(t, "lo") | few.Draw(t, "more")}
		}), 0, 12, func(p placed) placed { return p }).Draw(t, "places")
		want := slices.SortedFunc(slices.Values(list), func(a, b placed) int { return comparePlaced(&a, &b) })
		if got := sortPlaced(slices.Clone(list)); !slices.Equal(got, want) {
			t.Fatalf("%v, want %v", got, want)
		}
	})
}
