package rules_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"bulkhead/pkg/compile"
	"bulkhead/pkg/driver"
	"bulkhead/pkg/driver/drivertest"
	"bulkhead/pkg/driver/drivertest/rules"
	"bulkhead/pkg/driver/drivertest/sim"
	"bulkhead/pkg/packet"
	"bulkhead/pkg/policy/policytest"
)

func TestConformance(t *testing.T) {
	drivertest.Run(t, factory(800))
}

// Where old and new rules do not fit into one group together, the new ones are
// filled into another, and both are on the port for a moment.
func TestConformanceInLittleRoom(t *testing.T) {
	f := factory(200)
	f.Placements = f.Placements[:1]
	for _, c := range drivertest.Checks() {
		switch name, _, _ := strings.Cut(c.Name, " "); name {
		case "Story", "FailedWriteShowsTheTruth", "HalfAChangeCanBeUndone", "RemovalLeavesNothing":
			t.Run(name, func(t *testing.T) { c.Run(t, &f) })
		}
	}
}

func factory(limit int) drivertest.Factory {
	return drivertest.Factory{
		Name:       "rule device",
		New:        func(testing.TB) *drivertest.Subject { return subject(rules.NewDevice(limit, "p1", "p2")) },
		Placements: []drivertest.Placement{drivertest.Quiet(), drivertest.Shared(), drivertest.Leased(), drivertest.Observed()},
		World:      policytest.Options{MaxAssets: 4, MaxGroups: 3, MaxPolicies: 4},
		Budget:     map[string]int{"rules": 3},
	}
}

func subject(dev *rules.Device) *drivertest.Subject {
	d := func() *rules.Driver { return rules.New(dev, drivertest.Site, "p1") }
	return &drivertest.Subject{
		Driver: func() driver.Driver { return d() },
		Unreachable: func() driver.Driver {
			other := rules.NewDevice(1, "p1")
			other.Arm(sim.Vanish, 0)
			_ = other.Write(func(*rules.Config) error { return nil })
			return rules.New(other, drivertest.Site, "p1")
		},
		Dump:       func() []byte { return dump(dev.Peek()) },
		AddForeign: func() { dev.Poke(addForeign) },
		Foreign:    func() []byte { return dump(foreign(dev.Peek())) },
		AddRival:   func() { dev.Poke(addRival) },
		Tamper: func(n int) string {
			s, _ := d().Read(context.Background())
			all := d().Mutations(s, 13)
			if len(all) == 0 {
				return "nothing: nothing of ours is there"
			}
			m := all[n*7%len(all)]
			dev.Poke(func(c *rules.Config) { c.Groups, c.Ports = m.State.Groups, m.State.Ports })
			return m.Kind
		},
		Fail: dev.Arm, Heal: dev.Heal, Faults: sim.Faults(), Steps: dev.Watch,
		Passes: func(s driver.State, hook string, src, dst netip.Addr) func(uint32, uint16) bool {
			c := s.(*rules.State).Config
			judge := c.Judge("p1", map[string]string{compile.HookInput: rules.In, compile.HookOutput: rules.Out}[hook], src, dst)
			return func(service uint32, _ uint16) bool { return judge(uint8(service>>16), uint16(service)) }
		},
		Mutants: func(s driver.State) []drivertest.Mutant {
			var out []drivertest.Mutant
			for _, m := range d().Mutations(s, 9) {
				out = append(out, drivertest.Mutant{Kind: m.Kind, State: m.State})
			}
			return out
		},
	}
}

func dump(c rules.Config) []byte {
	out, err := json.MarshalIndent(struct {
		Groups []rules.Group
		Ports  []rules.Port
	}{append([]rules.Group{}, c.Groups...), append([]rules.Port{}, c.Ports...)}, "", " ")
	if err != nil {
		return []byte(fmt.Sprint(err))
	}
	return out
}

// addForeign puts a group of somebody else on another port, one of another site
// whose name begins with ours, and one that looks like ours and bears no tag.
func addForeign(c *rules.Config) {
	all := packet.AllAddrs().Runs()[0]
	allow := rules.Rule{ID: "theirs-1", Hook: rules.In, Src: all, Dst: all, ProtoHi: 255, Hi: 65535}
	c.Groups = append(c.Groups, rules.Group{Name: "default", Rules: []rules.Rule{allow}},
		rules.Group{Name: "bulkhead:test2:a", Owner: "bulkhead:test2", Rules: []rules.Rule{allow}},
		rules.Group{Name: "bulkhead:test"}, rules.Group{Name: "other", Owner: "BULKHEAD:test"})
	c.Ports[1].Groups = append(c.Ports[1].Groups, "default", "bulkhead:test2:a")
	c.Ports[1].Filters = append(c.Ports[1].Filters, rules.Filter{Prefix: netip.MustParsePrefix("10.0.0.10/32"), Owner: "bulkhead:test2"})
}

// addRival puts a group of somebody else beside ours.
func addRival(c *rules.Config) {
	addForeign(c)
	c.Ports[0].Groups = append(c.Ports[0].Groups, "default")
}

func foreign(c rules.Config) rules.Config {
	var out rules.Config
	for _, g := range c.Groups {
		if g.Owner != "bulkhead:"+drivertest.Site {
			out.Groups = append(out.Groups, g)
		}
	}
	for _, p := range c.Ports {
		var keep rules.Port
		keep.Name = p.Name
		for _, name := range p.Groups {
			for _, g := range out.Groups {
				if g.Name == name {
					keep.Groups = append(keep.Groups, name)
				}
			}
		}
		for _, f := range p.Filters {
			if f.Owner != "bulkhead:"+drivertest.Site {
				keep.Filters = append(keep.Filters, f)
			}
		}
		out.Ports = append(out.Ports, keep)
	}
	return out
}
