package drivertest

import (
	"net/netip"

	"bulkhead/pkg/compile"
	"bulkhead/pkg/packet"
	"bulkhead/pkg/policy"
)

// Quiet is an endpoint that nothing but policy and neighbour discovery speaks to:
// no source port matters to it, so that every device can express it.
func Quiet() Placement {
	return Placement{"quiet host", func(protects packet.Addrs) []compile.Point {
		return []compile.Point{quiet("host-1", protects)}
	}}
}

func quiet(name string, protects packet.Addrs) compile.Point {
	return compile.Point{Name: name, Mode: policy.Enforce, Endpoint: true, Protects: protects, Off: map[string]bool{compile.EssentialDHCP: true}}
}

// Leased is an endpoint that gets its address by DHCP, which is told by source
// ports.
func Leased() Placement {
	return Placement{"host with DHCP", func(protects packet.Addrs) []compile.Point {
		p := quiet("host-1", protects)
		p.Off = map[string]bool{compile.EssentialIGMP: true}
		return []compile.Point{p}
	}}
}

// Managed is an endpoint that somebody must always reach: the failsafe's answers
// are told by source ports, its errors by neither.
func Managed() Placement {
	return Placement{"host with failsafe", func(protects packet.Addrs) []compile.Point {
		p := quiet("host-1", protects)
		p.Failsafe = []compile.Failsafe{
			{From: Addrs("10.0.9.10", "2001:db8:9::10"), To: protects, Services: packet.ServicesOf([]policy.Range{{Proto: 6, Lo: 22, Hi: 22}})},
			// Nobody: a failsafe whose source resolves to nothing opens nothing.
			{From: packet.Addrs{}, To: protects, Services: packet.AllServices()},
		}
		return []compile.Point{p}
	}}
}

// Shared is two endpoints on one device: one that enforces, one that observes
// where the device can.
func Shared() Placement {
	return Placement{"two hosts", func(protects packet.Addrs) []compile.Point {
		other := quiet("host-2", Addrs("10.0.0.20", "2001:db8::20"))
		return []compile.Point{quiet("host-1", protects), other}
	}}
}

// Observed is an endpoint that must drop nothing.
func Observed() Placement {
	return Placement{"observed host", func(protects packet.Addrs) []compile.Point {
		p := quiet("host-1", protects)
		p.Mode = policy.Observe
		return []compile.Point{p}
	}}
}

// Gateway is a transit point between two zones.
func Gateway(inside, outside string) Placement {
	return Placement{"gateway", func(packet.Addrs) []compile.Point {
		return []compile.Point{{Name: "gw", Mode: policy.Enforce, Transit: true, Off: map[string]bool{compile.EssentialDHCP: true},
			Zones: []compile.Zone{
				{Name: "inside", Interfaces: []string{inside}, Known: true, Prefixes: Addrs("10.0.0.0/24", "2001:db8::/64"),
					Masks: Addrs("10.0.0.0/24", "2001:db8::/64").Prefixes(), AntiSpoof: compile.SpoofEnforce},
				{Name: "outside", Interfaces: []string{outside}, Known: true, Default: true, AntiSpoof: compile.SpoofEnforce},
			}}}
	}}
}

// Addrs makes a set of prefixes and single addresses.
func Addrs(texts ...string) packet.Addrs {
	var out []netip.Prefix
	for _, s := range texts {
		out = append(out, prefix(s))
	}
	return packet.AddrsOf(out...)
}

func prefix(s string) netip.Prefix {
	if a, err := netip.ParseAddr(s); err == nil {
		return netip.PrefixFrom(a, a.BitLen())
	}
	return netip.MustParsePrefix(s)
}
