package packet

import (
	"net/netip"
	"slices"
)

// Builder gathers addresses, in any order and overlapping, and makes one set of
// them: what a group of many assets is built with. A single address takes 8
// bytes in it (IPv6: 32), not the 48 of a run, and sorting takes linear time.
// The zero value is ready for use.
type Builder struct {
	v4, spare4 []uint64 // first<<32 | last
	v6         []run6
	keys6      []key6
	spare6     []key6
}

type run6 struct{ from, to u128 }

// Grow makes room for some more single addresses or runs of each family.
func (b *Builder) Grow(v4, v6 int) {
	b.v4, b.v6 = slices.Grow(b.v4, v4), slices.Grow(b.v6, v6)
}

// AddPrefix adds the addresses of a prefix.
func (b *Builder) AddPrefix(p netip.Prefix) {
	if p.IsSingleIP() {
		a := p.Addr()
		if a.Is4() {
			n := uint64(number4(a))
			b.v4 = append(b.v4, n<<32|n)
		} else {
			n := numberOf(a)
			b.v6 = append(b.v6, run6{n, n})
		}
		return
	}
	b.AddRange(PrefixRange(p))
}

// AddRange adds a run, which must not span both families.
func (b *Builder) AddRange(r Range) {
	if r.From.Is4() {
		b.v4 = append(b.v4, uint64(number4(r.From))<<32|uint64(number4(r.To)))
	} else {
		b.v6 = append(b.v6, run6{numberOf(r.From), numberOf(r.To)})
	}
}

// AddSet adds all addresses of a set.
func (b *Builder) AddSet(a Addrs) {
	n4 := a.count4()
	b.v4 = slices.Grow(b.v4, n4)
	b.v6 = slices.Grow(b.v6, len(a.runs)-n4)
	for i := range a.runs {
		b.AddRange(a.runs[i])
	}
}

// Addrs returns the set of all that was added since the last call, and empties
// the Builder, which keeps its memory for the next set.
func (b *Builder) Addrs() Addrs {
	v4 := b.sorted4()
	v6 := b.sorted6()
	b.v4, b.v6 = b.v4[:0], b.v6[:0]
	if len(v4)+len(v6) == 0 {
		return Addrs{}
	}
	out := make([]Range, 0, len(v4)+len(v6))
	for _, k := range v4 {
		out = append(out, Range{addr4(uint32(k >> 32)), addr4(uint32(k))})
	}
	for i := range v6 {
		out = append(out, Range{v6[i].from.addr6(), v6[i].to.addr6()})
	}
	return Addrs{out}
}

// sorted4 sorts the IPv4 runs and joins those that touch.
func (b *Builder) sorted4() []uint64 {
	if len(b.v4) >= radixFrom && cap(b.spare4) < len(b.v4) {
		b.spare4 = make([]uint64, cap(b.v4))
	}
	keys := sort4(b.v4, b.spare4)
	if len(keys) > 0 && len(b.spare4) > 0 && &keys[0] == &b.spare4[0] {
		b.v4, b.spare4 = b.spare4, b.v4[:cap(b.v4)]
	}
	n := 0
	for _, k := range keys {
		if n > 0 {
			// 64 bits, so that the last address has a successor.
			if last := keys[n-1] & 0xffffffff; k>>32 <= last+1 {
				if to := k & 0xffffffff; to > last {
					keys[n-1] = keys[n-1]&^0xffffffff | to
				}
				continue
			}
		}
		keys[n] = k
		n++
	}
	return keys[:n]
}

// sorted6 does the same for IPv6.
func (b *Builder) sorted6() []run6 {
	runs := b.v6
	if !slices.IsSortedFunc(runs, compareRun6) {
		if len(runs) < radixFrom {
			slices.SortFunc(runs, compareRun6)
		} else {
			runs = b.permute6(runs)
		}
	}
	n := 0
	for _, r := range runs {
		if n > 0 && (runs[n-1].to == u128max || !runs[n-1].to.next().less(r.from)) {
			if runs[n-1].to.less(r.to) {
				runs[n-1].to = r.to
			}
			continue
		}
		runs[n] = r
		n++
	}
	return runs[:n]
}

func (b *Builder) permute6(runs []run6) []run6 {
	b.keys6 = slices.Grow(b.keys6[:0], len(runs))
	for i := range runs {
		b.keys6 = append(b.keys6, key6{runs[i].from, uint32(i)})
	}
	if cap(b.spare6) < len(runs) {
		b.spare6 = make([]key6, len(runs))
	}
	out := make([]run6, len(runs))
	for i, k := range sort6(b.keys6, b.spare6) {
		out[i] = runs[k.ref]
	}
	return out
}

func compareRun6(a, b run6) int {
	switch {
	case a.from.less(b.from):
		return -1
	case b.from.less(a.from):
		return 1
	}
	return 0
}

// UnionOf holds what any of the sets holds, in time linear in their runs: for
// many sets, where one Union after the other would copy the first one each time.
func UnionOf(sets ...Addrs) Addrs {
	switch len(sets) {
	case 0:
		return Addrs{}
	case 1:
		return sets[0]
	case 2:
		return sets[0].Union(sets[1])
	}
	n4, n6 := 0, 0
	for _, s := range sets {
		n := s.count4()
		n4, n6 = n4+n, n6+len(s.runs)-n
	}
	b := Builder{v4: make([]uint64, 0, n4), v6: make([]run6, 0, n6)}
	for _, s := range sets {
		b.AddSet(s)
	}
	return b.Addrs()
}
