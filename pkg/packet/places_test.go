package packet

import (
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"bulkhead/internal/tries"
)

func TestPlacesFindTheirCell(t *testing.T) {
	tries.Check(t, func(t *rapid.T) {
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))
		n := rapid.IntRange(0, 9).Draw(t, "sets")
		p := NewPartitioner(n)
		for i := range n {
			list := p.List(i)
			for _, r := range crowd(rng, rng.IntN(30), 200) {
				p.Add(r, list)
			}
		}
		cells, places := p.Locate()
		for c := range cells {
			for _, r := range cells[c].Addrs.Runs() {
				for _, a := range []netip.Addr{r.From, r.To} {
					if got := places.Find(a); got != c {
						t.Fatalf("%s is in cell %d, not %d", a, c, got)
					}
				}
			}
		}
	})
}

func TestClaimsAgainstMap(t *testing.T) {
	tries.Check(t, func(t *rapid.T) {
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 2))
		var c Claims
		want := map[netip.Addr][]int{}
		for range rng.IntN(3 * radixFrom) {
			a := addr4(uint32(rng.IntN(900)) << 8)
			if rng.IntN(3) == 0 {
				a = u128{0, uint64(rng.IntN(900))}.addr6()
			}
			owner := rng.IntN(9)
			c.Add(a, owner)
			want[a] = append(want[a], owner)
		}
		got := c.Contests()
		maps.DeleteFunc(want, func(a netip.Addr, owners []int) bool {
			slices.Sort(owners)
			want[a] = slices.Compact(owners)
			return len(want[a]) < 2
		})
		for i, x := range got {
			if !slices.Equal(x.Owners, want[x.Addr]) || i > 0 && !got[i-1].Addr.Less(x.Addr) {
				t.Fatalf("%s is claimed by %v, not %v", x.Addr, want[x.Addr], x.Owners)
			}
		}
		if len(got) != len(want) {
			t.Fatalf("%d contested addresses, not %d", len(got), len(want))
		}
	})
}
