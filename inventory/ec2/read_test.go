package ec2_test

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"

	"bulkhead/drivers/aws/awstest"
	"bulkhead/inventory"
	"bulkhead/inventory/ec2"
	"bulkhead/pkg/aws/ec2api"
)

func byName(t *testing.T, list []ec2.Result, name string) ec2.Result {
	t.Helper()
	for _, r := range list {
		if r.Part.Name == name {
			return r
		}
	}
	t.Fatalf("no part %q", name)
	return ec2.Result{}
}

func good(t *testing.T, list []ec2.Result, name string) ec2.Report {
	t.Helper()
	r := byName(t, list, name)
	if r.Err != nil {
		t.Fatalf("%s: %v", name, r.Err)
	}
	return r.Report
}

// Everything through the real SDK: two regions, and a second account through a role.
func TestRead(t *testing.T) {
	e := newEstate(t)
	e.s.Roles, e.s.ExternalID, e.s.ImageNames = []string{ec2.Own, e.role}, "b-1", true
	list := ec2.Read(t.Context(), &e.s)
	if len(list) != 4 {
		t.Fatalf("%d parts", len(list))
	}
	r := good(t, list, here)
	want := map[string]string{
		e.web: "instance 10.0.1.10 10.0.1.11 10.0.1.12 10.0.1.32/28 2001:db8::10 2001:db8:0:0:1::/80",
		e.db:  "instance 10.0.1.20", e.rds: "external 10.0.1.50", e.spare: "external 10.0.1.60",
	}
	for id, s := range want {
		if got := text(find(t, r, id)); got != s {
			t.Errorf("%s is %q, want %q", id, got, s)
		}
	}
	orders, report, one := find(t, r, e.orders), find(t, r, e.report), find(t, r, e.one)
	if len(orders.Addresses) != 2 || len(report.Addresses) != 1 || len(one.Addresses) != 1 || orders.Addresses[0] != report.Addresses[0] || one.Addresses[0] == report.Addresses[0] {
		t.Errorf("functions are at %v, %v and %v", orders.Addresses, report.Addresses, one.Addresses)
	}
	if orders.Attributes["shares_interface"] != "true" || one.Attributes["shares_interface"] != "" || orders.Labels["role"] != "orders" {
		t.Errorf("%+v", orders)
	}
	if n := len(want) + 3; len(r.Assets) != n {
		t.Errorf("%d assets, want %d", len(r.Assets), n)
	}
	web := find(t, r, e.web)
	if a := web.Attributes; a["account"] != account || a["region"] != here || a["vpc"] != e.vpc || a["image_name"] != "debian-13" || a["iam_role"] != "web" || a["public_ip"] != "198.51.100.10" || web.Labels["Name"] != "web-1" {
		t.Errorf("%+v", web)
	}
	if a := find(t, r, e.db).Attributes; a["state"] != "stopped" {
		t.Errorf("%v", a)
	}
	if got := text(find(t, good(t, list, there), e.remote)); got != "instance 10.1.1.10" {
		t.Error(got)
	}
	far := find(t, good(t, list, theirs+"/"+here), e.distant)
	if text(far) != "instance 10.9.1.10" || far.Attributes["account"] != theirs {
		t.Errorf("%+v", far)
	}
	if n := len(good(t, list, theirs+"/"+there).Assets); n != 0 {
		t.Errorf("%d assets where nothing is", n)
	}
	// Nothing was asked in one piece, and nothing was written.
	for _, c := range e.w.Calls() {
		if c.Service == "ec2" && c.Params["MaxResults"] == "" {
			t.Errorf("%s came without MaxResults: %v", c.Action, c.Params)
		}
		if (c.Action == "DescribeInstances" || c.Action == "DescribeNetworkInterfaces") && c.Params["IncludeManagedResources"] != "true" {
			t.Errorf("%s leaves out what is hidden", c.Action)
		}
		if c.Mutating {
			t.Errorf("%s writes", c.Action)
		}
	}
}

// What Uses says is allowed is enough, and nothing of it is too much.
func TestUses(t *testing.T) {
	e := newEstate(t)
	e.s.Roles, e.s.ExternalID, e.s.ImageNames, e.s.VPCs = []string{ec2.Own, e.role}, "b-1", true, []string{e.vpc}
	everywhere, own := e.s.Uses()
	names := ec2api.ActionsFor(append(everywhere, own...)...)
	e.use(t, e.mine.AddKey("least", names...))
	for _, r := range ec2.Read(t.Context(), &e.s) {
		if r.Err != nil {
			t.Error(r.Err)
		}
	}
	for _, n := range names {
		_, action, _ := strings.Cut(n, ":")
		if e.w.CountCalls(action) == 0 {
			t.Errorf("%s is allowed and never called", n)
		}
	}
}

// The same world gives the same bytes, in whatever order and pieces it was told.
func TestSameBytes(t *testing.T) {
	e := newEstate(t)
	bytes := func() string {
		list := ec2.Read(t.Context(), &e.s)
		for _, r := range list {
			good(t, list, r.Part.Name)
		}
		b, err := json.Marshal(list)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	first := bytes()
	for _, sparse := range []bool{false, true} {
		e.w.SparsePages(sparse)
		if got := bytes(); got != first {
			t.Errorf("with sparse pages %t it is\n%s, and was\n%s", sparse, got, first)
		}
	}
}

// More than a page of everything, in pages that are not full and one that is empty.
func TestPages(t *testing.T) {
	e := newEstate(t)
	vpc := e.west.AddVPC("many", "10.2.0.0/16")
	sub := e.west.AddSubnet(vpc, there+"a", "10.2.0.0/16", "")
	const n = 620
	for i := range n {
		at := netip.AddrFrom4([4]byte{10, 2, byte(1 + i/250), byte(1 + i%250)})
		e.west.AddInstance(awstest.InstanceSpec{Name: fmt.Sprintf("m-%d", i), Interfaces: []awstest.InterfaceSpec{{Subnet: sub, Private: []string{at.String()}}}})
	}
	for i := range 60 {
		e.west.AddFunction(awstest.FunctionSpec{Name: fmt.Sprintf("f-%02d", i), Subnets: []string{sub}, Groups: []string{e.west.DefaultGroup(vpc)}})
	}
	e.w.SparsePages(true)
	e.w.Unthrottled()
	e.s.Regions = []string{there}
	var r ec2.Report
	synctest.Test(t, func(t *testing.T) { r = good(t, ec2.Read(t.Context(), &e.s), there) }) // the tags of functions take seconds
	kinds := map[inventory.Kind]int{}
	addresses := map[netip.Prefix]bool{}
	for _, a := range r.Assets {
		kinds[a.Kind]++
		for _, p := range a.Addresses {
			addresses[p] = true
		}
	}
	if kinds[inventory.Instance] != n+1 || kinds[inventory.Function] != 60 || len(addresses) != n+2 {
		t.Errorf("%v with %d addresses", kinds, len(addresses))
	}
	if e.w.CountCalls("DescribeInstances") < 3 || e.w.CountCalls("DescribeNetworkInterfaces") < 3 || e.w.CountCalls("ListFunctions") != 2 {
		t.Errorf("%d, %d and %d calls", e.w.CountCalls("DescribeInstances"), e.w.CountCalls("DescribeNetworkInterfaces"), e.w.CountCalls("ListFunctions"))
	}
}

// Only some VPCs, and those that are nowhere.
func TestVPCs(t *testing.T) {
	e := newEstate(t)
	e.w.Unthrottled()
	second := e.r.AddVPC("second", "10.3.0.0/16")
	e.r.AddInstance(awstest.InstanceSpec{Name: "second", Interfaces: []awstest.InterfaceSpec{{Subnet: e.r.AddSubnet(second, here+"a", "10.3.1.0/24", ""), Private: []string{"10.3.1.1"}}}})
	const gone = "vpc-00000000000000000"
	for _, tt := range []struct {
		vpcs           []string
		central, west  int // assets
		badHere, badBy string
	}{
		{nil, 8, 1, "", ""},
		{[]string{e.vpc}, 7, 0, "", ""},
		{[]string{second, e.westVPC}, 1, 1, "", ""},
		{[]string{e.vpc, gone}, 7, 0, "", there},
		{[]string{gone}, 0, 0, here, there},
		{[]string{e.vpc, e.westVPC, gone}, 0, 0, here, there},
	} {
		e.s.VPCs = tt.vpcs
		list := ec2.Read(t.Context(), &e.s)
		for name, n := range map[string]int{here: tt.central, there: tt.west} {
			r := byName(t, list, name)
			if bad := name == tt.badHere || name == tt.badBy; bad != (r.Err != nil) || len(r.Report.Assets) != n {
				t.Errorf("of %q in %s: %d assets, %v; want %d, an error %t", tt.vpcs, name, len(r.Report.Assets), r.Err, n, bad)
			} else if bad && !strings.Contains(r.Err.Error(), fmt.Sprintf("region %q: the source asks for %q, which is neither here nor", name, gone)) {
				t.Error(r.Err)
			}
		}
	}
	// While a region fails, nobody knows what is nowhere.
	e.s.VPCs = []string{e.vpc, gone}
	e.mine.Disable(there)
	bad := 0
	for _, r := range ec2.Read(t.Context(), &e.s) {
		if r.Err != nil && strings.Contains(r.Err.Error(), "neither here") {
			bad++
		}
	}
	if bad != 0 {
		t.Errorf("%d parts say that it is nowhere", bad)
	}
}
