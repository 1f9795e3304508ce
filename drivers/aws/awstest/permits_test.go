package awstest_test

import (
	"net/netip"
	"testing"

	"bulkhead/drivers/aws/awstest"
)

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

// A plant for the semantics: a and b in one VPC, c in a peered one, d in another region.
type semantics struct {
	*estate
	ga, gb, gc string
	a, b, c, d string // interfaces
	pcx        string
}

func newSemantics(t *testing.T) *semantics {
	s := &semantics{estate: newEstate(t)}
	s.pcx = s.r.AddPeering(s.vpc, s.peer, s.other)
	none := []awstest.RuleSpec{}
	s.ga = s.r.AddGroup(awstest.GroupSpec{VPC: s.vpc, Name: "a", Egress: none})
	s.gb = s.r.AddGroup(awstest.GroupSpec{VPC: s.vpc, Name: "b", Egress: none})
	s.gc = s.peer.AddGroup(awstest.GroupSpec{VPC: s.other, Name: "c"})
	s.a = s.r.AddInterface(awstest.InterfaceSpec{Subnet: s.sub, Private: []string{"10.0.1.100"}, IPv6: []string{"2001:db8::100"}, Public: "198.51.100.100", Groups: []string{s.ga}})
	s.b = s.r.AddInterface(awstest.InterfaceSpec{Subnet: s.sub, Private: []string{"10.0.1.101", "10.0.1.102"}, IPv6: []string{"2001:db8::101"}, Prefixes: []string{"10.0.1.112/28"}, Groups: []string{s.gb}})
	s.c = s.peer.AddInterface(awstest.InterfaceSpec{Subnet: s.sub2, Private: []string{"10.9.1.100"}, Groups: []string{s.gc}})
	far := s.mine.Region(there)
	vpc := far.AddVPC("far", "10.5.0.0/16")
	s.d = far.AddInterface(awstest.InterfaceSpec{Subnet: far.AddSubnet(vpc, there+"a", "10.5.1.0/24", ""), Private: []string{"10.5.1.100"}})
	return s
}

func TestPermits(t *testing.T) {
	tcp := func(from, to, src, dst string, port uint16) awstest.Flow {
		return awstest.Flow{From: from, To: to, Src: addr(src), Dst: addr(dst), Protocol: 6, Port: port}
	}
	out := func(s *semantics, r awstest.RuleSpec) { s.r.AddRules(s.ga, true, r) }
	in := func(s *semantics, r awstest.RuleSpec) { s.r.AddRules(s.gb, false, r) }
	ab := func(s *semantics) awstest.Flow { return tcp(s.a, s.b, "10.0.1.100", "10.0.1.101", 443) }
	all := awstest.RuleSpec{CIDR: "0.0.0.0/0"}
	for name, c := range map[string]struct {
		set  func(*semantics)
		flow func(*semantics) awstest.Flow
		want bool
	}{
		"nothing is allowed by no rules": {func(*semantics) {}, ab, false},
		"one side is not enough":         {func(s *semantics) { out(s, all) }, ab, false},
		"nor the other":                  {func(s *semantics) { in(s, all) }, ab, false},
		"both are":                       {func(s *semantics) { out(s, all); in(s, all) }, ab, true},
		"a reference, both ways": {func(s *semantics) {
			out(s, awstest.RuleSpec{Protocol: "tcp", From: 443, Group: s.gb})
			in(s, awstest.RuleSpec{Protocol: "tcp", From: 443, Group: s.ga})
		}, ab, true},
		"a reference has its ports": {func(s *semantics) { out(s, all); in(s, awstest.RuleSpec{Protocol: "tcp", From: 442, Group: s.ga}) }, ab, false},
		"a reference is to who carries the group": {func(s *semantics) {
			out(s, all)
			in(s, awstest.RuleSpec{Group: s.ga})
			s.r.SetGroups(s.a, s.group)
		}, ab, false},
		"rules of all groups are united": {func(s *semantics) {
			in(s, awstest.RuleSpec{Group: s.ga})
			s.r.SetGroups(s.a, s.ga, s.group) // s.group lets everything out
		}, ab, true},
		"a reference holds for secondary addresses": {func(s *semantics) { out(s, awstest.RuleSpec{Group: s.gb}); in(s, all) },
			func(s *semantics) awstest.Flow { return tcp(s.a, s.b, "10.0.1.100", "10.0.1.102", 1) }, true},
		"and for delegated prefixes": {func(s *semantics) { out(s, awstest.RuleSpec{Group: s.gb}); in(s, all) },
			func(s *semantics) awstest.Flow { return tcp(s.a, s.b, "10.0.1.100", "10.0.1.115", 1) }, true},
		"but not for public ones": {func(s *semantics) { out(s, all); in(s, awstest.RuleSpec{Group: s.ga}) },
			func(s *semantics) awstest.Flow { return tcp(s.a, s.b, "198.51.100.100", "10.0.1.101", 1) }, false},
		"a reference holds for IPv6": {func(s *semantics) { out(s, awstest.RuleSpec{CIDR: "::/0"}); in(s, awstest.RuleSpec{Group: s.ga}) },
			func(s *semantics) awstest.Flow { return tcp(s.a, s.b, "2001:db8::100", "2001:db8::101", 1) }, true},
		"a network of IPv4 does not": {func(s *semantics) { out(s, all); in(s, all) },
			func(s *semantics) awstest.Flow { return tcp(s.a, s.b, "2001:db8::100", "2001:db8::101", 1) }, false},
		"a reference over a peering": {func(s *semantics) { s.r.AddRules(s.gb, false, awstest.RuleSpec{Group: s.gc}) },
			func(s *semantics) awstest.Flow { return tcp(s.c, s.b, "10.9.1.100", "10.0.1.101", 1) }, true},
		"not over one that is gone": {func(s *semantics) {
			s.r.AddRules(s.gb, false, awstest.RuleSpec{Group: s.gc})
			s.r.SetPeering(s.pcx, "deleted")
		}, func(s *semantics) awstest.Flow { return tcp(s.c, s.b, "10.9.1.100", "10.0.1.101", 1) }, false},
		"not from a region away": {func(s *semantics) { in(s, awstest.RuleSpec{Group: s.ga}) },
			func(s *semantics) awstest.Flow { return tcp(s.d, s.b, "10.5.1.100", "10.0.1.101", 1) }, false},
		"a prefix list": {func(s *semantics) {
			out(s, awstest.RuleSpec{PrefixList: s.r.AddPrefixList("l", 5, "10.0.1.0/24")})
			in(s, all)
		}, ab, true},
		"the resolver is not asked about": {func(*semantics) {}, func(s *semantics) awstest.Flow { return tcp(s.a, "", "10.0.1.100", "10.0.0.2", 53) }, true},
		"nor metadata":                    {func(*semantics) {}, func(s *semantics) awstest.Flow { return tcp(s.a, "", "10.0.1.100", "169.254.169.254", 80) }, true},
		"the world outside is":            {func(*semantics) {}, func(s *semantics) awstest.Flow { return tcp(s.a, "", "10.0.1.100", "192.0.2.1", 80) }, false},
		"a protocol by number has all its ports": {func(s *semantics) { out(s, awstest.RuleSpec{Protocol: "132", CIDR: "0.0.0.0/0"}) },
			func(s *semantics) awstest.Flow {
				return awstest.Flow{From: s.a, Src: addr("10.0.1.100"), Dst: addr("192.0.2.1"), Protocol: 132, Port: 7}
			}, true},
		"ICMP has type and code": {func(s *semantics) { out(s, awstest.RuleSpec{Protocol: "icmp", From: 8, To: -1, CIDR: "0.0.0.0/0"}) },
			func(s *semantics) awstest.Flow {
				return awstest.Flow{From: s.a, Src: addr("10.0.1.100"), Dst: addr("192.0.2.1"), Protocol: 1, Type: 8}
			}, true},
		"of another type it is another": {func(s *semantics) { out(s, awstest.RuleSpec{Protocol: "icmp", From: 8, To: -1, CIDR: "0.0.0.0/0"}) },
			func(s *semantics) awstest.Flow {
				return awstest.Flow{From: s.a, Src: addr("10.0.1.100"), Dst: addr("192.0.2.1"), Protocol: 1, Type: 13}
			}, false},
		"who has no groups lets everything": {func(s *semantics) { in(s, all); s.r.SetGroups(s.a) }, ab, true},
	} {
		s := newSemantics(t)
		c.set(s)
		f := c.flow(s)
		if got := s.w.Permits(f); got != c.want {
			t.Errorf("%s: Permits(%+v) is %v", name, f, got)
		}
	}
}

// The permitted set is of the interfaces that are there, at one moment.
func TestPermitted(t *testing.T) {
	s := newSemantics(t)
	s.r.AddRules(s.ga, true, awstest.RuleSpec{Group: s.gb})
	s.r.AddRules(s.gb, false, awstest.RuleSpec{Protocol: "tcp", From: 443, Group: s.ga})
	got := s.w.Permitted([]string{s.a, s.b, "eni-0123456789abcdef0"}, awstest.Probe{Protocol: 6, Port: 443}, awstest.Probe{Protocol: 17, Port: 53})
	if len(got) != 3 { // of IPv4, of IPv6, and to the delegated prefix
		t.Errorf("permitted is %+v", got)
	}
	for _, f := range got {
		if f.From != s.a || f.Protocol != 6 {
			t.Errorf("permitted is %+v", f)
		}
	}
}
