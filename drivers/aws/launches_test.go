package aws_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"bulkhead/drivers/aws/awstest"
	"bulkhead/pkg/driver"
)

// launched are the notes about new instances.
func (e *estate) launched(t testing.TB, want driver.Desired) []string {
	t.Helper()
	return slices.DeleteFunc(e.notes(t, want), func(n string) bool {
		return !strings.HasPrefix(n, "new instances: ") && !strings.HasPrefix(n, "such an instance") && !strings.HasPrefix(n, "what new instances")
	})
}

// What new instances start with is told if it is not ours, and until when they are open.
func TestLaunchesAreNamed(t *testing.T) {
	e := newEstate(t)
	want := simple(t)
	e.bring(t, want)
	if n := e.launched(t, want); len(n) != 0 {
		t.Fatalf("nothing launches anything, and there is %q", n)
	}
	var ours string
	for _, g := range e.r.Groups() {
		if g.Tags["bulkhead:site"] != "" {
			ours = g.ID
		}
	}
	theirs := awstest.LaunchVersion{Groups: []string{e.empty}}
	e.r.AddLaunchTemplate("good", theirs, awstest.LaunchVersion{Groups: []string{ours}})
	pinned := e.r.AddLaunchTemplate("pinned", awstest.LaunchVersion{InterfaceGroups: []string{e.empty}}, theirs, awstest.LaunchVersion{InterfaceGroups: []string{ours}})
	e.r.AddScalingGroup(awstest.ScalingGroup{Name: "web", Template: pinned, Version: "1"})
	e.r.AddScalingGroup(awstest.ScalingGroup{Name: "lost", Template: pinned, Version: "9"})
	e.r.AddScalingGroup(awstest.ScalingGroup{Name: "old", Configuration: "by-hand"})
	e.r.AddScalingGroup(awstest.ScalingGroup{Name: "fine", Template: pinned, Version: "$Latest"})
	bare := e.r.AddLaunchTemplate("bare", awstest.LaunchVersion{})
	want.Asked = 90 * time.Second
	got := e.launched(t, want)
	for i, line := range []string{
		`new instances: launch configuration "by-hand", used by scaling group "old": which groups it names is not read; move it to a launch template`,
		fmt.Sprintf(`new instances: launch template "pinned" (%s), version 1, used by scaling group "web": starts with groups of others: %s`, pinned, e.empty),
		fmt.Sprintf(`new instances: launch template "pinned" (%s), version 9, used by scaling group "lost": it is not there`, pinned),
		fmt.Sprintf(`new instances: launch template "bare" (%s), version 1 (default, latest): starts with groups of others: none that it names: the VPC's default group, or what whoever launches says`, bare),
		"such an instance is open to what those groups let through from its launch until a pass has moved its interface: the daemon asks for new machines at most 90 seconds apart, a scheduled job when it runs, and the pass comes on top",
	} {
		if i >= len(got) || got[i] != line {
			t.Fatalf("note %d of\n%s\nis not\n%s", i, strings.Join(got, "\n"), line)
		}
	}
	// None of it is a change of what is enforced, or a call that writes.
	before := e.read(t).Fingerprint()
	e.r.AddLaunchTemplate("another", theirs)
	if e.read(t).Fingerprint() != before {
		t.Error("a launch template changes what the state means")
	}
	// VPCs that are out of scope start what they like.
	far := e.r.AddGroup(awstest.GroupSpec{VPC: e.farVPC, Name: "far"})
	e.r.AddLaunchTemplate("far", awstest.LaunchVersion{Groups: []string{far}})
	e.s.VPCs = []string{e.vpc}
	if n := strings.Join(e.launched(t, want), "\n"); strings.Contains(n, `"far"`) || !strings.Contains(n, `"another"`) {
		t.Error(n)
	}
}

// Listings that are refused keep nothing from being enforced: the plan says what it lacks, by
// the name of the action.
func TestLaunchesAreInformation(t *testing.T) {
	for _, action := range []string{"DescribeLaunchTemplateVersions", "DescribeAutoScalingGroups"} {
		for _, o := range []awstest.Outcome{{Code: "UnauthorizedOperation"}, {LoseAnswer: true}} {
			e := newEstate(t)
			e.w.Script(func(c awstest.Call) awstest.Outcome {
				if c.Action == action {
					return o
				}
				return awstest.Outcome{}
			})
			e.bring(t, simple(t))
			n := e.launched(t, simple(t))
			if len(n) != 1 || !strings.Contains(n[0], action) || o.Code != "" && !strings.Contains(n[0], `"Action":["`) {
				t.Errorf("%s: %q", action, n)
			}
		}
	}
}

// Many templates are counted, and those that launch by themselves come first.
func TestLaunchesAreBounded(t *testing.T) {
	e := newEstate(t)
	for n := range 20 {
		id := e.r.AddLaunchTemplate(fmt.Sprintf("t-%02d", n), awstest.LaunchVersion{Groups: []string{e.empty}})
		if n == 17 {
			e.r.AddScalingGroup(awstest.ScalingGroup{Name: "s", Template: id})
		}
	}
	n := e.launched(t, simple(t))
	if len(n) != 10 || !strings.Contains(n[0], `"t-17"`) || !strings.Contains(n[8], "12 more") {
		t.Errorf("%q", n)
	}
}
