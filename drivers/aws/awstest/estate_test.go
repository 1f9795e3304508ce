package awstest_test

import (
	"testing"

	"bulkhead/drivers/aws/awstest"
)

const (
	here  = "eu-central-1"
	there = "eu-west-1"
	mine  = "111122223333"
	yours = "444455556666"
)

// estate is a small world that most tests begin with: two accounts, two VPCs with a
// peering between them, and three machines.
type estate struct {
	w            *awstest.World
	mine, yours  awstest.Account
	r, peer      awstest.Region
	vpc, other   string // of mine, of yours
	sub, sub2    string
	group        string // of mine, with nothing allowed in
	web, db, far string // instances; far is in the other VPC
	key          awstest.Key
	*clients
}

func newEstate(_ testing.TB) *estate {
	w := awstest.New(awstest.Seed(7))
	e := &estate{w: w, mine: w.AddAccount(mine), yours: w.AddAccount(yours)}
	e.r, e.peer = e.mine.Region(here), e.yours.Region(here)
	e.mine.Region(there)
	e.vpc = e.r.AddVPC("main", "10.0.0.0/16", "2001:db8:0::/56")
	e.other = e.peer.AddVPC("other", "10.9.0.0/16")
	e.sub = e.r.AddSubnet(e.vpc, here+"a", "10.0.1.0/24", "2001:db8::/64")
	e.sub2 = e.peer.AddSubnet(e.other, here+"a", "10.9.1.0/24", "")
	e.group = e.r.AddGroup(awstest.GroupSpec{VPC: e.vpc, Name: "app", Tags: map[string]string{"team": "one"}})
	e.web = e.r.AddInstance(awstest.InstanceSpec{
		Name: "web-1", Tags: map[string]string{"role": "web"}, Profile: "web", Interfaces: []awstest.InterfaceSpec{
			{Subnet: e.sub, Private: []string{"10.0.1.10", "10.0.1.11"}, IPv6: []string{"2001:db8::10"}, Public: "198.51.100.10", Groups: []string{e.group}},
			{Subnet: e.sub, Prefixes: []string{"10.0.1.32/28", "2001:db8:0:0:1::/80"}},
		}})
	e.db = e.r.AddInstance(awstest.InstanceSpec{Name: "db-1", Tags: map[string]string{"role": "db"}, State: "stopped",
		Interfaces: []awstest.InterfaceSpec{{Subnet: e.sub, Groups: []string{e.group}}}})
	e.far = e.peer.AddInstance(awstest.InstanceSpec{Name: "far", Interfaces: []awstest.InterfaceSpec{{Subnet: e.sub2}}})
	e.key = e.mine.AddKey("bulkhead", "ec2:*", "sts:*", "lambda:*", "autoscaling:*")
	e.clients = as(w, here, e.key)
	return e
}
