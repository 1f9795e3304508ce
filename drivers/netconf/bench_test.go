package netconf_test

import (
	"fmt"
	"net/netip"
	"testing"

	"bulkhead/drivers/netconf"
	"bulkhead/drivers/netconf/dialect"
	"bulkhead/inventory"
	"bulkhead/pkg/compile"
	"bulkhead/pkg/driver"
	"bulkhead/pkg/driver/drivertest"
	"bulkhead/pkg/packet"
	"bulkhead/pkg/policy"
	"bulkhead/pkg/policy/policytest"
	"bulkhead/pkg/prove"
)

// rack is a switch with a device on each of 48 ports, and 40 policies between and around them.
func rack(b testing.TB) (driver.Desired, *compile.Matrix) {
	w := &policy.World{Book: &policy.Rulebook{}, Where: map[string][]string{}, Now: policytest.Epoch}
	point := compile.Point{Name: "sw1", Mode: policy.Enforce, Endpoint: true, Ports: map[string]packet.Addrs{}, Off: map[string]bool{}}
	groups := map[string][]string{}
	for i := range 48 {
		id := fmt.Sprintf("dev-%02d", i)
		a := netip.MustParsePrefix(fmt.Sprintf("10.0.0.%d/32", i+1))
		w.Assets = append(w.Assets, inventory.Asset{ID: id, Kind: inventory.OT, Addresses: []netip.Prefix{a}})
		for _, g := range []string{fmt.Sprintf("cell-%d", i/6), fmt.Sprintf("role-%d", i%6)} {
			groups[g] = append(groups[g], id)
		}
		point.Ports[fmt.Sprintf("swp%d", i+1)] = packet.AddrsOf(a)
		point.Protects = point.Protects.Union(packet.AddrsOf(a))
	}
	for _, name := range []string{policy.GroupAny, policy.GroupUnidentified, policy.GroupUnknown} {
		w.Book.Groups = append(w.Book.Groups, policy.Group{Name: name, Isolate: policy.IsolateNone})
	}
	for i := range 8 {
		name := fmt.Sprintf("cell-%d", i)
		w.Book.Groups = append(w.Book.Groups, policy.Group{Name: name, Members: groups[name], Isolate: policy.IsolateBoth})
	}
	for i := range 6 {
		name := fmt.Sprintf("role-%d", i)
		w.Book.Groups = append(w.Book.Groups, policy.Group{Name: name, Members: groups[name], Isolate: policy.IsolateNone})
	}
	w.Book.Groups = append(w.Book.Groups, policy.Group{Name: "office", Prefixes: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16")}, Isolate: policy.IsolateNone})
	for i := range 40 {
		from, to := fmt.Sprintf("cell-%d", i%8), fmt.Sprintf("role-%d", i%6)
		if i%4 == 0 {
			from = "office"
		}
		proto := uint8(6)
		if i%5 == 0 {
			proto = 17
		}
		w.Book.Policies = append(w.Book.Policies, policy.Policy{Name: fmt.Sprintf("p%02d", i), Action: policy.Allow, From: []string{from}, To: []string{to},
			Ranges: []policy.Range{{Proto: proto, Lo: uint16(1000 + 10*i), Hi: uint16(1000 + 10*i + i%3)}}, Tier: policy.Application, Order: 100, Direction: policy.Both, Mode: policy.Enforce})
	}
	policy.SortPolicies(w.Book.Policies)
	m, err := compile.Compile(compile.Input{Assets: w.Assets, Book: w.Book, Where: w.Where, Now: w.Now})
	if err != nil {
		b.Fatal(err)
	}
	points := []compile.Point{point}
	return driver.Desired{Site: drivertest.Site, Points: points, View: compile.NewView(m, points), Now: w.Now}, m
}

// BenchmarkPlan is a plan of a switch with 48 ports: lists, their meaning, and the proof.
func BenchmarkPlan(b *testing.B) {
	for _, egress := range []bool{false, true} {
		want, m := rack(b)
		d := netconf.New(drivertest.Site, []string{"sw1"}, netconf.Settings{Dialect: dialect.Named("ietf"), Egress: egress})
		var r *driver.Rendered
		var err error
		b.Run(fmt.Sprintf("render, egress %v", egress), func(b *testing.B) {
			for b.Loop() {
				if r, err = d.Render(want, nil); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(r.Usage[1].Used), "entries")
		})
		b.Run(fmt.Sprintf("proof, egress %v", egress), func(b *testing.B) {
			for b.Loop() {
				dec, err := d.Decode(r.State)
				if err != nil {
					b.Fatal(err)
				}
				for _, res := range prove.Device(m, want.Points, dec, r.Residue...) {
					if !res.Proved {
						b.Fatalf("%v %v", res.Wrong, res.Findings)
					}
				}
			}
		})
	}
}
