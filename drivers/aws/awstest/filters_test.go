package awstest_test

import (
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"bulkhead/drivers/aws/awstest"
)

// Every filter finds what it names and nothing else.
func TestFilters(t *testing.T) {
	e := newEstate(t)
	ctx := t.Context()
	pcx := e.r.AddPeering(e.vpc, e.peer, e.other)
	ami := e.r.AddImage("debian-13", "")
	e.r.AddImage("Windows_Server-2022", "windows")
	list := e.r.AddPrefixList("offices", 5, "10.0.0.0/8")
	e.r.AddAWSPrefixList("com.amazonaws.eu-central-1.s3", 1, "198.51.100.0/24")
	e.r.AddLaunchTemplate("one", awstest.LaunchVersion{Image: ami})
	e.r.AddLaunchTemplate("two", awstest.LaunchVersion{Image: ami})
	first := e.r.AddInstance(awstest.InstanceSpec{Name: "first", Image: ami, Type: "m7g.large", Interfaces: []awstest.InterfaceSpec{{Subnet: e.sub, Private: []string{"10.0.1.200"}}}})
	nic := e.r.InterfacesOf(first)[0]
	def := e.r.DefaultGroup(e.vpc)
	e.r.AddRules(e.group, false, awstest.RuleSpec{Protocol: "tcp", From: 1, CIDR: "10.0.0.0/8"}, awstest.RuleSpec{Group: def})
	e.r.AddRules(e.group, true, awstest.RuleSpec{Protocol: "udp", From: 53, PrefixList: list}, awstest.RuleSpec{CIDR: "2001:db8::/32"})
	managed := e.r.AddInterface(awstest.InterfaceSpec{Subnet: e.sub, Type: "efs", Requester: "222233334444", Description: "EFS mount target for fs-0a"})
	all := map[string]func(types.Filter) (int, error){
		"instances": func(f types.Filter) (n int, err error) {
			out, err := e.ec2.DescribeInstances(ctx, &ec2.DescribeInstancesInput{Filters: []types.Filter{f}})
			if err == nil {
				n = len(out.Reservations)
			}
			return n, err
		},
		"interfaces": func(f types.Filter) (n int, err error) {
			out, err := e.ec2.DescribeNetworkInterfaces(ctx, &ec2.DescribeNetworkInterfacesInput{Filters: []types.Filter{f}})
			if err == nil {
				n = len(out.NetworkInterfaces)
			}
			return n, err
		},
		"groups": func(f types.Filter) (n int, err error) {
			out, err := e.ec2.DescribeSecurityGroups(ctx, &ec2.DescribeSecurityGroupsInput{Filters: []types.Filter{f}})
			if err == nil {
				n = len(out.SecurityGroups)
			}
			return n, err
		},
		"rules": func(f types.Filter) (n int, err error) {
			out, err := e.ec2.DescribeSecurityGroupRules(ctx, &ec2.DescribeSecurityGroupRulesInput{Filters: []types.Filter{f}})
			if err == nil {
				n = len(out.SecurityGroupRules)
			}
			return n, err
		},
		"vpcs": func(f types.Filter) (n int, err error) {
			out, err := e.ec2.DescribeVpcs(ctx, &ec2.DescribeVpcsInput{Filters: []types.Filter{f}})
			if err == nil {
				n = len(out.Vpcs)
			}
			return n, err
		},
		"subnets": func(f types.Filter) (n int, err error) {
			out, err := e.ec2.DescribeSubnets(ctx, &ec2.DescribeSubnetsInput{Filters: []types.Filter{f}})
			if err == nil {
				n = len(out.Subnets)
			}
			return n, err
		},
		"peerings": func(f types.Filter) (n int, err error) {
			out, err := e.ec2.DescribeVpcPeeringConnections(ctx, &ec2.DescribeVpcPeeringConnectionsInput{Filters: []types.Filter{f}})
			if err == nil {
				n = len(out.VpcPeeringConnections)
			}
			return n, err
		},
		"lists": func(f types.Filter) (n int, err error) {
			out, err := e.ec2.DescribeManagedPrefixLists(ctx, &ec2.DescribeManagedPrefixListsInput{Filters: []types.Filter{f}})
			if err == nil {
				n = len(out.PrefixLists)
			}
			return n, err
		},
		"images": func(f types.Filter) (n int, err error) {
			out, err := e.ec2.DescribeImages(ctx, &ec2.DescribeImagesInput{Filters: []types.Filter{f}})
			if err == nil {
				n = len(out.Images)
			}
			return n, err
		},
		"templates": func(f types.Filter) (n int, err error) {
			out, err := e.ec2.DescribeLaunchTemplates(ctx, &ec2.DescribeLaunchTemplatesInput{Filters: []types.Filter{f}})
			if err == nil {
				n = len(out.LaunchTemplates)
			}
			return n, err
		},
		"regions": func(f types.Filter) (n int, err error) {
			out, err := e.ec2.DescribeRegions(ctx, &ec2.DescribeRegionsInput{Filters: []types.Filter{f}})
			if err == nil {
				n = len(out.Regions)
			}
			return n, err
		},
	}
	for _, c := range []struct {
		of, name, value string
		want            int
	}{
		{"instances", "instance-id", first, 1}, {"instances", "instance-state-code", "80", 1}, {"instances", "instance-type", "m7*", 1},
		{"instances", "image-id", ami, 1}, {"instances", "owner-id", mine, 3}, {"instances", "owner-id", yours, 0},
		{"instances", "availability-zone", here + "a", 3}, {"instances", "iam-instance-profile.arn", "*/web", 1}, {"instances", "vpc-id", e.vpc, 3},
		{"instances", "subnet-id", e.sub, 3}, {"instances", "private-ip-address", "10.0.1.200", 1}, {"instances", "private-ip-address", "10.0.1.11", 0},
		{"instances", "instance.group-id", e.group, 2}, {"instances", "network-interface.group-id", def, 2},
		{"instances", "network-interface.network-interface-id", nic.ID, 1}, {"instances", "network-interface.vpc-id", e.vpc, 3},
		{"instances", "network-interface.subnet-id", e.sub, 3}, {"instances", "network-interface.addresses.private-ip-address", "10.0.1.11", 1},
		{"instances", "tag:Name", "web-?", 1}, {"instances", "tag:Name", `web-\?`, 0}, {"instances", "tag-key", "role", 2}, {"instances", "tag:name", "web-1", 0},
		{"interfaces", "network-interface-id", nic.ID, 1}, {"interfaces", "vpc-id", e.vpc, 5}, {"interfaces", "subnet-id", e.sub, 5},
		{"interfaces", "availability-zone", here + "b", 0}, {"interfaces", "owner-id", mine, 5}, {"interfaces", "description", "EFS mount target*", 1},
		{"interfaces", "interface-type", "efs", 1}, {"interfaces", "requester-id", "222233334444", 1}, {"interfaces", "requester-managed", "true", 1},
		{"interfaces", "status", "in-use", 5}, {"interfaces", "mac-address", nic.MAC, 1}, {"interfaces", "group-id", e.group, 2},
		{"interfaces", "group-name", "app", 2}, {"interfaces", "attachment.instance-id", e.web, 2}, {"interfaces", "private-ip-address", "10.0.1.11", 1},
		{"interfaces", "addresses.private-ip-address", "10.0.1.11", 1}, {"interfaces", "ipv6-addresses.ipv6-address", "2001:db8::10", 1},
		{"interfaces", "association.public-ip", "198.51.100.10", 1}, {"interfaces", "addresses.association.public-ip", "198.51.100.11", 0},
		{"groups", "group-id", e.group, 1}, {"groups", "group-name", "app", 1}, {"groups", "description", "default VPC*", 1}, {"groups", "owner-id", mine, 2},
		{"groups", "ip-permission.group-id", def, 2}, {"groups", "ip-permission.cidr", "10.0.0.0/8", 1}, {"groups", "ip-permission.ipv6-cidr", "2001:db8::/32", 0},
		{"groups", "ip-permission.protocol", "tcp", 1}, {"groups", "ip-permission.prefix-list-id", list, 0}, {"groups", "egress.ip-permission.group-id", def, 0},
		{"groups", "egress.ip-permission.prefix-list-id", list, 1}, {"groups", "egress.ip-permission.protocol", "udp", 1},
		{"groups", "egress.ip-permission.ipv6-cidr", "2001:db8::/32", 1}, {"groups", "egress.ip-permission.cidr", "0.0.0.0/0", 2}, {"groups", "tag:team", "one", 1},
		{"rules", "group-id", e.group, 6}, {"rules", "security-group-rule-id", "sgr-0*", 9},
		{"vpcs", "vpc-id", e.vpc, 1}, {"vpcs", "owner-id", mine, 1}, {"vpcs", "cidr", "10.0.0.0/16", 1}, {"vpcs", "cidr-block-association.cidr-block", "10.1.0.0/16", 0},
		{"vpcs", "is-default", "true", 0}, {"vpcs", "state", "available", 1}, {"vpcs", "tag:Name", "main", 1},
		{"subnets", "subnet-id", e.sub, 1}, {"subnets", "owner-id", mine, 1}, {"subnets", "availability-zone", here + "a", 1}, {"subnets", "cidr-block", "10.0.1.0/24", 1},
		{"subnets", "state", "available", 1},
		{"peerings", "vpc-peering-connection-id", pcx, 1}, {"peerings", "status-code", "active", 1}, {"peerings", "requester-vpc-info.vpc-id", e.vpc, 1},
		{"peerings", "requester-vpc-info.owner-id", yours, 0}, {"peerings", "accepter-vpc-info.vpc-id", e.other, 1}, {"peerings", "accepter-vpc-info.owner-id", yours, 1},
		{"lists", "owner-id", "AWS", 1}, {"lists", "prefix-list-id", list, 1}, {"lists", "prefix-list-name", "off*", 1},
		{"images", "image-id", ami, 1}, {"images", "name", "debian-*", 1}, {"images", "owner-id", mine, 2}, {"images", "platform", "windows", 1},
		{"templates", "launch-template-name", "one", 1},
		{"regions", "region-name", "eu-*", 2}, {"regions", "opt-in-status", "not-opted-in", 0}, {"regions", "endpoint", "ec2." + here + ".amazonaws.com", 1},
	} {
		if n, err := all[c.of](by(c.name, c.value)); err != nil || n != c.want {
			t.Errorf("%s by %s of %q: %d, %v, want %d", c.of, c.name, c.value, n, err, c.want)
		}
	}
	for of, ask := range all {
		if _, err := ask(by("no-such", "x")); code(err) != "InvalidParameterValue" {
			t.Errorf("%s by a filter that is not known: %v", of, err)
		}
		if _, err := ask(types.Filter{Name: aws.String("tag-key")}); code(err) != "InvalidParameterValue" {
			t.Errorf("%s by a filter without values: %v", of, err)
		}
	}
	if i, _ := e.r.Interface(managed); !i.RequesterManaged {
		t.Errorf("the interface is %+v", i)
	}
}

// Whatever has an id of EC2's is tagged by it, and shows its tags.
func TestTagged(t *testing.T) {
	e := newEstate(t)
	list := e.r.AddPrefixList("l", 5, "10.0.0.0/8")
	rule := e.r.AddRules(e.group, false, awstest.RuleSpec{CIDR: "10.0.0.0/8"})[0]
	nic := e.r.InterfacesOf(e.db)[0].ID
	ids := []string{e.vpc, e.sub, e.db, nic, e.group, rule, list}
	tag := func(ids ...string) error {
		_, err := e.ec2.CreateTags(t.Context(), &ec2.CreateTagsInput{Resources: ids, Tags: []types.Tag{{Key: aws.String("k"), Value: aws.String("v")}}})
		return err
	}
	wants(t, tag(ids...), "")
	wants(t, tag(append(ids, e.other)...), "InvalidVpcID.NotFound") // it is another account's
	wants(t, tag("arn:aws:lambda"), "InvalidID")
	wants(t, tag("i-0123456789abcdef0"), "InvalidInstanceID.NotFound")
	group, _ := e.r.Group(e.group)
	machine, _ := e.r.Instance(e.db)
	inter, _ := e.r.Interface(nic)
	for of, tags := range map[string]map[string]string{
		"group": group.Tags, "rule": group.Rules[len(group.Rules)-1].Tags, "instance": machine.Tags, "interface": inter.Tags, "list": e.r.PrefixLists()[0].Tags,
	} {
		if tags["k"] != "v" {
			t.Errorf("tags of the %s are %v", of, tags)
		}
	}
	out, err := e.ec2.DescribeSecurityGroupRules(t.Context(), &ec2.DescribeSecurityGroupRulesInput{Filters: []types.Filter{by("tag:k", "v")}})
	if err != nil || len(out.SecurityGroupRules) != 1 || *out.SecurityGroupRules[0].SecurityGroupRuleId != rule {
		t.Errorf("rules with the tag are %+v, %v", out, err)
	}
	// Who is at the console does as they like.
	e.r.RemoveRules(e.group, rule)
	e.r.RemoveInterface(nic)
	e.r.SetGroups(e.r.InterfacesOf(e.web)[0].ID, e.r.DefaultGroup(e.vpc))
	e.r.RemoveGroup(e.group)
	if got := len(e.r.Interfaces()) + len(e.r.Groups()); got != 3 {
		t.Errorf("%d groups and interfaces are left", got)
	}
	e.w.ResetCalls()
	if got := e.w.Calls(); len(got) != 0 {
		t.Errorf("the log holds %v", got)
	}
}
