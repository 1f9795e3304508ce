package reconcile_test

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"bulkhead/drivers/nftables"
	"bulkhead/internal/tries"
	"bulkhead/inventory"
	"bulkhead/pkg/apply"
	"bulkhead/pkg/compile"
	"bulkhead/pkg/config"
	"bulkhead/pkg/diag"
	"bulkhead/pkg/driver"
	"bulkhead/pkg/plan"
	"bulkhead/pkg/policy"
	"bulkhead/pkg/policy/policytest"
	"bulkhead/pkg/reconcile"
)

// draft is a site whose parts are changed one by one.
type draft struct {
	assets   map[string]inventory.Asset
	groups   map[string]policy.Group
	policies map[string]policy.Policy
}

const draftGroups = 4

// newDraft takes a drawn world apart. What a `where` selected becomes a list of
// members, and every group name of every draft exists, so that parts of two
// drafts fit together.
func newDraft(w *policy.World) *draft {
	d := &draft{map[string]inventory.Asset{}, map[string]policy.Group{}, map[string]policy.Policy{}}
	for _, a := range w.Assets {
		d.assets[a.ID] = a
	}
	for _, g := range w.Book.Groups {
		g.Members = append(slices.Clone(g.Members), w.Where[g.Name]...)
		g.Where = ""
		d.groups[g.Name] = g
	}
	for i := range draftGroups {
		name := fmt.Sprintf("g%d", i)
		if _, ok := d.groups[name]; !ok {
			d.groups[name] = policy.Group{Name: name, Isolate: policy.IsolateNone}
		}
	}
	for _, p := range w.Book.Policies {
		d.policies[p.Name] = p
	}
	return d
}

// one makes one part of d as it is in to; it may be there already.
func one[V any](d, to map[string]V, key string) {
	if v, ok := to[key]; ok {
		d[key] = v
	} else {
		delete(d, key)
	}
}

func keys[V any](ms ...map[string]V) []string {
	var out []string
	for _, m := range ms {
		for k := range m {
			out = append(out, k)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// changes lists every way to bring a part of d to what it is in to.
func (d *draft) changes(to *draft) []func() {
	var out []func()
	for _, k := range keys(d.assets, to.assets) {
		out = append(out, func() { one(d.assets, to.assets, k) })
	}
	for _, k := range keys(d.groups, to.groups) {
		out = append(out, func() { one(d.groups, to.groups, k) })
	}
	for _, k := range keys(d.policies, to.policies) {
		out = append(out, func() { one(d.policies, to.policies, k) })
	}
	return out
}

func (d *draft) site(t *rapid.T, kind driver.Kind) *reconcile.Site {
	cfg := &config.Site{Book: &policy.Rulebook{}}
	cfg.Settings.Name = "t"
	cfg.Settings.Limits.FirstEnforcement = config.FirstAccept
	mask := func(s ...string) (out []netip.Prefix) {
		for _, p := range s {
			out = append(out, netip.MustParsePrefix(p))
		}
		return out
	}
	cfg.Settings.Points = []config.Point{{Name: "gw", Driver: "fake", Mode: policy.Enforce, Zones: []config.Zone{
		{Name: "a", Interfaces: []string{"eth1"}, Prefixes: mask("10.0.0.0/24"), PrefixesGiven: true, AntiSpoof: config.AntiSpoof(compile.SpoofEnforce)},
		{Name: "b", Interfaces: []string{"eth2"}, Prefixes: mask("10.0.1.0/24", "2001:db8::/32"), PrefixesGiven: true, AntiSpoof: config.AntiSpoof(compile.SpoofObserve)}}}}
	report := inventory.Report{Source: inventory.FileSource, Trust: inventory.TrustFull}
	for _, k := range keys(d.assets) {
		report.Assets = append(report.Assets, d.assets[k])
	}
	for _, k := range keys(d.groups) {
		cfg.Book.Groups = append(cfg.Book.Groups, d.groups[k])
	}
	for _, k := range keys(d.policies) {
		cfg.Book.Policies = append(cfg.Book.Policies, d.policies[k])
	}
	policy.SortPolicies(cfg.Book.Policies)
	s, err := reconcile.Build(cfg, []inventory.Report{report}, policytest.Epoch, []driver.Kind{kind}, &diag.List{})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// converge plans and applies, and holds the device to a proof and to a second
// plan that has nothing to do.
func converge(t *rapid.T, d *draft, kind driver.Kind) {
	ctx := context.Background()
	s := d.site(t, kind)
	run := func() *reconcile.Result {
		devices, err := s.Devices(ctx, true)
		if err != nil {
			t.Fatal(err)
		}
		r, err := s.RunOnce(ctx, devices, reconcile.Options{Enforced: map[string]bool{"gw": true}})
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	if _, err := apply.Run(ctx, run().Jobs, quiet); err != nil {
		t.Fatal(err)
	}
	p := run().Plan
	if p.Points[0].Status != plan.InSync || !p.Points[0].Before.Proved || len(p.Flows) > 0 {
		t.Fatalf("after an apply the point is %s, with %d flow changes and %+v", p.Points[0].Status, len(p.Flows), p.Points[0].Ops)
	}
}

// Changes of assets, groups and policies in any order, each planned, applied and
// proved by itself, end where a compile from nothing ends.
func TestAnyOrderOfChanges(t *testing.T) {
	tries.Checks(t, 2, func(t *rapid.T) {
		o := policytest.Options{MaxAssets: 4, MaxGroups: draftGroups, MaxPolicies: 4}
		d, to := newDraft(policytest.World(t, o)), newDraft(policytest.World(t, o))
		f := &fake{Driver: nftables.New(nftables.Options{Site: "t", Interfaces: []string{"eth1", "eth2"}}), state: nftables.Empty("t")}
		kind := driver.Kind{Name: "fake", Device: func(*config.Point) string { return "device" },
			Netns: func(*config.Point) (string, bool) { return "", false },
			Open:  func(string, []config.Point) (driver.Driver, error) { return f, nil }}
		converge(t, d, kind)
		for _, change := range rapid.Permutation(d.changes(to)).Draw(t, "order") {
			change()
			converge(t, d, kind)
		}
		// The same policy from nothing proves the same matrix: read what is there with it.
		fresh := newDraft(&policy.World{Book: &policy.Rulebook{}})
		for _, change := range fresh.changes(to) {
			change()
		}
		s := fresh.site(t, kind)
		devices, err := s.Devices(context.Background(), true)
		if err != nil {
			t.Fatal(err)
		}
		proof, err := apply.Verify(context.Background(), &apply.Job{Driver: f, Matrix: s.Matrix, Points: devices[0].Points})
		if err != nil || !proof[0].Proved {
			t.Fatalf("%+v %v", proof, err)
		}
	})
}
