package awstest_test

import (
	"fmt"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"

	"bulkhead/drivers/aws/awstest"
)

func TestScalingGroups(t *testing.T) {
	e := newEstate(t)
	lt := e.r.AddLaunchTemplate("web", awstest.LaunchVersion{})
	for n := range 120 {
		e.r.AddScalingGroup(awstest.ScalingGroup{Name: fmt.Sprintf("g-%03d", n), Template: lt, Version: "$Latest"})
	}
	c := e.scaling
	var names []string
	var token *string
	for pages := 0; ; pages++ {
		out, err := c.DescribeAutoScalingGroups(t.Context(), &autoscaling.DescribeAutoScalingGroupsInput{MaxRecords: aws.Int32(100), NextToken: token})
		if err != nil {
			t.Fatal(err)
		}
		for _, g := range out.AutoScalingGroups {
			names = append(names, *g.AutoScalingGroupName)
			if g.LaunchTemplate == nil || *g.LaunchTemplate.LaunchTemplateId != lt || *g.LaunchTemplate.LaunchTemplateName != "web" || *g.LaunchTemplate.Version != "$Latest" {
				t.Fatalf("%+v", g.LaunchTemplate)
			}
		}
		if token = out.NextToken; token == nil {
			if pages != 1 {
				t.Errorf("%d pages", pages+1)
			}
			break
		}
	}
	if len(names) != 120 || names[119] != "g-119" {
		t.Errorf("%d groups", len(names))
	}
	usual, err := c.DescribeAutoScalingGroups(t.Context(), &autoscaling.DescribeAutoScalingGroupsInput{})
	if err != nil || len(usual.AutoScalingGroups) != 50 {
		t.Errorf("without a number there are %d, %v", len(usual.AutoScalingGroups), err)
	}
	one, err := c.DescribeAutoScalingGroups(t.Context(), &autoscaling.DescribeAutoScalingGroupsInput{AutoScalingGroupNames: []string{"g-007", "none"}})
	if err != nil || len(one.AutoScalingGroups) != 1 {
		t.Errorf("by name there are %+v, %v", one, err)
	}
	_, err = c.DescribeAutoScalingGroups(t.Context(), &autoscaling.DescribeAutoScalingGroupsInput{MaxRecords: aws.Int32(101)})
	wants(t, err, "ValidationError")
	_, err = c.DescribeAutoScalingGroups(t.Context(), &autoscaling.DescribeAutoScalingGroupsInput{NextToken: aws.String("x")})
	wants(t, err, "InvalidNextToken")
	_, err = as(e.w, here, e.mine.AddKey("reader", "ec2:*")).scaling.DescribeAutoScalingGroups(t.Context(), &autoscaling.DescribeAutoScalingGroupsInput{})
	wants(t, err, "AccessDenied")
}
