package ec2api

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// MaxRules is how many rules one Authorize may add.
const MaxRules = 1000

// CreateGroup makes a security group of g's Name, Description, VPC and Tags, and returns
// its ID. It is born with a rule that lets everything out, one for each family of the
// VPC: revoke them before it is used. A try whose answer was lost shows as kind
// Duplicate, because names are unique in a VPC.
func (c *Client) CreateGroup(ctx context.Context, g Group) (id string, err error) {
	err = c.call(ctx, createGroup, func() error {
		out, err := c.ec2.CreateSecurityGroup(ctx, &ec2.CreateSecurityGroupInput{
			GroupName: &g.Name, Description: &g.Description, VpcId: &g.VPC, TagSpecifications: tagged(types.ResourceTypeSecurityGroup, g.Tags),
		})
		if err == nil {
			id = aws.ToString(out.GroupId)
		}
		return err
	})
	return id, err
}

// DeleteGroup deletes a security group that no interface has and no rule names; kind
// InUse if one does, also a while after the last one let go.
func (c *Client) DeleteGroup(ctx context.Context, id string) error {
	return c.call(ctx, deleteGroup, func() error {
		_, err := c.ec2.DeleteSecurityGroup(ctx, &ec2.DeleteSecurityGroupInput{GroupId: &id})
		return err
	})
}

// Authorize adds rules of one direction to a group in one call, all or none, and returns
// them as AWS keeps them, with IDs. Group, Egress and ID of the rules given are not
// looked at. At most MaxRules.
func (c *Client) Authorize(ctx context.Context, group string, egress bool, rules []Rule, tags map[string]string) ([]Rule, error) {
	if len(rules) == 0 || len(rules) > MaxRules {
		return nil, fmt.Errorf("%d rules for group %q in one call; it takes 1 to %d", len(rules), group, MaxRules)
	}
	perms, spec := permissions(rules), tagged(types.ResourceTypeSecurityGroupRule, tags)
	var made []types.SecurityGroupRule
	a := authorizeIngress
	do := func() error {
		out, err := c.ec2.AuthorizeSecurityGroupIngress(ctx, &ec2.AuthorizeSecurityGroupIngressInput{GroupId: &group, IpPermissions: perms, TagSpecifications: spec})
		if err == nil {
			made = out.SecurityGroupRules
		}
		return err
	}
	if egress {
		a = authorizeEgress
		do = func() error {
			out, err := c.ec2.AuthorizeSecurityGroupEgress(ctx, &ec2.AuthorizeSecurityGroupEgressInput{GroupId: &group, IpPermissions: perms, TagSpecifications: spec})
			if err == nil {
				made = out.SecurityGroupRules
			}
			return err
		}
	}
	if err := c.call(ctx, a, do); err != nil {
		return nil, err
	}
	var p parser
	var list []Rule
	for i := range made {
		list = append(list, p.rule(&made[i]))
	}
	return inOrder(c, a, &p, list, func(x Rule) string { return x.ID })
}

// Revoke removes rules of one direction from a group by their IDs. By what they say they
// could be missed without an error (in a default VPC).
func (c *Client) Revoke(ctx context.Context, group string, egress bool, ids []string) error {
	if egress {
		return c.call(ctx, revokeEgress, func() error {
			_, err := c.ec2.RevokeSecurityGroupEgress(ctx, &ec2.RevokeSecurityGroupEgressInput{GroupId: &group, SecurityGroupRuleIds: ids})
			return err
		})
	}
	return c.call(ctx, revokeIngress, func() error {
		_, err := c.ec2.RevokeSecurityGroupIngress(ctx, &ec2.RevokeSecurityGroupIngressInput{GroupId: &group, SecurityGroupRuleIds: ids})
		return err
	})
}

// SetGroups replaces all the security groups of an interface, in one step. Kind Refused
// if the interface is a service's.
func (c *Client) SetGroups(ctx context.Context, iface string, groups []string) error {
	if len(groups) == 0 {
		return fmt.Errorf("interface %q: an interface has at least one security group", iface)
	}
	return c.call(ctx, modifyInterface, func() error {
		_, err := c.ec2.ModifyNetworkInterfaceAttribute(ctx, &ec2.ModifyNetworkInterfaceAttributeInput{NetworkInterfaceId: &iface, Groups: groups})
		return err
	})
}

// Tag sets tags of groups, rules or interfaces; others of theirs stay.
func (c *Client) Tag(ctx context.Context, ids []string, tags map[string]string) error {
	return c.call(ctx, createTags, func() error {
		_, err := c.ec2.CreateTags(ctx, &ec2.CreateTagsInput{Resources: ids, Tags: ec2Tags(tags)})
		return err
	})
}

// Untag removes tags, whatever their values.
func (c *Client) Untag(ctx context.Context, ids []string, keys []string) error {
	var tags []types.Tag
	for _, k := range keys {
		tags = append(tags, types.Tag{Key: &k})
	}
	return c.call(ctx, deleteTags, func() error {
		_, err := c.ec2.DeleteTags(ctx, &ec2.DeleteTagsInput{Resources: ids, Tags: tags})
		return err
	})
}

func ec2Tags(tags map[string]string) []types.Tag {
	var out []types.Tag
	for _, k := range slices.Sorted(maps.Keys(tags)) {
		out = append(out, types.Tag{Key: aws.String(k), Value: aws.String(tags[k])})
	}
	return out
}

func tagged(what types.ResourceType, tags map[string]string) []types.TagSpecification {
	if len(tags) == 0 {
		return nil
	}
	return []types.TagSpecification{{ResourceType: what, Tags: ec2Tags(tags)}}
}

// permissions joins rules of the same protocol and ports, in the order in which those
// first come: that is how the call wants them.
func permissions(rules []Rule) []types.IpPermission {
	type key struct {
		protocol string
		from, to int
	}
	at := map[key]int{}
	var out []types.IpPermission
	for i := range rules {
		r := &rules[i]
		k := key{r.Protocol, r.From, r.To}
		j, ok := at[k]
		if !ok {
			j = len(out)
			at[k] = j
			p := types.IpPermission{IpProtocol: &r.Protocol}
			if r.hasPorts() {
				p.FromPort, p.ToPort = aws.Int32(int32(r.From)), aws.Int32(int32(r.To))
			}
			out = append(out, p)
		}
		r.addTo(&out[j])
	}
	return out
}

// hasPorts reports whether From and To mean something: EC2 ignores them elsewhere, and
// opens everything.
func (r *Rule) hasPorts() bool {
	switch protocol(r.Protocol) {
	case "tcp", "udp", "icmp", "icmpv6":
		return true
	}
	return false
}

func (r *Rule) addTo(p *types.IpPermission) {
	var said *string
	if r.Description != "" {
		said = &r.Description
	}
	text := r.Prefix.String()
	switch {
	case r.PeerGroup != "":
		g := types.UserIdGroupPair{GroupId: &r.PeerGroup, Description: said}
		if r.PeerOwner != "" {
			g.UserId = &r.PeerOwner
		}
		p.UserIdGroupPairs = append(p.UserIdGroupPairs, g)
	case r.PrefixList != "":
		p.PrefixListIds = append(p.PrefixListIds, types.PrefixListId{PrefixListId: &r.PrefixList, Description: said})
	case r.Prefix.Addr().Is4():
		p.IpRanges = append(p.IpRanges, types.IpRange{CidrIp: &text, Description: said})
	default:
		p.Ipv6Ranges = append(p.Ipv6Ranges, types.Ipv6Range{CidrIpv6: &text, Description: said})
	}
}
