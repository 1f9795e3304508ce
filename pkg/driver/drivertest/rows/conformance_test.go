package rows_test

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"bulkhead/pkg/compile"
	"bulkhead/pkg/driver"
	"bulkhead/pkg/driver/drivertest"
	"bulkhead/pkg/driver/drivertest/rows"
	"bulkhead/pkg/driver/drivertest/sim"
	"bulkhead/pkg/policy/policytest"
)

func TestConformance(t *testing.T) {
	drivertest.Run(t, drivertest.Factory{
		Name:       "row device",
		New:        func(testing.TB) *drivertest.Subject { return subject(rows.NewDevice(3000, "p1", "p2")) },
		Placements: []drivertest.Placement{drivertest.Quiet(), drivertest.Shared(), drivertest.Managed()},
		World:      policytest.Options{MaxAssets: 5, MaxGroups: 4, MaxPolicies: 6},
		Budget:     map[string]int{"rows": 3},
	})
}

func subject(dev *rows.Device) *drivertest.Subject {
	d := func() *rows.Driver { return rows.New(dev, drivertest.Site, "p1") }
	return &drivertest.Subject{
		Driver: func() driver.Driver { return d() },
		Unreachable: func() driver.Driver {
			other := rows.NewDevice(1, "p1")
			other.Arm(sim.Vanish, 0)
			_ = other.Write(func(*rows.Config) error { return nil })
			return rows.New(other, drivertest.Site, "p1")
		},
		Dump:       func() []byte { return dump(dev.Peek().Rows, func(*rows.Row) bool { return true }) },
		AddForeign: func() { dev.Poke(addForeign) },
		Foreign: func() []byte {
			return dump(dev.Peek().Rows, func(r *rows.Row) bool { return r.Owner != "bulkhead:"+drivertest.Site || r.Port != "p1" })
		},
		AddRival: func() {
			dev.Poke(func(c *rows.Config) { addRow(c, rows.In, 1, "p1", "") })
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
			dev.Poke(func(c *rows.Config) { c.Rows = m.State.Rows })
			return m.Kind
		},
		Fail: dev.Arm, Heal: dev.Heal, Faults: sim.Faults(), Steps: dev.Watch,
		Passes: func(s driver.State, hook string, src, dst netip.Addr) func(uint32, uint16) bool {
			c := s.(*rows.State).Config
			judge := c.Judge("p1", map[string]string{compile.HookInput: rows.In, compile.HookOutput: rows.Out}[hook], src, dst)
			return func(service uint32, port uint16) bool { return judge(uint8(service>>16), uint16(service), port) }
		},
		Mutants: func(s driver.State) []drivertest.Mutant {
			var out []drivertest.Mutant
			for _, m := range d().Mutations(s, 17) {
				out = append(out, drivertest.Mutant{Kind: m.Kind, State: m.State})
			}
			return out
		},
	}
}

func dump(rs []rows.Row, keep func(*rows.Row) bool) []byte {
	var out strings.Builder
	for i := range rs {
		if r := &rs[i]; keep(r) {
			fmt.Fprintf(&out, "%s port %q owner %q tag %q active %v\n", r, r.Port, r.Owner, r.Tag, r.Active)
		}
	}
	return []byte(out.String())
}

// addForeign puts rows of others where our first block and its successors would
// go, one of another site whose name begins with ours, one of ours on another
// port, and one that is half made.
func addForeign(c *rows.Config) {
	const middle = 1 << 29
	for i, owner := range []string{"", "bulkhead:test2", "BULKHEAD:test", "bulkhead:test"} {
		for _, direction := range []string{rows.In, rows.Out} {
			for _, near := range []int{-200, -60, 40, 200} {
				addRow(c, direction, middle+near+i, "p2", owner)
			}
		}
	}
	addRow(c, rows.In, middle+7, "p1", "somebody")
	for i := range c.Rows {
		c.Rows[i].Active = c.Rows[i].Port == "p2"
	}
}

// addRow lets everything through.
func addRow(c *rows.Config, direction string, index int, port, owner string) {
	zero, last := netip.IPv4Unspecified(), netip.MustParseAddr("255.255.255.255")
	c.Rows = append(c.Rows, rows.Row{Key: rows.Key{Direction: direction, Index: index}, Port: port, Owner: owner, Active: true,
		Match: rows.Match{SrcLo: zero, SrcHi: last, DstLo: zero, DstHi: last, ProtoHi: 255, NumHi: 65535, SrcPortHi: 65535, Permit: true}})
	rows.Sort(c.Rows)
}
