package estate

import (
	"hash/fnv"
	"io"
	"math/bits"
	"slices"
)

// random is SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number
// generators, 2014). The standard library's generators may change what they make
// of a seed, and then no old figure could be repeated.
type random struct{ state uint64 }

// stream returns the generator of one aspect of an estate. Aspects draw from
// streams of their own, so that changing one leaves the others as they are.
func stream(seed uint64, aspect string) *random {
	h := fnv.New64a()
	_, _ = io.WriteString(h, aspect) // a hash takes everything
	return &random{seed ^ h.Sum64()}
}

func (r *random) next() uint64 {
	r.state += 0x9e3779b97f4a7c15
	z := r.state
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// below draws from 0 to n-1. The bias of the multiplication is below 2^-40 for
// every n used here.
func (r *random) below(n int) int {
	hi, _ := bits.Mul64(r.next(), uint64(n))
	return int(hi)
}

// shuffle puts a list into random order.
func shuffle[T any](r *random, list []T) {
	for i := len(list) - 1; i > 0; i-- {
		j := r.below(i + 1)
		list[i], list[j] = list[j], list[i]
	}
}

// sample draws k different numbers from 0 to n-1, in order. With fewer than k
// there it draws them all.
func (r *random) sample(n, k int) []int {
	k = min(k, n)
	seen := make(map[int]bool, k)
	out := make([]int, 0, k)
	for len(out) < k {
		if x := r.below(n); !seen[x] {
			seen[x] = true
			out = append(out, x)
		}
	}
	slices.Sort(out)
	return out
}
