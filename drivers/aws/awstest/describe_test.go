package awstest_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"bulkhead/drivers/aws/awstest"
)

func by(name string, values ...string) types.Filter {
	return types.Filter{Name: &name, Values: values}
}

// What was built is what the SDK reads, down to the second private address.
func TestDescribeInstances(t *testing.T) {
	e := newEstate(t)
	out, err := e.ec2.DescribeInstances(t.Context(), &ec2.DescribeInstancesInput{Filters: []types.Filter{by("tag:role", "web"), by("instance-state-name", "running")}})
	if err != nil {
		t.Fatal(err)
	}
	if len(out.Reservations) != 1 || len(out.Reservations[0].Instances) != 1 {
		t.Fatalf("got %d reservations", len(out.Reservations))
	}
	i := out.Reservations[0].Instances[0]
	if *i.InstanceId != e.web || *i.IamInstanceProfile.Arn != "arn:aws:iam::111122223333:instance-profile/web" || *i.VpcId != e.vpc ||
		*i.PublicIpAddress != "198.51.100.10" || *i.SecurityGroups[0].GroupId != e.group || i.State.Name != types.InstanceStateNameRunning || *i.Ipv6Address != "2001:db8::10" {
		t.Errorf("the instance reads %+v", i)
	}
	first, second := i.NetworkInterfaces[0], i.NetworkInterfaces[1]
	if len(first.PrivateIpAddresses) != 2 || *first.PrivateIpAddresses[1].PrivateIpAddress != "10.0.1.11" || *first.PrivateIpAddresses[0].Primary != true ||
		*first.PrivateIpAddresses[0].Association.PublicIp != "198.51.100.10" || first.PrivateIpAddresses[1].Association != nil {
		t.Errorf("the first interface reads %+v", first.PrivateIpAddresses)
	}
	if len(second.Ipv4Prefixes) != 1 || *second.Ipv4Prefixes[0].Ipv4Prefix != "10.0.1.32/28" || *second.Ipv6Prefixes[0].Ipv6Prefix != "2001:db8:0:0:1::/80" ||
		*second.Groups[0].GroupName != "default" || *second.Attachment.DeviceIndex != 1 {
		t.Errorf("the second interface reads %+v", second)
	}
}

func TestDescribeNetworkInterfaces(t *testing.T) {
	e := newEstate(t)
	nat := e.r.AddInterface(awstest.InterfaceSpec{Subnet: e.sub, Type: "nat_gateway", Requester: "nat.amazonaws.com", Groups: []string{}, Description: "Interface for NAT Gateway nat-0a"})
	out, err := e.ec2.DescribeNetworkInterfaces(t.Context(), &ec2.DescribeNetworkInterfacesInput{MaxResults: aws.Int32(50)})
	if err != nil || len(out.NetworkInterfaces) != 4 || out.NextToken != nil {
		t.Fatalf("%d interfaces, %v", len(out.NetworkInterfaces), err)
	}
	for _, i := range out.NetworkInterfaces {
		if managed := *i.NetworkInterfaceId == nat; *i.RequesterManaged != managed || managed != (i.Attachment.InstanceId == nil) {
			t.Errorf("%s reads %+v", *i.NetworkInterfaceId, i)
		}
	}
	of, err := e.ec2.DescribeNetworkInterfaces(t.Context(), &ec2.DescribeNetworkInterfacesInput{Filters: []types.Filter{by("group-id", e.group)}})
	if err != nil || len(of.NetworkInterfaces) != 2 {
		t.Errorf("%d interfaces carry the group, %v", len(of.NetworkInterfaces), err)
	}
}

// A new group lets nothing in and everything out, of IPv6 too where the VPC has it.
func TestDefaultEgress(t *testing.T) {
	e := newEstate(t)
	out, err := e.ec2.DescribeSecurityGroups(t.Context(), &ec2.DescribeSecurityGroupsInput{GroupIds: []string{e.group}})
	if err != nil {
		t.Fatal(err)
	}
	g := out.SecurityGroups[0]
	if len(g.IpPermissions) != 0 || len(g.IpPermissionsEgress) != 1 || *g.IpPermissionsEgress[0].IpProtocol != "-1" || g.IpPermissionsEgress[0].FromPort != nil ||
		*g.IpPermissionsEgress[0].IpRanges[0].CidrIp != "0.0.0.0/0" || *g.IpPermissionsEgress[0].Ipv6Ranges[0].CidrIpv6 != "::/0" {
		t.Errorf("a new group reads %+v", g)
	}
	rules, err := e.ec2.DescribeSecurityGroupRules(t.Context(), &ec2.DescribeSecurityGroupRulesInput{Filters: []types.Filter{by("group-id", e.r.DefaultGroup(e.vpc))}})
	if err != nil || len(rules.SecurityGroupRules) != 3 {
		t.Fatalf("%d rules, %v", len(rules.SecurityGroupRules), err)
	}
	for _, r := range rules.SecurityGroupRules {
		if !*r.IsEgress && *r.ReferencedGroupInfo.GroupId != *r.GroupId || *r.FromPort != -1 {
			t.Errorf("a rule of the default group reads %+v", r)
		}
	}
}

func TestDescribeNetworks(t *testing.T) {
	e := newEstate(t)
	pcx := e.r.AddPeering(e.vpc, e.peer, e.other)
	vpcs, err := e.ec2.DescribeVpcs(t.Context(), &ec2.DescribeVpcsInput{})
	if err != nil || len(vpcs.Vpcs) != 1 || *vpcs.Vpcs[0].CidrBlock != "10.0.0.0/16" || *vpcs.Vpcs[0].Ipv6CidrBlockAssociationSet[0].Ipv6CidrBlock != "2001:db8::/56" {
		t.Errorf("%+v %v", vpcs, err)
	}
	subs, err := e.ec2.DescribeSubnets(t.Context(), &ec2.DescribeSubnetsInput{Filters: []types.Filter{by("vpc-id", e.vpc)}})
	if err != nil || len(subs.Subnets) != 1 || *subs.Subnets[0].AvailabilityZone != here+"a" {
		t.Errorf("%+v %v", subs, err)
	}
	for _, c := range []*clients{e.clients, as(e.w, here, e.yours.AddKey("other", "ec2:*"))} {
		ps, err := c.ec2.DescribeVpcPeeringConnections(t.Context(), &ec2.DescribeVpcPeeringConnectionsInput{VpcPeeringConnectionIds: []string{pcx}})
		if err != nil {
			t.Fatal(err)
		}
		if p := ps.VpcPeeringConnections[0]; *p.AccepterVpcInfo.VpcId != e.other || *p.RequesterVpcInfo.OwnerId != mine || p.Status.Code != types.VpcPeeringConnectionStateReasonCodeActive {
			t.Errorf("the peering reads %+v", p)
		}
	}
	regions, err := e.ec2.DescribeRegions(t.Context(), &ec2.DescribeRegionsInput{})
	if err != nil || len(regions.Regions) != 2 {
		t.Errorf("%+v %v", regions, err)
	}
}

func TestDescribeOthers(t *testing.T) {
	e := newEstate(t)
	ami := e.r.AddImage("Windows_Server-2022", "windows")
	list := e.r.AddAWSPrefixList("com.amazonaws.eu-central-1.s3", 5, "198.51.100.0/24", "203.0.113.0/24")
	lt := e.r.AddLaunchTemplate("web", awstest.LaunchVersion{Image: ami, Groups: []string{e.group}, InstanceTags: map[string]string{"role": "web"}},
		awstest.LaunchVersion{Image: ami, InterfaceGroups: []string{e.group}, Profile: "arn:aws:iam::111122223333:instance-profile/web"})
	images, err := e.ec2.DescribeImages(t.Context(), &ec2.DescribeImagesInput{ImageIds: []string{ami}})
	if err != nil || images.Images[0].Platform != "windows" || *images.Images[0].Name != "Windows_Server-2022" {
		t.Errorf("%+v %v", images, err)
	}
	lists, err := e.ec2.DescribeManagedPrefixLists(t.Context(), &ec2.DescribeManagedPrefixListsInput{})
	if err != nil || *lists.PrefixLists[0].OwnerId != "AWS" || lists.PrefixLists[0].MaxEntries != nil {
		t.Errorf("%+v %v", lists, err)
	}
	entries, err := e.ec2.GetManagedPrefixListEntries(t.Context(), &ec2.GetManagedPrefixListEntriesInput{PrefixListId: &list})
	if err != nil || len(entries.Entries) != 2 {
		t.Errorf("%+v %v", entries, err)
	}
	lts, err := e.ec2.DescribeLaunchTemplates(t.Context(), &ec2.DescribeLaunchTemplatesInput{})
	if err != nil || *lts.LaunchTemplates[0].LatestVersionNumber != 2 {
		t.Errorf("%+v %v", lts, err)
	}
	vs, err := e.ec2.DescribeLaunchTemplateVersions(t.Context(), &ec2.DescribeLaunchTemplateVersionsInput{LaunchTemplateId: &lt})
	if err != nil || len(vs.LaunchTemplateVersions) != 2 {
		t.Fatalf("%+v %v", vs, err)
	}
	first, second := vs.LaunchTemplateVersions[0].LaunchTemplateData, vs.LaunchTemplateVersions[1].LaunchTemplateData
	if first.SecurityGroupIds[0] != e.group || *first.TagSpecifications[0].Tags[0].Value != "web" || second.NetworkInterfaces[0].Groups[0] != e.group || second.IamInstanceProfile == nil {
		t.Errorf("versions read %+v and %+v", first, second)
	}
	latest, err := e.ec2.DescribeLaunchTemplateVersions(t.Context(), &ec2.DescribeLaunchTemplateVersionsInput{Versions: []string{"$Latest"}})
	if err != nil || len(latest.LaunchTemplateVersions) != 1 || *latest.LaunchTemplateVersions[0].VersionNumber != 2 {
		t.Errorf("%+v %v", latest, err)
	}
}

// Pages lead to everything once, also when they are not as full as was asked for.
func TestPages(t *testing.T) {
	for _, sparse := range []bool{false, true} {
		e := newEstate(t)
		e.w.SparsePages(sparse)
		for n := range 40 {
			e.r.AddGroup(awstest.GroupSpec{VPC: e.vpc, Name: fmt.Sprint("g", n)})
		}
		var ids []string
		pages := ec2.NewDescribeSecurityGroupsPaginator(e.ec2, &ec2.DescribeSecurityGroupsInput{MaxResults: aws.Int32(10), Filters: []types.Filter{by("vpc-id", e.vpc)}})
		empty := 0
		for pages.HasMorePages() {
			p, err := pages.NextPage(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if len(p.SecurityGroups) == 0 {
				empty++
			}
			for _, g := range p.SecurityGroups {
				ids = append(ids, *g.GroupId)
			}
		}
		if len(ids) != 42 || !slices.IsSorted(ids) || len(slices.Compact(ids)) != 42 || (empty > 0) != sparse {
			t.Errorf("sparse %v: %d groups in pages, %d of them empty", sparse, len(ids), empty)
		}
	}
}

func TestPagesAreRefused(t *testing.T) {
	e := newEstate(t)
	for n := range 10 {
		e.r.AddGroup(awstest.GroupSpec{VPC: e.vpc, Name: fmt.Sprint("g", n)})
	}
	ask := func(in *ec2.DescribeSecurityGroupsInput) (*ec2.DescribeSecurityGroupsOutput, error) {
		return e.ec2.DescribeSecurityGroups(t.Context(), in)
	}
	first, err := ask(&ec2.DescribeSecurityGroupsInput{MaxResults: aws.Int32(5)})
	if err != nil || first.NextToken == nil {
		t.Fatal(err)
	}
	forged := []byte(*first.NextToken)
	forged[len(forged)-3] ^= 1
	for name, c := range map[string]struct {
		in   ec2.DescribeSecurityGroupsInput
		want string
	}{
		"too few":        {ec2.DescribeSecurityGroupsInput{MaxResults: aws.Int32(4)}, "InvalidParameterValue"},
		"too many":       {ec2.DescribeSecurityGroupsInput{MaxResults: aws.Int32(1001)}, "InvalidParameterValue"},
		"with ids":       {ec2.DescribeSecurityGroupsInput{MaxResults: aws.Int32(5), GroupIds: []string{e.group}}, "InvalidParameterCombination"},
		"forged":         {ec2.DescribeSecurityGroupsInput{MaxResults: aws.Int32(5), NextToken: aws.String(string(forged))}, "InvalidPaginationToken"},
		"made up":        {ec2.DescribeSecurityGroupsInput{MaxResults: aws.Int32(5), NextToken: aws.String("5")}, "InvalidPaginationToken"},
		"other filters":  {ec2.DescribeSecurityGroupsInput{MaxResults: aws.Int32(5), NextToken: first.NextToken, Filters: []types.Filter{by("vpc-id", e.vpc)}}, "InvalidPaginationToken"},
		"unknown filter": {ec2.DescribeSecurityGroupsInput{Filters: []types.Filter{by("vpc", e.vpc)}}, "InvalidParameterValue"},
		"not an id":      {ec2.DescribeSecurityGroupsInput{GroupIds: []string{"app"}}, "InvalidGroupId.Malformed"},
		"not there":      {ec2.DescribeSecurityGroupsInput{GroupIds: []string{"sg-0123456789abcdef0"}}, "InvalidGroup.NotFound"},
		"no such page":   {ec2.DescribeSecurityGroupsInput{MaxResults: aws.Int32(5), NextToken: first.NextToken}, ""},
	} {
		if _, err := ask(&c.in); code(err) != c.want {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

// Accounts and regions see their own.
func TestApart(t *testing.T) {
	e := newEstate(t)
	for name, c := range map[string]*clients{
		"another region":  as(e.w, there, e.key),
		"another account": as(e.w, here, e.yours.AddKey("other", "ec2:*")),
	} {
		if _, err := c.ec2.DescribeSecurityGroups(t.Context(), &ec2.DescribeSecurityGroupsInput{GroupIds: []string{e.group}}); code(err) != "InvalidGroup.NotFound" {
			t.Errorf("%s: %v", name, err)
		}
	}
}
