package ec2api

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"
)

// Functions reads the Lambda functions that are attached to a VPC, of some VPCs if any
// are named, in order of ARN, without their tags. Their published versions, which may be
// attached elsewhere, are not among them.
func (c *Client) Functions(ctx context.Context, vpcs ...string) ([]Function, error) {
	all, err := list(ctx, c, listFunctions, func(marker *string) ([]types.FunctionConfiguration, *string, error) {
		out, err := c.lambda.ListFunctions(ctx, &lambda.ListFunctionsInput{MaxItems: aws.Int32(pageSizeLambda), Marker: marker})
		if err != nil {
			return nil, nil, err
		}
		return out.Functions, out.NextMarker, nil
	})
	if err != nil {
		return nil, err
	}
	var list []Function
	for i := range all {
		at := all[i].VpcConfig
		if at == nil || len(at.SubnetIds) == 0 || len(vpcs) > 0 && !slices.Contains(vpcs, aws.ToString(at.VpcId)) {
			continue
		}
		list = append(list, function(&all[i]))
	}
	return inOrder(c, listFunctions, &parser{}, list, func(x Function) string { return x.ARN })
}

// Function reads one function, with what is told of none in a list: its state, and how far
// its last update is.
func (c *Client) Function(ctx context.Context, arn string) (f Function, err error) {
	err = c.call(ctx, getFunction, func() error {
		out, err := c.lambda.GetFunctionConfiguration(ctx, &lambda.GetFunctionConfigurationInput{FunctionName: &arn})
		if err != nil {
			return err
		}
		f = function(&types.FunctionConfiguration{
			FunctionArn: out.FunctionArn, FunctionName: out.FunctionName, VpcConfig: out.VpcConfig, Runtime: out.Runtime, Role: out.Role,
			State: out.State, LastUpdateStatus: out.LastUpdateStatus, LastUpdateStatusReason: out.LastUpdateStatusReason, RevisionId: out.RevisionId,
		})
		return nil
	})
	return f, err
}

func function(x *types.FunctionConfiguration) Function {
	f := Function{
		ARN: unversioned(aws.ToString(x.FunctionArn)), Name: aws.ToString(x.FunctionName), Runtime: string(x.Runtime), Role: aws.ToString(x.Role),
		State: string(x.State), UpdateStatus: string(x.LastUpdateStatus), Reason: aws.ToString(x.LastUpdateStatusReason), Revision: aws.ToString(x.RevisionId),
	}
	if at := x.VpcConfig; at != nil {
		f.VPC, f.IPv6 = aws.ToString(at.VpcId), aws.ToBool(at.Ipv6AllowedForDualStack)
		f.Subnets, f.Groups = slices.Sorted(slices.Values(at.SubnetIds)), slices.Sorted(slices.Values(at.SecurityGroupIds))
	}
	if p := strings.Split(f.ARN, ":"); len(p) > 4 {
		f.Owner = p[4]
	}
	return f
}

// unversioned is the ARN of a function without the version that may follow its name
// (arn:PARTITION:lambda:REGION:ACCOUNT:function:NAME[:VERSION]).
func unversioned(arn string) string {
	p := strings.Split(arn, ":")
	return strings.Join(p[:min(len(p), 7)], ":")
}

// FunctionTags reads the tags of one function.
func (c *Client) FunctionTags(ctx context.Context, arn string) (map[string]string, error) {
	var tags map[string]string
	err := c.call(ctx, listTags, func() error {
		out, err := c.lambda.ListTags(ctx, &lambda.ListTagsInput{Resource: &arn})
		if err == nil {
			tags = out.Tags
		}
		return err
	})
	return tags, err
}

// SetFunctionGroups replaces all the security groups of a function; its subnets stay as
// f has them. It is refused (kind Moved) where the configuration is not the revision that
// f was read with, and (kind InUse) while an update is under way. AWS is not done when it returns: Function.UpdateStatus says when. The answer is
// the new revision.
func (c *Client) SetFunctionGroups(ctx context.Context, f Function, groups []string) (revision string, err error) {
	if len(groups) == 0 {
		return "", fmt.Errorf("function %q: without a security group it would leave its VPC", f.Name)
	}
	err = c.call(ctx, updateFunction, func() error {
		in := &lambda.UpdateFunctionConfigurationInput{FunctionName: &f.ARN, VpcConfig: &types.VpcConfig{
			SubnetIds: f.Subnets, SecurityGroupIds: groups, Ipv6AllowedForDualStack: &f.IPv6,
		}}
		if f.Revision != "" {
			in.RevisionId = &f.Revision
		}
		out, err := c.lambda.UpdateFunctionConfiguration(ctx, in)
		if err == nil {
			revision = aws.ToString(out.RevisionId)
		}
		return err
	})
	return revision, err
}
