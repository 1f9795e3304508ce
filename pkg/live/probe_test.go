package live_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"bulkhead/drivers/nftables"
	"bulkhead/internal/tries"
	"bulkhead/inventory"
	"bulkhead/pkg/classify"
	"bulkhead/pkg/compile"
	"bulkhead/pkg/lab"
	"bulkhead/pkg/live"
	"bulkhead/pkg/policy"
)

// After a change has been acknowledged, the next packet fares by it: a hundred
// changes of hosts' roles and places, each confirmed by packets between real hosts.
func TestPacketsFollowChanges(t *testing.T) {
	pfx := netip.MustParsePrefix
	segment := func(n int) lab.Segment {
		seg := lab.Segment{Name: fmt.Sprint("s", n), Interface: fmt.Sprint("eth", n+1), Bridge: true,
			Addresses: []netip.Prefix{pfx(fmt.Sprintf("10.0.%d.254/24", n)), pfx(fmt.Sprintf("2001:db8:%d::fe/64", n))}}
		for i := 1; i <= 2; i++ {
			seg.Hosts = append(seg.Hosts, lab.Host{Name: fmt.Sprintf("h%d%d", n, i),
				Addresses: []netip.Prefix{pfx(fmt.Sprintf("10.0.%d.%d/24", n, i)), pfx(fmt.Sprintf("2001:db8:%d::%d/64", n, i))}})
		}
		return seg
	}
	net, err := lab.Build(lab.Topology{Segments: []lab.Segment{segment(0), segment(1)}})
	if err != nil {
		t.Fatalf("cannot build the lab (these tests need root): %v", err)
	}
	defer net.Close()
	prober, err := lab.NewProber(net)
	if err != nil {
		t.Fatal(err)
	}
	defer prober.Close()

	rnd := rand.New(rand.NewPCG(4, 4))
	draw := func(id string, n, i int) inventory.Asset {
		return inventory.Asset{ID: id, Kind: inventory.Server, Labels: map[string]string{"role": fmt.Sprint(rnd.IntN(3)), "env": fmt.Sprint(rnd.IntN(2))},
			Addresses: []netip.Prefix{pfx(fmt.Sprintf("10.0.%d.%d/32", n, i)), pfx(fmt.Sprintf("2001:db8:%d::%d/128", n, i))}}
	}
	// Assets without hosts hold every combination, so that changes find their classes.
	var assets []inventory.Asset
	for r := range 3 {
		for e := range 2 {
			assets = append(assets, inventory.Asset{ID: fmt.Sprintf("a%d%d", r, e), Kind: inventory.Server, Labels: map[string]string{"role": fmt.Sprint(r), "env": fmt.Sprint(e)},
				Addresses: []netip.Prefix{pfx(fmt.Sprintf("10.9.%d.%d/32", r, e)), pfx(fmt.Sprintf("2001:db8:9:%d::%d/128", r, e))}})
		}
	}
	hosts := map[string]int{}
	for n := range 2 {
		for i := 1; i <= 2; i++ {
			hosts[fmt.Sprintf("h%d%d", n, i)] = len(assets)
			assets = append(assets, draw(fmt.Sprintf("h%d%d", n, i), n, i))
		}
	}
	book := &policy.Rulebook{Groups: []policy.Group{{Name: policy.GroupAny, Isolate: policy.IsolateBoth}}}
	for r := range 3 {
		book.Groups = append(book.Groups, policy.Group{Name: fmt.Sprint("role", r), Where: fmt.Sprintf(`labels.role == "%d"`, r)})
	}
	port := func(n uint16) []policy.Range { return []policy.Range{{Proto: 17, Lo: n, Hi: n}} }
	book.Policies = []policy.Policy{
		{Name: "chain", From: []string{"role0"}, To: []string{"role1"}, Ranges: port(5000), Action: policy.Allow, Tier: policy.Application, Direction: policy.Both, Mode: policy.Enforce},
		{Name: "home", From: []string{"role1", "role2"}, To: []string{"role0"}, Ranges: port(5001), Action: policy.Allow, Tier: policy.Application, Direction: policy.Both, Mode: policy.Enforce, Same: []string{"env"}},
	}
	policy.SortPolicies(book.Policies)
	ctx := context.Background()
	now := time.Now()
	driver := nftables.New(nftables.Options{Site: "live", Netns: net.Gateway.Path, Interfaces: []string{"eth1", "eth2"}})
	points := []compile.Point{{Name: "gw", Mode: policy.Enforce, Transit: true}}
	l, err := live.Open(ctx, live.Options{Name: "live", Book: book, Points: points, Driver: driver, Now: func() time.Time { return now }}, assets, map[string]bool{"gw": true})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	cl, _ := classify.Compile(book, nil)
	names := []string{"h01", "h02", "h11", "h12"}
	byItself, arrived, stopped := 0, 0, 0
	for step := range tries.Of(100) {
		name := names[rnd.IntN(len(names))]
		k := hosts[name]
		assets[k].Labels = map[string]string{"role": fmt.Sprint(rnd.IntN(3)), "env": fmt.Sprint(rnd.IntN(2))}
		st, err := l.Asset(ctx, assets[k])
		if err != nil {
			t.Fatal(err)
		}
		if st.Whole == "" {
			byItself++
		}
		w := policy.World{Assets: assets, Book: book, Where: cl.Classify(assets).Matches, Now: now}
		var probes []lab.Probe
		var want []bool
		for _, other := range names {
			if other[1] == name[1] {
				continue // no router between them
			}
			for _, four := range []bool{true, false} {
				for _, num := range []uint16{5000, 5001} {
					for _, ends := range [][2]string{{name, other}, {other, name}} {
						src, dst := net.Addr(ends[0], four), net.Addr(ends[1], four)
						probes = append(probes, lab.Probe{From: ends[0], Dst: dst, Proto: 17, Num: num})
						want = append(want, w.Decide(policy.Flow{Src: src, Dst: dst, Proto: 17, Num: num}).Permit)
					}
				}
			}
		}
		results, err := prober.Run(ctx, probes, lab.ProbeOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for i, r := range results {
			if r.Got != want[i] {
				t.Fatalf("step %d, %s became %v: %+v received=%v, policy permits=%v", step, name, assets[k].Labels, probes[i], r.Got, want[i])
			}
			if r.Got {
				arrived++
			} else {
				stopped++
			}
		}
		if _, err := l.Prove(ctx); err != nil {
			t.Fatal(err)
		}
		if err := l.Settle(ctx); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d changes by themselves; %d packets arrived, %d did not", byItself, arrived, stopped)
	if tries.All && (byItself < 50 || arrived < 100 || stopped < 100) {
		t.Errorf("the test is too easy: %d changes by themselves, %d packets arrived, %d did not", byItself, arrived, stopped)
	}
}
