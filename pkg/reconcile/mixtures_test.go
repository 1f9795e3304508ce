package reconcile_test

import (
	"context"
	"net/netip"
	"testing"

	"bulkhead/pkg/apply"
	"bulkhead/pkg/driver"
	"bulkhead/pkg/packet"
)

// halves is a site with a device in front of each end.
func halves(policies string) map[string]string {
	return map[string]string{
		"bulkhead.yaml": `name: t
points:
  at-db: {driver: fake, protects: 'labels.role == "db"'}
  at-web: {driver: fake, protects: 'labels.role == "web"'}
  between: {driver: fake, zones: {a: {interfaces: [eth1], prefixes: [10.0.1.0/24]}, b: {interfaces: [eth2], prefixes: [10.0.2.0/24]}}}
observe_learn: 0s
limits: {first_enforcement: accept}
`,
		"policy.yaml": `assets:
  web: {kind: vm, addresses: [10.0.1.10], labels: {role: web}}
  db: {kind: vm, addresses: [10.0.2.10], labels: {role: db}}
groups:
  web: {where: 'labels.role == "web"', isolate: both}
  db: {where: 'labels.role == "db"', isolate: both}
policies:
` + policies}
}

// lets reports whether a state lets new flows of a service from web to db through
// wherever its device judges them.
func lets(t *testing.T, f *fake, s driver.State, service uint32) bool {
	t.Helper()
	d, err := f.Driver.Decode(s)
	if err != nil {
		t.Fatal(err)
	}
	web, db := packet.AddrsOf(netip.MustParsePrefix("10.0.1.10/32")), packet.AddrsOf(netip.MustParsePrefix("10.0.2.10/32"))
	judged := 0
	for _, rel := range d.Relations {
		if rel.Situation.Tracking != driver.TrackNew || rel.Situation.In != "" && rel.Situation.In != "eth1" {
			continue
		}
		flat := rel.Flat()
		for i := range flat.Src {
			for j := range flat.Dst {
				if flat.Src[i].Overlaps(web) && flat.Dst[j].Overlaps(db) {
					judged++
					if !flat.Permit(i, j).Contains(service) {
						return false
					}
				}
			}
		}
	}
	if judged == 0 {
		t.Fatal("nothing judges the flow")
	}
	return true
}

// While a change goes from device to device some are old and some are new. Whatever
// the mixture, what both policies permit passes and what neither permits does not, also
// where policies are bound to one side: a device that judged its own side alone would
// open, together with one of the other policy at the other end, what nobody permits.
func TestMixturesOfOldAndNew(t *testing.T) {
	const (
		outOne = "  - {name: out-1, from: web, to: db, services: [tcp/1], action: allow, direction: egress}\n"
		inOne  = "  - {name: in-1, from: web, to: db, services: [tcp/1], action: allow, direction: ingress}\n"
		outTwo = "  - {name: out-2, from: web, to: db, services: [tcp/2], action: allow, direction: egress}\n"
		inTwo  = "  - {name: in-2, from: web, to: db, services: [tcp/2], action: allow, direction: ingress}\n"
		always = "  - {name: both-3, from: web, to: db, services: [tcp/3], action: allow}\n"
		before = "  - {name: both-4, from: web, to: db, services: [tcp/4], action: allow}\n"
		after  = "  - {name: both-5, from: web, to: db, services: [tcp/5], action: allow}\n"
	)
	states := func(policies string) (*bench, map[string]driver.State) {
		b := newBench(t, halves(policies))
		if _, err := apply.Run(context.Background(), b.plan(t).Jobs, quiet); err != nil {
			t.Fatal(err)
		}
		out := map[string]driver.State{}
		for name, f := range b.fakes {
			out[name] = f.state
		}
		return b, out
	}
	b, old := states(outOne + inTwo + always + before)
	_, next := states(inOne + outTwo + always + after)
	names := []string{"at-web", "between", "at-db"}
	for mixture := range 1 << len(names) {
		pass := map[uint32]bool{1: true, 2: true, 3: true, 4: true, 5: true}
		for i, name := range names {
			s := old[name]
			if mixture>>i&1 == 1 {
				s = next[name]
			}
			for port := range pass {
				pass[port] = pass[port] && lets(t, b.fakes[name], s, 6<<16|port)
			}
		}
		all := mixture == 0 || mixture == 1<<len(names)-1
		switch {
		case pass[1] || pass[2]:
			t.Errorf("mixture %03b opens what neither policy permits: %v", mixture, pass)
		case !pass[3]:
			t.Errorf("mixture %03b closes what both permit", mixture)
		case all && pass[4] == pass[5]:
			t.Errorf("mixture %03b is neither the old nor the new policy: %v", mixture, pass)
		}
	}
}
