package nftables_test

import (
	"pgregory.net/rapid"

	"bulkhead/pkg/compile"
)

// drawBounds lets some sites keep all pairs in one table, and forces many class
// spaces upon others.
func drawBounds(t *rapid.T) compile.Bounds {
	forced := func(cost int) compile.Bounds {
		return compile.Bounds{Pairs: -1, Spaces: 64, Elements: 1 << 20, Bits: 28, SpaceCost: cost}
	}
	return rapid.SampledFrom([]compile.Bounds{compile.DefaultBounds(), forced(0), forced(2), forced(1000)}).Draw(t, "bounds")
}
