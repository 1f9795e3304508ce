package decode

import (
	"net/netip"
	"testing"
	"time"
	"fmt"

	"pgregory.net/rapid"

	"bulkhead/drivers/nftables/render"
	"bulkhead/drivers/nftables/ruleset"
	cpl "bulkhead/pkg/compile"
	"bulkhead/pkg/driver"
	"bulkhead/pkg/packet"
	"bulkhead/pkg/policy"
	"bulkhead/pkg/policy/policytest"
)

func prefixesT(ps ...string) packet.Addrs {
	var out []netip.Prefix
	for _, p := range ps {
		out = append(out, netip.MustParsePrefix(p))
	}
	return packet.AddrsOf(out...)
}

func masksT(ps ...string) []netip.Prefix { return prefixesT(ps...).Prefixes() }

func pointsT(mode policy.Mode) []cpl.Point {
	fs := []cpl.Failsafe{
		{From: prefixesT("10.0.9.10/32", "2001:db8:9::10/128"), To: prefixesT("10.0.0.1/32", "10.0.1.1/32", "2001:db8::1/128"),
			Services: packet.ServicesOf([]policy.Range{{Proto: 6, Lo: 22, Hi: 22}, {Proto: 1, Lo: 0x800, Hi: 0x8ff}, {Proto: 47, Lo: 0, Hi: 65535}})},
		{From: prefixesT("10.0.9.0/28"), To: prefixesT("10.0.0.1/32"), Services: packet.ServicesOf([]policy.Range{{Proto: 6, Lo: 20, Hi: 30}})},
	}
	return []cpl.Point{
		{Name: "gw", Mode: mode, Transit: true, Failsafe: fs, Learn: time.Minute, DHCPServers: prefixesT("10.0.1.7/32"),
			Zones: []cpl.Zone{
				{Name: "a", Interfaces: []string{"eth1"}, Known: true, Masks: masksT("10.0.0.0/24"), AntiSpoof: cpl.SpoofEnforce},
				{Name: "b", Interfaces: []string{"eth2", "eth3"}, Known: true, Masks: masksT("10.0.1.0/24", "2001:db8::/32"), AntiSpoof: cpl.SpoofObserve},
				{Name: "out", Interfaces: []string{"eth0"}, Default: true, Known: true, AntiSpoof: cpl.SpoofEnforce},
			}},
		{Name: "host-1", Mode: mode, Endpoint: true, Protects: prefixesT("10.0.0.1/32", "2001:db8::1/128"), Failsafe: fs, Learn: time.Minute, DHCPServers: prefixesT("10.0.1.7/32")},
	}
}

func TestRendered(t *testing.T) {
	n := 0
	rapid.Check(t, func(rt *rapid.T) {
		w := policytest.World(rt, policytest.Options{})
		ps := pointsT(policy.Enforce)
		m, err := cpl.Compile(cpl.Input{Assets: w.Assets, Book: w.Book, Where: w.Where, Now: w.Now})
		if err != nil {
			rt.Fatal(err)
		}
		tab, err := render.Table(driver.Desired{Site: "test", Points: ps, View: cpl.NewView(m, ps), Now: w.Now}, nil)
		if err != nil {
			rt.Skip(err)
		}
		start := time.Now()
		res := Analyze(&ruleset.Ruleset{Tables: []ruleset.Table{*tab}}, Options{Table: tab.Name, MarkValue: 0x42000000, MarkMask: 0xff000000})
		n++
		if n > 200 {
			return
		}
		fmt.Println(time.Since(start), len(res.Decoded.Relations))
		for _, f := range res.Decoded.Findings {
			fmt.Println(f)
		}
		fmt.Printf("%x\n", res.Marks)
		for _, r := range res.Decoded.Relations {
			if false {
			fmt.Printf("%+v %d %d\n", r.Situation, len(r.Src), len(r.Dst))
			}
		}
	})
}
