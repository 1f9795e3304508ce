package plan_test

import (
	"net/netip"
	"testing"

	"pgregory.net/rapid"

	"bulkhead/pkg/compile"
	"bulkhead/pkg/plan"
	"bulkhead/pkg/policy/policytest"
)

// The share in which addresses have a part grows with them, from nothing to all of it.
func TestPartShareGrows(t *testing.T) {
	some := 0
	rapid.Check(t, func(t *rapid.T) {
		w := policytest.World(t, policytest.Options{})
		m, err := compile.Compile(compile.Input{Assets: w.Assets, Book: w.Book, Where: w.Where, Now: w.Now})
		if err != nil {
			t.Fatal(err)
		}
		points := []compile.Point{{Name: "gw", Mode: "enforce", Transit: true}}
		var named []netip.Addr
		for i := range w.Assets {
			for _, p := range w.Assets[i].Addresses {
				named = append(named, p.Addr())
			}
		}
		last := -1.0
		for n := 0; n <= len(named); n++ {
			share := plan.PartShare(m, points, named, named[:n])
			if share == nil {
				return
			}
			switch {
			case share.Percent < last:
				t.Fatalf("%d addresses have a part in %v %%, one less in %v", n, share.Percent, last)
			case n == 0 && share.Percent != 0:
				t.Fatalf("nobody has a part in %v %%", share.Percent)
			case n == len(named) && share.Percent != 100:
				t.Fatalf("all have a part in %v %%", share.Percent)
			}
			if last = share.Percent; last > 0 && last < 100 {
				some++
			}
		}
	})
	if some < 10 {
		t.Errorf("%d shares between nothing and all", some)
	}
}
