package main

import (
	"context"
	"net/netip"
	"testing"
	"time"

	"bulkhead/drivers"
	"bulkhead/pkg/apply"
	"bulkhead/pkg/lab"
	"bulkhead/pkg/packet"
	"bulkhead/pkg/policy"
	"bulkhead/pkg/reconcile"
)

func at(prefixes ...string) []netip.Prefix {
	var out []netip.Prefix
	for _, p := range prefixes {
		out = append(out, netip.MustParsePrefix(p))
	}
	return out
}

// datacenter is the network of examples/datacenter. Containers are hosts of their
// own here: what matters to the gateway is their address.
func datacenter() lab.Topology {
	host := func(name string, prefixes ...string) lab.Host {
		return lab.Host{Name: name, Addresses: at(prefixes...)}
	}
	return lab.Topology{Segments: []lab.Segment{
		{Name: "web", Interface: "eth1", Addresses: at("10.30.1.254/24", "2001:db8:3001::fe/64"), Bridge: true, Hosts: []lab.Host{
			host("web-prod-1", "10.30.1.11/24", "2001:db8:3001::11/64"), host("web-prod-2", "10.30.1.12/24", "2001:db8:3001::12/64"),
			host("web-stage-1", "10.30.1.21/24", "2001:db8:3001::21/64"), host("web-dev-1", "10.30.1.31/24", "2001:db8:3001::31/64")}},
		{Name: "app", Interface: "eth2", Addresses: at("10.30.2.254/24", "2001:db8:3002::fe/64", "2001:db8:3002:c::fe/64"), Bridge: true, Hosts: []lab.Host{
			host("app-prod-1", "10.30.2.11/24", "2001:db8:3002::11/64"), host("app-stage-1", "10.30.2.21/24", "2001:db8:3002::21/64"),
			host("app-dev-1", "10.30.2.31/24", "2001:db8:3002::31/64"), host("node-prod-1", "10.30.2.50/24", "2001:db8:3002::50/64"),
			host("billing-1", "10.30.2.130/24", "2001:db8:3002:c::130/64"), host("shop-1", "10.30.2.131/24", "2001:db8:3002:c::131/64")}},
		{Name: "db", Interface: "eth3", Addresses: at("10.30.3.254/24", "2001:db8:3003::fe/64"), Bridge: true, Hosts: []lab.Host{
			host("db-prod-1", "10.30.3.11/24", "2001:db8:3003::11/64"), host("db-prod-2", "10.30.3.12/24", "2001:db8:3003::12/64"),
			host("db-stage-1", "10.30.3.21/24", "2001:db8:3003::21/64"), host("db-dev-1", "10.30.3.31/24", "2001:db8:3003::31/64")}},
		{Name: "ops", Interface: "eth4", Addresses: at("10.30.9.254/24", "2001:db8:3009::fe/64"), Hosts: []lab.Host{
			host("bastion-1", "10.30.9.10/24", "2001:db8:3009::10/64")}},
		{Name: "uplink", Interface: "eth5", Addresses: at("203.0.113.254/24", "2001:db8:feed::fe/64"), Hosts: []lab.Host{
			host("payment-api", "203.0.113.10/24", "2001:db8:feed::10/64")}},
	}}
}

// Real packets fare as the site's policy says, between every two machines that the
// gateway parts, for every service that its tests and policies name. (The plant's
// turn is the demo.)
func TestDatacenterPackets(t *testing.T) {
	net, err := lab.Build(datacenter())
	if err != nil {
		t.Fatalf("cannot build the lab (this test needs root): %v", err)
	}
	defer net.Close()
	site := enforce(t, net, "../../examples/datacenter")
	for _, r := range site.RunTests() {
		if !r.Passed {
			t.Errorf("%s (%s): %s", r.Name, r.Where, r.Reason)
		}
	}
	prober, err := lab.NewProber(net)
	if err != nil {
		t.Fatal(err)
	}
	defer prober.Close()
	probes, flows := everyFlow(net, site)
	results, err := prober.Run(t.Context(), probes, lab.ProbeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	permitted := 0
	for i, r := range results {
		d := site.World.Decide(flows[i])
		if d.Permit {
			permitted++
		}
		if r.Got != d.Permit {
			t.Errorf("%s -> %s %s: received=%v, policy permits=%v", probes[i].From, flows[i].Dst, packet.ServicesOf([]policy.Range{{Proto: flows[i].Proto, Lo: flows[i].Num, Hi: flows[i].Num}}), r.Got, d.Permit)
		}
	}
	if permitted == 0 || permitted == len(results) {
		t.Errorf("%d of %d permitted: the comparison says nothing", permitted, len(results))
	}
	t.Logf("%d probes, %d permitted", len(results), permitted)
}

// enforce brings the gateway to what a site wants.
func enforce(t *testing.T, net *lab.Net, dir string) (site *reconcile.Site) {
	t.Helper()
	err := net.Gateway.Do(func() error {
		ctx := context.Background()
		s, diags, err := reconcile.Load(ctx, dir, time.Now(), drivers.Kinds(), false)
		if err != nil {
			return err
		}
		if err := diags.Err(); err != nil {
			return err
		}
		devices, err := s.Devices(ctx, false)
		if err != nil {
			return err
		}
		r, err := s.RunOnce(ctx, devices, reconcile.Options{Enforced: map[string]bool{"gw": true}})
		if err != nil {
			return err
		}
		if why := r.Plan.Blocked(); why != "" {
			t.Errorf("the plan is blocked: %s", why)
		}
		_, err = apply.Run(ctx, r.Jobs, func(string, ...any) {})
		site = s
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return site
}

func everyFlow(net *lab.Net, site *reconcile.Site) ([]lab.Probe, []policy.Flow) {
	services := map[[2]uint16]bool{{6, 9999}: true, {17, 9999}: true, {1, 0x800}: true, {58, 0x8000}: true}
	add := func(ranges []policy.Range) {
		for _, r := range ranges {
			if packet.HasPorts(r.Proto) && len(ranges) < 50 {
				services[[2]uint16{uint16(r.Proto), r.Lo}] = true
				services[[2]uint16{uint16(r.Proto), r.Hi}] = true
			}
		}
	}
	for _, p := range site.Config.Book.Policies {
		add(p.Ranges)
	}
	for _, c := range site.Config.Tests {
		add(c.Ranges)
	}
	var probes []lab.Probe
	var flows []policy.Flow
	for _, from := range net.Hosts() {
		for _, to := range net.Hosts() {
			if from == to || !net.Crosses(from, to) {
				continue
			}
			for _, four := range []bool{true, false} {
				for s := range services {
					f := policy.Flow{Src: net.Addr(from, four), Dst: net.Addr(to, four), Proto: uint8(s[0]), Num: s[1]}
					if f.Proto == 1 && !four || f.Proto == 58 && four {
						continue
					}
					probes = append(probes, lab.Probe{From: from, Dst: f.Dst, Proto: f.Proto, Num: f.Num})
					flows = append(flows, f)
				}
			}
		}
	}
	return probes, flows
}
