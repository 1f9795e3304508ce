package ec2api

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	scaling "github.com/aws/aws-sdk-go-v2/service/autoscaling/types"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// CurrentTemplateVersions reads the default and the latest version of every launch
// template, in order of template and version (EC2 API reference,
// DescribeLaunchTemplateVersions: without a template it is those of all).
func (c *Client) CurrentTemplateVersions(ctx context.Context) ([]TemplateVersion, error) {
	return c.templateVersions(ctx, nil, "$Default", "$Latest")
}

// TemplateVersions reads versions of one launch template, all if none is named, the oldest
// first.
func (c *Client) TemplateVersions(ctx context.Context, template string, numbers ...int64) ([]TemplateVersion, error) {
	var versions []string
	for _, n := range numbers {
		versions = append(versions, strconv.FormatInt(n, 10))
	}
	var out []TemplateVersion
	for len(versions) > maxFilter {
		some, err := c.templateVersions(ctx, &template, versions[:maxFilter]...)
		if err != nil {
			return nil, err
		}
		out, versions = append(out, some...), versions[maxFilter:]
	}
	rest, err := c.templateVersions(ctx, &template, versions...)
	return append(out, rest...), err
}

func (c *Client) templateVersions(ctx context.Context, template *string, versions ...string) ([]TemplateVersion, error) {
	all, err := list(ctx, c, describeTemplateVersion, func(token *string) ([]types.LaunchTemplateVersion, *string, error) {
		out, err := c.ec2.DescribeLaunchTemplateVersions(ctx, &ec2.DescribeLaunchTemplateVersionsInput{
			IncludeManagedResources: aws.Bool(hidden), LaunchTemplateId: template, Versions: versions, MaxResults: aws.Int32(pageSizeSmall), NextToken: token,
		})
		if err != nil {
			return nil, nil, err
		}
		return out.LaunchTemplateVersions, out.NextToken, nil
	})
	if err != nil {
		return nil, err
	}
	var list []TemplateVersion
	for i := range all {
		list = append(list, templateVersion(&all[i]))
	}
	return inOrder(c, describeTemplateVersion, &parser{}, list, func(x TemplateVersion) string {
		if x.Template == "" {
			return ""
		}
		return fmt.Sprintf("%s %020d", x.Template, x.Version)
	})
}

// templateVersion reads a version. A template that describes interfaces has no groups of
// its own, and one without either leaves both to whoever launches.
func templateVersion(x *types.LaunchTemplateVersion) TemplateVersion {
	v := TemplateVersion{Template: aws.ToString(x.LaunchTemplateId), Name: aws.ToString(x.LaunchTemplateName), Version: aws.ToInt64(x.VersionNumber), Default: aws.ToBool(x.DefaultVersion)}
	sorted := func(list []string) []string { return slices.Compact(slices.Sorted(slices.Values(list))) }
	if d := x.LaunchTemplateData; d != nil {
		for _, n := range d.NetworkInterfaces {
			if aws.ToString(n.NetworkInterfaceId) == "" { // one that is there already has its groups
				v.Interfaces = append(v.Interfaces, sorted(n.Groups))
			}
		}
		if len(d.NetworkInterfaces) == 0 {
			v.Interfaces = append(v.Interfaces, sorted(d.SecurityGroupIds))
		}
		v.Groups = append(v.Groups, d.SecurityGroupIds...)
	}
	for _, n := range v.Interfaces {
		v.Groups = append(v.Groups, n...)
	}
	v.Groups = sorted(v.Groups)
	return v
}

// ScalingGroups reads the Auto Scaling groups, in order of name.
func (c *Client) ScalingGroups(ctx context.Context) ([]ScalingGroup, error) {
	all, err := list(ctx, c, describeScalingGroups, func(token *string) ([]scaling.AutoScalingGroup, *string, error) {
		out, err := c.scaling.DescribeAutoScalingGroups(ctx, &autoscaling.DescribeAutoScalingGroupsInput{
			IncludeInstances: aws.Bool(false), MaxRecords: aws.Int32(pageSizeScaling), NextToken: token,
		})
		if err != nil {
			return nil, nil, err
		}
		return out.AutoScalingGroups, out.NextToken, nil
	})
	if err != nil {
		return nil, err
	}
	var list []ScalingGroup
	for _, x := range all {
		g := ScalingGroup{Name: aws.ToString(x.AutoScalingGroupName), Configuration: aws.ToString(x.LaunchConfigurationName)}
		uses := []*scaling.LaunchTemplateSpecification{x.LaunchTemplate}
		if m := x.MixedInstancesPolicy; m != nil && m.LaunchTemplate != nil {
			uses = append(uses, m.LaunchTemplate.LaunchTemplateSpecification)
			for _, o := range m.LaunchTemplate.Overrides {
				uses = append(uses, o.LaunchTemplateSpecification)
			}
		}
		for _, u := range uses {
			if u != nil {
				g.Templates = append(g.Templates, TemplateUse{aws.ToString(u.LaunchTemplateId), aws.ToString(u.LaunchTemplateName), cmp.Or(aws.ToString(u.Version), "$Default")})
			}
		}
		slices.SortFunc(g.Templates, func(a, b TemplateUse) int {
			return cmp.Or(cmp.Compare(a.Template, b.Template), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Version, b.Version))
		})
		g.Templates = slices.Compact(g.Templates)
		list = append(list, g)
	}
	return inOrder(c, describeScalingGroups, &parser{}, list, func(x ScalingGroup) string { return x.Name })
}
