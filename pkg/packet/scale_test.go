package packet

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"bulkhead/internal/tries"
)

// crowd makes runs that touch, overlap and repeat, of both families, some at the
// ends of the address space, some IPv4-mapped, most of them single addresses.
func crowd(rng *rand.Rand, n int, dense uint32) []Range {
	out := make([]Range, 0, n)
	for range n {
		at := rng.Uint32N(dense)
		length := uint32(0)
		if rng.IntN(4) == 0 {
			length = rng.Uint32N(5)
		}
		switch rng.IntN(8) {
		case 0:
			out = append(out, Range{addr4(^(at + length)), addr4(^at)})
		case 1:
			out = append(out, Range{u128{0, 0xffff00000000 | uint64(at)}.addr6(), u128{0, 0xffff00000000 | uint64(at+length)}.addr6()})
		case 2:
			hi := rng.Uint64()
			out = append(out, Range{u128{hi, uint64(at)}.addr6(), u128{hi, uint64(at + length)}.addr6()})
		case 3:
			out = append(out, Range{u128{^uint64(0), ^uint64(at + length)}.addr6(), u128{^uint64(0), ^uint64(at)}.addr6()})
		default:
			out = append(out, Range{addr4(at), addr4(at + length)})
		}
	}
	return out
}

// From a few runs to thousands, so that small and large sorts are both met.
func TestBuilderAgainstReference(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	var b Builder // used again: nothing of one set may stay for the next
	for _, n := range []int{0, 1, 2, 3, 10, 64, 65, 500, 511, 512, 513, 5000, 700, 20} {
		for range 20 {
			runs := crowd(rng, n, uint32(1+rng.IntN(4*n+1)))
			want := referenceRanges(runs)
			before := slices.Clone(runs)
			if got := AddrRanges(runs); !got.Equal(want) {
				t.Fatalf("%d runs: got %s, want %s", n, got, want)
			}
			if !slices.Equal(runs, before) {
				t.Fatal("the caller's runs were changed")
			}
			for _, r := range runs {
				b.AddRange(r)
			}
			got := b.Addrs()
			if !got.Equal(want) {
				t.Fatalf("%d runs: built %s, want %s", n, got, want)
			}
			prefixes := got.Prefixes()
			rng.Shuffle(len(prefixes), func(i, j int) { prefixes[i], prefixes[j] = prefixes[j], prefixes[i] })
			if !AddrsOf(prefixes...).Equal(want) {
				t.Fatalf("%d prefixes of %s", len(prefixes), want)
			}
			cut := rng.IntN(n + 1)
			x, y := referenceRanges(runs[:cut]), referenceRanges(runs[cut:])
			for _, u := range []Addrs{x.Union(y), UnionOf(x, y), UnionOf(y, Addrs{}, x, x)} {
				if !u.Equal(want) {
					t.Fatalf("%d runs: united %s, want %s", n, u, want)
				}
			}
		}
	}
}

func TestPartitionAgainstReference(t *testing.T) {
	tries.Check(t, func(t *rapid.T) {
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
		sets := make([]Addrs, rapid.IntRange(0, 130).Draw(t, "sets"))
		size := rapid.SampledFrom([]int{3, 60}).Draw(t, "size")
		for i := range sets {
			sets[i] = referenceRanges(crowd(rng, rng.IntN(size), 200))
			if rng.IntN(20) == 0 {
				sets[i] = AllAddrs().Subtract(sets[i])
			}
		}
		want := referencePartition(sets)
		if got := Partition(sets); !sameCells(got, want) {
			t.Fatalf("%d sets: got %v\nwant %v", len(sets), got, want)
		}
		// The same, told run by run: pieces of runs in any order, some twice, with
		// lists of all sets that hold the piece, or of some of them at a time.
		p := NewPartitioner(len(sets))
		for _, c := range want {
			var in []int
			c.In.Each(func(i int) { in = append(in, i) })
			cut := rng.IntN(len(in) + 1)
			some, others, all := p.List(in[:cut]...), p.List(in[cut:]...), p.List(in...)
			for _, r := range c.Addrs.runs {
				if rng.IntN(2) == 0 {
					p.Add(r, all)
				} else {
					p.Add(r, some)
					p.Add(r, others)
				}
				if rng.IntN(8) == 0 {
					p.Add(Range{r.From, r.From}, some)
				}
			}
		}
		for range 2 { // asking does not change it
			if got := p.Cells(); !sameCells(got, want) {
				t.Fatalf("told run by run: got %v\nwant %v", got, want)
			}
		}
	})
}

func TestJoinAgainstIntersect(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	for range 40 {
		some := func() []Addrs {
			sets := make([]Addrs, rng.IntN(4))
			for i := range sets {
				sets[i] = referenceRanges(crowd(rng, rng.IntN(900), 2000))
			}
			return PartitionAddrs(sets)
		}
		a, b := some(), some()
		if rng.IntN(2) == 0 {
			a = a[1:] // not everything is covered
		}
		got := map[[2]int]Addrs{}
		last := netip.Addr{}
		for _, j := range Join(a, b) {
			if first := j.Addrs.First(); !last.Less(first) {
				t.Fatalf("joints out of order: %s after %s", first, last)
			} else {
				last = first
			}
			got[[2]int{j.A, j.B}] = j.Addrs
		}
		for i := range a {
			for k := range b {
				if want := a[i].Intersect(b[k]); !got[[2]int{i, k}].Equal(want) {
					t.Fatalf("joint of %d and %d: %s, want %s", i, k, got[[2]int{i, k}], want)
				}
			}
		}
	}
}

// Set algebra on many runs, against what it is on their members.
func TestLargeAlgebra(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 8))
	for range 60 {
		a := referenceRanges(crowd(rng, rng.IntN(800), 3000))
		b := referenceRanges(crowd(rng, 1+rng.IntN(20)*rng.IntN(40), 3000))
		cells := referencePartition([]Addrs{a, b})
		want := map[[2]bool]Addrs{}
		for _, c := range cells {
			want[[2]bool{c.In.Has(0), c.In.Has(1)}] = c.Addrs
		}
		if got := a.Intersect(b); !got.Equal(want[[2]bool{true, true}]) {
			t.Fatalf("intersect: %s", got)
		}
		if got := a.Subtract(b); !got.Equal(want[[2]bool{true, false}]) {
			t.Fatalf("subtract: %s", got)
		}
		if got := b.Subtract(a); !got.Equal(want[[2]bool{false, true}]) {
			t.Fatalf("subtract the other way: %s", got)
		}
		if a.Overlaps(b) != !want[[2]bool{true, true}].IsEmpty() {
			t.Fatal("overlaps")
		}
		for _, c := range cells {
			for _, r := range c.Addrs.runs {
				if a.Contains(r.From) != c.In.Has(0) || a.Contains(r.To) != c.In.Has(0) {
					t.Fatalf("contains %s", r)
				}
			}
		}
	}
}

// A hash that says nothing must cost time only: memberships are told apart bit
// by bit.
func TestMembershipsDoNotTrustTheHash(t *testing.T) {
	m := memberships{width: 3}
	seen := map[string]uint32{}
	for i := range 500 {
		in := NewBits(150)
		in.Set(i % 150)
		in.Set(i * 7 % 150)
		n := m.number(in, 42)
		if was, ok := seen[in.Key()]; ok && was != n || !ok && int(n) != len(seen) {
			t.Fatalf("number %d for %v", n, in)
		}
		seen[in.Key()] = n
	}
}

// estate makes n addresses, a fifth of them IPv6, of so many sets: five for each
// address, chosen by three numbers that do not depend on each other.
func estate(n int) (sets []Addrs, hosts []netip.Prefix, lists [][]int) {
	rng := rand.New(rand.NewPCG(1, 2))
	const sites, envs, roles = 50, 4, 25
	builders := make([]Builder, sites+envs+roles+roles*envs+sites*envs+121)
	at := uint32(10 << 24)
	for i := range n {
		at += 1 + rng.Uint32N(8)
		host := netip.PrefixFrom(addr4(at), 32)
		if i%5 == 0 {
			host = netip.PrefixFrom(u128{0x20010db8 << 32, uint64(at)}.addr6(), 128)
		}
		site, env, role := rng.IntN(sites), rng.IntN(envs), rng.IntN(roles)
		in := []int{site, sites + env, sites + envs + role, sites + envs + roles + role*envs + env, sites + envs + roles + roles*envs + site*envs + env}
		if rng.IntN(6) == 0 {
			in = append(in, len(builders)-121+rng.IntN(121))
		}
		for _, s := range in {
			builders[s].AddPrefix(host)
		}
		hosts, lists = append(hosts, host), append(lists, in)
	}
	for i := range builders {
		sets = append(sets, builders[i].Addrs())
	}
	return sets, hosts, lists
}

// What a partition allocates grows with the addresses in bytes, and hardly in
// number: no allocation for an address, a run or a cell.
func TestPartitionAllocations(t *testing.T) {
	for _, n := range []int{2_000, 20_000} {
		sets, _, _ := estate(n)
		cells := 0
		got := testing.AllocsPerRun(3, func() { cells = len(Partition(sets)) })
		if limit := float64(len(sets) + 200); got > limit {
			t.Errorf("%d addresses, %d cells: %.0f allocations, more than %.0f", n, cells, got, limit)
		}
	}
}

func TestAlgebraAllocations(t *testing.T) {
	rng := rand.New(rand.NewPCG(9, 9))
	runs := crowd(rng, 20_000, 1<<20)
	a, one := AddrRanges(runs), AddrsOf(netip.MustParsePrefix("0.0.4.0/22"))
	probe := netip.MustParseAddr("0.0.7.1")
	for name, tc := range map[string]struct {
		limit float64
		run   func()
	}{
		"ranges":    {80, func() { AddrRanges(runs) }},
		"union":     {2, func() { a.Union(one) }},
		"intersect": {20, func() { a.Intersect(one) }},
		"subtract":  {3, func() { a.Subtract(one) }},
		"overlaps":  {0, func() { a.Overlaps(one) }},
		"contains":  {0, func() { a.Contains(probe) }},
		"one host":  {1, func() { AddrsOf(netip.PrefixFrom(probe, 32)) }},
		"join":      {80, func() { Join([]Addrs{a}, []Addrs{AllAddrs()}) }},
	} {
		if got := testing.AllocsPerRun(5, tc.run); got > tc.limit {
			t.Errorf("%s: %.0f allocations, more than %.0f", name, got, tc.limit)
		}
	}
}
