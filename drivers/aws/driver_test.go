package aws_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"bulkhead/drivers/aws"
	"bulkhead/drivers/aws/awstest"
	"bulkhead/pkg/driver"
	"bulkhead/pkg/driver/drivertest"
	"bulkhead/pkg/prove"
)

func simple(t testing.TB) driver.Desired {
	return desired(t, map[string][]string{"web": {"web", "web2"}, "app": {"app"}}, []say{{"web", "app", 80}}, "web", "web2", "app")
}

func (e *estate) read(t testing.TB) *aws.State {
	t.Helper()
	s, err := e.driver().Read(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return stateOf(s)
}

// result proves what the region holds.
func (e *estate) result(t testing.TB, want driver.Desired) prove.Result {
	t.Helper()
	d, now := e.driver(), e.read(t)
	r, err := d.Render(want, now)
	if err != nil {
		t.Fatal(err)
	}
	m, err := d.Decode(now)
	if err != nil {
		t.Fatal(err)
	}
	return prove.Device(want.View.Matrix, want.Points, m, r.Residue...)[0]
}

func text(r prove.Result) string {
	var out []string
	for i := range r.Wrong {
		out = append(out, r.Wrong[i].String())
	}
	for _, f := range r.Findings {
		if !f.Harmless {
			out = append(out, f.Object+": "+f.Text)
		}
	}
	return strings.Join(out, "\n")
}

// Interfaces of one class share one identity group; those of another have their own.
func TestOneGroupForAClass(t *testing.T) {
	e := newEstate(t)
	e.bring(t, simple(t))
	by := map[string][]string{}
	for _, n := range e.r.Interfaces() {
		by[n.ID] = slices.DeleteFunc(slices.Clone(n.Groups), func(id string) bool { return id == e.empty })
	}
	if len(by[e.web]) != 1 || !slices.Equal(by[e.web], by[e.web2]) || slices.Equal(by[e.web], by[e.app]) || len(by[e.db]) != 0 {
		t.Fatalf("%v", by)
	}
	// A change of rules keeps the groups, and is one call for each direction.
	e.w.ResetCalls()
	e.bring(t, desired(t, map[string][]string{"web": {"web", "web2"}, "app": {"app"}}, []say{{"web", "app", 80}, {"web", "app", 443}}, "web", "web2", "app"))
	if n := len(e.w.Mutations()); n != 2 {
		t.Fatalf("%d calls: %+v", n, e.w.Mutations())
	}
	// Nothing is made anew for it.
	if n := e.w.CountCalls("CreateSecurityGroup"); n != 0 {
		t.Fatalf("%d groups were made", n)
	}
}

// A group of somebody else's that lets more pass is named with its rule.
func TestForeignGroupIsNamed(t *testing.T) {
	e := newEstate(t)
	want := simple(t)
	e.bring(t, want)
	list := e.r.AddAWSPrefixList("com.amazonaws."+region+".s3", 1, "198.51.100.0/24")
	peers := e.r.AddGroup(awstest.GroupSpec{VPC: e.vpc, Name: "peers", Egress: []awstest.RuleSpec{}})
	for name, c := range map[string]struct {
		rule awstest.RuleSpec
		says string
	}{
		"prefix":      {awstest.RuleSpec{Protocol: "tcp", From: 22, CIDR: "192.0.2.0/24"}, "192.0.2.0"},
		"prefix list": {awstest.RuleSpec{Protocol: "tcp", From: 22, PrefixList: list}, "198.51.100.0"},
		"reference":   {awstest.RuleSpec{Protocol: "tcp", From: 22, Group: peers}, "10.0.0.12"},
	} {
		theirs := e.r.AddGroup(awstest.GroupSpec{VPC: e.vpc, Name: "theirs " + name, Ingress: []awstest.RuleSpec{c.rule}, Egress: []awstest.RuleSpec{}})
		old := e.find(e.app).Groups
		e.r.SetGroups(e.app, append(slices.Clone(old), theirs)...)
		if name == "reference" {
			e.r.SetGroups(e.db, e.empty, peers)
		}
		r := e.result(t, want)
		if s := text(r); r.Proved || !strings.Contains(s, "theirs "+name) || !strings.Contains(s, c.says) {
			t.Errorf("%s: proved %v: %s", name, r.Proved, s)
		}
		e.r.SetGroups(e.app, old...)
	}
	if r := e.result(t, want); !r.Proved {
		t.Error(text(r))
	}
}

func (e *estate) find(id string) awstest.Interface {
	for _, n := range e.r.Interfaces() {
		if n.ID == id {
			return n
		}
	}
	panic(id)
}

// A prefix list that cannot be read, and a group of another account, are not "nothing".
func TestUnknownIsNotNothing(t *testing.T) {
	e := newEstate(t)
	want := simple(t)
	e.bring(t, want)
	list := e.r.AddPrefixList("theirs", 5, "198.51.100.0/24")
	theirs := e.r.AddGroup(awstest.GroupSpec{VPC: e.vpc, Name: "theirs", Ingress: []awstest.RuleSpec{{Protocol: "tcp", From: 22, PrefixList: list}}, Egress: []awstest.RuleSpec{}})
	e.r.SetGroups(e.app, append(slices.Clone(e.find(e.app).Groups), theirs)...)
	e.w.Script(func(c awstest.Call) awstest.Outcome {
		if c.Action == "GetManagedPrefixListEntries" {
			return awstest.Outcome{Code: "UnauthorizedOperation"}
		}
		return awstest.Outcome{}
	})
	r := e.result(t, want)
	e.w.Script(nil)
	if s := text(r); r.Proved || !strings.Contains(s, list) || !strings.Contains(s, "theirs") {
		t.Fatalf("proved %v: %s", r.Proved, s)
	}
}

// What belongs to EKS, to a load balancer's controller or to Terraform stays on, exclusive
// or not.
func TestExclusiveKeepsWhatOthersPutBack(t *testing.T) {
	for key, value := range map[string]string{"kubernetes.io/cluster/prod": "owned", "elbv2.k8s.aws/cluster": "prod", "ManagedBy": "Terraform", "": ""} {
		e := newEstate(t)
		e.s.Exclusive = true
		tags := map[string]string{}
		if key != "" {
			tags[key] = value
		}
		wide := e.r.AddGroup(awstest.GroupSpec{VPC: e.vpc, Name: "wide", Ingress: []awstest.RuleSpec{{CIDR: "0.0.0.0/0"}}, Tags: tags})
		e.r.SetGroups(e.app, wide)
		want := simple(t)
		if err := e.try(want); err != nil {
			t.Fatal(err)
		}
		r := e.result(t, want)
		stays := slices.Contains(e.find(e.app).Groups, wide)
		if stays != (key != "") || r.Proved != (key == "") {
			t.Errorf("%q: stays %v, proved %v", key, stays, r.Proved)
		}
	}
}

// Interfaces of services are left alone, listed, and what a point protects of them is
// residue.
func TestServicesAreLeftAlone(t *testing.T) {
	e := newEstate(t)
	rds := e.r.AddInterface(awstest.InterfaceSpec{Subnet: e.sub, Private: []string{"10.0.0.99"}, Requester: "amazon-rds", Description: "RDSNetworkInterface"})
	old := machines["db"]
	machines["db"] = []string{"10.0.0.99"}
	defer func() { machines["db"] = old }()
	want := desired(t, map[string][]string{"db": {"db"}, "app": {"app"}}, []say{{"app", "db", 5432}}, "db", "app")
	d, have := e.driver(), e.read(t)
	r, err := d.Render(want, have)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(r.Residue, func(r driver.Residue) bool { return r.Kind == "no-interface" && r.Wider }) {
		t.Fatal("what nobody enforces is no residue")
	}
	before := slices.Clone(e.find(rds).Groups)
	e.bring(t, want)
	if after := e.find(rds).Groups; !slices.Equal(before, after) {
		t.Fatalf("a service's interface was changed: %v, and now %v", before, after)
	}
	m, _ := d.Decode(e.read(t))
	if !slices.ContainsFunc(m.Findings, func(f driver.Finding) bool { return f.Harmless && strings.Contains(f.Text, rds) }) {
		t.Fatalf("%+v", m.Findings)
	}
}

// An interface whose addresses policy treats differently gets what all of them may have,
// and the rest is listed.
func TestMixedInterface(t *testing.T) {
	e := newEstate(t)
	e.r.RemoveInterface(e.web)
	e.r.RemoveInterface(e.app)
	both := e.eni([]string{e.empty}, "10.0.0.10", "10.0.0.11")
	want := desired(t, map[string][]string{"web": {"web"}, "app": {"app"}, "db": {"db"}}, []say{{"db", "web", 80}, {"db", "app", 80}, {"db", "app", 22}}, "web", "app", "db")
	e.bring(t, want)
	r, err := e.driver().Render(want, e.read(t))
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, res := range r.Residue {
		if res.Kind == "mixed-interface" {
			for _, f := range res.Flows {
				found = append(found, fmt.Sprintf("wider %v: %s %s from %s to %s", res.Wider, f.Hook, f.Services.Text(), f.Src, f.Dst))
			}
		}
	}
	if !slices.Equal(found, []string{"wider false: input tcp/22 from 10.0.0.12 to 10.0.0.11", "wider false: output tcp/22 from 10.0.0.12 to 10.0.0.11"}) {
		t.Fatalf("%q", found)
	}
	if len(e.find(both).Groups) != 2 {
		t.Fatalf("%v", e.find(both).Groups)
	}
}

// What does not fit is refused with the numbers, and nothing is written.
func TestBudgetIsRefused(t *testing.T) {
	e := newEstate(t)
	e.bring(t, simple(t))
	e.s.RulesPerGroup, e.s.GroupsPerInterface = 2, 2
	e.w.ResetCalls()
	var says []say
	for p := range uint16(9) {
		says = append(says, say{"web", "app", 1000 + 2*p})
	}
	err := e.try(desired(t, map[string][]string{"web": {"web"}, "app": {"app"}}, says, "web", "app"))
	if !errors.Is(err, driver.ErrRefused) || !strings.Contains(err.Error(), "9") || !strings.Contains(err.Error(), "rules_per_group") {
		t.Fatal(err)
	}
	if len(e.w.Mutations()) > 0 {
		t.Fatal("it was refused, and something was written")
	}
}

// More rules than one group may have go into overflow groups, which go again.
func TestOverflow(t *testing.T) {
	e := newEstate(t)
	e.s.RulesPerGroup, e.s.GroupsPerInterface = 4, 5
	var says []say
	for p := range uint16(9) {
		says = append(says, say{"web", "app", 1000 + 2*p})
	}
	groups := map[string][]string{"web": {"web"}, "app": {"app"}}
	e.bring(t, desired(t, groups, says, "web", "app"))
	if n := len(e.find(e.app).Groups); n != 1+3 {
		t.Fatalf("%d groups", n)
	}
	e.bring(t, desired(t, groups, says[:3], "web", "app"))
	if n := len(e.find(e.app).Groups); n != 1+1 {
		t.Fatalf("%d groups", n)
	}
	e.bring(t, driver.Desired{Site: drivertest.Site})
	for _, g := range e.r.Groups() {
		if g.Tags["bulkhead:site"] != "" {
			t.Errorf("group %q is left", g.Name)
		}
	}
}

// Reads that lag, groups that are not known at once, interfaces that let go late, and
// answers that are lost keep a change waiting, and no more.
func TestEventualConsistency(t *testing.T) {
	for name, how := range map[string]func(*awstest.World){
		"stale groups":     func(w *awstest.World) { w.StaleReads(awstest.KindGroups, 3) },
		"stale interfaces": func(w *awstest.World) { w.StaleReads(awstest.KindInterfaces, 3) },
		"flapping":         func(w *awstest.World) { w.FlappingReads(awstest.KindGroups, 4) },
		"hidden groups":    func(w *awstest.World) { w.HideNewGroups(2) },
		"late detach":      func(w *awstest.World) { w.DetachLag(3) },
		"short pages":      func(w *awstest.World) { w.SparsePages(true) },
	} {
		t.Run(name, func(t *testing.T) {
			e := newEstate(t)
			list := stages(t)
			e.bring(t, list[0])
			how(e.w)
			if err := e.try(list[2]); err != nil {
				t.Fatal(err)
			}
			e.w.StaleReads(awstest.KindGroups, 0)
			e.w.StaleReads(awstest.KindInterfaces, 0)
			e.w.Settle()
			e.proved(t, list[2])
		})
	}
}

// A rule is revoked only once its successor was seen.
func TestAuthorizeSeenRevoke(t *testing.T) {
	e := newEstate(t)
	groups := map[string][]string{"web": {"web"}, "app": {"app"}}
	e.bring(t, desired(t, groups, []say{{"web", "app", 80}}, "web", "app"))
	e.w.ResetCalls()
	e.bring(t, desired(t, groups, []say{{"web", "app", 81}}, "web", "app"))
	last, seen := "", false
	for _, c := range e.w.Calls() {
		switch {
		case strings.HasPrefix(c.Action, "Authorize"):
			if last == "revoke" {
				t.Fatal("a rule was revoked before all were added")
			}
			last, seen = "authorize", false
		case c.Action == "DescribeSecurityGroupRules":
			seen = true
		case strings.HasPrefix(c.Action, "Revoke"):
			if last == "authorize" && !seen {
				t.Fatal("nobody looked between the two")
			}
			if c.Params["SecurityGroupRuleId.1"] == "" {
				t.Fatalf("revoked by something else than an ID: %v", c.Params)
			}
			last = "revoke"
		}
	}
	if last != "revoke" {
		t.Fatal(last)
	}
}

// An interface that goes in the middle of a change is no reason to touch another wrongly.
func TestVanishingInterface(t *testing.T) {
	e := newEstate(t)
	e.w.VanishOnSwap(e.web2)
	want := simple(t)
	if err := e.try(want); err == nil || errors.Is(err, driver.ErrRefused) {
		t.Fatal(err)
	}
	// The asset is there still; what nobody carries is no longer enforced, and all else is
	// as it has to be.
	if err := e.try(want); err != nil {
		t.Fatal(err)
	}
	if r := e.result(t, want); !r.Proved {
		t.Fatal(text(r))
	}
}

// A state comes back from what was written down.
func TestEncode(t *testing.T) {
	e := newEstate(t)
	e.bring(t, simple(t))
	now := e.read(t)
	b, err := aws.Encode(now)
	if err != nil {
		t.Fatal(err)
	}
	back, err := aws.Decode(b)
	if err != nil || back.Fingerprint() != now.Fingerprint() {
		t.Fatal(err)
	}
	if _, err := aws.Decode([]byte(`{"format":"aws 9"}`)); err == nil {
		t.Fatal("another format is read")
	}
	// It is something to go back to.
	e.bring(t, stages(t)[2])
	d, have := e.driver(), e.read(t)
	c, err := d.Diff(have, back)
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Apply(context.Background(), c); err != nil {
		t.Fatal(err)
	}
	if r := e.result(t, simple(t)); !r.Proved {
		t.Fatal(text(r))
	}
}
