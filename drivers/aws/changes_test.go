package aws_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"bulkhead/drivers/aws/awstest"
	"bulkhead/internal/tries"
	"bulkhead/pkg/driver"
	"bulkhead/pkg/driver/drivertest"
)

// fleet is machines of several tiers in two VPCs that are peered, some of one family and
// some of both. What others let them have is everything, which is what the side of a machine
// counts as that nobody judges.
type fleet struct {
	*estate
	ids map[string]string // interface by machine
}

var fleetMachines = map[string][]string{
	"m0": {"10.0.0.10", "2001:db8::10"}, "m1": {"10.0.0.11", "2001:db8::11"}, "m2": {"10.0.0.12"}, "m3": {"10.0.0.13"},
	"m4": {"10.0.0.14"}, "m5": {"10.1.0.10"}, "m6": {"10.1.0.11"},
}

func newFleet(t testing.TB) *fleet {
	f := &fleet{estate: &estate{site: newSite(t)}, ids: map[string]string{}}
	f.s.Exclusive, f.s.References = true, true
	f.farVPC = f.r.AddVPC("far", "10.1.0.0/16")
	sub := f.r.AddSubnet(f.farVPC, region+"a", "10.1.0.0/16", "")
	f.r.AddPeering(f.vpc, f.r, f.farVPC)
	wide := func(vpc string) string {
		return f.r.AddGroup(awstest.GroupSpec{VPC: vpc, Name: "wide", Ingress: []awstest.RuleSpec{{CIDR: "0.0.0.0/0"}, {CIDR: "::/0"}}, Egress: []awstest.RuleSpec{{CIDR: "0.0.0.0/0"}, {CIDR: "::/0"}}})
	}
	near, far := wide(f.vpc), wide(f.farVPC)
	for _, name := range slices.Sorted(maps.Keys(fleetMachines)) {
		addrs := fleetMachines[name]
		if addrs[0][:5] == "10.1." {
			f.ids[name] = f.r.AddInterface(awstest.InterfaceSpec{Subnet: sub, Private: addrs, Groups: []string{far}})
		} else {
			f.ids[name] = f.eni([]string{near}, addrs...)
		}
	}
	return f
}

func (f *fleet) permitted() map[awstest.Flow]bool {
	out := map[awstest.Flow]bool{}
	for _, x := range f.w.Permitted(slices.Sorted(maps.Values(f.ids)), probes...) {
		out[x] = true
	}
	return out
}

// drawn is a policy about the fleet: who is in which tier, which tiers may do what, and who
// is judged. It stays near what there was, so that few things change at once as often as many.
type drawn struct {
	tier     map[string]string
	says     []say
	protects map[string]bool
}

func draw(rt *rapid.T, was *drawn, label string) *drawn {
	tiers := []string{"a", "b", "c", "d"}
	d := &drawn{tier: map[string]string{}, protects: map[string]bool{}}
	keep := was != nil && rapid.IntRange(0, 2).Draw(rt, label+" keeps") > 0
	moves := rapid.IntRange(0, 3).Draw(rt, label+" moves")
	for _, m := range slices.Sorted(maps.Keys(fleetMachines)) {
		if keep {
			d.tier[m], d.protects[m] = was.tier[m], was.protects[m]
			continue
		}
		d.tier[m] = rapid.SampledFrom(tiers).Draw(rt, label+" tier of "+m)
		d.protects[m] = rapid.IntRange(0, 5).Draw(rt, label+" protects "+m) > 0
	}
	if keep {
		for i := range moves {
			m := rapid.SampledFrom(slices.Sorted(maps.Keys(fleetMachines))).Draw(rt, fmt.Sprintf("%s mover %d", label, i))
			if rapid.Bool().Draw(rt, fmt.Sprintf("%s judged %d", label, i)) {
				d.protects[m] = !d.protects[m]
			} else {
				d.tier[m] = rapid.SampledFrom(tiers).Draw(rt, fmt.Sprintf("%s to %d", label, i))
			}
		}
	}
	if keep && rapid.Bool().Draw(rt, label+" same policy") {
		d.says = was.says
		return d
	}
	for i := range rapid.IntRange(1, 6).Draw(rt, label+" policies") {
		from := append(slices.Clone(tiers), "office")
		to := append(slices.Clone(tiers), "office", "all")
		d.says = append(d.says, say{rapid.SampledFrom(from).Draw(rt, fmt.Sprintf("%s from %d", label, i)), rapid.SampledFrom(to).Draw(rt, fmt.Sprintf("%s to %d", label, i)),
			rapid.SampledFrom([]uint16{80, 443, 22, 5432, 0, 65535}).Draw(rt, fmt.Sprintf("%s port %d", label, i))})
	}
	return d
}

func (d *drawn) desired(t testing.TB) driver.Desired {
	groups := map[string][]string{"a": nil, "b": nil, "c": nil, "d": nil}
	var protects []string
	for _, m := range slices.Sorted(maps.Keys(d.tier)) {
		groups[d.tier[m]] = append(groups[d.tier[m]], m)
		if d.protects[m] {
			protects = append(protects, m)
		}
	}
	if len(protects) == 0 {
		return driver.Desired{Site: drivertest.Site}
	}
	return desiredOf(t, fleetMachines, groups, d.says, protects...)
}

// Machines change tiers, policy changes, machines begin and cease to be judged, some of it
// at once, and sometimes the controller dies in the middle: after every call what passes lies
// between what did and what will. What is there in the end is proved, planned again it is
// nothing, and nothing is left over. The plan says how many calls it takes.
func TestRandomChangesByName(t *testing.T) {
	counts := map[string]int{}
	tries.Checks(t, 60, func(rt *rapid.T) {
		f := newFleet(t)
		var was *drawn
		for i := range 4 {
			label := fmt.Sprintf("state %d", i)
			d := draw(rt, was, label)
			f.change(t, rt, d.desired(t), label, counts)
			was = d
		}
	})
	t.Logf("%v", counts)
	if tries.All && (counts["crash"] < 10 || counts["named"] < 50 || counts["hops"] < 20 || counts["direct"] < 20) {
		t.Errorf("too few of the changes say anything: %v", counts)
	}
}

func (f *fleet) change(t *testing.T, rt *rapid.T, want driver.Desired, label string, counts map[string]int) {
	ctx, d := context.Background(), f.driver()
	have := f.read(t)
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
	old := f.permitted()
	var seen []map[awstest.Flow]bool
	crash := 0
	if len(c.Ops) > 0 && rapid.IntRange(0, 3).Draw(rt, label+" crashes") == 0 {
		crash = rapid.IntRange(1, len(c.Ops)).Draw(rt, label+" crashes at")
		counts["crash"]++
	}
	n := 0
	f.w.Script(func(c awstest.Call) awstest.Outcome {
		if c.Mutating {
			n++
		}
		if crash > 0 && n >= crash {
			return awstest.Outcome{Code: "UnauthorizedOperation"}
		}
		return awstest.Outcome{}
	})
	f.w.OnMutation(nil, func(awstest.Call) { seen = append(seen, f.permitted()) })
	err = d.Apply(ctx, c)
	f.w.Script(nil)
	if crash == 0 && err != nil {
		rt.Fatalf("%s: %v", label, err)
	}
	if crash == 0 {
		if said := used(r)["api calls of this change"]; said != n {
			rt.Fatalf("%s: the plan says %d calls, and it took %d", label, said, n)
		}
	} else if err := f.try(want); err != nil {
		rt.Fatalf("%s: after a crash at call %d: %v", label, crash, err)
	}
	f.w.OnMutation(nil, nil)
	f.between(rt, label, old, f.permitted(), seen)
	f.proved(rt, want)
	for _, g := range f.r.Groups() {
		if g.Tags["bulkhead:site"] != drivertest.Site {
			continue
		}
		if !slices.ContainsFunc(f.r.Interfaces(), func(n awstest.Interface) bool { return slices.Contains(n.Groups, g.ID) }) {
			rt.Fatalf("%s: group %q is left over", label, g.Name)
		}
		if slices.ContainsFunc(g.Rules, func(r awstest.Rule) bool { return r.Group != "" }) {
			counts["named"]++
		}
	}
	hops := slices.ContainsFunc(c.Ops, func(o driver.Op) bool { return len(o.ID) > 1 && o.ID[1] == '.' })
	if hops {
		counts["hops"]++
	} else if len(c.Ops) > 0 {
		counts["direct"]++
	}
}
