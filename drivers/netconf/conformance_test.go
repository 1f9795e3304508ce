package netconf_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"bulkhead/drivers/netconf"
	"bulkhead/drivers/netconf/netconftest"
	"bulkhead/internal/tries"
	"bulkhead/pkg/compile"
	"bulkhead/pkg/driver"
	"bulkhead/pkg/driver/drivertest"
	"bulkhead/pkg/driver/drivertest/sim"
	"bulkhead/pkg/driver/portacl"
	"bulkhead/pkg/driver/portacl/acltest"
	"bulkhead/pkg/driver/portacl/render"
	"bulkhead/pkg/packet"
	"bulkhead/pkg/policy"
	"bulkhead/pkg/policy/policytest"
)

// placements are the suite's, but for DHCP, which a random placement of TestListsAreProved has.
var placements = []drivertest.Placement{plugged(drivertest.Quiet()), plugged(drivertest.Shared()), plugged(drivertest.Managed()), plugged(drivertest.Observed())}

// variants are a switch that can do everything, and others of which only what is peculiar to
// them is held against the suite: hooks of the first that would run the same code are left out.
var variants = []struct {
	name    string
	dialect string
	server  netconftest.Options
	edit    func(*netconf.Settings)
	without func(*drivertest.Subject)
}{
	{"all", "ietf", netconftest.Options{}, nil, nil},
	{"what is sent only", "ietf", netconftest.Options{}, func(s *netconf.Settings) { s.Egress = false },
		func(s *drivertest.Subject) { s.Fail, s.Mutants = nil, nil }},
	// Without a commit a port has its old lists or its new ones, whole, after each of the writes.
	{"in steps", "ietf", netconftest.Options{Without: []string{"candidate:1.0", "confirmed-commit:1.0", "confirmed-commit:1.1"}, WritableRunning: true}, nil,
		func(s *drivertest.Subject) { s.Mutants, s.AddRival = nil, nil }},
	// The models of vendors have one list a port, direction and family: no rival can be beside it.
	// OpenConfig tells later fragments.
	{"openconfig", "openconfig", netconftest.Options{}, nil, func(s *drivertest.Subject) { s.Fail, s.Mutants, s.AddRival = nil, nil, nil }},
	// Junos has one filter for both families.
	{"junos", "junos", netconftest.Options{}, nil, func(s *drivertest.Subject) { s.Fail, s.Mutants, s.AddRival = nil, nil, nil }},
}

func TestConformance(t *testing.T) {
	for _, v := range tries.Some(variants) {
		t.Run(v.name, func(t *testing.T) {
			f := factory(v.dialect, v.server, v.edit)
			if v.without != nil {
				f.Placements = []drivertest.Placement{plugged(drivertest.Managed())}
				whole := f.New
				f.New = func(t testing.TB) *drivertest.Subject {
					s := whole(t)
					v.without(s)
					return s
				}
			}
			if v.dialect == "openconfig" { // which has no protocol 255
				f.Everything = []policy.Range{{Proto: 1, Hi: 65535}, {Proto: 6, Hi: 65535}, {Proto: 17, Hi: 65535}, {Proto: 58, Hi: 65535}}
			}
			drivertest.Run(t, f)
		})
	}
}

func factory(name string, o netconftest.Options, edit func(*netconf.Settings)) drivertest.Factory {
	return drivertest.Factory{
		Name:       "a simulated switch with " + name,
		New:        func(t testing.TB) *drivertest.Subject { return subject(newBed(t, name, o, edit)) },
		Placements: placements,
		Plug:       plugged,
		World:      policytest.Options{MaxAssets: 4, MaxGroups: 3, MaxPolicies: 4},
		Random:     tries.Of(12),
		Budget:     map[string]int{"entries": 3},
		Inherent:   []string{render.KindReturn, render.KindInbound, render.KindFragment, render.KindMessage},
	}
}

func subject(b *bed) *drivertest.Subject {
	s := &drivertest.Subject{
		Driver: func() driver.Driver { return b.driver() },
		Unreachable: func() driver.Driver {
			d := newBed(b.t, b.dialect.Name(), netconftest.Options{}, b.edit)
			d.gone.Store(true)
			return d.driver()
		},
		Dump:       func() []byte { return []byte(fmt.Sprint(*b.config())) },
		AddForeign: func() { b.foreign(b.withForeign(b.config())) },
		Foreign: func() []byte {
			var out []string
			for _, l := range b.config().Lists {
				if !portacl.Ours(drivertest.Site, l.Name) {
					out = append(out, l.Name, l.Entries[0].String())
				}
			}
			return []byte(strings.Join(out, "\n"))
		},
		AddRival: func() {
			// It is asked before ours.
			c := b.withForeign(b.config())
			var mine portacl.Port
			if p := c.Port("swp1"); p != nil {
				mine = *p
			}
			c.Ports = slices.DeleteFunc(c.Ports, func(p portacl.Port) bool { return p.Name == "swp1" })
			b.foreign(c)
			bind(c, "swp1", portacl.Bound{Dir: portacl.In, Family: portacl.IPv4, List: "uplink"})
			for _, x := range mine.Bound {
				bind(c, "swp1", x)
			}
			b.foreign(c)
		},
		Tamper: b.tamper,
		Fail:   b.fail, Heal: b.heal, Faults: sim.Faults(),
		Steps: func(after func()) {
			for _, op := range []string{"commit", "edit-config"} {
				if op == "edit-config" && b.candidate {
					continue // the candidate is no state of the switch
				}
				b.server.After(op, after)
			}
		},
		PassesAt: func(s driver.State, hook, port string, src, dst netip.Addr) func(uint32, uint16) bool {
			c, dir := &stateOf(s).Config, portacl.In
			if hook == compile.HookInput {
				dir = portacl.Out
			}
			return func(service uint32, from uint16) bool {
				p := acltest.Packet{Src: src, Dst: dst, Proto: uint8(service >> 16)}
				if packet.IsICMP(p.Proto) {
					p.Type, p.Code = uint8(service>>8), uint8(service)
				} else if packet.HasPorts(p.Proto) {
					p.SrcPort, p.DstPort = from, uint16(service)
				}
				return acltest.Passes(c, port, dir, p)
			}
		},
		Mutants: mutants,
	}
	return s
}

// withForeign adds a list of somebody else on a port where nothing is protected, one of another
// site, and names that nearly are ours.
func (b *bed) withForeign(c *portacl.Config) *portacl.Config {
	out := c.Clone()
	for _, name := range []string{"uplink", "bh-test2-aaaaa-0123456789-i4", "bh-test-aaaaa-0123456789-i5", "bh-test-aaaaa-0123456789"} {
		if out.List(name) == nil {
			l := everything(name)
			if b.dialect.Limits().OneList {
				l.Family = portacl.Both
			}
			out.Lists = append(out.Lists, l)
		}
	}
	if out.Port("swp48") == nil {
		bind(&out, "swp48", portacl.Bound{Dir: portacl.In, Family: out.List("uplink").Family, List: "uplink"})
	}
	return &out
}

// tamper changes one thing of ours behind the driver's back.
func (b *bed) tamper(n int) string {
	c := b.config()
	next := c.Clone()
	var mine []int
	for i := range next.Lists {
		if portacl.Ours(drivertest.Site, next.Lists[i].Name) {
			mine = append(mine, i)
		}
	}
	if len(mine) == 0 {
		return "nothing: nothing of ours is there"
	}
	l := &next.Lists[mine[n%len(mine)]]
	e := &l.Entries[n%len(l.Entries)]
	switch n % 3 {
	case 0:
		e.Permit = !e.Permit
	case 1:
		l.Entries = append(l.Entries[:n%len(l.Entries)], l.Entries[n%len(l.Entries)+1:]...)
	default:
		p := &next.Ports[0]
		for i := range next.Ports {
			if len(next.Ports[i].Bound) > 0 && portacl.Ours(drivertest.Site, next.Ports[i].Bound[0].List) {
				p = &next.Ports[i]
			}
		}
		p.Bound = p.Bound[1:]
	}
	b.foreign(&next)
	return "changed " + l.Name
}

// fail maps a fault onto what the server can do.
func (b *bed) fail(f sim.Fault, skip int) {
	faults := make([]netconftest.Fault, skip)
	write := "commit"
	if !b.candidate {
		write = "edit-config"
	}
	switch f {
	case sim.ReadError, sim.ReadTruncated: // the first read of a session is to see that it answers
		fault := netconftest.CutMid()
		if f == sim.ReadError {
			fault = netconftest.Refuse(netconftest.Error{Tag: "operation-failed"})
		}
		b.server.Next("get-config", append(make([]netconftest.Fault, 1+2*skip), fault)...)
	case sim.ReadStale:
		b.server.Lag(1)
	case sim.WriteLost:
		b.server.Next(write, append(faults, netconftest.CutBefore())...)
	case sim.AnswerLost:
		b.server.Next(write, append(faults, netconftest.CutAfter())...)
	case sim.Vanish:
		b.server.Next(write, append(faults, netconftest.CutBefore())...)
		b.server.Before(write, func() {
			if skip--; skip < 0 {
				b.gone.Store(true)
			}
		})
	}
}

func (b *bed) heal() {
	b.gone.Store(false)
	b.server.Before("commit", nil)
	b.server.Before("edit-config", nil)
	b.server.Heal()
}

// mutants breaks lists in the ways of a wrong renderer.
func mutants(s driver.State) []drivertest.Mutant {
	st := stateOf(s)
	var out []drivertest.Mutant
	add := func(kind string, edit func(c *portacl.Config)) {
		next := *st
		next.Config = st.Config.Clone()
		edit(&next.Config)
		out = append(out, drivertest.Mutant{Kind: kind, State: &next})
	}
	for i := range st.Config.Lists {
		for k := range st.Config.Lists[i].Entries {
			if k%29 != 0 {
				continue
			}
			e := st.Config.Lists[i].Entries[k]
			add("drop an entry", func(c *portacl.Config) {
				l := &c.Lists[i]
				l.Entries = append(l.Entries[:k:k], l.Entries[k+1:]...)
			})
			add("flip an action", func(c *portacl.Config) { c.Lists[i].Entries[k].Permit = !e.Permit })
			add("any source", func(c *portacl.Config) { c.Lists[i].Entries[k].Src = netip.PrefixFrom(e.Src.Addr(), 0).Masked() })
			add("any destination", func(c *portacl.Config) { c.Lists[i].Entries[k].Dst = netip.PrefixFrom(e.Dst.Addr(), 0).Masked() })
			if e.Established {
				add("without flags", func(c *portacl.Config) { c.Lists[i].Entries[k].Established = false })
			}
			if !e.DstPorts.All() && e.DstPorts.Hi < 65535 {
				add("port off by one", func(c *portacl.Config) { c.Lists[i].Entries[k].DstPorts.Hi++ })
			}
			if !e.SrcPorts.All() {
				add("any source port", func(c *portacl.Config) { c.Lists[i].Entries[k].SrcPorts = portacl.AllPorts() })
			}
		}
		add("default allow", func(c *portacl.Config) {
			l := &c.Lists[i]
			last := l.Entries[len(l.Entries)-1]
			last.Permit, last.Proto = true, portacl.AnyProto
			l.Entries = append(l.Entries[:len(l.Entries)-1:len(l.Entries)-1], last)
		})
	}
	for i := range st.Config.Ports {
		for k := range st.Config.Ports[i].Bound {
			add("unbound", func(c *portacl.Config) {
				p := &c.Ports[i]
				p.Bound = append(p.Bound[:k:k], p.Bound[k+1:]...)
			})
		}
	}
	// Each takes a proof, and a look at every packet where it finds nothing.
	const most = 40
	if step := (len(out) + most - 1) / most; step > 1 {
		var some []drivertest.Mutant
		for i := 0; i < len(out); i += step {
			some = append(some, out[i])
		}
		out = some
	}
	return out
}
