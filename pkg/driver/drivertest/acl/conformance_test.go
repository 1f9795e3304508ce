package acl_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"testing"

	"bulkhead/pkg/compile"
	"bulkhead/pkg/driver"
	"bulkhead/pkg/driver/drivertest"
	"bulkhead/pkg/driver/drivertest/acl"
	"bulkhead/pkg/driver/drivertest/sim"
	"bulkhead/pkg/policy/policytest"
)

func TestConformance(t *testing.T) {
	drivertest.Run(t, drivertest.Factory{
		Name: "list device",
		New:  func(testing.TB) *drivertest.Subject { return subject(acl.NewDevice(4000, "p1", "p2")) },
		Placements: []drivertest.Placement{drivertest.Quiet(), drivertest.Leased(), drivertest.Managed(),
			drivertest.Observed()},
		World:  policytest.Options{MaxAssets: 5, MaxGroups: 4, MaxPolicies: 6},
		Budget: map[string]int{"entries": 3},
	})
}

func subject(dev *acl.Device) *drivertest.Subject {
	d := func() *acl.Driver { return acl.New(dev, drivertest.Site, "p1") }
	return &drivertest.Subject{
		Driver: func() driver.Driver { return d() },
		Unreachable: func() driver.Driver {
			other := acl.NewDevice(1, "p1")
			other.Arm(sim.Vanish, 0)
			_ = other.Write(func(*acl.Config) error { return nil })
			return acl.New(other, drivertest.Site, "p1")
		},
		Dump:       func() []byte { return dump(dev.Peek()) },
		AddForeign: func() { dev.Poke(addForeign) },
		Foreign:    func() []byte { return dump(foreign(dev.Peek())) },
		AddRival: func() {
			dev.Poke(func(c *acl.Config) { addForeign(c); c.Ports[0].In = "uplink" })
		},
		Tamper: func(n int) string {
			s, err := d().Read(context.Background())
			if err != nil {
				return err.Error()
			}
			all := d().Mutations(s, 13)
			if len(all) == 0 {
				return "nothing: nothing of ours is there"
			}
			m := all[n*7%len(all)]
			dev.Poke(func(c *acl.Config) { c.Lists, c.Ports = m.State.Lists, m.State.Ports })
			return m.Kind
		},
		Fail: dev.Arm, Heal: dev.Heal, Faults: sim.Faults(), Steps: dev.Watch,
		Passes: func(s driver.State, hook string, src, dst netip.Addr) func(uint32, uint16) bool {
			c := s.(*acl.State).Config
			judge := c.Judge("p1", map[string]string{compile.HookInput: acl.In, compile.HookOutput: acl.Out}[hook], src, dst)
			return func(service uint32, port uint16) bool { return judge(uint8(service>>16), uint16(service), port) }
		},
		Mutants: func(s driver.State) []drivertest.Mutant {
			var out []drivertest.Mutant
			for _, m := range d().Mutations(s, 61) {
				out = append(out, drivertest.Mutant{Kind: m.Kind, State: m.State})
			}
			return out
		},
	}
}

func dump(c acl.Config) []byte {
	out, err := json.MarshalIndent(struct {
		Lists []acl.List
		Ports []acl.Port
	}{append([]acl.List{}, c.Lists...), append([]acl.Port{}, c.Ports...)}, "", " ")
	if err != nil {
		return []byte(fmt.Sprint(err))
	}
	return out
}

// addForeign puts a list of somebody else on another port, one of another site,
// and some whose names nearly are ours.
func addForeign(c *acl.Config) {
	all := netip.MustParsePrefix("0.0.0.0/0")
	permit := []acl.Entry{{Seq: 10, Permit: true, Src: all, Dst: all, Proto: acl.AnyProto, Hi: 65535, SrcHi: 65535}}
	c.Lists = append(c.Lists, acl.List{Name: "uplink", Entries: permit}, acl.List{Name: `bulkhead "test2" "p1" in`, Entries: permit},
		acl.List{Name: `bulkhead "test" "p1" in `}, acl.List{Name: `bulkhead "test" "p2" in`, Entries: permit}, acl.List{Name: `Bulkhead "test" "p1" in`})
	c.Ports[1].In, c.Ports[1].Out = "uplink", `bulkhead "test2" "p1" in`
}

func foreign(c acl.Config) acl.Config {
	ours := map[string]bool{`bulkhead "test" "p1" in`: true, `bulkhead "test" "p1" out`: true}
	var out acl.Config
	for _, l := range c.Lists {
		if !ours[l.Name] {
			out.Lists = append(out.Lists, l)
		}
	}
	for _, p := range c.Ports {
		if ours[p.In] {
			p.In = ""
		}
		if ours[p.Out] {
			p.Out = ""
		}
		out.Ports = append(out.Ports, p)
	}
	return out
}
