package awstest_test

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// after is for what is done when the test's own context has ended.
func (b *bench) after() context.Context { return context.WithoutCancel(b.t.Context()) }

// drop says what could not be taken away: at a real account somebody must.
func (b *bench) drop(_ any, err error) {
	if err != nil {
		b.t.Logf("not taken away: %v", err)
	}
}

// clean deletes a VPC with the groups that contracts have left in it, references first.
func (b *bench) clean(vpc string) {
	ctx := b.after()
	out, err := b.api.DescribeSecurityGroups(ctx, &ec2.DescribeSecurityGroupsInput{Filters: []types.Filter{by("vpc-id", vpc)}})
	if err != nil {
		b.drop(nil, err)
		return
	}
	for _, g := range out.SecurityGroups {
		if *g.GroupName != "default" && len(g.IpPermissions) > 0 {
			b.drop(b.api.RevokeSecurityGroupIngress(ctx, &ec2.RevokeSecurityGroupIngressInput{GroupId: g.GroupId, IpPermissions: g.IpPermissions}))
		}
	}
	for _, g := range out.SecurityGroups {
		if *g.GroupName != "default" {
			b.drop(b.api.DeleteSecurityGroup(ctx, &ec2.DeleteSecurityGroupInput{GroupId: g.GroupId}))
		}
	}
	b.drop(b.api.DeleteVpc(ctx, &ec2.DeleteVpcInput{VpcId: aws.String(vpc)}))
}
