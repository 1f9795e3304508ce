package nftables_test

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"testing"
	"time"

	"pgregory.net/rapid"

	"bulkhead/drivers/nftables"
	"bulkhead/internal/tries"
	"bulkhead/pkg/compile"
	"bulkhead/pkg/driver"
	"bulkhead/pkg/packet"
	"bulkhead/pkg/policy"
	"bulkhead/pkg/policy/policytest"
	"bulkhead/pkg/prove"
)

var namespaces int

// newNetns makes a network namespace that goes with the test.
func newNetns(t testing.TB) string {
	t.Helper()
	namespaces++
	name := fmt.Sprintf("bh-drv-%d-%d", os.Getpid(), namespaces)
	if out, err := exec.Command("ip", "netns", "add", name).CombinedOutput(); err != nil {
		t.Fatalf("cannot make a network namespace (these tests need root): %v: %s", err, out)
	}
	t.Cleanup(func() { exec.Command("ip", "netns", "del", name).Run() })
	return name
}

func prefixes(ps ...string) packet.Addrs {
	var out []netip.Prefix
	for _, p := range ps {
		out = append(out, netip.MustParsePrefix(p))
	}
	return packet.AddrsOf(out...)
}

func gateway(mode policy.Mode) compile.Point {
	fs := []compile.Failsafe{
		{From: prefixes("10.0.9.10/32", "2001:db8:9::10/128"), To: prefixes("10.0.0.1/32", "10.0.1.1/32", "2001:db8::1/128"),
			Services: packet.ServicesOf([]policy.Range{{Proto: 6, Lo: 22, Hi: 22}, {Proto: 1, Lo: 0x800, Hi: 0x8ff}, {Proto: 47, Lo: 0, Hi: 65535}})},
	}
	return compile.Point{Name: "gw", Mode: mode, Transit: true, Failsafe: fs, Learn: time.Minute, DHCPServers: prefixes("10.0.1.7/32"),
		Zones: []compile.Zone{
			{Name: "a", Interfaces: []string{"eth1"}, Known: true, Masks: prefixes("10.0.0.0/24").Prefixes(), AntiSpoof: compile.SpoofEnforce},
			{Name: "b", Interfaces: []string{"eth2", "eth3"}, Known: true, Masks: prefixes("10.0.1.0/24", "2001:db8::/32").Prefixes(), AntiSpoof: compile.SpoofObserve},
			{Name: "out", Interfaces: []string{"eth0"}, Default: true, Known: true, AntiSpoof: compile.SpoofEnforce},
		}}
}

func host(mode policy.Mode) compile.Point {
	gw := gateway(mode)
	return compile.Point{Name: "host-1", Mode: mode, Endpoint: true, Protects: prefixes("10.0.0.1/32", "2001:db8::1/128"), Failsafe: gw.Failsafe, Learn: time.Minute, DHCPServers: gw.DHCPServers}
}

var ifaces = []string{"eth0", "eth1", "eth2", "eth3"}

func desired(t interface{ Fatal(...any) }, w *policy.World, ps []compile.Point) driver.Desired {
	m, err := compile.Compile(compile.Input{Assets: w.Assets, Book: w.Book, Where: w.Where, Now: w.Now})
	if err != nil {
		t.Fatal(err)
	}
	return driver.Desired{Site: "test", Points: ps, View: compile.NewView(m, ps), Now: w.Now}
}

func mustProve(t interface{ Fatalf(string, ...any) }, d driver.Driver, want driver.Desired, s driver.State) {
	dec, err := d.Decode(s)
	if err != nil {
		t.Fatalf("%v", err)
	}
	for _, r := range prove.Device(want.View.Matrix, want.Points, dec) {
		if !r.Proved {
			msg := ""
			for _, w := range r.Wrong {
				msg += "\n  " + w.String()
			}
			for _, f := range r.Findings {
				msg += fmt.Sprintf("\n  %+v", f)
			}
			t.Fatalf("point %s is not proved:%s", r.Point, msg)
		}
	}
}

// What is rendered for random sites and point mixes is proved without a kernel.
func TestRenderedIsProved(t *testing.T) {
	tries.Checks(t, 10, func(t *rapid.T) {
		w := policytest.World(t, policytest.Options{})
		mode := rapid.SampledFrom([]policy.Mode{policy.Enforce, policy.Enforce, policy.Observe}).Draw(t, "point mode")
		ps := rapid.SampledFrom([][]compile.Point{{gateway(mode)}, {host(mode)}, {gateway(mode), host(mode)}}).Draw(t, "points")
		d := nftables.New(nftables.Options{Site: "test", Interfaces: ifaces, Bounds: drawBounds(t)})
		want := desired(t, w, ps)
		r, err := d.Render(want, nftables.Empty("test"))
		if err != nil {
			t.Fatal(err)
		}
		mustProve(t, d, want, r.State)
	})
}

// A kernel that is brought from one random site to the next holds what was meant
// after each step, and a second plan has nothing to do.
func TestSequenceInKernel(t *testing.T) {
	ctx := context.Background()
	ns := newNetns(t)
	tries.Checks(t, 4, func(rt *rapid.T) {
		if out, err := exec.Command("ip", "netns", "exec", ns, "nft", "flush", "ruleset").CombinedOutput(); err != nil {
			rt.Fatalf("nft: %v: %s", err, out)
		}
		bounds := drawBounds(rt)
		steps := rapid.IntRange(2, 4).Draw(rt, "steps")
		for range steps {
			if rapid.IntRange(0, 3).Draw(rt, "other bounds") == 0 {
				bounds = drawBounds(rt)
			}
			d := nftables.New(nftables.Options{Site: "test", Netns: ns, Interfaces: ifaces, Bounds: bounds})
			w := policytest.World(rt, policytest.Options{})
			ps := rapid.SampledFrom([][]compile.Point{{gateway(policy.Enforce)}, {host(policy.Enforce)}, {gateway(policy.Enforce), host(policy.Observe)}}).Draw(rt, "points")
			want := desired(rt, w, ps)
			have, err := d.Read(ctx)
			if err != nil {
				rt.Fatal(err)
			}
			r, err := d.Render(want, have)
			if err != nil {
				rt.Fatal(err)
			}
			ch, err := d.Diff(have, r.State)
			if err != nil {
				rt.Fatal(err)
			}
			if err := d.Apply(ctx, ch); err != nil {
				rt.Fatal(err)
			}
			now, err := d.Read(ctx)
			if err != nil {
				rt.Fatal(err)
			}
			mustProve(rt, d, want, now)
			again, err := d.Render(want, now)
			if err != nil {
				rt.Fatal(err)
			}
			rest, err := d.Diff(now, again.State)
			if err != nil {
				rt.Fatal(err)
			}
			if !rest.Empty() {
				rt.Fatalf("a second plan is not empty: %+v", rest.Ops)
			}
		}
	})
}
