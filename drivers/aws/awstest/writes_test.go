package awstest_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"bulkhead/drivers/aws/awstest"
)

// What the contract cannot ask of a real account: see contract_test.go for the rest.

// Interfaces that a service holds are refused in the service's way.
func TestRequesterManaged(t *testing.T) {
	e := newEstate(t)
	e.r.AddFunction(awstest.FunctionSpec{Name: "f", Subnets: []string{e.sub}, Groups: []string{e.group}})
	var hyperplane string
	for _, i := range e.r.Interfaces() {
		if i.Type == "lambda" {
			hyperplane = i.ID
		}
	}
	for want, nic := range map[string]string{
		"OperationNotPermitted": hyperplane,
		"AuthFailure":           e.r.AddInterface(awstest.InterfaceSpec{Subnet: e.sub, Type: "vpc_endpoint", Requester: "222233334444"}),
		"":                      e.r.AddInterface(awstest.InterfaceSpec{Subnet: e.sub, Type: "branch"}),
	} {
		wants(t, e.swap(t.Context(), nic, e.group), want)
	}
	// The group of a function is in use while its interfaces are there.
	_, err := e.ec2.DeleteSecurityGroup(t.Context(), &ec2.DeleteSecurityGroupInput{GroupId: &e.group})
	wants(t, err, "DependencyViolation")
}

// One attribute a call, and timeouts within AWS's bounds.
func TestInterfaceAttributes(t *testing.T) {
	e := newEstate(t)
	nic := e.r.InterfacesOf(e.db)[0].ID
	set := func(in ec2.ModifyNetworkInterfaceAttributeInput) error {
		in.NetworkInterfaceId = &nic
		_, err := e.ec2.ModifyNetworkInterfaceAttribute(t.Context(), &in)
		return err
	}
	text := &types.AttributeValue{Value: aws.String("text")}
	established := func(seconds int32) *types.ConnectionTrackingSpecificationRequest {
		return &types.ConnectionTrackingSpecificationRequest{TcpEstablishedTimeout: &seconds}
	}
	wants(t, set(ec2.ModifyNetworkInterfaceAttributeInput{Description: text, Groups: []string{e.group}}), "InvalidParameterCombination")
	wants(t, set(ec2.ModifyNetworkInterfaceAttributeInput{ConnectionTrackingSpecification: established(59)}), "InvalidParameterValue")
	wants(t, set(ec2.ModifyNetworkInterfaceAttributeInput{SourceDestCheck: &types.AttributeBooleanValue{Value: aws.Bool(false)}}), "UnknownParameter")
	wants(t, set(ec2.ModifyNetworkInterfaceAttributeInput{ConnectionTrackingSpecification: established(60)}), "")
	wants(t, set(ec2.ModifyNetworkInterfaceAttributeInput{Description: text}), "")
	out, err := e.ec2.DescribeNetworkInterfaces(t.Context(), &ec2.DescribeNetworkInterfacesInput{NetworkInterfaceIds: []string{nic}})
	if err != nil {
		t.Fatal(err)
	}
	if i := out.NetworkInterfaces[0]; *i.Description != "text" || *i.ConnectionTrackingConfiguration.TcpEstablishedTimeout != 60 || i.ConnectionTrackingConfiguration.UdpTimeout != nil {
		t.Errorf("the interface reads %+v", i)
	}
}

func TestModifyInstanceAttribute(t *testing.T) {
	e := newEstate(t)
	set := func(instance string, groups ...string) error {
		_, err := e.ec2.ModifyInstanceAttribute(t.Context(), &ec2.ModifyInstanceAttributeInput{InstanceId: &instance, Groups: groups})
		return err
	}
	def := e.r.DefaultGroup(e.vpc)
	wants(t, set(e.db, def), "")
	if got := e.r.InterfacesOf(e.db)[0].Groups; len(got) != 1 || got[0] != def {
		t.Errorf("the instance carries %v", got)
	}
	wants(t, set(e.web, def), "InvalidInstanceID") // it has two interfaces
	wants(t, set(e.db), "InvalidParameterCombination")
	wants(t, set("i-0123456789abcdef0", def), "InvalidInstanceID.NotFound")
	e.r.SetState(e.db, "terminated")
	wants(t, set(e.db, def), "IncorrectInstanceState")
}

// In the default VPC a rule that is not there is no error: it is told, and the others go.
func TestRevokeInDefaultVPC(t *testing.T) {
	e := newEstate(t)
	vpc := e.r.AddDefaultVPC("172.31.0.0/16")
	id := e.r.AddGroup(awstest.GroupSpec{VPC: vpc, Name: "old", Ingress: []awstest.RuleSpec{{Protocol: "tcp", From: 1, CIDR: "10.0.0.0/8"}}})
	out, err := e.ec2.RevokeSecurityGroupIngress(t.Context(), &ec2.RevokeSecurityGroupIngressInput{GroupName: aws.String("old"),
		IpPermissions: []types.IpPermission{cidrs("tcp", 1, 1, "10.0.0.0/8", "192.168.0.0/16")}})
	if err != nil || len(out.RevokedSecurityGroupRules) != 1 || len(out.UnknownIpPermissions) != 1 || *out.UnknownIpPermissions[0].IpRanges[0].CidrIp != "192.168.0.0/16" {
		t.Errorf("got %+v, %v", out, err)
	}
	if g, _ := e.r.Group(id); len(g.Rules) != 1 {
		t.Errorf("the group holds %+v", g.Rules)
	}
	// A group that is made with no VPC is of the default one.
	made, err := e.ec2.CreateSecurityGroup(t.Context(), &ec2.CreateSecurityGroupInput{GroupName: aws.String("new"), Description: aws.String("d")})
	if err != nil {
		t.Fatal(err)
	}
	if g, _ := e.r.Group(*made.GroupId); g.VPC != vpc {
		t.Errorf("the group is of %s", g.VPC)
	}
}

// A reference reaches over an active peering, to another account by its owner's id, and
// goes stale when its target goes.
func TestPeeringReferences(t *testing.T) {
	e := newEstate(t)
	ctx := t.Context()
	peers := e.peer.AddGroup(awstest.GroupSpec{VPC: e.other, Name: "peers"})
	allow := func(owner *string) error {
		_, err := e.ec2.AuthorizeSecurityGroupIngress(ctx, &ec2.AuthorizeSecurityGroupIngressInput{GroupId: &e.group, IpPermissions: []types.IpPermission{{
			IpProtocol: aws.String("tcp"), FromPort: aws.Int32(1), ToPort: aws.Int32(1), UserIdGroupPairs: []types.UserIdGroupPair{{GroupId: &peers, UserId: owner}}}}})
		return err
	}
	wants(t, allow(aws.String(yours)), "InvalidGroup.NotFound")
	pcx := e.r.AddPeering(e.vpc, e.peer, e.other)
	wants(t, allow(nil), "InvalidGroup.NotFound")
	e.r.SetPeering(pcx, "pending-acceptance")
	wants(t, allow(aws.String(yours)), "InvalidGroup.NotFound")
	e.r.SetPeering(pcx, "active")
	wants(t, allow(aws.String(yours)), "")
	theirs := as(e.w, here, e.yours.AddKey("other", "ec2:*"))
	_, err := theirs.ec2.DeleteSecurityGroup(ctx, &ec2.DeleteSecurityGroupInput{GroupId: &peers})
	wants(t, err, "")
	out, err := e.ec2.DescribeSecurityGroups(ctx, &ec2.DescribeSecurityGroupsInput{GroupIds: []string{e.group}})
	if err != nil {
		t.Fatal(err)
	}
	p := out.SecurityGroups[0].IpPermissions[0].UserIdGroupPairs[0]
	if p.UserId != nil || *p.VpcPeeringConnectionId != pcx || *p.PeeringStatus != "active" || *p.VpcId != e.other {
		t.Errorf("the stale rule reads %+v", p)
	}
	_, err = e.ec2.RevokeSecurityGroupIngress(ctx, &ec2.RevokeSecurityGroupIngressInput{GroupId: &e.group, IpPermissions: out.SecurityGroups[0].IpPermissions})
	wants(t, err, "")
}

func TestQuotas(t *testing.T) {
	e := newEstate(t)
	e.r.SetQuotas(awstest.Quotas{GroupsPerRegion: 3, GroupsPerInterface: 1, RulesPerGroup: 3, PrefixLists: 1})
	_, err := e.create(t.Context(), "three") // with the default group
	wants(t, err, "")
	_, err = e.create(t.Context(), "four")
	wants(t, err, "SecurityGroupLimitExceeded")
	wants(t, e.allow(t.Context(), e.group, 1, 2, 3, 4), "RulesPerSecurityGroupLimitExceeded")
	wants(t, e.allow(t.Context(), e.group, 1, 2, 3), "")
	if v4, v6 := e.r.Weight(e.group, false); v4 != 3 || v6 != 0 {
		t.Errorf("the group weighs %d and %d", v4, v6)
	}
	wants(t, e.swap(t.Context(), e.r.InterfacesOf(e.db)[0].ID, e.group, e.r.DefaultGroup(e.vpc)), "SecurityGroupsPerInterfaceLimitExceeded")
	defer func() {
		if recover() == nil {
			t.Error("nobody is granted 16 groups of 100 rules")
		}
	}()
	e.r.SetQuotas(awstest.Quotas{GroupsPerInterface: 16, RulesPerGroup: 100})
}

// A list of AWS's own weighs what AWS says, and no call changes it.
func TestAWSPrefixList(t *testing.T) {
	e := newEstate(t)
	id := e.r.AddAWSPrefixList("com.amazonaws.global.cloudfront.origin-facing", 55, "198.51.100.0/24")
	wants(t, e.allow(t.Context(), e.group, 1, 2, 3, 4, 5, 6), "")
	add := func() error {
		_, err := e.ec2.AuthorizeSecurityGroupIngress(t.Context(), &ec2.AuthorizeSecurityGroupIngressInput{GroupId: &e.group, IpPermissions: []types.IpPermission{listed(id)}})
		return err
	}
	wants(t, add(), "RulesPerSecurityGroupLimitExceeded")
	e.r.SetQuotas(awstest.Quotas{GroupsPerRegion: 10, GroupsPerInterface: 1, RulesPerGroup: 61})
	wants(t, add(), "")
	_, err := e.ec2.DeleteManagedPrefixList(t.Context(), &ec2.DeleteManagedPrefixListInput{PrefixListId: &id})
	wants(t, err, "UnauthorizedOperation")
}

// A change of a prefix list has no effect before it is complete.
func TestPrefixListTakesAWhile(t *testing.T) {
	e := newEstate(t)
	e.w.PrefixListLag(2)
	id := e.r.AddPrefixList("l", 5, "10.0.0.0/8")
	_, err := e.ec2.ModifyManagedPrefixList(t.Context(), &ec2.ModifyManagedPrefixListInput{PrefixListId: &id, CurrentVersion: aws.Int64(1),
		AddEntries: []types.AddPrefixListEntry{{Cidr: aws.String("192.168.0.0/16")}}})
	wants(t, err, "")
	for n, want := range []types.PrefixListState{"modify-in-progress", "modify-in-progress", "modify-complete"} {
		if got := len(e.r.PrefixLists()[0].Entries()); (got == 2) != (n == 2) {
			t.Errorf("after %d reads there are %d entries", n, got)
		}
		out, err := e.ec2.DescribeManagedPrefixLists(t.Context(), &ec2.DescribeManagedPrefixListsInput{PrefixListIds: []string{id}})
		if err != nil || out.PrefixLists[0].State != want {
			t.Errorf("read %d: %+v, %v", n, out, err)
		}
	}
	_, err = e.ec2.DeleteManagedPrefixList(t.Context(), &ec2.DeleteManagedPrefixListInput{PrefixListId: &id})
	wants(t, err, "")
	e.w.PrefixListLag(0)
	for _, want := range []string{"", "", "InvalidPrefixListID.NotFound"} {
		_, err = e.ec2.DescribeManagedPrefixLists(t.Context(), &ec2.DescribeManagedPrefixListsInput{PrefixListIds: []string{id}})
		wants(t, err, want)
	}
}

// A dry run tells of permissions and parameters, and of nothing that is there.
func TestDryRun(t *testing.T) {
	e := newEstate(t)
	try := func(c *clients, name string) error {
		_, err := c.ec2.CreateSecurityGroup(t.Context(), &ec2.CreateSecurityGroupInput{GroupName: &name, Description: aws.String("d"), VpcId: &e.vpc, DryRun: aws.Bool(true)})
		return err
	}
	wants(t, try(e.clients, "new"), "DryRunOperation")
	wants(t, try(e.clients, "app"), "DryRunOperation") // it is there already
	wants(t, try(e.clients, "sg-1"), "InvalidParameterValue")
	wants(t, try(as(e.w, here, e.mine.AddKey("r", "ec2:Describe*")), "new"), "UnauthorizedOperation")
	if n := len(e.r.Groups()); n != 2 || len(e.w.Mutations()) != 0 {
		t.Errorf("%d groups after dry runs", n)
	}
}

// Tags in a call that makes something need the permission to tag.
func TestTagOnCreate(t *testing.T) {
	e := newEstate(t)
	in := &ec2.CreateSecurityGroupInput{GroupName: aws.String("n"), Description: aws.String("d"), VpcId: &e.vpc,
		TagSpecifications: []types.TagSpecification{{ResourceType: types.ResourceTypeSecurityGroup, Tags: []types.Tag{{Key: aws.String("owner"), Value: aws.String("bulkhead")}}}}}
	_, err := as(e.w, here, e.mine.AddKey("c", "ec2:CreateSecurityGroup")).ec2.CreateSecurityGroup(t.Context(), in)
	wants(t, err, "UnauthorizedOperation")
	out, err := e.ec2.CreateSecurityGroup(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	if g, _ := e.r.Group(*out.GroupId); g.Tags["owner"] != "bulkhead" {
		t.Errorf("tags are %v", g.Tags)
	}
}

// Tags of AWS's own are neither counted nor taken away.
func TestTagsOfAWS(t *testing.T) {
	e := newEstate(t)
	e.r.SetTags(e.group, map[string]string{"aws:cloudformation:stack-name": "s", "a": "1"})
	all := make([]types.Tag, 50)
	for i := range all {
		all[i] = types.Tag{Key: aws.String(fmt.Sprint("k", i)), Value: aws.String("")}
	}
	tag := func(n int) error {
		_, err := e.ec2.CreateTags(t.Context(), &ec2.CreateTagsInput{Resources: []string{e.group}, Tags: all[:n]})
		return err
	}
	wants(t, tag(50), "TagLimitExceeded")
	wants(t, tag(49), "")
	_, err := e.ec2.DeleteTags(t.Context(), &ec2.DeleteTagsInput{Resources: []string{e.group}})
	wants(t, err, "")
	if g, _ := e.r.Group(e.group); len(g.Tags) != 1 {
		t.Errorf("tags are %v", g.Tags)
	}
}

// The same token makes the same list, and other parameters under it are refused.
func TestClientToken(t *testing.T) {
	e := newEstate(t)
	make := func(name string) (string, error) {
		out, err := e.ec2.CreateManagedPrefixList(t.Context(), &ec2.CreateManagedPrefixListInput{
			PrefixListName: &name, AddressFamily: aws.String("IPv4"), MaxEntries: aws.Int32(5), ClientToken: aws.String("one")})
		if err != nil {
			return "", err
		}
		return *out.PrefixList.PrefixListId, nil
	}
	first, err := make("a")
	wants(t, err, "")
	again, err := make("a")
	if err != nil || again != first || len(e.r.PrefixLists()) != 1 {
		t.Errorf("the second list is %s, %v", again, err)
	}
	_, err = make("b")
	wants(t, err, "IdempotentParameterMismatch")
}

// Ids are of AWS's form, and the same in two worlds of one seed.
func TestIDs(t *testing.T) {
	a, b := newEstate(t), newEstate(t)
	if a.web != b.web || a.key != b.key || !strings.HasPrefix(a.web, "i-0") || len(a.web) != 19 {
		t.Errorf("ids are %s and %s", a.web, b.web)
	}
}

// Many callers at once do not harm the world. The race detector looks on.
func TestAtOnce(t *testing.T) {
	e := newEstate(t)
	e.w.Unthrottled()
	var wg sync.WaitGroup
	for n := range 8 {
		wg.Go(func() {
			for m := range 20 {
				id, err := e.create(t.Context(), fmt.Sprint("g", n, " ", m))
				wants(t, err, "")
				wants(t, e.allow(t.Context(), id, 1), "")
				e.w.Permitted([]string{e.r.InterfacesOf(e.web)[0].ID, e.r.InterfacesOf(e.db)[0].ID}, awstest.Probe{Protocol: 6, Port: 1})
				if _, err := e.ec2.DescribeInstances(t.Context(), &ec2.DescribeInstancesInput{}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if n := len(e.r.Groups()); n != 162 {
		t.Errorf("%d groups", n)
	}
}
