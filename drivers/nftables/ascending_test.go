package nftables

import (
	"reflect"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"bulkhead/drivers/nftables/ruleset"
	"bulkhead/internal/tries"
)

// Walking along two sorted lists finds the change that comparing by maps finds,
// which is done for lists in another order.
func TestDiffAscending(t *testing.T) {
	tries.Check(t, func(t *rapid.T) {
		draw := func(name string) *ruleset.Set {
			keys := rapid.SliceOfDistinct(rapid.IntRange(0, 12), rapid.ID[int]).Draw(t, name)
			slices.Sort(keys)
			s := &ruleset.Set{Name: "x"}
			for _, k := range keys {
				e := ruleset.Element{Key: []byte{byte(k)}, Data: []byte{rapid.SampledFrom([]byte{1, 2}).Draw(t, "data")}}
				if rapid.IntRange(0, 4).Draw(t, "end") == 0 {
					e.KeyEnd = []byte{byte(k + 1)}
				}
				if rapid.IntRange(0, 4).Draw(t, "timed") == 0 {
					e.Timeout, e.Expiration = time.Minute, rapid.SampledFrom([]time.Duration{time.Second, 30 * time.Second}).Draw(t, "left")
				}
				s.Elements = append(s.Elements, e)
			}
			return s
		}
		h, w := draw("have"), draw("want")
		got := diffElements(h, w)
		turned := &ruleset.Set{Name: "x", Elements: slices.Clone(w.Elements)}
		slices.Reverse(turned.Elements)
		want := diffElements(h, turned)
		if len(w.Elements) > 1 {
			slices.Reverse(want.add)
		}
		if !slices.EqualFunc(got.del, want.del, equalElement) || !slices.EqualFunc(got.add, want.add, equalElement) || !reflect.DeepEqual(got.before, want.before) {
			t.Fatalf("walking gives del %v add %v, maps give del %v add %v", got.del, got.add, want.del, want.add)
		}
	})
}

func equalElement(a, b ruleset.Element) bool { return reflect.DeepEqual(a, b) }
