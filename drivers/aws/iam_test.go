package aws_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"bulkhead/drivers/aws/awstest"
	"bulkhead/pkg/aws/ec2api"
	"bulkhead/pkg/driver"
)

// allowed reads the actions out of the policy that iam-policy prints.
func allowed(t testing.TB, uses ...ec2api.Use) []string {
	t.Helper()
	var doc struct{ Statement []struct{ Action []string } }
	if err := json.Unmarshal(ec2api.Policy(nil, uses...), &doc); err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, s := range doc.Statement {
		out = append(out, s.Action...)
	}
	return out
}

// life takes an account through all that the driver does to one: groups are made, named by
// prefix lists of others, taken over, changed, moved and let go. It gives whatever was told on
// the way: errors, what keeps a proof from being complete, and notes.
func (e *estate) life(t testing.TB) (told []string) {
	t.Helper()
	e.s.Exclusive = true
	list := e.r.AddPrefixList("offices", 5, "198.51.100.0/24")
	// One that stays: what it names has to be known.
	kept := e.r.AddGroup(awstest.GroupSpec{VPC: e.vpc, Name: "kept", Tags: map[string]string{"terraform": "true"},
		Ingress: []awstest.RuleSpec{{Protocol: "tcp", From: 22, PrefixList: list}}, Egress: []awstest.RuleSpec{}})
	e.r.SetGroups(e.app, e.empty, kept)
	nobody := desired(t, nil, nil)
	nobody.Points = nil
	for _, want := range []driver.Desired{stages(t)[0], stages(t)[1], stages(t)[2], stages(t)[3], nobody} {
		d := e.driver()
		have, err := d.Read(context.Background())
		if err != nil {
			return append(told, err.Error())
		}
		r, err := d.Render(want, have)
		if err != nil {
			return append(told, err.Error())
		}
		told = append(told, r.Notes...)
		c, err := d.Diff(have, r.State)
		if err != nil {
			return append(told, err.Error())
		}
		m, err := d.Decode(r.State)
		if err != nil {
			return append(told, err.Error())
		}
		for _, f := range m.Findings {
			told = append(told, f.Text)
		}
		if err := d.Apply(context.Background(), c); err != nil {
			return append(told, err.Error())
		}
	}
	return told
}

// The policy that is printed is enough, and is the least: without any single action of it
// something fails or is missing, and says by the name of the action what IAM has to allow.
func TestLeastPolicy(t *testing.T) {
	full := allowed(t, ec2api.Observe, ec2api.Enforce)
	run := func(t *testing.T, actions []string) []string {
		e := newEstate(t)
		env(t, e.w.AddAccount(account).AddKey("least", actions...))
		return e.life(t)
	}
	for _, s := range run(t, full) {
		if strings.Contains(s, "denied") || strings.Contains(s, "not authorized") {
			t.Fatalf("the whole policy is not enough: %s", s)
		}
	}
	for _, action := range full {
		t.Run(strings.ReplaceAll(action, ":", " "), func(t *testing.T) {
			told := run(t, slices.DeleteFunc(slices.Clone(full), func(a string) bool { return a == action }))
			const hint = "denied ("
			i := slices.IndexFunc(told, func(s string) bool {
				return strings.Contains(s, hint) && strings.Contains(s, fmt.Sprintf(`"Action":[%q]`, action))
			})
			if i < 0 {
				t.Errorf("without %s nothing is said of it: %q", action, told)
			}
		})
	}
}

// A group of ours that somebody deletes in the middle of a change is named, and the next pass
// finishes what is left.
func TestGroupDeletedUnderUs(t *testing.T) {
	e := newEstate(t)
	want := simple(t)
	done := false
	e.w.OnMutation(func(c awstest.Call) {
		if c.Action != "AuthorizeSecurityGroupIngress" || done {
			return
		}
		done = true
		e.r.RemoveGroup(c.Params["GroupId"])
	}, nil)
	err := e.try(want)
	e.w.OnMutation(nil, nil)
	if !done || err == nil || !strings.Contains(err.Error(), "AuthorizeSecurityGroupIngress of ingress rules of security group") || !strings.Contains(err.Error(), "InvalidGroup.NotFound") {
		t.Fatal(err)
	}
	e.bring(t, want)
	// One that interfaces carry cannot be deleted, but can be taken off and then deleted.
	for _, n := range e.r.Interfaces() {
		if n.ID == e.web {
			mine := n.Groups[len(n.Groups)-1]
			for _, id := range n.Groups {
				if id != e.empty {
					mine = id
				}
			}
			e.r.SetGroups(e.web, e.empty)
			e.r.SetGroups(e.web2, e.empty)
			e.r.RemoveGroup(mine)
		}
	}
	if r := e.result(t, want); r.Proved {
		t.Fatal("a group is gone, and it is proved")
	}
	e.bring(t, want)
}
