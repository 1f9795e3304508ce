package decode

import (
	"slices"

	"bulkhead/pkg/packet"
)

// classes is a partition of one domain by several constructs.
type classes struct {
	addrs []packet.Addrs
	runs  [][]part  // of each class, for domains that hold no addresses
	vals  [][]int32 // [construct in order][class]
}

// partition joins the keys on which all constructs agree. Classes come in the
// order of their lowest key.
func partition(dom uint8, cons []*construct) *classes {
	n := 1
	for _, c := range cons {
		n += len(c.starts)
	}
	cuts := append(make([]u128, 0, n), u128{})
	for _, c := range cons {
		cuts = append(cuts, c.starts[1:]...)
	}
	slices.SortFunc(cuts, u128.cmp)
	cuts = slices.Compact(cuts)
	out := &classes{vals: make([][]int32, len(cons))}
	of, sizes := numbered(cuts, cons, out)
	end := func(i int) u128 {
		if i+1 < len(cuts) {
			return cuts[i+1].prev()
		}
		return domMax(dom)
	}
	if dom == domPort {
		out.runs = make([][]part, len(sizes))
		for i, at := range cuts {
			out.runs[of[i]] = append(out.runs[of[i]], part{lo: at, hi: end(i)})
		}
		return out
	}
	lists := make([][]packet.Range, len(sizes))
	for i, at := range cuts {
		n := of[i]
		if lists[n] == nil {
			lists[n] = make([]packet.Range, 0, sizes[n])
		}
		lists[n] = append(lists[n], packet.Range{From: addrOf(dom, at), To: addrOf(dom, end(i))})
	}
	out.addrs = make([]packet.Addrs, len(lists))
	for i, list := range lists {
		out.addrs[i] = packet.AddrRanges(list)
	}
	return out
}

// manyConstructs is from how many constructs on a partition is refined by one after
// the other.
const manyConstructs = 8

// numbered gives the class of each run and how many runs each class has, and fills in
// the values of the classes.
func numbered(cuts []u128, cons []*construct, out *classes) (of []int32, sizes []int) {
	if len(cons) >= manyConstructs {
		of = refined(cuts, cons)
	} else {
		of = signed(cuts, cons)
	}
	var first []int // of each class: its first run
	for i, n := range of {
		if int(n) == len(sizes) {
			sizes, first = append(sizes, 0), append(first, i)
		}
		sizes[n]++
	}
	for k, c := range cons {
		vals := make([]int32, len(first))
		pos := 0
		for n, i := range first {
			for pos+1 < len(c.starts) && c.starts[pos+1].cmp(cuts[i]) <= 0 {
				pos++
			}
			vals[n] = c.vals[pos]
		}
		out.vals[k] = vals
	}
	return of, sizes
}

// signed numbers runs by the values that all constructs have there.
func signed(cuts []u128, cons []*construct) []int32 {
	index := map[string]int32{}
	pos := make([]int, len(cons))
	sig := make([]int32, len(cons))
	var key []byte
	of := make([]int32, len(cuts))
	for i, at := range cuts {
		for k, c := range cons {
			for pos[k]+1 < len(c.starts) && c.starts[pos[k]+1].cmp(at) <= 0 {
				pos[k]++
			}
			sig[k] = c.vals[pos[k]]
		}
		key = appendKey(key[:0], sig)
		n, ok := index[string(key)]
		if !ok {
			n = int32(len(index))
			index[string(key)] = n
		}
		of[i] = n
	}
	return of
}

// refined does the same for many constructs: each splits the classes that there are.
// Most constructs have one value nearly everywhere; what has that stays as it is, so
// that only the other runs are looked at.
func refined(cuts []u128, cons []*construct) []int32 {
	of := make([]int32, len(cuts))
	next := int32(1)
	var span []int // of each run of a construct: its first cut
	for _, c := range cons {
		span = span[:0]
		count := make([]int, c.n)
		for _, at := range c.starts {
			i, _ := slices.BinarySearchFunc(cuts, at, u128.cmp)
			span = append(span, i)
		}
		span = append(span, len(cuts))
		for r, v := range c.vals {
			count[v] += span[r+1] - span[r]
		}
		most := int32(0)
		for v, n := range count {
			if n > count[most] {
				most = int32(v)
			}
		}
		split := map[[2]int32]int32{} // class and value -> new class
		for r, v := range c.vals {
			if v == most {
				continue
			}
			for i := span[r]; i < span[r+1]; i++ {
				key := [2]int32{of[i], v}
				n, ok := split[key]
				if !ok {
					n = next
					next++
					split[key] = n
				}
				of[i] = n
			}
		}
	}
	// In order of the first run.
	order := make([]int32, next)
	count := int32(0)
	for i, n := range of {
		if order[n] == 0 {
			count++
			order[n] = count
		}
		of[i] = order[n] - 1
	}
	return of
}
