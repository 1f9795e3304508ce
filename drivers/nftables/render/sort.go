package render

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"slices"

	"bulkhead/drivers/nftables/ruleset"
)

// compareElements orders by key; the end of one run comes before the start of the
// next.
func compareElements(a, b *ruleset.Element) int {
	if c := bytes.Compare(a.Key, b.Key); c != 0 {
		return c
	}
	return cmp.Compare(b.Flags, a.Flags)
}

// sortElements sorts by compareElements and keeps the order of equal elements. It
// sorts what stands for an element, 16 bytes with the beginning of the key, and
// moves each element of 168 once.
func sortElements(es []ruleset.Element) {
	if sortedElements(es) {
		return
	}
	type stand struct {
		head uint64
		at   int
	}
	stands := make([]stand, len(es))
	for i := range es {
		var head [8]byte
		copy(head[:], es[i].Key)
		stands[i] = stand{binary.BigEndian.Uint64(head[:]), i}
	}
	slices.SortFunc(stands, func(a, b stand) int {
		if a.head != b.head {
			return cmp.Compare(a.head, b.head)
		}
		if c := compareElements(&es[a.at], &es[b.at]); c != 0 {
			return c
		}
		return cmp.Compare(a.at, b.at)
	})
	out := make([]ruleset.Element, len(es))
	for i := range stands {
		out[i] = es[stands[i].at]
	}
	copy(es, out)
}

func sortedElements(es []ruleset.Element) bool {
	for i := 1; i < len(es); i++ {
		if compareElements(&es[i-1], &es[i]) > 0 {
			return false
		}
	}
	return true
}
