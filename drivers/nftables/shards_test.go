package nftables_test

import (
	"context"
	"os/exec"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"bulkhead/drivers/nftables"
	"bulkhead/drivers/nftables/ruleset"
	"bulkhead/internal/tries"
	"bulkhead/pkg/compile"
	"bulkhead/pkg/policy"
	"bulkhead/pkg/policy/policytest"
)

// shardOf says in which set each key of a map and its shards is. It fails where a
// key is in two.
func shardOf(t interface{ Fatalf(string, ...any) }, table *ruleset.Table, base string, limit int) map[string]string {
	out := map[string]string{}
	for i := range table.Sets {
		s := &table.Sets[i]
		if s.Name != base && !strings.HasPrefix(s.Name, base+"_") {
			continue
		}
		if len(s.Elements) > limit {
			t.Fatalf("set %s has %d elements, and the bound is %d", s.Name, len(s.Elements), limit)
		}
		if len(s.Elements) == 0 && s.Name != base {
			t.Fatalf("set %s is empty, and every new packet pays for it", s.Name)
		}
		for k := range s.Elements {
			key := string(s.Elements[k].Key)
			if out[key] != "" {
				t.Fatalf("key %x is in %s and in %s", key, out[key], s.Name)
			}
			out[key] = s.Name
		}
	}
	return out
}

// drawShards are bounds so small that random sites need several shards.
func drawShards(t *rapid.T) compile.Bounds {
	b := drawBounds(t)
	b.Shard = rapid.IntRange(1, 6).Draw(t, "shard")
	return b
}

// A table whose maps are spread over many small ones means what the table with
// whole ones means, through random changes; and what a change does not concern
// stays in its shard.
func TestShardedIsProved(t *testing.T) {
	tries.Checks(t, 6, func(rt *rapid.T) {
		bounds := drawShards(rt)
		d := nftables.New(nftables.Options{Site: "test", Interfaces: ifaces, Bounds: bounds})
		ps := []compile.Point{gateway(policy.Enforce), host(policy.Enforce)}
		have := nftables.Empty("test")
		for range rapid.IntRange(2, 4).Draw(rt, "steps") {
			want := desired(rt, policytest.World(rt, policytest.Options{}), ps)
			r, err := d.Render(want, have)
			if err != nil {
				rt.Fatal(err)
			}
			mustProve(rt, d, want, r.State)
			again, err := d.Render(want, r.State)
			if err != nil {
				rt.Fatal(err)
			}
			rest, err := d.Diff(r.State, again.State)
			if err != nil {
				rt.Fatal(err)
			}
			if !rest.Empty() {
				rt.Fatalf("rendered again, it changes: %+v", rest.Ops)
			}
			now := r.State.(*nftables.State)
			mustStay(rt, have.Table(), now.Table(), bounds.Shard)
			have = now
		}
	})
}

// mustStay fails if a key that stays on the device is in another shard now,
// although its own was not closed.
func mustStay(t interface{ Fatalf(string, ...any) }, have, now *ruleset.Table, limit int) {
	for _, base := range []string{"host4", "host6"} {
		after := shardOf(t, now, base, limit)
		if have == nil {
			continue
		}
		for key, was := range shardOf(t, have, base, limit) {
			if is := after[key]; is != "" && is != was && now.Set(was) != nil {
				t.Fatalf("key %x of %s went from %s to %s", key, base, was, is)
			}
		}
	}
}

// A kernel that is brought from one random site to the next holds what was meant
// where its maps are spread over many.
func TestShardsInKernel(t *testing.T) {
	ctx := context.Background()
	ns := newNetns(t)
	tries.Checks(t, 3, func(rt *rapid.T) {
		if out, err := exec.Command("ip", "netns", "exec", ns, "nft", "flush", "ruleset").CombinedOutput(); err != nil {
			rt.Fatalf("nft: %v: %s", err, out)
		}
		bounds := drawShards(rt)
		for range rapid.IntRange(2, 4).Draw(rt, "steps") {
			d := nftables.New(nftables.Options{Site: "test", Netns: ns, Interfaces: ifaces, Bounds: bounds})
			want := desired(rt, policytest.World(rt, policytest.Options{}), []compile.Point{gateway(policy.Enforce)})
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
			shardOf(rt, now.(*nftables.State).Table(), "host4", bounds.Shard)
		}
	})
}
