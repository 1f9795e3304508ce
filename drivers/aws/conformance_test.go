package aws_test

import (
	"net/netip"
	"slices"
	"testing"

	"bulkhead/drivers/aws"
	"bulkhead/drivers/aws/awstest"
	"bulkhead/internal/tries"
	"bulkhead/pkg/compile"
	"bulkhead/pkg/driver"
	"bulkhead/pkg/driver/drivertest"
	"bulkhead/pkg/driver/drivertest/sim"
	"bulkhead/pkg/packet"
	"bulkhead/pkg/policy"
	"bulkhead/pkg/policy/policytest"
)

func TestConformance(t *testing.T) { drivertest.Run(t, factory(false)) }

// The same where rules name groups. What reads and what placements do is the same there, so
// that fewer of them will do.
func TestConformanceByName(t *testing.T) {
	f := factory(true)
	f.Placements = f.Placements[:2]
	of := f.New
	f.New = func(t testing.TB) *drivertest.Subject {
		s := of(t)
		s.Faults = []sim.Fault{sim.ReadError, sim.AnswerLost, sim.Vanish}
		return s
	}
	drivertest.Run(t, f)
}

func factory(named bool) drivertest.Factory {
	return drivertest.Factory{
		Name:       "AWS security groups",
		New:        func(t testing.TB) *drivertest.Subject { return subject(t, named) },
		Placements: []drivertest.Placement{quiet(), drivertest.Shared(), drivertest.Leased(), drivertest.Managed(), drivertest.Observed()},
		World:      policytest.Options{MaxAssets: 4, MaxGroups: 3, MaxPolicies: 4},
		Random:     tries.Of(12),
		Budget:     map[string]int{"rules": 2},
		Inherent:   []string{"no-multicast", "provider-link-local", "icmp-family"},
		Everything: []policy.Range{{Proto: 1, Hi: 65535}, {Proto: 6, Hi: 65535}, {Proto: 17, Hi: 65535}, {Proto: 58, Hi: 65535}},
		MayRefuse:  true,
	}
}

// quiet is an endpoint that hears neither MLD nor IGMP, which a VPC does not carry.
func quiet() drivertest.Placement {
	return drivertest.Placement{Name: "quiet host", Points: func(protects packet.Addrs) []compile.Point {
		return []compile.Point{{Name: "host-1", Mode: policy.Enforce, Endpoint: true, Protects: protects,
			Off: map[string]bool{compile.EssentialDHCP: true, compile.EssentialMLD: true, compile.EssentialIGMP: true}}}
	}}
}

func subject(t testing.TB, named bool) *drivertest.Subject {
	e := newSite(t)
	e.s.References = named
	on := []string{e.empty}
	for _, addrs := range [][]string{
		{"10.0.0.10", "2001:db8::10"}, {"10.0.0.11", "2001:db8::11"}, {"10.0.0.20", "2001:db8::20"},
		{"10.0.0.1"}, {"10.0.0.2", "2001:db8::1"}, {"10.0.0.3"}, {"10.0.1.0", "2001:db8::4"}, {"10.0.2.5", "2001:db8::5"},
	} {
		e.eni(on, addrs...)
	}
	s := &drivertest.Subject{
		Driver:      func() driver.Driver { return e.driver() },
		Unreachable: func() driver.Driver { return e.gone() },
		Dump:        func() []byte { return e.dump(true) },
		AddForeign:  e.addForeign,
		Foreign:     func() []byte { return e.dump(false) },
		AddRival: func() {
			wide := e.r.AddGroup(awstest.GroupSpec{VPC: e.vpc, Name: "wide", Ingress: []awstest.RuleSpec{{CIDR: "0.0.0.0/0"}}})
			for _, i := range e.r.Interfaces() {
				e.r.SetGroups(i.ID, append(slices.Clone(i.Groups), wide)...)
			}
		},
		Tamper: e.tamper,
		Fail:   e.fail, Heal: func() { e.w.Script(nil) }, Faults: []sim.Fault{sim.ReadError, sim.ReadTruncated, sim.WriteLost, sim.AnswerLost, sim.Vanish},
		Steps: func(after func()) {
			if after == nil {
				e.w.OnMutation(nil, nil)
				return
			}
			e.w.OnMutation(nil, func(awstest.Call) { after() })
		},
		Mutants: mutants,
	}
	var last *aws.State
	var world *site
	s.Passes = func(st driver.State, _ string, src, dst netip.Addr) func(uint32, uint16) bool {
		if now := stateOf(st); now != last {
			last = now
			w, r := e.as(now)
			world = &site{w: w, r: r}
		}
		return world.judge(last, src, dst)
	}
	return s
}

// addForeign adds groups of others, one of another site whose name begins with ours.
func (e *site) addForeign() {
	all := []awstest.RuleSpec{{CIDR: "0.0.0.0/0"}}
	e.r.AddGroup(awstest.GroupSpec{VPC: e.vpc, Name: "bulkhead test 1", Ingress: all})
	other := e.r.AddGroup(awstest.GroupSpec{VPC: e.vpc, Name: "bulkhead test2 1", Ingress: all, Tags: map[string]string{"bulkhead:site": "test2"}})
	e.eni([]string{other}, "10.0.77.7")
}

// fail maps a fault onto what the endpoint can do. What is refused with a code that the SDK
// does not try again stays refused.
func (e *site) fail(f sim.Fault, skip int) {
	const refusal = "UnauthorizedOperation"
	gone, done := false, false
	reads := map[sim.Fault]string{sim.ReadError: "DescribeVpcs", sim.ReadTruncated: "DescribeSecurityGroupRules"}
	e.w.Script(func(c awstest.Call) awstest.Outcome {
		switch {
		case gone:
			return awstest.Outcome{Code: refusal}
		case done:
			return awstest.Outcome{}
		case f.OnRead() && c.Action != reads[f], !f.OnRead() && !c.Mutating:
			return awstest.Outcome{}
		case skip > 0:
			skip--
			return awstest.Outcome{}
		}
		done = true
		switch f {
		case sim.AnswerLost:
			return awstest.Outcome{LoseAnswer: true}
		case sim.Vanish:
			gone = true
		}
		return awstest.Outcome{Code: refusal}
	})
}

// tamper changes something of ours.
func (e *site) tamper(n int) string {
	var mine []awstest.Group
	for _, g := range e.r.Groups() {
		if g.Tags["bulkhead:site"] == drivertest.Site {
			mine = append(mine, g)
		}
	}
	if len(mine) == 0 {
		return "nothing: nothing of ours is there"
	}
	g := mine[n%len(mine)]
	var on string
	for _, i := range e.r.Interfaces() {
		if slices.Contains(i.Groups, g.ID) {
			on = i.ID
		}
	}
	switch n % 4 {
	case 0:
		if len(g.Rules) > 0 {
			e.r.RemoveRules(g.ID, g.Rules[n%len(g.Rules)].ID)
			return "a rule is gone"
		}
		fallthrough
	case 1:
		e.r.AddRules(g.ID, false, awstest.RuleSpec{Protocol: "tcp", From: 7 + n, CIDR: "192.0.2.0/24"})
		return "a rule was added"
	case 2:
		if on != "" {
			e.r.SetGroups(on, e.empty)
			return "an interface lost its group"
		}
		fallthrough
	default:
		tags := map[string]string{"bulkhead:site": drivertest.Site, "Name": g.Name, "bulkhead:points": "nobody"}
		e.r.SetTags(g.ID, tags)
		return "the tags of a group say something else"
	}
}

// mutants breaks a state in the ways of a wrong renderer.
func mutants(s driver.State) []drivertest.Mutant {
	st := stateOf(s)
	var out []drivertest.Mutant
	edit := func(kind string, g int, f func([]aws.Rule) []aws.Rule) {
		n := *st
		n.Groups = slices.Clone(st.Groups)
		n.Groups[g].Rules = f(slices.Clone(n.Groups[g].Rules))
		out = append(out, drivertest.Mutant{Kind: kind, State: &n})
	}
	for k, g := range st.Groups {
		if !g.Ours {
			continue
		}
		for i := 0; i < len(g.Rules); i += 1 + len(g.Rules)/6 {
			x := g.Rules[i]
			edit("drop a rule", k, func(r []aws.Rule) []aws.Rule { return slices.Delete(r, i, i+1) })
			if b := x.Prefix.Bits(); b < x.Prefix.Addr().BitLen() {
				edit("half a prefix", k, func(r []aws.Rule) []aws.Rule { r[i].Prefix = netip.PrefixFrom(x.Prefix.Addr(), b+1); return r })
			}
			if b := x.Prefix.Bits(); b > 0 {
				edit("a prefix twice as large", k, func(r []aws.Rule) []aws.Rule {
					r[i].Prefix = netip.PrefixFrom(x.Prefix.Addr(), b-1).Masked()
					return r
				})
				edit("empty is any", k, func(r []aws.Rule) []aws.Rule { r[i].Prefix = netip.PrefixFrom(x.Prefix.Addr(), 0).Masked(); return r })
			}
			if x.Protocol == "tcp" && x.To < 65535 {
				edit("port off by one", k, func(r []aws.Rule) []aws.Rule { r[i].To++; return r })
			}
			edit("the other direction", k, func(r []aws.Rule) []aws.Rule { r[i].Egress = !r[i].Egress; return r })
			edit("every service", k, func(r []aws.Rule) []aws.Rule { r[i].Protocol, r[i].From, r[i].To = "-1", -1, -1; return r })
		}
		edit("drop the IPv6 half", k, func(r []aws.Rule) []aws.Rule {
			return slices.DeleteFunc(r, func(x aws.Rule) bool { return !x.Prefix.Addr().Is4() })
		})
		edit("allow by default", k, func(r []aws.Rule) []aws.Rule {
			for _, p := range []string{"0.0.0.0/0", "::/0"} {
				for _, egress := range []bool{false, true} {
					r = append(r, aws.Rule{Egress: egress, Protocol: "-1", From: -1, To: -1, Prefix: netip.MustParsePrefix(p)})
				}
			}
			return r
		})
	}
	for i, n := range st.Interfaces {
		if judged(st, n.ID) {
			m := *st
			m.Interfaces = slices.Clone(st.Interfaces)
			m.Interfaces[i].Groups = slices.DeleteFunc(slices.Clone(n.Groups), func(k string) bool {
				return slices.ContainsFunc(st.Groups, func(g aws.Group) bool { return g.Ours && g.Key == k })
			})
			out = append(out, drivertest.Mutant{Kind: "an interface without its group", State: &m})
		}
	}
	return out
}
