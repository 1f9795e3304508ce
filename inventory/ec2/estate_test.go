package ec2_test

import (
	"path/filepath"
	"testing"
	"time"

	"bulkhead/drivers/aws/awstest"
	"bulkhead/inventory/ec2"
)

const (
	here, there = "eu-central-1", "eu-west-1"
	theirs      = "444455556666"
)

// What the inventory needs to be allowed, and no more.
var allowed = []string{"ec2:DescribeInstances", "ec2:DescribeNetworkInterfaces", "ec2:DescribeVpcs", "ec2:DescribeImages", "lambda:ListFunctions", "lambda:ListTags"}

// estate is two accounts: one in two regions with a bit of everything, the other with
// one machine, read through a role.
type estate struct {
	w                   *awstest.World
	mine, yours         awstest.Account
	r, west, far        awstest.Region
	vpc, westVPC        string
	sub                 string
	web, db, old        string // instances: running, stopped, terminated
	remote, distant     string // instances of the other region, of the other account
	rds, spare          string // interfaces
	orders, report, one string // functions: two that share an interface, one in a VPC of its own groups
	role                string
	s                   ec2.Settings
}

// newEstate builds the world and sets the environment up so that the SDK's own chain
// finds a key for it, and nothing else.
func newEstate(t *testing.T) *estate {
	t.Helper()
	w := awstest.New(awstest.Seed(7))
	e := &estate{w: w, mine: w.AddAccount(account), yours: w.AddAccount(theirs)}
	e.r, e.west, e.far = e.mine.Region(here), e.mine.Region(there), e.yours.Region(here)
	e.yours.Region(there)
	e.vpc = e.r.AddVPC("main", "10.0.0.0/16", "2001:db8:0::/56")
	e.sub = e.r.AddSubnet(e.vpc, here+"a", "10.0.1.0/24", "2001:db8::/64")
	sub2 := e.r.AddSubnet(e.vpc, here+"b", "10.0.2.0/24", "")
	app := e.r.AddGroup(awstest.GroupSpec{VPC: e.vpc, Name: "app"})
	other := e.r.AddGroup(awstest.GroupSpec{VPC: e.vpc, Name: "other"})
	e.web = e.r.AddInstance(awstest.InstanceSpec{
		Name: "web-1", Tags: map[string]string{"role": "web"}, Profile: "web", Image: e.r.AddImage("debian-13", ""), Interfaces: []awstest.InterfaceSpec{
			{Subnet: e.sub, Private: []string{"10.0.1.10", "10.0.1.11"}, IPv6: []string{"2001:db8::10"}, Public: "198.51.100.10", Groups: []string{app}},
			{Subnet: e.sub, Private: []string{"10.0.1.12"}, Prefixes: []string{"10.0.1.32/28", "2001:db8:0:0:1::/80"}},
		},
	})
	e.db = e.r.AddInstance(awstest.InstanceSpec{Name: "db-1", Tags: map[string]string{"role": "db"}, State: "stopped", Interfaces: []awstest.InterfaceSpec{{Subnet: e.sub, Private: []string{"10.0.1.20"}}}})
	e.old = e.r.AddInstance(awstest.InstanceSpec{Name: "old", Interfaces: []awstest.InterfaceSpec{{Subnet: e.sub, Private: []string{"10.0.1.30"}}}})
	e.r.SetState(e.old, "terminated")
	e.rds = e.r.AddInterface(awstest.InterfaceSpec{Subnet: e.sub, Private: []string{"10.0.1.50"}, Requester: "amazon-rds", Description: "RDSNetworkInterface"})
	e.spare = e.r.AddInterface(awstest.InterfaceSpec{Subnet: e.sub, Private: []string{"10.0.1.60"}, Tags: map[string]string{"role": "spare"}})
	e.orders = e.r.AddFunction(awstest.FunctionSpec{Name: "orders", Subnets: []string{e.sub, sub2}, Groups: []string{app}, Tags: map[string]string{"role": "orders"}})
	e.report = e.r.AddFunction(awstest.FunctionSpec{Name: "report", Subnets: []string{e.sub}, Groups: []string{app}, Tags: map[string]string{"role": "report"}})
	e.one = e.r.AddFunction(awstest.FunctionSpec{Name: "one", Subnets: []string{e.sub}, Groups: []string{app, other}})
	e.r.AddFunction(awstest.FunctionSpec{Name: "free"}) // in no VPC: nothing of ours

	e.westVPC = e.west.AddVPC("west", "10.1.0.0/16")
	e.remote = e.west.AddInstance(awstest.InstanceSpec{Name: "remote", Interfaces: []awstest.InterfaceSpec{{Subnet: e.west.AddSubnet(e.westVPC, there+"a", "10.1.1.0/24", ""), Private: []string{"10.1.1.10"}}}})
	farVPC := e.far.AddVPC("far", "10.9.0.0/16")
	e.distant = e.far.AddInstance(awstest.InstanceSpec{Name: "distant", Interfaces: []awstest.InterfaceSpec{{Subnet: e.far.AddSubnet(farVPC, here+"a", "10.9.1.0/24", ""), Private: []string{"10.9.1.10"}}}})
	e.role = e.yours.AddRole(awstest.RoleSpec{Name: "bulkhead", Trust: []string{account}, ExternalID: "b-1", Allow: allowed})

	e.use(t, e.mine.AddKey("bulkhead", append([]string{"sts:AssumeRole"}, allowed...)...))
	e.s = ec2.Settings{Regions: []string{here, there}, HTTP: w.HTTPClient(), Endpoint: "http://aws.invalid", MaxBackoff: time.Millisecond}
	return e
}

// use makes a key the one that the SDK finds.
func (e *estate) use(t *testing.T, k awstest.Key) {
	none := filepath.Join(t.TempDir(), "none")
	for name, v := range map[string]string{
		"AWS_ACCESS_KEY_ID": k.ID, "AWS_SECRET_ACCESS_KEY": k.Secret, "AWS_SESSION_TOKEN": "", "AWS_PROFILE": "", "AWS_ENDPOINT_URL": "", "AWS_CA_BUNDLE": "",
		"AWS_CONFIG_FILE": none, "AWS_SHARED_CREDENTIALS_FILE": none, "AWS_EC2_METADATA_DISABLED": "true",
	} {
		t.Setenv(name, v)
	}
}
