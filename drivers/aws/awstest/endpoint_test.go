package awstest_test

import (
	"fmt"
	"testing"

	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/ec2"

	"bulkhead/drivers/aws/awstest"
)

// The endpoint answers over a network as it does without one.
func TestOverTheNetwork(t *testing.T) {
	e := newEstate(t)
	url, stop, err := e.w.Start()
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	c := dial(t, url, here, config.WithCredentialsProvider(credentials.NewStaticCredentialsProvider(e.key.ID, e.key.Secret, "")))
	out, err := c.ec2.DescribeVpcs(t.Context(), &ec2.DescribeVpcsInput{})
	if err != nil || len(out.Vpcs) != 1 {
		t.Errorf("DescribeVpcs() gives %+v, %v", out, err)
	}
	for n := range 2000 { // an answer of a megabyte
		e.r.AddGroup(awstest.GroupSpec{VPC: e.vpc, Name: fmt.Sprint("g", n)})
	}
	wide, err := c.ec2.DescribeSecurityGroups(t.Context(), &ec2.DescribeSecurityGroupsInput{})
	if err != nil || len(wide.SecurityGroups) != 2002 {
		t.Errorf("DescribeSecurityGroups() gives %d, %v", len(wide.SecurityGroups), err)
	}
}
