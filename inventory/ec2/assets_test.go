package ec2_test

import (
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"

	"bulkhead/inventory"
	"bulkhead/inventory/ec2"
	"bulkhead/inventory/file"
	"bulkhead/pkg/aws/ec2api"
)

func addrs(list ...string) (out []netip.Addr) {
	for _, s := range list {
		out = append(out, netip.MustParseAddr(s))
	}
	return out
}

const (
	account = "111122223333"
	vpc     = "vpc-0123456789abcdef0"
)

// eni is an interface of the account's own.
func eni(id string, at ...string) ec2api.Interface {
	return ec2api.Interface{
		ID: id, Owner: account, VPC: vpc, Subnet: "subnet-a", Zone: "eu-central-1a", Type: "interface", Status: "in-use",
		MAC: "02:00:00:00:00:" + id[len(id)-2:], Addresses: addrs(at...), SourceDestCheck: true,
	}
}

func find(t *testing.T, r ec2.Report, id string) inventory.Asset {
	t.Helper()
	i := slices.IndexFunc(r.Assets, func(a inventory.Asset) bool { return a.ID == id })
	if i < 0 {
		t.Fatalf("no asset %q among %d", id, len(r.Assets))
	}
	return r.Assets[i]
}

func text(a inventory.Asset) string {
	var out []string
	for _, p := range a.Addresses {
		out = append(out, inventory.FormatPrefix(p))
	}
	return string(a.Kind) + " " + strings.Join(out, " ")
}

// Everything that a part may hold, and what becomes of it.
func TestReport(t *testing.T) {
	first, second := eni("eni-01", "10.0.0.10", "10.0.0.11", "2001:db8::10"), eni("eni-02", "10.0.1.10")
	first.Public = addrs("203.0.113.10", "203.0.113.9")
	second.Prefixes = []netip.Prefix{netip.MustParsePrefix("10.0.1.16/28"), netip.MustParsePrefix("2001:db8:1::/80")}
	second.SourceDestCheck = false
	kept, gone := eni("eni-03", "10.0.0.30"), eni("eni-04", "10.0.0.40")
	kept.Instance, gone.Instance, gone.DeleteOnTermination = "i-dead", "i-dead", true
	let := eni("eni-05", "10.0.0.50")
	let.Instance = "i-web" // but the instance, which was asked later, no longer names it
	shared := eni("eni-06", "10.0.0.60")
	shared.Owner, shared.Instance = "444455556666", "i-theirs"
	free := eni("eni-07", "10.0.0.70")
	free.Status, free.Tags = "available", map[string]string{"app": "spare"}
	rds := eni("eni-08", "10.0.0.80")
	rds.RequesterManaged, rds.Requester, rds.Description = true, "amazon-rds", "RDSNetworkInterface"
	lb := eni("eni-09", "10.0.0.90")
	lb.RequesterManaged, lb.Description, lb.Instance = true, "ELB app/shop/0123456789abcdef", "i-of-the-service"
	pod := eni("eni-10", "10.0.0.100")
	pod.Type = "branch"
	w := &ec2.World{
		Region: "eu-central-1",
		Instances: []ec2api.Instance{
			{
				ID: "i-web", Owner: account, VPC: vpc, Subnet: "subnet-a", Zone: "eu-central-1a", State: "stopped", Image: "ami-1", Type: "t3.micro", Platform: "Linux/UNIX",
				Profile: "arn:aws:iam::111122223333:instance-profile/app/web", Interfaces: []ec2api.Interface{first, second}, Tags: map[string]string{"Name": "web 1", "app": "web"},
			},
			{ID: "i-dead", State: "terminated", Tags: map[string]string{"app": "web"}},
		},
		Interfaces: []ec2api.Interface{first, second, kept, gone, let, shared, free, rds, lb, pod},
		Images:     []ec2api.Image{{ID: "ami-1", Name: "debian-13"}},
	}
	r := w.Report(&ec2.Settings{})
	want := map[string]string{
		"i-web":    "instance 10.0.0.10 10.0.0.11 10.0.1.10 10.0.1.16/28 2001:db8::10 2001:db8:1::/80",
		"eni-03":   "external 10.0.0.30", // it outlived its instance
		"eni-05":   "external 10.0.0.50",
		"i-theirs": "instance 10.0.0.60",
		"eni-07":   "external 10.0.0.70",
		"eni-08":   "external 10.0.0.80",
		"eni-09":   "external 10.0.0.90",
		"eni-10":   "container 10.0.0.100",
	}
	if len(r.Assets) != len(want) || len(r.Conflicts) > 0 {
		t.Errorf("%d assets, want %d; conflicts %v", len(r.Assets), len(want), r.Conflicts)
	}
	for id, s := range want {
		if got := text(find(t, r, id)); got != s {
			t.Errorf("%s is %q, want %q", id, got, s)
		}
	}
	if !slices.IsSortedFunc(r.Assets, func(a, b inventory.Asset) int { return strings.Compare(a.ID, b.ID) }) {
		t.Error("not in order")
	}
	web := find(t, r, "i-web")
	attributes := map[string]string{
		"instance_id": "i-web", "account": account, "region": "eu-central-1", "vpc": vpc, "subnet": "subnet-a", "availability_zone": "eu-central-1a",
		"image": "ami-1", "image_name": "debian-13", "platform": "Linux/UNIX", "instance_type": "t3.micro", "iam_role": "web", "state": "stopped",
		"public_ip": "203.0.113.10 203.0.113.9", "node": "true", "source_dest_check": "false",
	}
	if !reflect.DeepEqual(web.Attributes, attributes) {
		t.Errorf("attributes are\n%v, want\n%v", web.Attributes, attributes)
	}
	if !reflect.DeepEqual(web.Labels, map[string]string{"Name": "web 1", "app": "web"}) {
		t.Errorf("labels are %v", web.Labels)
	}
	if len(web.Attachments) != 2 || web.Attachments[0].ENI != "eni-01" || len(web.MACs) != 2 {
		t.Errorf("plugged in at %v with %v", web.Attachments, web.MACs)
	}
	for id, s := range map[string]string{"eni-08": "rds|rds:ModifyDBInstance|", "eni-09": "load-balancer|elasticloadbalancing:SetSecurityGroups|app/shop/0123456789abcdef"} {
		a := find(t, r, id).Attributes
		if got := a["service"] + "|" + a["groups_changed_by"] + "|" + a["service_resource"]; got != s {
			t.Errorf("%s is a service's: %q, want %q", id, got, s)
		}
	}
	for _, a := range r.Assets {
		if err := file.CheckID(a.ID); err != nil {
			t.Error(err)
		}
	}
	// Addresses that AWS translates are addresses only on demand.
	if got := text(find(t, w.Report(&ec2.Settings{Public: true}), "i-web")); !strings.Contains(got, " 203.0.113.9 203.0.113.10") {
		t.Errorf("with public addresses it is %q", got)
	}
	// Merged, nothing of it is a router, nameless or held twice.
	inv := inventory.Merge([]inventory.Report{{Source: "cloud", Trust: inventory.TrustFull, Assets: r.Assets}}, inventory.MergeOptions{})
	if len(inv.Assets) != len(want) || len(inv.Evidence) > 0 || len(inv.Conflicts) > 0 {
		t.Errorf("%d assets, evidence %v, conflicts %v", len(inv.Assets), inv.Evidence, inv.Conflicts)
	}
}

// A node with more addresses than a host has is a node, and no router.
func TestManyAddresses(t *testing.T) {
	n := eni("eni-01")
	for i := range 50 {
		n.Addresses = append(n.Addresses, netip.AddrFrom4([4]byte{10, 0, 0, byte(i + 1)}))
	}
	w := &ec2.World{Instances: []ec2api.Instance{{ID: "i-node", Interfaces: []ec2api.Interface{n}}}}
	inv := inventory.Merge([]inventory.Report{{Source: "cloud", Trust: inventory.TrustFull, Assets: w.Report(&ec2.Settings{}).Assets}}, inventory.MergeOptions{})
	if len(inv.Assets) != 1 || len(inv.Assets[0].Addresses) != 50 {
		t.Errorf("%+v, set aside %v", inv.Assets, inv.Evidence)
	}
}

// lambdaENI is an interface that Lambda keeps for functions.
func lambdaENI(id, subnet string, groups []string, at string) ec2api.Interface {
	n := eni(id, at)
	n.Type, n.RequesterManaged, n.Subnet, n.Groups = "lambda", true, subnet, groups
	n.Description = "AWS Lambda VPC ENI-report-01234567-89ab-cdef-0123-456789abcdef"
	return n
}

func function(name string, groups []string, subnets ...string) ec2api.Function {
	return ec2api.Function{
		ARN: "arn:aws:lambda:eu-central-1:" + account + ":function:" + name, Name: name, Owner: account, VPC: vpc, Subnets: subnets, Groups: groups,
		Role: "arn:aws:iam::111122223333:role/service-role/" + name, Runtime: "python3.13", State: "Active", Tags: map[string]string{"app": name},
	}
}

// Functions with the same subnets and groups go through the same interfaces, and have
// the same addresses: nothing on the network can tell them apart.
func TestFunctions(t *testing.T) {
	a, b := []string{"sg-a"}, []string{"sg-a", "sg-b"}
	w := &ec2.World{
		Region: "eu-central-1",
		Interfaces: []ec2api.Interface{
			lambdaENI("eni-01", "subnet-a", a, "10.0.0.1"), lambdaENI("eni-02", "subnet-b", a, "10.0.1.1"), lambdaENI("eni-03", "subnet-a", b, "10.0.0.2"),
			lambdaENI("eni-04", "subnet-c", a, "10.0.2.1"), // of a function that is no more
		},
		Functions: []ec2api.Function{
			function("orders", a, "subnet-a", "subnet-b"), function("report", a, "subnet-a"), function("audit", b, "subnet-a"), function("new", []string{"sg-c"}, "subnet-a"),
		},
	}
	for _, tt := range []struct {
		mode ec2.FunctionMode
		want []string
	}{
		{"", []string{
			"eni-04 external 10.0.2.1 shared= managed=", "audit function 10.0.0.2 shared= managed=", "new function  shared= managed=",
			"orders function 10.0.0.1 10.0.1.1 shared=true managed=", "report function 10.0.0.1 shared=true managed=",
		}},
		{ec2.FunctionsManage, []string{
			"eni-04 external 10.0.2.1 shared= managed=", "audit function 10.0.0.2 shared= managed=true", "new function  shared= managed=true",
			"orders function 10.0.0.1 10.0.1.1 shared=true managed=true", "report function 10.0.0.1 shared=true managed=true",
		}},
		{ec2.FunctionsOff, []string{
			"eni-01 external 10.0.0.1 shared= managed=", "eni-02 external 10.0.1.1 shared= managed=", "eni-03 external 10.0.0.2 shared= managed=", "eni-04 external 10.0.2.1 shared= managed=",
		}},
	} {
		r := w.Report(&ec2.Settings{Functions: tt.mode})
		var got []string
		for _, x := range r.Assets {
			id := x.ID[strings.LastIndexByte(x.ID, ':')+1:]
			got = append(got, fmt.Sprintf("%s %s shared=%s managed=%s", id, text(x), x.Attributes["shares_interface"], x.Attributes["managed"]))
			if x.Kind == inventory.Function && (x.Labels["app"] != x.Attributes["function_name"] || x.Attributes["iam_role"] != x.Labels["app"]) {
				t.Errorf("%s has labels %v and attributes %v", id, x.Labels, x.Attributes)
			}
			if err := file.CheckID(x.ID); err != nil {
				t.Error(err)
			}
		}
		slices.Sort(got)
		slices.Sort(tt.want)
		if !slices.Equal(got, tt.want) {
			t.Errorf("functions %q:\n%s\nwant\n%s", tt.mode, strings.Join(got, "\n"), strings.Join(tt.want, "\n"))
		}
	}
}

func TestLabels(t *testing.T) {
	tags := map[string]string{
		"app": "web", "App Name": "shop", "App_Name": "other", "kubernetes.io/cluster/main": "owned", "aws:autoscaling:groupName": "web-asg",
		"Größe": "1", "team+a": "x", "team:a": "x", strings.Repeat("k", 64): "long", "empty": "",
	}
	for _, tt := range []struct {
		name   string
		labels ec2.Labels
		want   map[string]string
		twice  string
	}{
		{"all", ec2.Labels{}, map[string]string{
			"app": "web", "kubernetes.io/cluster/main": "owned", "aws_autoscaling_groupName": "web-asg", "Gr__e": "1", "team_a": "x", "empty": "",
		}, `labels.App_Name not set, several tags would be that: i-1 "App Name"="shop"; i-1 "App_Name"="other"`},
		{"with a prefix", ec2.Labels{Prefix: "aws/"}, map[string]string{
			"aws/app": "web", "aws/kubernetes.io/cluster/main": "owned", "aws/aws_autoscaling_groupName": "web-asg", "aws/Gr__e": "1", "aws/team_a": "x", "aws/empty": "",
		}, "labels.aws/App_Name"},
		{"some", ec2.Labels{Tags: map[string]string{"app": "", "App Name": "product", "absent": ""}}, map[string]string{"app": "web", "product": "shop"}, ""},
		{"one name for two", ec2.Labels{Tags: map[string]string{"app": "product", "App Name": "product"}}, nil, "labels.product not set"},
		{"none", ec2.Labels{Tags: map[string]string{}}, nil, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := &ec2.World{Instances: []ec2api.Instance{{ID: "i-1", Tags: tags}}}
			r := w.Report(&ec2.Settings{Labels: tt.labels})
			if got := r.Assets[0].Labels; !reflect.DeepEqual(got, tt.want) {
				t.Errorf("labels are\n%v, want\n%v", got, tt.want)
			}
			said := ""
			if len(r.Conflicts) > 0 {
				said = r.Conflicts[0].String()
			}
			if (tt.twice == "") != (said == "") || !strings.Contains(said, tt.twice) {
				t.Errorf("conflict %q, want %q", said, tt.twice)
			}
			if facts := len(r.Assets[0].Facts); facts != 0 != (tt.labels.Tags == nil) {
				t.Errorf("%d tags are named that cannot be labels", facts)
			}
			for name := range r.Assets[0].Labels {
				rest := strings.Map(func(r rune) rune {
					if inventory.FieldNameRune(r) {
						return -1
					}
					return r
				}, name)
				if rest != "" || len(name) > inventory.MaxFieldName {
					t.Errorf("a file could not have the label %q", name)
				}
			}
		})
	}
}

func TestSettings(t *testing.T) {
	s := ec2.Settings{Regions: []string{"eu-west-1", "eu-central-1"}}
	if p := s.Parts(); len(p) != 2 || p[0] != (ec2.Part{Name: "eu-central-1", Region: "eu-central-1"}) {
		t.Errorf("%+v", p)
	}
	s.Roles = []string{ec2.Own, "arn:aws:iam::444455556666:role/path/bulkhead"}
	if p := s.Parts(); len(p) != 4 || p[0].Name != "444455556666/eu-central-1" || p[0].Role != s.Roles[1] || p[3].Name != "eu-west-1" || p[3].Role != "" {
		t.Errorf("%+v", p)
	}
	for _, bad := range []string{"", "eu-central", "EU-CENTRAL-1", "eu-central-1a", "eu_central_1", "x"} {
		if ec2.CheckRegion(bad) == nil {
			t.Errorf("%q passes for a region", bad)
		}
	}
	for _, good := range []string{"eu-central-1", "us-gov-west-1", "ap-southeast-5", "us-iso-east-1", "mx-central-1"} {
		if err := ec2.CheckRegion(good); err != nil {
			t.Error(err)
		}
	}
	for _, bad := range []string{"", "bulkhead", "arn:aws:iam::1111:role/x", "arn:aws:iam::111122223333:user/x", "arn:aws:iam::111122223333:role/", "arn:aws:sts::111122223333:role/x"} {
		if ec2.CheckRole(bad) == nil {
			t.Errorf("%q passes for a role", bad)
		}
	}
	if err := ec2.CheckRoles([]string{"arn:aws:iam::111122223333:role/a", ec2.Own, "arn:aws:iam::111122223333:role/b"}); err == nil || !strings.Contains(err.Error(), "one account") {
		t.Errorf("two roles of an account: %v", err)
	}
	if ec2.CheckVPC("vpc-xyz") == nil || ec2.CheckVPC(vpc) != nil {
		t.Error("VPC IDs")
	}
	for in, want := range map[string][2]string{"app": {"app", ""}, "App Name=app": {"App Name", "app"}, "a=b=c": {"a=b", "c"}} {
		key, label, err := ec2.ParseTag(in)
		if err != nil || [2]string{key, label} != want {
			t.Errorf("ParseTag(%q) = %q, %q, %v", in, key, label, err)
		}
	}
	for _, bad := range []string{"", "a=", "a=b c", "=b"} {
		if _, _, err := ec2.ParseTag(bad); err == nil {
			t.Errorf("ParseTag(%q) passes", bad)
		}
	}
}
