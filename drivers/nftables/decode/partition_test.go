package decode

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// Refining by one construct after the other gives the classes that the values of all
// of them tell apart, in the same order.
func TestRefinedIsSigned(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		var cons []*construct
		cuts := []u128{{}}
		for range 1 + r.IntN(20) {
			c := &construct{dom: domPort, n: int32(1 + r.IntN(4))}
			at := uint64(0)
			for at < 60 {
				c.starts, c.vals = append(c.starts, u128{0, at}), append(c.vals, r.Int32N(c.n))
				cuts = append(cuts, u128{0, at})
				at += 1 + r.Uint64N(40)
			}
			cons = append(cons, c)
		}
		slices.SortFunc(cuts, u128.cmp)
		cuts = slices.Compact(cuts)
		if got, want := refined(cuts, cons), signed(cuts, cons); !slices.Equal(got, want) {
			t.Fatalf("%v instead of %v", got, want)
		}
	}
}
