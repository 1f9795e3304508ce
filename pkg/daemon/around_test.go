package daemon_test

import (
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"

	"bulkhead/inventory"
)

// A machine that answers for the first time is in the inventory at once, and so is a
// prefix that is routed behind a zone: the interval is an hour.
func TestNeighboursAndRoutesByEvent(t *testing.T) {
	ns := netns(t, "around")
	ip := func(args string) {
		t.Helper()
		if out, err := exec.Command("ip", append([]string{"-n", ns}, strings.Fields(args)...)...).CombinedOutput(); err != nil {
			t.Fatalf("ip %s: %v: %s", args, err, out)
		}
	}
	ip("link add eth1 type veth peer name eth2")
	ip("link set eth2 up")
	ip("link set eth1 up")
	ip("addr add 10.9.0.1/24 dev eth1")
	dir := t.TempDir()
	write(t, dir, "bulkhead.yaml", fmt.Sprintf(`name: t
points:
  gw: {driver: nftables, netns: %[1]s, mode: observe, zones: {a: {interfaces: [eth1]}, b: {interfaces: [eth2], prefixes: []}}}
sources:
  near: {type: neighbor, settings: {netns: %[1]s}}
`, ns))
	d := site(t, dir, openStore(t, t.TempDir()))
	within := func(what string, is func() bool) {
		t.Helper()
		for end := time.Now().Add(15 * time.Second); !is(); time.Sleep(20 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("%s is not noticed; %+v", what, d.View().Trouble)
			}
		}
	}
	seen := func() bool {
		for _, e := range d.View().Site.Inventory.Evidence {
			if inventory.FormatPrefix(e.Entry.Addresses[0]) == "10.9.0.7" {
				return true
			}
		}
		return false
	}
	within("the beginning", func() bool { return len(d.View().Devices) == 1 })
	if seen() {
		t.Fatal("it is there already")
	}
	ip("neigh add 10.9.0.7 lladdr 02:00:00:00:00:07 dev eth1 nud reachable")
	within("a neighbour", seen)
	ip("route add 10.77.0.0/16 via 10.9.0.7 dev eth1")
	within("a route", func() bool {
		return strings.Contains(fmt.Sprint(d.View().Devices[0].Points[0].Zones[0].Masks), "10.77.0.0/16")
	})
	ip("neigh del 10.9.0.7 dev eth1")
	within("a neighbour that is gone", func() bool { return !seen() })
}
