package ec2api_test

import (
	"net/http"
	"net/netip"
	"path/filepath"
	"reflect"
	"slices"
	"testing"
	"time"

	"bulkhead/drivers/aws/awstest"
	"bulkhead/pkg/aws/ec2api"
)

const (
	region  = "eu-central-1"
	account = "111122223333"
)

// world is an account with a VPC, and a client that may do everything in it.
type world struct {
	*awstest.World
	r        awstest.Region
	vpc, sub string
	c        *ec2api.Client
}

func newWorld(t testing.TB, allow ...string) *world {
	t.Helper()
	w := &world{World: awstest.New(awstest.Seed(3))}
	w.Unthrottled()
	a := w.AddAccount(account)
	w.r = a.Region(region)
	w.vpc = w.r.AddVPC("main", "10.0.0.0/16", "10.1.0.0/16", "2001:db8::/56")
	w.sub = w.r.AddSubnet(w.vpc, region+"a", "10.0.1.0/24", "2001:db8::/64")
	if allow == nil {
		allow = []string{"ec2:*", "lambda:*", "sts:*", "autoscaling:*"}
	}
	k := a.AddKey("bulkhead", allow...)
	none := filepath.Join(t.TempDir(), "none")
	for name, v := range map[string]string{
		"AWS_ACCESS_KEY_ID": k.ID, "AWS_SECRET_ACCESS_KEY": k.Secret, "AWS_SESSION_TOKEN": "", "AWS_PROFILE": "", "AWS_ENDPOINT_URL": "",
		"AWS_CONFIG_FILE": none, "AWS_SHARED_CREDENTIALS_FILE": none, "AWS_EC2_METADATA_DISABLED": "true", "AWS_CA_BUNDLE": "",
	} {
		t.Setenv(name, v)
	}
	w.c = w.client(t, w.HTTPClient())
	return w
}

func (w *world) client(t testing.TB, h *http.Client) *ec2api.Client {
	t.Helper()
	c, err := ec2api.Open(t.Context(), ec2api.Options{Region: region, Endpoint: "http://aws.invalid", HTTP: h, MaxBackoff: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// must fails the test with the error of a call.
func must[T any](t *testing.T) func(v T, err error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func prefixes(list ...string) (out []netip.Prefix) {
	for _, s := range list {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

// What a driver reads.
func TestReads(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	if got := must[string](t)(w.c.Account(ctx)); got != account || w.c.Region() != region {
		t.Errorf("account %q in %q", got, w.c.Region())
	}
	vpcs := must[[]ec2api.VPC](t)(w.c.VPCs(ctx))
	if len(vpcs) != 1 || vpcs[0].ID != w.vpc || !reflect.DeepEqual(vpcs[0].CIDRs, prefixes("10.0.0.0/16", "10.1.0.0/16", "2001:db8::/56")) || vpcs[0].Owner != account {
		t.Errorf("%+v", vpcs)
	}
	if got := must[[]ec2api.VPC](t)(w.c.VPCs(ctx, "vpc-00000000000000000")); len(got) != 0 {
		t.Errorf("%+v", got)
	}
	subnets := must[[]ec2api.Subnet](t)(w.c.Subnets(ctx, w.vpc))
	if len(subnets) != 1 || subnets[0].VPC != w.vpc || subnets[0].Zone != region+"a" || !reflect.DeepEqual(subnets[0].CIDRs, prefixes("10.0.1.0/24", "2001:db8::/64")) {
		t.Errorf("%+v", subnets)
	}
	second := w.r.AddVPC("second", "10.9.0.0/16")
	id := w.r.AddPeering(w.vpc, w.r, second)
	peerings := must[[]ec2api.Peering](t)(w.c.Peerings(ctx))
	if len(peerings) != 1 || peerings[0].ID != id || peerings[0].Status != "active" || peerings[0].Requester.VPC != w.vpc ||
		peerings[0].Accepter.VPC != second || peerings[0].Accepter.Region != region || !slices.Contains(peerings[0].Accepter.CIDRs, netip.MustParsePrefix("10.9.0.0/16")) {
		t.Errorf("%+v", peerings)
	}
	list := w.r.AddPrefixList("offices", 10, "198.51.100.0/24", "192.0.2.0/24")
	lists := must[[]ec2api.PrefixList](t)(w.c.PrefixLists(ctx))
	i := slices.IndexFunc(lists, func(l ec2api.PrefixList) bool { return l.ID == list })
	if i < 0 || lists[i].MaxEntries != 10 || lists[i].IPv6 || lists[i].Name != "offices" {
		t.Errorf("%+v", lists)
	}
	if got := must[[]netip.Prefix](t)(w.c.PrefixListEntries(ctx, list)); !reflect.DeepEqual(got, prefixes("192.0.2.0/24", "198.51.100.0/24")) {
		t.Errorf("%v", got)
	}
	app := w.r.AddGroup(awstest.GroupSpec{VPC: w.vpc, Name: "app", Tags: map[string]string{"team": "one"}})
	template := w.r.AddLaunchTemplate("web", awstest.LaunchVersion{Groups: []string{app}}, awstest.LaunchVersion{InterfaceGroups: []string{app}})
	versions := must[[]ec2api.TemplateVersion](t)(w.c.TemplateVersions(ctx, template))
	if len(versions) != 2 || versions[0].Version != 1 || !reflect.DeepEqual(versions[0].Groups, []string{app}) || !reflect.DeepEqual(versions[1].Groups, []string{app}) {
		t.Errorf("%+v", versions)
	}
	groups := must[[]ec2api.Group](t)(w.c.Groups(ctx, w.vpc))
	if i := slices.IndexFunc(groups, func(g ec2api.Group) bool { return g.ID == app }); i < 0 || groups[i].Name != "app" || groups[i].Tags["team"] != "one" || len(groups) != 2 {
		t.Errorf("%+v", groups)
	}
	if got := must[[]ec2api.Image](t)(w.c.Images(ctx, w.r.AddImage("debian-13", ""), "ami-00000000000000000")); len(got) != 1 || got[0].Name != "debian-13" {
		t.Errorf("%+v", got)
	}
}

func TestFunctionGroups(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	a, b := w.r.AddGroup(awstest.GroupSpec{VPC: w.vpc, Name: "a"}), w.r.AddGroup(awstest.GroupSpec{VPC: w.vpc, Name: "b"})
	arn := w.r.AddFunction(awstest.FunctionSpec{Name: "report", Subnets: []string{w.sub}, Groups: []string{a}, Tags: map[string]string{"role": "report"}})
	list := must[[]ec2api.Function](t)(w.c.Functions(ctx, w.vpc))
	if len(list) != 1 || list[0].ARN != arn || list[0].Owner != account || !slices.Equal(list[0].Groups, []string{a}) || list[0].Revision == "" {
		t.Fatalf("%+v", list)
	}
	if got := must[map[string]string](t)(w.c.FunctionTags(ctx, arn)); got["role"] != "report" {
		t.Errorf("%v", got)
	}
	if _, err := w.c.SetFunctionGroups(ctx, list[0], []string{b}); err != nil {
		t.Error(err)
	}
	// While that is under way, and then from a revision that is no more.
	if _, err := w.c.SetFunctionGroups(ctx, list[0], []string{a}); ec2api.KindOf(err) != ec2api.InUse {
		t.Errorf("two updates at once: %v", err)
	}
	w.FunctionLag(0)
	moved := list[0]
	moved.Revision = "00000000-0000-0000-0000-000000000000"
	arn2 := w.r.AddFunction(awstest.FunctionSpec{Name: "other", Subnets: []string{w.sub}, Groups: []string{a}})
	moved.ARN = arn2
	if _, err := w.c.SetFunctionGroups(ctx, moved, []string{b}); ec2api.KindOf(err) != ec2api.Moved {
		t.Errorf("an old revision is taken: %v", err)
	}
	if _, err := w.c.SetFunctionGroups(ctx, list[0], nil); err == nil {
		t.Error("a function would leave its VPC")
	}
	if f := w.r.Functions()[1]; f.Name != "report" || !slices.Equal(f.Groups, []string{b}) {
		t.Errorf("%+v", f)
	}
}

// Every call is of an action of the table, and needs that permission and no other.
func TestActionsSuffice(t *testing.T) {
	w := newWorld(t, ec2api.ActionsFor(ec2api.Uses()...)...)
	ctx := t.Context()
	group := w.r.AddGroup(awstest.GroupSpec{VPC: w.vpc, Name: "g"})
	w.r.AddFunction(awstest.FunctionSpec{Name: "f", Subnets: []string{w.sub}, Groups: []string{group}})
	var f ec2api.Function
	for name, do := range map[string]func() error{
		"instances":  func() error { _, err := w.c.Instances(ctx); return err },
		"interfaces": func() error { _, err := w.c.Interfaces(ctx); return err },
		"vpcs":       func() error { _, err := w.c.VPCs(ctx); return err },
		"subnets":    func() error { _, err := w.c.Subnets(ctx); return err },
		"peerings":   func() error { _, err := w.c.Peerings(ctx); return err },
		"groups":     func() error { _, err := w.c.Groups(ctx); return err },
		"rules":      func() error { _, err := w.c.Rules(ctx); return err },
		"lists":      func() error { _, err := w.c.PrefixLists(ctx); return err },
		"versions":   func() error { _, err := w.c.CurrentTemplateVersions(ctx); return err },
		"scaling":    func() error { _, err := w.c.ScalingGroups(ctx); return err },
		"functions": func() error {
			list, err := w.c.Functions(ctx)
			if err == nil {
				f = list[0]
			}
			return err
		},
	} {
		if err := do(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := w.c.SetFunctionGroups(ctx, f, []string{group}); err != nil {
		t.Error(err)
	}
	// Without it, it is the one that is named.
	for _, name := range []string{"ec2:DescribeInstances", "ec2:DescribeSecurityGroupRules"} {
		w := newWorld(t, slices.DeleteFunc(ec2api.ActionsFor(ec2api.Uses()...), func(s string) bool { return s == name })...)
		_, err := w.c.Instances(ctx)
		if name != "ec2:DescribeInstances" {
			_, err = w.c.Rules(ctx)
		}
		if ec2api.KindOf(err) != ec2api.Denied || ec2api.CodeOf(err) != "UnauthorizedOperation" {
			t.Errorf("without %s: %v", name, err)
		}
	}
}
