package nftables_test

import (
	"context"
	"os/exec"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"bulkhead/drivers/nftables"
	"bulkhead/internal/tries"
	"bulkhead/pkg/compile"
	"bulkhead/pkg/policy"
	"bulkhead/pkg/policy/policytest"
)

// What `render` prints means the same as what `apply` installs: loaded by the nft
// tool, read back from the kernel and decoded, it is proved as well.
func TestTextIsProvedOnceLoaded(t *testing.T) {
	ns := newNetns(t)
	tries.Checks(t, 4, func(rt *rapid.T) {
		w := policytest.World(rt, policytest.Options{})
		points := rapid.SampledFrom([][]compile.Point{{gateway(policy.Enforce)}, {host(policy.Enforce)}, {gateway(policy.Observe)}}).Draw(rt, "points")
		d := nftables.New(nftables.Options{Site: "test", Netns: ns, Interfaces: ifaces, Bounds: drawBounds(rt)})
		want := desired(rt, w, points)
		r, err := d.Render(want, nil)
		if err != nil {
			rt.Fatal(err)
		}
		cmd := exec.Command("ip", "netns", "exec", ns, "nft", "-f", "-")
		cmd.Stdin = strings.NewReader("flush ruleset\n" + r.State.(*nftables.State).Text())
		if out, err := cmd.CombinedOutput(); err != nil {
			rt.Fatalf("nft: %v: %s", err, out)
		}
		now, err := d.Read(context.Background())
		if err != nil {
			rt.Fatal(err)
		}
		mustProve(rt, d, want, now)
		// An apply on top of it ends in our own table, whatever the tool wrote otherwise.
		again, err := d.Render(want, now)
		if err != nil {
			rt.Fatal(err)
		}
		ch, err := d.Diff(now, again.State)
		if err != nil {
			rt.Fatal(err)
		}
		if err := d.Apply(context.Background(), ch); err != nil {
			rt.Fatal(err)
		}
		if now, err = d.Read(context.Background()); err != nil {
			rt.Fatal(err)
		}
		if ch, err = d.Diff(now, again.State); err != nil || !ch.Empty() {
			rt.Fatalf("not taken over: %v %+v", err, ch.Ops)
		}
	})
}
