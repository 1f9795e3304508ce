package render

import (
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"bulkhead/drivers/nftables/ruleset"
	"bulkhead/pkg/packet"
)

// wordRuns covers all addresses with runs of random words, as classElements does.
func wordRuns(starts []netip.Addr, word func(i int) uint32) (out []ruleset.Element) {
	from := netip.MustParseAddr("0.0.0.0")
	for i, next := range append(slices.Clone(starts), netip.Addr{}) {
		r := packet.Range{From: from, To: lastOf(from)}
		if next.IsValid() {
			r.To = next.Prev()
		}
		out = append(out, intervalElements([]packet.Range{r}, native(word(i)))...)
		from = next
	}
	return out
}

// joined gives what shards hold as one map, and fails where an address is in two.
func joined(t *testing.T, table *ruleset.Table, limit int) map[uint32]packet.Addrs {
	t.Helper()
	runs := map[uint32][]packet.Range{}
	var all packet.Addrs
	for _, name := range NetSets(table, true) {
		es := elements(table, name)
		if len(es) > limit {
			t.Fatalf("shard %s holds %d elements, and the bound is %d", name, len(es), limit)
		}
		var own packet.Addrs
		for w, rs := range intervals(es) {
			runs[w] = append(runs[w], rs...)
			own = own.Union(packet.AddrRanges(rs))
		}
		if !all.Intersect(own).IsEmpty() {
			t.Fatalf("shard %s holds addresses of another one", name)
		}
		all = all.Union(own)
	}
	out := map[uint32]packet.Addrs{}
	for w, rs := range runs {
		out[w] = packet.AddrRanges(rs)
	}
	return out
}

// sameSets says that two tables have the same sets with the same elements.
func sameSets(a, b *ruleset.Table) bool {
	return slices.EqualFunc(a.Sets, b.Sets, func(x, y ruleset.Set) bool { return x.Name == y.Name && sameElements(&x, &y) })
}

func sameElements(a, b *ruleset.Set) bool {
	return slices.EqualFunc(a.Elements, b.Elements, func(a, b ruleset.Element) bool {
		return slices.Equal(a.Key, b.Key) && slices.Equal(a.Data, b.Data)
	})
}

// What is rendered again is the same, also where the runs that shards cut have made
// more shards than they should be.
func TestNetShardsStay(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	shards := 0
	for range 200 {
		limit := 2 + r.IntN(5)
		var have *ruleset.Table
		for range 8 {
			starts := map[netip.Addr]bool{}
			for range r.IntN(24) {
				starts[netip.AddrFrom4([4]byte{10, 0, 0, byte(1 + r.IntN(40))})] = true
			}
			elements := wordRuns(slices.SortedFunc(maps.Keys(starts), netip.Addr.Compare), func(i int) uint32 { return 16 + uint32(i%5) })
			render := func() *ruleset.Table {
				s := &matrixSets{ids: &alloc{table: have}, limit: limit}
				s.addNets(setNet4, kindAddr4Word, elements)
				return &ruleset.Table{Sets: s.sets}
			}
			have = render()
			if again := render(); !sameSets(have, again) {
				t.Fatalf("limit %d: %d shards of %d elements are others when they are rendered again: %+v, then %+v", limit, len(have.Sets), len(elements), have.Sets, again.Sets)
			}
			shards = max(shards, len(have.Sets))
		}
	}
	if shards < 10 {
		t.Errorf("no more than %d shards: the test shows little", shards)
	}
}

// Runs of addresses are spread over shards that together say what one map would, as a
// site grows and shrinks; a run that changes touches its own shard and no other.
func TestNetShards(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	const limit = 10
	most, touched := 0, 0
	var have *ruleset.Table
	var starts []netip.Addr
	for step := range 120 {
		grow := step < 60
		for range 3 {
			a := netip.AddrFrom4([4]byte{10, byte(r.IntN(4)), byte(r.IntN(256)), byte(r.IntN(256))})
			if i, found := slices.BinarySearchFunc(starts, a, netip.Addr.Compare); grow && !found {
				starts = slices.Insert(starts, i, a)
			} else if n := len(starts); !grow && n > 0 {
				at := r.IntN(n)
				starts = slices.Delete(starts, at, at+1)
			}
		}
		odd := r.IntN(len(starts) + 1)
		render := func(word func(int) uint32) (*ruleset.Table, []ruleset.Element) {
			elements := wordRuns(starts, word)
			s := &matrixSets{ids: &alloc{table: have}, limit: limit}
			s.addNets(setNet4, kindAddr4Word, elements)
			return &ruleset.Table{Sets: s.sets}, elements
		}
		plain := func(i int) uint32 { return 16 + uint32(i%5) }
		now, want := render(plain)
		got := joined(t, now, limit)
		whole := intervals(want)
		if len(got) != len(whole) {
			t.Fatalf("step %d: %d words, want %d", step, len(got), len(whole))
		}
		for w, rs := range whole {
			if !got[w].Equal(packet.AddrRanges(rs)) {
				t.Fatalf("step %d: word %d has other addresses in shards than in one map", step, w)
			}
		}
		most = max(most, len(now.Sets))
		have = now
		next, _ := render(func(i int) uint32 {
			if i == odd {
				return 99
			}
			return plain(i)
		})
		if len(next.Sets) != len(now.Sets) {
			t.Fatalf("step %d: a word that changes makes %d shards of %d", step, len(next.Sets), len(now.Sets))
		}
		changed := 0
		for i := range next.Sets {
			if !sameElements(&next.Sets[i], &now.Sets[i]) {
				changed++
			}
		}
		touched = max(touched, changed)
	}
	// A run may reach over the end of a shard.
	if most < 20 || touched < 1 || touched > 2 {
		t.Errorf("%d shards, %d of them changed at once", most, touched)
	}
	if len(have.Sets) > 2 {
		t.Errorf("%d shards are left of a site that has hardly any runs", len(have.Sets))
	}
}
