package compile

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"bulkhead/internal/tries"
	"bulkhead/inventory"
)

// Assets are found wherever they are, with any hint, in order of ID or not; and
// nothing else is.
func TestAssetPlaces(t *testing.T) {
	tries.Check(t, func(t *rapid.T) {
		text := rapid.StringOfN(rapid.RuneFrom([]rune("ab\x00")), 0, 12, -1)
		ids := rapid.SliceOfDistinct(text, rapid.ID[string]).Draw(t, "ids")
		prefix := rapid.SampledFrom([]string{"", "h", "machine-"}).Draw(t, "prefix")
		if rapid.Bool().Draw(t, "in order") {
			slices.Sort(ids)
		}
		assets := make([]inventory.Asset, len(ids))
		for i, id := range ids {
			assets[i].ID = prefix + id
		}
		p := placesOf(assets)
		asked := append(rapid.SliceOf(text).Draw(t, "others"), ids...)
		for _, id := range append(asked, prefix) {
			for _, id := range []string{id, prefix + id} {
				want := slices.IndexFunc(assets, func(a inventory.Asset) bool { return a.ID == id })
				at, ok := p.find(id, rapid.IntRange(0, len(ids)).Draw(t, "hint"))
				if ok != (want >= 0) || ok && at != want {
					t.Fatalf("find(%q) = %d, %v, want %d", id, at, ok, want)
				}
			}
		}
	})
}
