package packet_test

import (
	"net/netip"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"bulkhead/internal/tries"
	"bulkhead/pkg/packet"
	"bulkhead/pkg/policy"
)

// The universe of the address tests: the first and the last addresses of both
// families, and some in between, so that every edge is met.
func universe() []netip.Addr {
	var out []netip.Addr
	for _, start := range []string{"0.0.0.0", "10.0.0.250", "255.255.255.250", "::", "2001:db8::fffa", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffa"} {
		a := netip.MustParseAddr(start)
		for range 12 {
			if !a.IsValid() {
				break
			}
			out = append(out, a)
			a = a.Next()
		}
	}
	return out
}

func drawAddrs(t *rapid.T, name string) packet.Addrs {
	u := universe()
	var runs []packet.Range
	for range rapid.IntRange(0, 5).Draw(t, name) {
		i := rapid.IntRange(0, len(u)-1).Draw(t, "from")
		j := min(len(u)-1, i+rapid.IntRange(0, 8).Draw(t, "length"))
		for u[j].Is4() != u[i].Is4() || u[j].Less(u[i]) {
			j--
		}
		runs = append(runs, packet.Range{From: u[i], To: u[j]})
	}
	return packet.AddrRanges(runs)
}

// Set algebra on addresses is what it is on their members.
func TestAddrsAlgebra(t *testing.T) {
	u := universe()
	tries.Check(t, func(t *rapid.T) {
		a, b := drawAddrs(t, "a"), drawAddrs(t, "b")
		union, both, less := a.Union(b), a.Intersect(b), a.Subtract(b)
		overlap := false
		for _, x := range u {
			inA, inB := a.Contains(x), b.Contains(x)
			overlap = overlap || inA && inB
			if union.Contains(x) != (inA || inB) || both.Contains(x) != (inA && inB) || less.Contains(x) != (inA && !inB) {
				t.Fatalf("%s: a=%s b=%s union=%s both=%s less=%s", x, a, b, union, both, less)
			}
		}
		if a.Overlaps(b) != overlap && !both.IsEmpty() != overlap {
			t.Fatalf("overlaps(%s, %s)", a, b)
		}
		for _, s := range []packet.Addrs{union, both, less} {
			canonical(t, s)
		}
		if !packet.AddrsOf(a.Prefixes()...).Equal(a) {
			t.Fatalf("prefixes of %s: %v", a, a.Prefixes())
		}
		if (a.Key() == b.Key()) != a.Equal(b) {
			t.Fatalf("keys of %s and %s", a, b)
		}
		if !packet.AllAddrs().Subtract(a).Union(a).Equal(packet.AllAddrs()) {
			t.Fatalf("complement of %s", a)
		}
	})
}

// canonical checks that runs are sorted, disjoint, of one family each, and merged.
func canonical(t *rapid.T, s packet.Addrs) {
	runs := s.Runs()
	for i, r := range runs {
		if r.To.Less(r.From) || r.From.Is4() != r.To.Is4() {
			t.Fatalf("run %v of %s", r, s)
		}
		if i > 0 && (!runs[i-1].To.Less(r.From) || runs[i-1].To.Next() == r.From && runs[i-1].To.Is4() == r.From.Is4()) {
			t.Fatalf("runs %d and %d of %s are not apart", i-1, i, s)
		}
	}
}

// A partition covers every address once, and tells cells apart exactly by the
// sets that they lie in.
func TestPartition(t *testing.T) {
	u := universe()
	tries.Check(t, func(t *rapid.T) {
		sets := make([]packet.Addrs, rapid.IntRange(0, 70).Draw(t, "sets"))
		for i := range sets {
			sets[i] = drawAddrs(t, "set")
		}
		cells := packet.Partition(sets)
		var all packet.Addrs
		keys := map[string]bool{}
		for _, c := range cells {
			if keys[c.In.Key()] {
				t.Fatalf("two cells lie in the same sets")
			}
			keys[c.In.Key()] = true
			if c.Addrs.Overlaps(all) {
				t.Fatalf("cells overlap")
			}
			all = all.Union(c.Addrs)
			for _, x := range u {
				if !c.Addrs.Contains(x) {
					continue
				}
				for i := range sets {
					if sets[i].Contains(x) != c.In.Has(i) {
						t.Fatalf("%s lies in set %d: %v", x, i, !c.In.Has(i))
					}
				}
			}
		}
		if !all.Equal(packet.AllAddrs()) {
			t.Fatalf("the cells leave out %s", packet.AllAddrs().Subtract(all))
		}
	})
}

// Join refines two partitions by each other.
func TestJoin(t *testing.T) {
	tries.Check(t, func(t *rapid.T) {
		a := packet.PartitionAddrs([]packet.Addrs{drawAddrs(t, "a1"), drawAddrs(t, "a2")})
		b := packet.PartitionAddrs([]packet.Addrs{drawAddrs(t, "b1")})
		var all packet.Addrs
		for _, j := range packet.Join(a, b) {
			if !j.Addrs.Equal(a[j.A].Intersect(b[j.B])) {
				t.Fatalf("joint of %d and %d: %s", j.A, j.B, j.Addrs)
			}
			all = all.Union(j.Addrs)
		}
		if !all.Equal(packet.AllAddrs()) {
			t.Fatalf("left out: %s", packet.AllAddrs().Subtract(all))
		}
	})
}

// The places of the service line that the tests look at.
var points = []uint32{0, 1, 5, 0xffff, 0x10000, 6<<16 | 79, 6<<16 | 80, 6<<16 | 81, 6<<16 | 0xffff, 7 << 16, packet.MaxService - 1, packet.MaxService}

func drawServices(t *rapid.T, name string) packet.Services {
	var spans []packet.Span
	for range rapid.IntRange(0, 5).Draw(t, name) {
		a, b := rapid.SampledFrom(points).Draw(t, "lo"), rapid.SampledFrom(points).Draw(t, "hi")
		spans = append(spans, packet.Span{Lo: min(a, b), Hi: max(a, b)})
	}
	return packet.Spans(spans)
}

// Set algebra on services is what it is on their points.
func TestServicesAlgebra(t *testing.T) {
	var near []uint32
	for _, p := range points {
		for _, d := range []int64{-1, 0, 1} {
			if n := int64(p) + d; n >= 0 && n <= packet.MaxService {
				near = append(near, uint32(n))
			}
		}
	}
	tries.Check(t, func(t *rapid.T) {
		a, b := drawServices(t, "a"), drawServices(t, "b")
		union, both, less := a.Union(b), a.Intersect(b), a.Subtract(b)
		for _, p := range near {
			inA, inB := a.Contains(p), b.Contains(p)
			if union.Contains(p) != (inA || inB) || both.Contains(p) != (inA && inB) || less.Contains(p) != (inA && !inB) {
				t.Fatalf("%d: a=%s b=%s union=%s both=%s less=%s", p, a, b, union, both, less)
			}
		}
		for _, s := range []packet.Services{union, both, less} {
			for i := range s {
				if s[i].Lo > s[i].Hi || i > 0 && s[i-1].Hi+1 >= s[i].Lo {
					t.Fatalf("not canonical: %v", s)
				}
			}
		}
		if !packet.AllServices().Subtract(a).Union(a).Equal(packet.AllServices()) {
			t.Fatalf("complement of %v", a)
		}
	})
}

func TestServicesText(t *testing.T) {
	for want, ranges := range map[string][]policy.Range{
		"nothing":                nil,
		"tcp/443":                {{Proto: 6, Lo: 443, Hi: 443}},
		"udp/6000-6999":          {{Proto: 17, Lo: 6000, Hi: 6999}},
		"tcp/80-82":              {{Proto: 6, Lo: 81, Hi: 82}, {Proto: 6, Lo: 80, Hi: 80}},
		"tcp":                    {{Proto: 6, Lo: 0, Hi: 65535}},
		"icmp/8":                 {{Proto: 1, Lo: 0x800, Hi: 0x8ff}},
		"icmp/3:4":               {{Proto: 1, Lo: 0x304, Hi: 0x304}},
		"icmpv6/128":             {{Proto: 58, Lo: 0x8000, Hi: 0x80ff}},
		"proto/47":               {{Proto: 47, Lo: 0, Hi: 65535}},
		"icmp/8 tcp/22 udp/53":   {{Proto: 17, Lo: 53, Hi: 53}, {Proto: 6, Lo: 22, Hi: 22}, {Proto: 1, Lo: 0x800, Hi: 0x8ff}},
		"sctp/3868 udplite/5000": {{Proto: 136, Lo: 5000, Hi: 5000}, {Proto: 132, Lo: 3868, Hi: 3868}},
	} {
		if got := packet.ServicesOf(ranges).String(); got != want {
			t.Errorf("%v prints %q, want %q", ranges, got, want)
		}
	}
	if got := packet.AllServices().String(); got != "any" {
		t.Errorf("everything prints %q", got)
	}
	lacks := packet.AllServices().Subtract(packet.ServicesOf([]policy.Range{{Proto: 6, Lo: 22, Hi: 22}, {Proto: 6, Lo: 80, Hi: 80}}))
	if got := lacks.Text(); got != "any but tcp/22 tcp/80" {
		t.Errorf("almost everything prints %q", got)
	}
}

func TestBits(t *testing.T) {
	b := packet.NewBits(130)
	for _, i := range []int{0, 63, 64, 129} {
		b.Set(i)
	}
	b.Clear(63)
	var got []int
	b.Each(func(i int) { got = append(got, i) })
	if !slices.Equal(got, []int{0, 64, 129}) {
		t.Errorf("members %v", got)
	}
}

func TestOfFamily(t *testing.T) {
	tries.Check(t, func(t *rapid.T) {
		a := drawAddrs(t, "a")
		four, six := a.OfFamily(true), a.OfFamily(false)
		all4 := packet.AddrsOf(netip.MustParsePrefix("0.0.0.0/0"))
		if !four.Equal(a.Intersect(all4)) || !six.Equal(a.Subtract(all4)) {
			t.Fatalf("%s: %s and %s", a, four, six)
		}
	})
}
