package reconcile_test

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"bulkhead/drivers/aws/awstest"
	"bulkhead/inventory"
	"bulkhead/pkg/driver"
	"bulkhead/pkg/policy/policytest"
	"bulkhead/pkg/reconcile"
)

// cloud is an account with a machine in each of two regions, behind an endpoint, and the
// site whose source it is.
type cloud struct {
	w          *awstest.World
	account    awstest.Account
	one, other awstest.Region
	subs       map[string]string
	dir        string
}

func newCloud(t *testing.T, settings string) *cloud {
	t.Helper()
	c := &cloud{w: awstest.New(), subs: map[string]string{}}
	c.w.Unthrottled()
	url, stop, err := c.w.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	c.account = c.w.AddAccount("111122223333")
	c.one, c.other = c.account.Region("eu-central-1"), c.account.Region("eu-west-1")
	for i, r := range []awstest.Region{c.one, c.other} {
		c.subs[r.Name] = r.AddSubnet(r.AddVPC("main", fmt.Sprintf("10.%d.0.0/16", i)), r.Name+"a", fmt.Sprintf("10.%d.1.0/24", i), "")
	}
	key := c.account.AddKey("bulkhead", "ec2:Describe*", "lambda:List*")
	none := filepath.Join(t.TempDir(), "none")
	for name, v := range map[string]string{
		"AWS_ACCESS_KEY_ID": key.ID, "AWS_SECRET_ACCESS_KEY": key.Secret, "AWS_SESSION_TOKEN": "", "AWS_PROFILE": "", "AWS_ENDPOINT_URL": url,
		"AWS_CONFIG_FILE": none, "AWS_SHARED_CREDENTIALS_FILE": none, "AWS_EC2_METADATA_DISABLED": "true", "AWS_CA_BUNDLE": "",
	} {
		t.Setenv(name, v)
	}
	c.dir = writeSite(t, map[string]string{
		"bulkhead.yaml": "name: t\nsources:\n  cloud: {type: ec2, trust: full, stale_after: 10m, settings: {regions: [eu-central-1, eu-west-1]" + settings + "}}\n",
		"policy.yaml":   "groups: {web: {where: 'kind == \"instance\" && labels.role == \"web\"'}}\n",
	})
	return c
}

func (c *cloud) add(r awstest.Region, n int) (ids []string) {
	for range n {
		ids = append(ids, r.AddInstance(awstest.InstanceSpec{Tags: map[string]string{"role": "web"}, Interfaces: []awstest.InterfaceSpec{{Subnet: c.subs[r.Name]}}}))
	}
	return ids
}

func states(s *reconcile.Site) string {
	var out []string
	for i := range s.Sources {
		out = append(out, fmt.Sprintf("%s %s %d", s.Sources[i].Source, s.Sources[i].State, len(s.Sources[i].Report.Assets)))
	}
	return strings.Join(out, ", ")
}

// A region that fails keeps its own assets, and the other one changes as it does.
func TestRegionFails(t *testing.T) {
	c := newCloud(t, "")
	st := state(t)
	load := func(after time.Duration, accept ...string) *reconcile.Site {
		t.Helper()
		s, diags, err := reconcile.LoadWith(context.Background(), c.dir, policytest.Epoch.Add(after), []driver.Kind{}, reconcile.LoadOptions{
			Collect: true, AcceptLost: reconcile.AcceptsLost(accept), Known: func(string) (map[string]inventory.Known, error) { return reconcile.KnownSources(st) },
		})
		if err != nil || s == nil {
			t.Fatalf("%v %v", diags.All(), err)
		}
		return s
	}
	expect := func(s *reconcile.Site, want string, members int) {
		t.Helper()
		if got := states(s); got != want {
			t.Errorf("sources are %s, want %s", got, want)
		}
		if n := len(s.Inventory.Assets); n != members {
			t.Errorf("%d assets, want %d", n, members)
		}
		for _, a := range s.Inventory.Assets {
			if got := a.Sources(); len(got) != 1 || got[0] != "cloud" {
				t.Errorf("%s stands on %q", a.ID, got)
			}
		}
	}
	c.add(c.one, 4)
	c.add(c.other, 4)
	// Before anything is known, a region that fails is missing, and no reason to see nothing.
	c.w.FailNext("DescribeInstances", "UnauthorizedOperation", 1)
	s := load(0)
	missing := 0
	for i := range s.Sources {
		if s.Sources[i].State == inventory.SourceMissing {
			missing++
		}
	}
	if missing != 1 || len(s.Inventory.Assets) != 4 {
		t.Errorf("%s", states(s))
	}
	if err := s.RememberSources(st, false); err != nil {
		t.Fatal(err)
	}
	if list, err := st.Sources(); err != nil || len(list) != 1 {
		t.Errorf("remembered are %+v, %v", list, err)
	}
	s = load(time.Minute)
	expect(s, "cloud/eu-central-1 current 4, cloud/eu-west-1 current 4", 8)
	if err := s.RememberSources(st, false); err != nil {
		t.Fatal(err)
	}
	c.account.Disable("eu-west-1")
	c.add(c.one, 1)
	s = load(2 * time.Minute)
	expect(s, "cloud/eu-central-1 current 5, cloud/eu-west-1 frozen 4", 9)
	if why := s.Sources[1].String(); !strings.Contains(why, `source "cloud/eu-west-1" is frozen`) || !strings.Contains(why, `in region "eu-west-1"`) {
		t.Error(why)
	}
	if err := s.RememberSources(st, false); err != nil {
		t.Fatal(err)
	}
	for _, accept := range []string{"source-lost", "source-lost=cloud", "source-lost=cloud/eu-west-1"} {
		s = load(3*time.Minute, accept)
		expect(s, "cloud/eu-central-1 current 5, cloud/eu-west-1 accepted 0", 5)
		if err := s.CheckAccepted([]string{accept}); err != nil {
			t.Error(err)
		}
	}
	for _, accept := range []string{"source-lost=cloud/eu-central-1", "source-lost=cloud/eu", "source-lost=other"} {
		s = load(3*time.Minute, accept)
		expect(s, "cloud/eu-central-1 current 5, cloud/eu-west-1 frozen 4", 9)
		if err := s.CheckAccepted([]string{accept}); (err == nil) != (accept == "source-lost=cloud/eu-central-1") {
			t.Errorf("%s: %v", accept, err)
		}
	}
	expect(load(13*time.Minute), "cloud/eu-central-1 current 5, cloud/eu-west-1 stale 0", 5)
}

// Every region failing and nothing known is no inventory.
func TestNoRegionAnswers(t *testing.T) {
	c := newCloud(t, "")
	t.Setenv("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE")
	_, _, err := reconcile.LoadWith(context.Background(), c.dir, policytest.Epoch, []driver.Kind{}, reconcile.LoadOptions{Collect: true})
	for _, part := range []string{`source "cloud/eu-central-1" (bulkhead.yaml:3) failed`, `source "cloud/eu-west-1" (bulkhead.yaml:3) failed`, "AuthFailure"} {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("%v lacks %q", err, part)
		}
	}
}

// Settings that AWS could not mean are mistakes of the site, each at its place, before
// anything is asked.
func TestEC2Settings(t *testing.T) {
	for _, tt := range []struct{ settings, want string }{
		{"regions: [eu-central-1, eu-central]", `bulkhead.yaml:3:70: error: "eu-central" is not the name of a region; they are like "eu-central-1"`},
		{"regions: [eu-central-1, eu-central-1]", `"eu-central-1" is there twice`},
		{"regions: [eu-central-1], roles: [bulkhead]", `"bulkhead" is not the ARN of a role`},
		{"regions: [eu-central-1], roles: ['arn:aws:iam::111122223333:role/a', 'arn:aws:iam::111122223333:role/b']", "an account is read through one role"},
		{"regions: [eu-central-1], vpcs: [main]", `"main" is not the ID of a VPC`},
		{"regions: [eu-central-1], tags: ['App Name=app name']", "the name of a label is made of"},
		{"regions: [eu-central-1], label_prefix: 'aws '", `"aws " cannot begin the name of a label`},
		{"regions: [eu-central-1], endpoint: localhost", `"localhost" is not a URL`},
		{"regions: [eu-central-1], region: x", `unknown setting of a source of type ec2 "region"`},
	} {
		dir := writeSite(t, map[string]string{"bulkhead.yaml": "name: t\nsources:\n  cloud: {type: ec2, trust: full, settings: {" + tt.settings + "}}\n"})
		s, diags, err := reconcile.LoadWith(context.Background(), dir, policytest.Epoch, []driver.Kind{}, reconcile.LoadOptions{Collect: true})
		if s != nil || err != nil || len(diags.All()) != 1 || !strings.Contains(diags.All()[0].Error(), tt.want) {
			t.Errorf("%s: %v, %v, want %s", tt.settings, diags.All(), err, tt.want)
		}
	}
	// Evidence makes no assets; that is said, and not forbidden.
	dir := writeSite(t, map[string]string{"bulkhead.yaml": "name: t\nsources:\n  cloud: {type: ec2, settings: {regions: [eu-central-1]}}\n"})
	_, diags, err := reconcile.LoadWith(context.Background(), dir, policytest.Epoch, []driver.Kind{}, reconcile.LoadOptions{})
	if err != nil || diags.HasErrors() || len(diags.All()) != 1 || !strings.Contains(diags.All()[0].Error(), `source "cloud" makes no assets`) {
		t.Errorf("%v, %v", diags.All(), err)
	}
}
