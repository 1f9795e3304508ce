package nftables_test

import (
	"context"
	"net/netip"
	"testing"
	"time"

	"bulkhead/drivers/nftables"
	"bulkhead/pkg/compile"
	"bulkhead/pkg/lab"
	"bulkhead/pkg/policy"
)

// A host's own firewall judges what goes in and out of it, traffic of its own
// segment included, and leaves neighbour discovery and everything else of the host
// that is no asset's alone. Real sockets on both ends say what got through.
func TestEndpointJudgesBothWays(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.driver = nftables.New(nftables.Options{Site: "lab", Netns: b.net.Host("b3").Path})
	b.point = compile.Point{Name: "b3", Mode: policy.Enforce, Endpoint: true, Protects: prefixes("10.0.1.3/32", "2001:db8:0:1::3/128")}
	b.done["b3"] = true
	b.apply(t, permits(
		let("10.0.0.2", "10.0.1.3", 6, 80, 80), let("2001:db8::2", "2001:db8:0:1::3", 6, 80, 80),
		let("10.0.1.6", "10.0.1.3", 6, 81, 81), let("10.0.1.3", "10.0.0.5", 6, 90, 90)))
	for _, c := range []struct {
		client, server, addr string
		port                 uint16
		permit               bool
		why                  string
	}{
		{"a2", "b3", "10.0.1.3", 80, true, "in, permitted"},
		{"a2", "b3", "2001:db8:0:1::3", 80, true, "in, the other family, so that neighbours are found"},
		{"a5", "b3", "10.0.1.3", 80, false, "in, from another"},
		{"a2", "b3", "10.0.1.3", 81, false, "in, another port"},
		{"b6", "b3", "10.0.1.3", 81, true, "in, from its own segment, which no gateway sees"},
		{"b6", "b3", "10.0.1.3", 80, false, "in, from its own segment, denied"},
		{"b3", "a5", "10.0.0.5", 90, true, "out, permitted"},
		{"b3", "a5", "10.0.0.5", 91, false, "out, denied"},
		{"b3", "b6", "10.0.1.6", 90, false, "out, into its own segment, denied"},
		{"a2", "b6", "10.0.1.6", 80, true, "a flow that does not concern it"},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		f, err := b.net.OpenFlow(ctx, lab.FlowSpec{Client: c.client, Server: c.server, Addr: netip.MustParseAddr(c.addr), Port: c.port})
		cancel()
		if err == nil {
			f.Close()
		}
		if (err == nil) != c.permit {
			t.Errorf("%s -> %s tcp/%d: opened=%v (%v), want %v: %s", c.client, c.addr, c.port, err == nil, err, c.permit, c.why)
		}
	}
}

// A host that leaves a group loses its live flow at its own firewall too.
func TestEndpointEndsLiveFlows(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.driver = nftables.New(nftables.Options{Site: "lab", Netns: b.net.Host("b3").Path})
	b.point = compile.Point{Name: "b3", Mode: policy.Enforce, Endpoint: true, Protects: prefixes("10.0.1.3/32")}
	b.done["b3"] = true
	two := []policy.Policy{let("10.0.0.2", "10.0.1.3", 6, 80, 80), let("10.0.0.5", "10.0.1.3", 6, 80, 80)}
	b.apply(t, permits(two...))
	stays, goes := b.flow("a2", "b3", "10.0.1.3", 80), b.flow("a5", "b3", "10.0.1.3", 80)
	b.apply(t, permits(two[0]))
	b.mustLive(stays, "still permitted")
	b.mustStop(goes, "denied")
}
