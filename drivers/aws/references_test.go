package aws_test

import (
	"slices"
	"strings"
	"testing"

	"bulkhead/drivers/aws/awstest"
	"bulkhead/pkg/driver"
)

func tiers(t testing.TB, web, app []string) driver.Desired {
	return desired(t, map[string][]string{"web": web, "app": app, "far": {"far"}},
		[]say{{"web", "app", 80}, {"far", "web", 443}, {"web", "web", 22}, {"app", "app", 5432}}, "web", "web2", "app", "db", "far")
}

// One machine that changes class among others is one call: its peers name the group that it
// leaves and the one that it joins, also those behind a peering.
func TestOneMachineIsOneCall(t *testing.T) {
	e := newEstate(t)
	e.s.References, e.s.Exclusive = true, true
	e.bring(t, tiers(t, []string{"web", "web2"}, []string{"app", "db"}))
	for _, to := range []driver.Desired{tiers(t, []string{"web"}, []string{"app", "db", "web2"}), tiers(t, []string{"web", "web2"}, []string{"app", "db"})} {
		e.w.ResetCalls()
		e.bring(t, to)
		if n := e.w.Mutations(); len(n) != 1 || n[0].Action != "ModifyNetworkInterfaceAttribute" {
			t.Fatalf("%d calls: %+v", len(n), n)
		}
	}
}

// Rules name groups in the VPC and behind an active peering, and nowhere else; what has a
// delegated prefix is named by its addresses.
func TestWhatIsNamed(t *testing.T) {
	e := newEstate(t)
	e.s.References, e.s.Exclusive = true, true
	want := tiers(t, []string{"web", "web2"}, []string{"app", "db"})
	e.bring(t, want)
	if n := e.named(); n["own"] == 0 || n["far"] == 0 || n["prefix"] != 0 {
		t.Fatalf("%v", n)
	}
	// Without a peering the same is said by prefixes.
	lone := newEstate(t)
	lone.s.References, lone.s.Exclusive = true, true
	lone.r.SetPeering(lone.peering, "deleted")
	lone.bring(t, want)
	if n := lone.named(); n["own"] == 0 || n["far"] != 0 || n["prefix"] == 0 {
		t.Fatalf("%v", n)
	}
	// Switched off, nothing is named, and on again everything; nothing passes otherwise.
	before := e.permitted()
	for _, on := range []bool{false, true} {
		e.s.References = on
		var seen []map[awstest.Flow]bool
		e.w.OnMutation(nil, func(awstest.Call) { seen = append(seen, e.permitted()) })
		e.bring(t, want)
		e.w.OnMutation(nil, nil)
		e.between(t, "switched", before, before, seen)
		if n := e.named(); (n["own"] > 0) != on {
			t.Fatalf("on %v: %v", on, n)
		}
	}
}

// named counts the rules of ours by what they name.
func (e *estate) named() map[string]int {
	out := map[string]int{}
	for _, g := range e.r.Groups() {
		if !strings.HasPrefix(g.Name, "bulkhead ") {
			continue
		}
		for _, r := range g.Rules {
			switch {
			case r.GroupVPC != "":
				out["far"]++
			case r.Group != "":
				out["own"]++
			default:
				out["prefix"]++
			}
		}
	}
	return out
}

// What rules name cannot be deleted, in a circle either: everything is taken off all the same.
func TestNamedGroupsGo(t *testing.T) {
	e := newEstate(t)
	e.s.References, e.s.Exclusive = true, true
	e.bring(t, tiers(t, []string{"web", "web2"}, []string{"app", "db"}))
	e.bring(t, driver.Desired{Site: "test"})
	if slices.ContainsFunc(e.r.Groups(), func(g awstest.Group) bool { return strings.HasPrefix(g.Name, "bulkhead ") }) {
		t.Fatal("a group is left over")
	}
}
