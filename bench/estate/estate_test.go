package estate

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"math"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"bulkhead/internal/tries"
	"bulkhead/inventory"
	"bulkhead/pkg/classify"
	"bulkhead/pkg/config"
	"bulkhead/pkg/policy"
)

// digest is over the text of all files.
func digest(e *Estate) string {
	h := sha256.New()
	files := e.Files()
	for _, name := range slices.Sorted(maps.Keys(files)) {
		fmt.Fprintf(h, "%s %d\n%s", name, len(files[name]), files[name])
	}
	return hex.EncodeToString(h.Sum(nil))[:16]
}

// What is measured stays what was measured. If a digest has to change, every figure
// of that site in the documentation is of another site from then on.
func TestPublished(t *testing.T) {
	for _, tc := range tries.Some([]struct {
		make func() *Estate
		want string
	}{
		{func() *Estate { return New(Options{}) }, "622fc3a788b7912b"},
		{func() *Estate { return New(Options{DirectionBound: true}) }, "1287d065cf141f6a"},
		{func() *Estate { return New(Options{MixedDenies: true}) }, "d4ac805e4d5c75dc"},
		{func() *Estate { return New(Scale(1000)) }, "1e62f9acef21e8b8"},
		{Peers, "b68c7323d8ac08a3"},
		{Million, "b16f72f1724b3fa1"},
		{Addresses100k, "2459c54af13742ca"},
	}) {
		e := tc.make()
		if got := digest(e); got != tc.want {
			t.Errorf("%s: the digest is %s, not %s", e.Name, got, tc.want)
		}
	}
}

// The same options give the same values, and another seed gives others.
func TestDeterminism(t *testing.T) {
	o := Scale(2000)
	if a, b := New(o), New(o); !reflect.DeepEqual(a, b) {
		t.Error("two estates of one seed differ")
	}
	a := New(o)
	o.Seed = Seed + 1
	if b := New(o); digest(a) == digest(b) {
		t.Error("two seeds give one estate")
	}
}

func TestCounts(t *testing.T) {
	e := New(Options{})
	v6 := 0
	seen := map[netip.Addr]bool{}
	for _, a := range e.Assets {
		if len(a.Addresses) != 1 || !inventory.IsHost(a.Addresses[0]) || seen[a.Addresses[0].Addr()] {
			t.Fatalf("%s has %v", a.ID, a.Addresses)
		}
		seen[a.Addresses[0].Addr()] = true
		if a.Addresses[0].Addr().Is6() {
			v6++
		}
	}
	if len(e.Assets) != 100_000 || v6 != 20_000 {
		t.Errorf("%d assets, %d of them IPv6", len(e.Assets), v6)
	}
	kinds := map[string]int{}
	for _, g := range e.Book.Groups {
		if policy.BuiltIn(g.Name) {
			continue
		}
		kinds[kindOf(g.Name)]++
		if g.Isolate != policy.IsolateBoth {
			t.Errorf("%s is isolated %s", g.Name, g.Isolate)
		}
		if m := e.groups[g.Name]; strings.HasPrefix(g.Name, "list") && len(g.Members) != 50 || strings.HasPrefix(g.Name, "slice") && len(m.list) != 256 {
			t.Errorf("%s has %d members", g.Name, len(m.list))
		}
	}
	want := map[string]int{"role": 25, "site": 50, "env": 4, "role-env": 100, "site-env": 200, "adhoc": 121}
	if !maps.Equal(kinds, want) || len(e.Book.Groups) != 500+3 {
		t.Errorf("%d groups: %v", len(e.Book.Groups)-3, kinds)
	}
	if len(e.Book.Services) != 200 {
		t.Errorf("%d services", len(e.Book.Services))
	}
}

// kindOf tells what sort of group a name is of.
func kindOf(name string) string {
	kind, _, _ := strings.Cut(name, "-")
	switch {
	case kind == "list" || kind == "slice":
		return "adhoc"
	case kind != "env" && strings.Contains(name, "-env-"):
		return kind + "-env"
	}
	return kind
}

func TestMix(t *testing.T) {
	plain := New(Options{}).Book.Policies
	count := map[string]int{}
	orders := map[int]bool{}
	for _, p := range plain {
		count[fmt.Sprintf("%d services", len(p.Services))]++
		count[fmt.Sprintf("%s in %s", p.Action, p.Tier)]++
		orders[p.Order] = true
		key := strings.Join(p.Same, " ") + " " + kindOf(p.From[0]) + " to " + kindOf(p.To[0])
		for from, as := range map[string]string{" site to": " from site", " site-env to": " from site", " adhoc to": " from adhoc"} {
			if strings.HasPrefix(key, from) {
				key = as
			}
		}
		count[key]++
		if p.Order < 0 || p.Order > 999 {
			t.Errorf("%s has order %d", p.Name, p.Order)
		}
	}
	for key, want := range map[string]int{
		" role-env to role-env": 1499, "site role-env to role-env": 1, " from site": 299, "site any to any": 1, " from adhoc": 200,
		"deny in platform": 200, "allow in application": 1800,
	} {
		if count[key] != want {
			t.Errorf("%q: %d, not %d of %v", key, count[key], want, count)
		}
		delete(count, key)
	}
	for n := 1; n <= 3; n++ {
		key := fmt.Sprintf("%d services", n)
		if math.Abs(float64(count[key])-2000./3) > 70 {
			t.Errorf("%d policies of %s", count[key], key)
		}
		delete(count, key)
	}
	if len(count) != 0 || len(orders) < 800 {
		t.Errorf("also %v; %d order values", count, len(orders))
	}
}

// A variant differs from the estate in what it is named for, and in nothing else.
func TestVariants(t *testing.T) {
	byName := func(ps []policy.Policy) map[string]policy.Policy {
		out := map[string]policy.Policy{}
		for _, p := range ps {
			out[p.Name] = p
		}
		return out
	}
	plain := New(Options{})
	old := byName(plain.Book.Policies)
	for _, tc := range []struct {
		o    Options
		want int
		undo func(*policy.Policy) bool
	}{
		{Options{DirectionBound: true}, 400, func(p *policy.Policy) bool {
			changed := p.Direction != policy.Both
			p.Direction = policy.Both
			return changed
		}},
		{Options{MixedDenies: true}, 67, func(p *policy.Policy) bool {
			changed := p.Action == policy.Deny && p.Tier == policy.Application
			if changed {
				p.Tier = policy.Platform
			}
			return changed
		}},
	} {
		e := New(tc.o)
		n := 0
		for _, p := range e.Book.Policies {
			if tc.undo(&p) {
				n++
			}
			if !reflect.DeepEqual(p, old[p.Name]) {
				t.Fatalf("%s: %+v was %+v", e.Name, p, old[p.Name])
			}
		}
		if n != tc.want {
			t.Errorf("%s: %d policies", e.Name, n)
		}
		if !reflect.DeepEqual(e.Assets, plain.Assets) || !reflect.DeepEqual(e.Book.Groups, plain.Book.Groups) {
			t.Errorf("%s: other assets or groups", e.Name)
		}
	}
}

// The loader and the merge make of the files exactly the values.
func TestRoundTrip(t *testing.T) {
	for _, e := range []*Estate{New(Scale(3000)), New(Options{Addresses: 3000, DirectionBound: true, MixedDenies: true}), Small(1000), Peers()} {
		dir := t.TempDir()
		if err := e.WriteSite(dir); err != nil {
			t.Fatal(err)
		}
		site, diags := config.Load(dir)
		if diags.Len() != 0 {
			t.Fatalf("%s: %s", e.Name, diags.Text(site.Source))
		}
		for i, g := range site.Book.Groups {
			if i < len(e.Book.Groups) && !reflect.DeepEqual(g, e.Book.Groups[i]) {
				t.Fatalf("%s: loaded %+v\nwanted %+v", e.Name, g, e.Book.Groups[i])
			}
		}
		for i, p := range site.Book.Policies {
			if i < len(e.Book.Policies) && !reflect.DeepEqual(p, e.Book.Policies[i]) {
				t.Fatalf("%s: loaded %+v\nwanted %+v", e.Name, p, e.Book.Policies[i])
			}
		}
		if !reflect.DeepEqual(site.Book, e.Book) {
			t.Errorf("%s: the rulebooks differ", e.Name)
		}
		inv := inventory.Merge([]inventory.Report{site.Report()}, inventory.MergeOptions{})
		if len(inv.Conflicts)+len(inv.Evidence) != 0 {
			t.Errorf("%s: %v %v", e.Name, inv.Conflicts, inv.Evidence)
		}
		for i := range inv.Assets {
			if i < len(e.Assets) && !reflect.DeepEqual(inv.Assets[i], e.Assets[i]) {
				t.Fatalf("%s: loaded %#v\nwanted %#v", e.Name, inv.Assets[i], e.Assets[i])
			}
		}
		if len(inv.Assets) != len(e.Assets) {
			t.Errorf("%s: %d assets", e.Name, len(inv.Assets))
		}
	}
}

// Sampled flows have the verdict that the reference evaluator gives them.
func TestFlows(t *testing.T) {
	for _, e := range []*Estate{New(Options{Addresses: 600, Policies: 200, DirectionBound: true, MixedDenies: true}), Small(400)} {
		c, diags := classify.Compile(e.Book, nil)
		if diags.Len() != 0 {
			t.Fatal(diags.All())
		}
		w := policy.World{Assets: e.Assets, Book: e.Book, Where: c.Classify(e.Assets).Matches, Now: time.Unix(0, 0)}
		for _, ipv6 := range []bool{false, true} {
			yes, err := e.Permitted(10, ipv6)
			if err != nil {
				t.Fatal(err)
			}
			no, err := e.Denied(10, ipv6)
			if err != nil {
				t.Fatal(err)
			}
			for i, f := range append(yes, no...) {
				d := w.Decide(policy.Flow{Src: f.Src, Dst: f.Dst, Proto: 17, Num: f.Port})
				if d.Permit != (i < len(yes)) || f.Src.Is6() != ipv6 {
					t.Errorf("%s: %v is permitted: %v", e.Name, f, d.Permit)
				}
			}
		}
	}
}

func TestCover(t *testing.T) {
	for _, tc := range []struct{ from, to, want string }{
		{"10.0.0.1", "10.0.0.1", "10.0.0.1/32"},
		{"10.0.0.0", "10.0.0.255", "10.0.0.0/24"},
		{"10.0.0.1", "10.0.0.4", "10.0.0.1/32 10.0.0.2/31 10.0.0.4/32"},
		{"2001:db8:0:1::", "2001:db8:0:1::1:0", "2001:db8:0:1::/112 2001:db8:0:1::1:0/128"},
	} {
		var got []string
		for _, p := range cover(netip.MustParseAddr(tc.from), netip.MustParseAddr(tc.to)) {
			got = append(got, p.String())
		}
		if s := strings.Join(got, " "); s != tc.want {
			t.Errorf("%s to %s: %s", tc.from, tc.to, s)
		}
	}
}

func BenchmarkEstate(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		New(Options{})
	}
}
