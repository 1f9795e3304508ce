package aws_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"bulkhead/drivers/aws/awstest"
	"bulkhead/internal/tries"
	"bulkhead/pkg/compile"
	"bulkhead/pkg/driver"
	"bulkhead/pkg/driver/drivertest"
	"bulkhead/pkg/packet"
	"bulkhead/pkg/policy"
	"bulkhead/pkg/policy/policytest"
	"bulkhead/pkg/prove"
)

// Over random estates (two peered VPCs, both families, several addresses on an interface,
// groups of others) what the world's own judge lets through is what the reference evaluator
// says, wherever the proof says so; and where the proof says no, its packet is true. Judge,
// evaluator, driver and proof share no code.
func TestRandomEstates(t *testing.T) {
	counts := map[string]int{}
	tries.Checks(t, 40, func(rt *rapid.T) { randomEstate(t, rt, counts) })
	t.Logf("%v", counts)
	if tries.All && counts["proved"] < 10 {
		t.Errorf("too few of the estates say anything: %v", counts)
	}
}

func randomEstate(t *testing.T, rt *rapid.T, counts map[string]int) {
	e := newSite(t)
	e.s.References = rapid.Bool().Draw(rt, "references")
	other := e.r.AddVPC("other", "100.65.0.0/16", "10.0.1.0/24")
	sub := e.r.AddSubnet(other, region+"a", "10.0.1.0/24", "2001:db8:0:1::/64")
	e.r.AddPeering(e.vpc, e.r, other)
	quiet := e.r.AddGroup(awstest.GroupSpec{VPC: other, Name: "empty", Egress: []awstest.RuleSpec{}})
	w := policytest.World(rt, policytest.Options{MaxAssets: 4, MaxGroups: 3, MaxPolicies: 3})
	addrs := policytest.Addresses(w)
	narrow := e.r.AddGroup(awstest.GroupSpec{VPC: e.vpc, Name: "narrow", Egress: []awstest.RuleSpec{}, Ingress: []awstest.RuleSpec{{Protocol: "tcp", From: 443, CIDR: "10.0.0.0/24"}}})
	rivals := false
	var on []netip.Prefix
	var six []string
	for _, a := range addrs {
		if netip.MustParsePrefix("2001:db8::/64").Contains(a) && a != netip.MustParseAddr("2001:db8::") {
			six = append(six, a.String())
		}
	}
	for i, a := range addrs {
		switch {
		case netip.MustParsePrefix("10.0.0.0/24").Contains(a):
			list, groups := []string{a.String()}, []string{e.empty}
			if len(six) > 0 && rapid.Bool().Draw(rt, fmt.Sprintf("six %d", i)) {
				list, six = append(list, six[0]), six[1:]
			}
			if rapid.IntRange(0, 19).Draw(rt, fmt.Sprintf("narrow %d", i)) == 0 {
				groups, rivals = append(groups, narrow), true
			}
			e.eni(groups, list...)
			for _, s := range list {
				x := netip.MustParseAddr(s)
				on = append(on, netip.PrefixFrom(x, x.BitLen()))
			}
		case netip.MustParsePrefix("10.0.1.0/24").Contains(a):
			e.r.AddInterface(awstest.InterfaceSpec{Subnet: sub, Private: []string{a.String()}, Groups: []string{quiet}})
			on = append(on, netip.PrefixFrom(a, 32))
		}
	}
	var protects []netip.Prefix
	for i, p := range on {
		if rapid.IntRange(0, 2).Draw(rt, fmt.Sprintf("protect %d", i)) > 0 {
			protects = append(protects, p)
		}
	}
	m, err := compile.Compile(compile.Input{Assets: w.Assets, Book: w.Book, Where: w.Where, Now: w.Now})
	if err != nil {
		rt.Fatal(err)
	}
	points := []compile.Point{{Name: "cloud", Mode: policy.Enforce, Endpoint: true, Protects: packet.AddrsOf(protects...), Off: map[string]bool{compile.EssentialDHCP: true, compile.EssentialIGMP: true, compile.EssentialMLD: true, compile.EssentialND: true}}}
	want := driver.Desired{Site: drivertest.Site, Now: w.Now, Points: points, View: compile.NewView(m, points)}
	ctx, d := context.Background(), e.driver()
	have, err := d.Read(ctx)
	if err != nil {
		rt.Fatal(err)
	}
	r, err := d.Render(want, have)
	if errors.Is(err, driver.ErrRefused) {
		counts["refused"]++
		return
	}
	if err != nil {
		rt.Fatal(err)
	}
	c, err := d.Diff(have, r.State)
	if err != nil {
		rt.Fatal(err)
	}
	if err := d.Apply(ctx, c); err != nil {
		rt.Fatal(err)
	}
	now, err := d.Read(ctx)
	if err != nil {
		rt.Fatal(err)
	}
	dec, err := d.Decode(now)
	if err != nil {
		rt.Fatal(err)
	}
	res := prove.Device(m, points, dec, r.Residue...)[0]
	if !res.Proved {
		counts["not proved"]++
		if !rivals {
			rt.Fatalf("nobody else is there, and it is not proved: %s", text(res))
		}
		for _, x := range res.Wrong {
			if e.judge(stateOf(now), x.Src, x.Dst)(x.Service, x.Situation.SrcPortLo) != x.Passes {
				rt.Fatalf("false witness: %s", x.String())
			}
		}
		if len(res.Wrong) == 0 {
			rt.Fatalf("not proved, and no packet: %+v", res.Findings)
		}
		return
	}
	counts["proved"]++
	services := policytest.Services(w)
	for _, src := range addrs {
		for _, dst := range addrs {
			if src == dst || src.Is4() != dst.Is4() || !contains(protects, src) && !contains(protects, dst) || dst.IsMulticast() || src.IsLoopback() || dst.IsLoopback() {
				continue
			}
			judge := e.judge(stateOf(now), src, dst)
			for _, s := range services {
				line := packet.Point(uint8(s[0]), s[1])
				must := w.Decide(policy.Flow{Src: src, Dst: dst, Proto: uint8(s[0]), Num: s[1]}).Permit
				if got := judge(line, 40000); got != must && !excused(r.Residue, src, dst, line, got) {
					rt.Fatalf("%s -> %s %d/%d passes is %v, policy says %v, and it is no residue", src, dst, s[0], s[1], got, must)
				}
			}
		}
	}
}

func contains(list []netip.Prefix, a netip.Addr) bool {
	return slices.ContainsFunc(list, func(p netip.Prefix) bool { return p.Contains(a) })
}

func excused(all []driver.Residue, src, dst netip.Addr, line uint32, passes bool) bool {
	for _, r := range all {
		for _, f := range r.Flows {
			if r.Wider == passes && f.Src.Contains(src) && f.Dst.Contains(dst) && f.Services.Contains(line) && f.SrcPortLo <= 40000 && 40000 <= f.SrcPortHi {
				return true
			}
		}
	}
	return false
}
