package ec2api_test

import (
	"fmt"
	"reflect"
	"testing"

	"bulkhead/drivers/aws/awstest"
	"bulkhead/pkg/aws/ec2api"
)

// What new instances are started from, over several pages.
func TestLaunches(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	a, b := w.r.AddGroup(awstest.GroupSpec{VPC: w.vpc, Name: "a"}), w.r.AddGroup(awstest.GroupSpec{VPC: w.vpc, Name: "b"})
	old, latest := awstest.LaunchVersion{Groups: []string{b}}, awstest.LaunchVersion{InterfaceGroups: []string{a}}
	var first string
	for n := range 210 {
		id := w.r.AddLaunchTemplate(fmt.Sprintf("t-%03d", n), old, old, latest)
		if n == 0 {
			first = id
		}
		w.r.AddScalingGroup(awstest.ScalingGroup{Name: fmt.Sprintf("s-%03d", n), Template: id, Version: "2"})
	}
	w.r.AddScalingGroup(awstest.ScalingGroup{Name: "mixed", Mixed: []awstest.TemplateUse{{Template: first}, {Template: first, Version: "1"}, {Template: first, Version: "1"}}})
	w.r.AddScalingGroup(awstest.ScalingGroup{Name: "old", Configuration: "by-hand"})
	w.ResetCalls()
	current := must[[]ec2api.TemplateVersion](t)(w.c.CurrentTemplateVersions(ctx))
	if len(current) != 210 || current[0].Version != 3 || !reflect.DeepEqual(current[0].Interfaces, [][]string{{a}}) || w.CountCalls("DescribeLaunchTemplateVersions") != 2 {
		t.Errorf("%d versions, the first is %+v", len(current), current[0])
	}
	two := must[[]ec2api.TemplateVersion](t)(w.c.TemplateVersions(ctx, first, 2))
	if len(two) != 1 || two[0].Version != 2 || two[0].Name != "t-000" || !reflect.DeepEqual(two[0].Interfaces, [][]string{{b}}) {
		t.Errorf("%+v", two)
	}
	groups := must[[]ec2api.ScalingGroup](t)(w.c.ScalingGroups(ctx))
	if len(groups) != 212 || w.CountCalls("DescribeAutoScalingGroups") != 3 {
		t.Errorf("%d groups by %d calls", len(groups), w.CountCalls("DescribeAutoScalingGroups"))
	}
	want := []ec2api.ScalingGroup{
		{Name: "mixed", Templates: []ec2api.TemplateUse{{Template: first, Name: "t-000", Version: "$Default"}, {Template: first, Name: "t-000", Version: "1"}}},
		{Name: "old", Configuration: "by-hand"},
		{Name: "s-000", Templates: []ec2api.TemplateUse{{Template: first, Name: "t-000", Version: "2"}}},
	}
	if !reflect.DeepEqual(groups[:3], want) {
		t.Errorf("%+v, want %+v", groups[:3], want)
	}
	_, err := newWorld(t, "ec2:*").c.ScalingGroups(ctx)
	if e, ok := err.(*ec2api.Error); !ok || e.Kind != ec2api.Denied || e.Action != "autoscaling:DescribeAutoScalingGroups" {
		t.Errorf("denied, it says %v", err)
	}
}
