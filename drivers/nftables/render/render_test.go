package render_test

import (
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"pgregory.net/rapid"

	"bulkhead/drivers/nftables/render"
	"bulkhead/drivers/nftables/ruleset"
	"bulkhead/internal/tries"
	"bulkhead/pkg/compile"
	"bulkhead/pkg/driver"
	"bulkhead/pkg/packet"
	"bulkhead/pkg/policy"
	"bulkhead/pkg/policy/policytest"
)

func prefixes(ps ...string) packet.Addrs {
	var out []netip.Prefix
	for _, p := range ps {
		out = append(out, netip.MustParsePrefix(p))
	}
	return packet.AddrsOf(out...)
}

func masks(ps ...string) []netip.Prefix { return prefixes(ps...).Prefixes() }

// points is a gateway that is also a protected host, with everything switched on.
func points(mode policy.Mode) []compile.Point {
	fs := []compile.Failsafe{
		{From: prefixes("10.0.9.10/32", "2001:db8:9::10/128"), To: prefixes("10.0.0.1/32", "10.0.1.1/32", "2001:db8::1/128"),
			Services: packet.ServicesOf([]policy.Range{{Proto: 6, Lo: 22, Hi: 22}, {Proto: 1, Lo: 0x800, Hi: 0x8ff}, {Proto: 47, Lo: 0, Hi: 65535}})},
		{From: prefixes("10.0.9.0/28"), To: prefixes("10.0.0.1/32"), Services: packet.ServicesOf([]policy.Range{{Proto: 6, Lo: 20, Hi: 30}})},
	}
	return []compile.Point{
		{Name: "gw", Mode: mode, Transit: true, Failsafe: fs, Learn: time.Minute, DHCPServers: prefixes("10.0.1.7/32"),
			Zones: []compile.Zone{
				{Name: "a", Interfaces: []string{"eth1"}, Known: true, Masks: masks("10.0.0.0/24"), AntiSpoof: compile.SpoofEnforce},
				{Name: "b", Interfaces: []string{"eth2", "eth3"}, Known: true, Masks: masks("10.0.1.0/24", "2001:db8::/32"), AntiSpoof: compile.SpoofObserve},
				{Name: "out", Interfaces: []string{"eth0"}, Default: true, Known: true, AntiSpoof: compile.SpoofEnforce},
			}},
		{Name: "host-1", Mode: mode, Endpoint: true, Protects: prefixes("10.0.0.1/32", "2001:db8::1/128"), Failsafe: fs, Learn: time.Minute, DHCPServers: prefixes("10.0.1.7/32")},
	}
}

func desired(t interface{ Fatal(...any) }, w *policy.World, ps []compile.Point) driver.Desired {
	m, err := compile.Compile(compile.Input{Assets: w.Assets, Book: w.Book, Where: w.Where, Now: w.Now})
	if err != nil {
		t.Fatal(err)
	}
	return driver.Desired{Site: "test", Points: ps, View: compile.NewView(m, ps), Now: w.Now}
}

// The nft tool accepts what is rendered, for random sites.
func TestTextLoads(t *testing.T) {
	dir := t.TempDir()
	tries.Check(t, func(t *rapid.T) {
		w := policytest.World(t, policytest.Options{})
		mode := rapid.SampledFrom([]policy.Mode{policy.Enforce, policy.Observe}).Draw(t, "point mode")
		bounds := rapid.SampledFrom([]compile.Bounds{compile.DefaultBounds(),
			{Pairs: -1, Spaces: 64, Elements: 1 << 20, Bits: 28}, {Pairs: -1, Spaces: 64, Elements: 1 << 20, Bits: 28, SpaceCost: 1000}}).Draw(t, "bounds")
		table, err := render.Table(desired(t, w, points(mode)), nil, bounds)
		if err != nil {
			t.Fatal(err)
		}
		var files []string
		for i, text := range inParts(table) {
			files = append(files, filepath.Join(dir, strconv.Itoa(i)))
			if err := os.WriteFile(files[i], []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if out, err := exec.Command("unshare", "-rn", "sh", "-ec", script(files)).CombinedOutput(); err != nil {
			t.Fatalf("nft refuses the text: %s\n%s", out, table.Text())
		}
	})
}

// Rendering again with the ids of what is there changes no element.
func TestRenderIsStable(t *testing.T) {
	tries.Check(t, func(t *rapid.T) {
		w := policytest.World(t, policytest.Options{})
		d := desired(t, w, points(policy.Enforce))
		first, err := render.Table(d, nil, compile.DefaultBounds())
		if err != nil {
			t.Fatal(err)
		}
		again, err := render.Table(d, first, compile.DefaultBounds())
		if err != nil {
			t.Fatal(err)
		}
		stripWindows(first)
		stripWindows(again)
		if first.Text() != again.Text() {
			t.Fatalf("rendering again changed the table:\n%s\n---\n%s", first.Text(), again.Text())
		}
	})
}

func stripWindows(t *ruleset.Table) {
	for i := range t.Sets {
		if s := &t.Sets[i]; len(s.Name) > 8 && (s.Name[:8] == "learning" || s.Name[:6] == "pickup") {
			s.Elements = nil
		}
	}
}

// A point may be called what it likes: none of its chains and sets takes the place of
// one that all points share, or of another point's.
func TestPointsNamesDoNotCollide(t *testing.T) {
	w := &policy.World{Book: &policy.Rulebook{}, Now: time.Now()}
	ps := points(policy.Enforce)
	for i, name := range []string{"there", "related", "back", "deny", "related.there", "gw.related"} {
		p := ps[i%2]
		p.Name = name
		ps = append(ps, p)
	}
	tb, err := render.Table(desired(t, w, ps), nil, compile.DefaultBounds())
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for i := range tb.Chains {
		if n := tb.Chains[i].Name; seen[n] {
			t.Errorf("two chains are called %q", n)
		} else {
			seen[n] = true
		}
	}
	clear(seen)
	for i := range tb.Sets {
		if n := tb.Sets[i].Name; seen[n] {
			t.Errorf("two sets are called %q", n)
		} else {
			seen[n] = true
		}
	}
}
