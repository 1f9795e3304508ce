package plan

import (
	"math"
	"math/rand/v2"
	"net/netip"
	"testing"

	"bulkhead/pkg/compile"
	"bulkhead/pkg/packet"
	"bulkhead/pkg/policy"
)

// parts gives parts that hold one named address each, from 10.0.0.0 on, and one
// with the rest of the world.
func parts(n int) (named []netip.Addr, out []packet.Joint) {
	rest := packet.AllAddrs()
	for i := range n {
		a := netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)})
		set := packet.AddrRanges([]packet.Range{{From: a, To: a}})
		named = append(named, a)
		out = append(out, packet.Joint{Addrs: set, A: i, B: i})
		rest = rest.Subtract(set)
	}
	return named, append(out, packet.Joint{Addrs: rest, A: n, B: n})
}

var gateway = []*compile.Point{{Name: "gw", Mode: policy.Enforce, Transit: true}}

func tcpPort(p uint16) packet.Services {
	return packet.Services{{Lo: packet.Point(6, p), Hi: packet.Point(6, p)}}
}

// shareOf counts with have and want given by the numbers of the parts.
func shareOf(n, most int, permit func(a, b int) (have, want packet.Services)) *Share {
	named, list := parts(n)
	s := newSharer(named)
	s.most = most
	sides := s.sides(list, packet.Addrs{})
	s.add(gateway, compile.HookForward, sides, sides, func(a, b packet.Joint) (have, want packet.Services) { return permit(a.A, b.A) })
	return s.share()
}

// By hand, of four machines and the rest of the world: five by five pairs, less one
// of each machine with itself.
func TestShareByHand(t *testing.T) {
	const pairs = 5*5 - 4
	web := tcpPort(443)
	for _, c := range []struct {
		name   string
		permit func(a, b int) (have, want packet.Services)
		want   float64
	}{
		{"nothing changes", func(int, int) (have, want packet.Services) { return web, web }, 0},
		{"everything goes", func(int, int) (have, want packet.Services) { return web, nil }, 100},
		{"only more", func(int, int) (have, want packet.Services) { return web, packet.AllServices() }, 0},
		{"what is permitted newly does not make up for what goes", func(int, int) (have, want packet.Services) { return web, tcpPort(80) }, 100},
		{"one pair", func(a, b int) (have, want packet.Services) {
			if a == 0 && b == 1 {
				return web, nil
			}
			return web, web
		}, 100.0 / pairs},
		{"what was denied before is not lost", func(a, b int) (have, want packet.Services) {
			if a == 0 && b == 1 {
				return nil, nil
			}
			return web, nil
		}, 100},
		{"one service of two", func(int, int) (have, want packet.Services) { return web.Union(tcpPort(80)), web }, 50},
		// The line is cut at 443 into three pieces, of which one stays.
		{"everything but one", func(int, int) (have, want packet.Services) { return packet.AllServices(), web }, 200.0 / 3},
	} {
		got := shareOf(4, maxSharePairs, c.permit)
		if want := math.Round(c.want*10) / 10; got == nil || got.Percent != want || got.Estimated {
			t.Errorf("%s: %+v, want %v", c.name, got, want)
		}
	}
	if got := shareOf(4, maxSharePairs, func(int, int) (have, want packet.Services) { return nil, packet.AllServices() }); got != nil {
		t.Errorf("of nothing: %+v", got)
	}
}

// How many addresses are behind a name, and into how many parts nobody's addresses
// fall, is all the same.
func TestShareCountsNames(t *testing.T) {
	pfx := func(list ...string) (out packet.Addrs) {
		for _, p := range list {
			out = out.Union(packet.AddrsOf(netip.MustParsePrefix(p)))
		}
		return out
	}
	named := []netip.Addr{netip.MustParseAddr("10.0.0.0"), netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("192.0.2.7"), netip.MustParseAddr("192.0.2.7")}
	s := newSharer(named)
	list := []packet.Joint{{Addrs: pfx("10.0.0.0/8")}, {Addrs: pfx("192.0.2.0/24")}, {Addrs: pfx("11.0.0.0/8")}, {Addrs: pfx("12.0.0.0/8")}, {Addrs: pfx("2001:db8::/32")}, {Addrs: pfx("192.0.2.7/32")}}
	want := []float64{2, 1, 0.5, 0.5, 1, 0}
	for i, x := range s.sides(list, pfx("192.0.2.7/32"))[:6] {
		if i == 1 {
			want[1] = 0 // its only name is the machine's own
		}
		if x.weight != want[i] {
			t.Errorf("part %d weighs %v, want %v", i, x.weight, want[i])
		}
	}
}

// A sample is close to the whole, and the same each time.
func TestShareSample(t *testing.T) {
	for seed := range uint64(12) {
		r := rand.New(rand.NewPCG(seed, 1))
		n := 300 + r.IntN(700)
		group := make([]int, n+1) // of each machine
		groups := 1 + r.IntN(30)
		for i := range group {
			if seed%2 == 0 {
				group[i] = r.IntN(groups) // scattered
			} else {
				group[i] = i * groups / (n + 1) // side by side
			}
		}
		type cell struct{ have, want packet.Services }
		cells := make([][]cell, groups)
		for i := range cells {
			for range groups {
				c := cell{tcpPort(uint16(r.IntN(4))), nil}
				if r.IntN(3) == 0 {
					c.have = packet.AllServices()
				}
				if r.IntN(2) == 0 {
					c.want = c.have
				}
				cells[i] = append(cells[i], c)
			}
		}
		permit := func(a, b int) (have, want packet.Services) {
			c := cells[group[a]][group[b]]
			return c.have, c.want
		}
		all, some, again := shareOf(n, 1<<30, permit), shareOf(n, 1, permit), shareOf(n, 1, permit)
		if *some != *again {
			t.Fatalf("seed %d: %+v and %+v", seed, some, again)
		}
		if all.Estimated || !some.Estimated || math.Abs(all.Percent-some.Percent) > 4 {
			t.Errorf("seed %d: %d machines in %d groups: %+v of all, %+v of a sample", seed, n, groups, all, some)
		}
	}
}
