package inventory

import (
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// What Changes lists makes the one inventory of the other, and nothing else is listed.
func TestChanges(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		draw := func(name string) *Inventory {
			inv := &Inventory{}
			for i := range 6 {
				if !rapid.Bool().Draw(t, name) {
					continue
				}
				addr := netip.AddrFrom4([4]byte{10, 0, 0, byte(rapid.IntRange(0, 1).Draw(t, "address"))})
				inv.Assets = append(inv.Assets, Asset{ID: fmt.Sprint("a", i), Kind: rapid.SampledFrom([]Kind{VM, OT}).Draw(t, "kind"),
					Addresses: []netip.Prefix{netip.PrefixFrom(addr, 32)}, Labels: map[string]string{"role": rapid.SampledFrom([]string{"x", "y"}).Draw(t, "role")},
					Facts: []Fact{{Field: "kind", Source: name}}}) // another one each time
			}
			return inv
		}
		old, now := draw("old"), draw("now")
		changed, gone, ok := Changes(old, now, 12)
		if !ok {
			t.Fatal("twelve changes of twelve are too many")
		}
		want := map[string]*Asset{}
		for i := range old.Assets {
			want[old.Assets[i].ID] = &old.Assets[i]
		}
		for _, id := range gone {
			if want[id] == nil {
				t.Fatalf("%s is gone, and was not there", id)
			}
			delete(want, id)
		}
		for _, a := range changed {
			if was := want[a.ID]; was != nil && sameToPolicy(was, a) {
				t.Fatalf("%s is listed, and is the same", a.ID)
			}
			want[a.ID] = a
		}
		if len(want) != len(now.Assets) {
			t.Fatalf("%d assets with the changes, want %d", len(want), len(now.Assets))
		}
		for i := range now.Assets {
			a, b := *want[now.Assets[i].ID], now.Assets[i]
			a.Facts, b.Facts = nil, nil
			if !reflect.DeepEqual(a, b) {
				t.Fatalf("%s is %+v with the changes, want %+v", b.ID, a, b)
			}
		}
		if n := len(changed) + len(gone); n > 0 {
			if _, _, ok := Changes(old, now, n-1); ok {
				t.Fatalf("%d changes are no more than %d", n, n-1)
			}
		}
		if !slices.IsSorted(gone) {
			t.Fatal("the IDs of those that are gone are not in order")
		}
	})
}
