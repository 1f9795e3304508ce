package ec2api

import (
	"context"
	"net/netip"
	"slices"
	"strconv"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// Groups reads the security groups, those of some VPCs if any are named, in order of ID.
func (c *Client) Groups(ctx context.Context, vpcs ...string) ([]Group, error) {
	all, err := list(ctx, c, describeGroups, func(token *string) ([]types.SecurityGroup, *string, error) {
		out, err := c.ec2.DescribeSecurityGroups(ctx, &ec2.DescribeSecurityGroupsInput{Filters: in("vpc-id", vpcs), MaxResults: aws.Int32(pageSize), NextToken: token})
		if err != nil {
			return nil, nil, err
		}
		return out.SecurityGroups, out.NextToken, nil
	})
	if err != nil {
		return nil, err
	}
	var list []Group
	for _, x := range all {
		list = append(list, Group{
			ID: aws.ToString(x.GroupId), Name: aws.ToString(x.GroupName), Description: aws.ToString(x.Description),
			VPC: aws.ToString(x.VpcId), Owner: aws.ToString(x.OwnerId), Tags: tagsOf(x.Tags),
		})
	}
	return inOrder(c, describeGroups, &parser{}, list, func(x Group) string { return x.ID })
}

// Rules reads the rules of security groups, of some if any are named, in order of ID.
func (c *Client) Rules(ctx context.Context, groups ...string) ([]Rule, error) {
	groups = slices.Compact(slices.Sorted(slices.Values(groups)))
	if len(groups) == 0 {
		return c.rules(ctx, nil)
	}
	var out []Rule
	for some := range slices.Chunk(groups, maxFilter) {
		rules, err := c.rules(ctx, some)
		if err != nil {
			return nil, err
		}
		out = append(out, rules...)
	}
	return inOrder(c, describeRules, &parser{}, out, func(x Rule) string { return x.ID })
}

func (c *Client) rules(ctx context.Context, groups []string) ([]Rule, error) {
	all, err := list(ctx, c, describeRules, func(token *string) ([]types.SecurityGroupRule, *string, error) {
		out, err := c.ec2.DescribeSecurityGroupRules(ctx, &ec2.DescribeSecurityGroupRulesInput{Filters: in("group-id", groups), MaxResults: aws.Int32(pageSize), NextToken: token})
		if err != nil {
			return nil, nil, err
		}
		return out.SecurityGroupRules, out.NextToken, nil
	})
	if err != nil {
		return nil, err
	}
	var p parser
	var list []Rule
	for i := range all {
		list = append(list, p.rule(&all[i]))
	}
	return inOrder(c, describeRules, &p, list, func(x Rule) string { return x.ID })
}

// rule reads a rule. What has no ports says -1, or nothing.
func (p *parser) rule(x *types.SecurityGroupRule) Rule {
	r := Rule{
		ID: aws.ToString(x.SecurityGroupRuleId), Group: aws.ToString(x.GroupId), Egress: aws.ToBool(x.IsEgress), Protocol: protocol(aws.ToString(x.IpProtocol)),
		From: -1, To: -1, PrefixList: aws.ToString(x.PrefixListId), Description: aws.ToString(x.Description), Tags: tagsOf(x.Tags),
	}
	if x.FromPort != nil {
		r.From = int(*x.FromPort)
	}
	if x.ToPort != nil {
		r.To = int(*x.ToPort)
	}
	for _, s := range []*string{x.CidrIpv4, x.CidrIpv6} {
		if aws.ToString(s) != "" {
			r.Prefix, _ = p.prefix(*s, r.ID)
		}
	}
	if g := x.ReferencedGroupInfo; g != nil {
		r.PeerGroup, r.PeerOwner, r.PeerVPC, r.PeerStatus = aws.ToString(g.GroupId), aws.ToString(g.UserId), aws.ToString(g.VpcId), aws.ToString(g.PeeringStatus)
	}
	peers := 0
	for _, there := range []bool{r.Prefix.IsValid(), r.PrefixList != "", r.PeerGroup != ""} {
		if there {
			peers++
		}
	}
	if peers != 1 && p.bad == "" {
		p.bad = "gives rule " + strconv.Quote(r.ID) + " " + strconv.Itoa(peers) + " peers, where a rule has one"
	}
	return r
}

// protocol gives the one name of a protocol: EC2 takes its number and answers with its
// name.
func protocol(s string) string {
	switch s {
	case "1":
		return "icmp"
	case "6":
		return "tcp"
	case "17":
		return "udp"
	case "58":
		return "icmpv6"
	}
	return s
}

// PrefixLists reads the managed prefix lists, those of AWS among them, in order of ID.
func (c *Client) PrefixLists(ctx context.Context) ([]PrefixList, error) {
	all, err := list(ctx, c, describePrefixLists, func(token *string) ([]types.ManagedPrefixList, *string, error) {
		out, err := c.ec2.DescribeManagedPrefixLists(ctx, &ec2.DescribeManagedPrefixListsInput{MaxResults: aws.Int32(pageSizeLists), NextToken: token})
		if err != nil {
			return nil, nil, err
		}
		return out.PrefixLists, out.NextToken, nil
	})
	if err != nil {
		return nil, err
	}
	var list []PrefixList
	for _, x := range all {
		list = append(list, PrefixList{
			ID: aws.ToString(x.PrefixListId), Name: aws.ToString(x.PrefixListName), Owner: aws.ToString(x.OwnerId), State: string(x.State),
			IPv6: aws.ToString(x.AddressFamily) == "IPv6", MaxEntries: int(aws.ToInt32(x.MaxEntries)), Version: aws.ToInt64(x.Version), Tags: tagsOf(x.Tags),
		})
	}
	return inOrder(c, describePrefixLists, &parser{}, list, func(x PrefixList) string { return x.ID })
}

// PrefixListEntries reads what is in a prefix list, sorted.
func (c *Client) PrefixListEntries(ctx context.Context, id string) ([]netip.Prefix, error) {
	all, err := list(ctx, c, getPrefixListEntries, func(token *string) ([]types.PrefixListEntry, *string, error) {
		out, err := c.ec2.GetManagedPrefixListEntries(ctx, &ec2.GetManagedPrefixListEntriesInput{PrefixListId: &id, MaxResults: aws.Int32(pageSizeLists), NextToken: token})
		if err != nil {
			return nil, nil, err
		}
		return out.Entries, out.NextToken, nil
	})
	if err != nil {
		return nil, err
	}
	var p parser
	var out []netip.Prefix
	for _, x := range all {
		out = p.block(out, x.Cidr, id)
	}
	if p.bad != "" {
		return nil, c.malformed(getPrefixListEntries, "%s", p.bad)
	}
	return sortedPrefixes(out), nil
}
