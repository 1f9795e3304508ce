package awstest_test

import (
	"cmp"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"bulkhead/drivers/aws/awstest"
)

// contract is one thing that EC2 holds to: a call, the code that it is refused with ("":
// it is done), and what is there afterwards ("": as it should be).
type contract struct {
	name  string
	needs string // what a target may lack: "interfaces", "prefix lists"
	call  func(*bench) error
	code  string
	state func(*bench) string
}

// bench is a target with what the calls need, of which each contract has its own.
type bench struct {
	t     testing.TB
	api   *ec2.Client
	vpc   string
	other string // a VPC that is not joined with the first
	nic   string // an interface in the first VPC, which carries base; "" if the target has none
	base  string
	n     int
	mine  bool // nobody else is at the target, and it is quick

	id, id2 string // groups of the contract
	rules   []types.SecurityGroupRule
}

func TestContract(t *testing.T) {
	t.Run("awstest", func(t *testing.T) { hold(t, inProcess(t), "awstest") })
	// Another emulator, or a real account: see differences_test.go for their names.
	if url := os.Getenv("EC2_ENDPOINT"); url != "" {
		name := cmp.Or(os.Getenv("EC2_TARGET"), "aws")
		t.Run(name, func(t *testing.T) { hold(t, elsewhere(t, url), name) })
	}
}

// hold goes through all contracts. A target that differs must be known to, and must
// not be known to any more when it no longer does.
func hold(t *testing.T, b *bench, target string) {
	known := differences[target]
	for _, c := range contracts() {
		t.Run(c.name, func(t *testing.T) {
			if known.lacks[c.needs] {
				t.Logf("%s has no %s", target, c.needs)
				return
			}
			b.t, b.rules = t, nil
			b.id, b.id2 = b.group(b.vpc), b.group(b.vpc)
			got := code(c.call(b))
			want, differs := known.of[c.name]
			if got == c.code && c.state != nil {
				if got = b.eventually(c.state, differs); got == "" {
					got = c.code
				}
			}
			switch {
			case differs && got == c.code:
				t.Errorf("%s no longer differs: take it out of the table", target)
			case differs && got != want && want != varies:
				t.Errorf("%s is known to answer %q, and answers %q", target, want, got)
			case !differs && got != c.code:
				t.Errorf("%q: got %q, want %q", c.name, got, c.code)
			}
		})
	}
}

// eventually asks until the state is as it should be, for a target that is not quick.
func (b *bench) eventually(state func(*bench) string, differs bool) string {
	for n := 0; ; n++ {
		got := state(b)
		if got == "" || b.mine || differs || n == 10 {
			return got
		}
		time.Sleep(time.Second)
	}
}

func (b *bench) must(err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
}

// inProcess is a world of this package.
func inProcess(t testing.TB) *bench {
	w := awstest.New()
	w.Unthrottled()
	r := w.AddAccount(mine).Region(here)
	b := &bench{t: t, mine: true, vpc: r.AddVPC("one", "10.77.0.0/16"), other: r.AddVPC("two", "10.78.0.0/16")}
	b.api = as(w, here, w.AddAccount(mine).AddKey("test", "ec2:*")).ec2
	b.base = r.AddGroup(awstest.GroupSpec{VPC: b.vpc, Name: "base"})
	sub := r.AddSubnet(b.vpc, here+"a", "10.77.1.0/24", "")
	b.nic = r.AddInterface(awstest.InterfaceSpec{Subnet: sub, Groups: []string{b.base}})
	return b
}

// elsewhere makes what is needed at a target by its own API, and takes it away after.
func elsewhere(t testing.TB, url string) *bench {
	b := &bench{t: t, api: dial(t, url, cmp.Or(os.Getenv("AWS_REGION"), here)).ec2, n: int(time.Now().UnixNano() % 1e9)}
	ctx := t.Context()
	for at, cidr := range map[*string]string{&b.vpc: "10.77.0.0/16", &b.other: "10.78.0.0/16"} {
		v, err := b.api.CreateVpc(ctx, &ec2.CreateVpcInput{CidrBlock: &cidr})
		b.must(err)
		*at = *v.Vpc.VpcId
		t.Cleanup(func() { b.clean(*v.Vpc.VpcId) })
	}
	b.base = b.group(b.vpc)
	s, err := b.api.CreateSubnet(ctx, &ec2.CreateSubnetInput{VpcId: &b.vpc, CidrBlock: aws.String("10.77.1.0/24")})
	b.must(err)
	t.Cleanup(func() { b.drop(b.api.DeleteSubnet(b.after(), &ec2.DeleteSubnetInput{SubnetId: s.Subnet.SubnetId})) })
	i, err := b.api.CreateNetworkInterface(ctx, &ec2.CreateNetworkInterfaceInput{SubnetId: s.Subnet.SubnetId, Groups: []string{b.base}})
	if err != nil {
		t.Logf("the target has no interfaces: %v", err)
		return b
	}
	b.nic = *i.NetworkInterface.NetworkInterfaceId
	t.Cleanup(func() {
		b.drop(b.api.DeleteNetworkInterface(b.after(), &ec2.DeleteNetworkInterfaceInput{NetworkInterfaceId: &b.nic}))
	})
	return b
}

// group makes a group of the contract's own.
func (b *bench) group(vpc string) string {
	b.t.Helper()
	id, err := b.create(b.name(), "test", vpc)
	b.must(err)
	return id
}

func (b *bench) name() string {
	b.n++
	return fmt.Sprintf("bulkhead-contract-%d", b.n)
}

func (b *bench) create(name, description, vpc string) (string, error) {
	out, err := b.api.CreateSecurityGroup(b.t.Context(), &ec2.CreateSecurityGroupInput{GroupName: &name, Description: &description, VpcId: &vpc})
	if err != nil {
		return "", err
	}
	return *out.GroupId, nil
}

func (b *bench) read(id string) types.SecurityGroup {
	b.t.Helper()
	out, err := b.api.DescribeSecurityGroups(b.t.Context(), &ec2.DescribeSecurityGroupsInput{GroupIds: []string{id}})
	b.must(err)
	return out.SecurityGroups[0]
}

// ingress authorizes rules of the first group.
func (b *bench) ingress(ps ...types.IpPermission) error {
	out, err := b.api.AuthorizeSecurityGroupIngress(b.t.Context(), &ec2.AuthorizeSecurityGroupIngressInput{GroupId: &b.id, IpPermissions: ps})
	if err == nil {
		b.rules = append(b.rules, out.SecurityGroupRules...)
	}
	return err
}

func (b *bench) revoke(ps ...types.IpPermission) error {
	_, err := b.api.RevokeSecurityGroupIngress(b.t.Context(), &ec2.RevokeSecurityGroupIngressInput{GroupId: &b.id, IpPermissions: ps})
	return err
}

func (b *bench) revokeID(ids ...string) error {
	_, err := b.api.RevokeSecurityGroupIngress(b.t.Context(), &ec2.RevokeSecurityGroupIngressInput{GroupId: &b.id, SecurityGroupRuleIds: ids})
	return err
}

func (b *bench) remove(id string) error {
	_, err := b.api.DeleteSecurityGroup(b.t.Context(), &ec2.DeleteSecurityGroupInput{GroupId: &id})
	return err
}

func (b *bench) swap(groups ...string) error {
	_, err := b.api.ModifyNetworkInterfaceAttribute(b.t.Context(), &ec2.ModifyNetworkInterfaceAttributeInput{NetworkInterfaceId: &b.nic, Groups: groups})
	return err
}

// cidrs is a permission for networks of IPv4; icmp's type and code are ports here.
func cidrs(proto string, from, to int32, of ...string) types.IpPermission {
	p := types.IpPermission{IpProtocol: &proto, FromPort: &from, ToPort: &to}
	for _, c := range of {
		p.IpRanges = append(p.IpRanges, types.IpRange{CidrIp: &c})
	}
	return p
}

func v6(proto string, from, to int32, of ...string) types.IpPermission {
	p := types.IpPermission{IpProtocol: &proto, FromPort: &from, ToPort: &to}
	for _, c := range of {
		p.Ipv6Ranges = append(p.Ipv6Ranges, types.Ipv6Range{CidrIpv6: &c})
	}
	return p
}

func ref(proto string, from, to int32, group string) types.IpPermission {
	return types.IpPermission{IpProtocol: &proto, FromPort: &from, ToPort: &to, UserIdGroupPairs: []types.UserIdGroupPair{{GroupId: &group}}}
}

// hosts are n addresses of 10.0.0.0/16.
func hosts(n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprintf("10.0.%d.%d/32", i/250, i%250+1)
	}
	return out
}
