package aws_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"bulkhead/drivers/aws"
	"bulkhead/drivers/aws/awstest"
	"bulkhead/inventory"
	"bulkhead/pkg/config"
	"bulkhead/pkg/controller"
	"bulkhead/pkg/driver"
	"bulkhead/pkg/plan"
	"bulkhead/pkg/reconcile"
	"bulkhead/pkg/store"
)

const twoPoints = `
name: cloudy
points:
  cloud:
    driver: aws
    protects: 'has(labels.tier)'
    accept_inexact: [icmp-family, no-multicast, provider-link-local, source-port]
    settings: {region: eu-central-1, endpoint: %q, exclusive: true}
  other:
    driver: aws
    protects: 'id == "far"'
    accept_inexact: [icmp-family, no-multicast, provider-link-local, source-port]
    settings: {region: eu-west-1, endpoint: %q, exclusive: true%s}
limits: {first_enforcement: accept, newly_denied_percent: 100}
`

const farAsset = `
assets:
  far: {kind: instance, addresses: [10.9.0.10], labels: {zone: far}}
`

// What is wrong with one account or region is told of its point, and no other waits for it;
// when it is right again, the next pass does what is left.
func TestWrongPointAlone(t *testing.T) {
	for _, tt := range []struct {
		name, settings string
		broken, mended func(t *testing.T, e *estate)
		want           []string
	}{
		{
			name: "wrong credentials", settings: ", profile: broken",
			broken: func(t *testing.T, _ *estate) { profile(t, "AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI") },
			mended: func(t *testing.T, e *estate) {
				k := e.w.AddAccount(account).AddKey("second", "ec2:*", "autoscaling:*")
				profile(t, k.ID, k.Secret)
			},
			want: []string{`ec2:DescribeVpcs in region "eu-west-1"`, "no credentials that AWS takes (AuthFailure", "are they right"},
		},
		{
			name: "a denied action", settings: ", profile: broken",
			broken: func(t *testing.T, e *estate) {
				k := e.w.AddAccount(account).AddKey("second", "ec2:DescribeVpc*")
				profile(t, k.ID, k.Secret)
			},
			mended: func(t *testing.T, e *estate) {
				k := e.w.AddAccount(account).AddKey("third", "ec2:*", "autoscaling:*")
				profile(t, k.ID, k.Secret)
			},
			want: []string{`ec2:DescribeNetworkInterfaces in region "eu-west-1"`, `"Action":["ec2:DescribeNetworkInterfaces"]`},
		},
		{
			name: "a VPC that does not exist", settings: `, vpcs: [vpc-0123456789abcdef0]`,
			want: []string{`there is no VPC "vpc-0123456789abcdef0" in region "eu-west-1"; is it of another account?`},
		},
	} {
		t.Run(tt.name, func(t *testing.T) { wrongPoint(t, tt.settings, tt.broken, tt.mended, tt.want) })
	}
}

// profile writes the credentials of the profile "broken".
func profile(t *testing.T, id, secret string) {
	t.Helper()
	text := fmt.Sprintf("[broken]\naws_access_key_id = %s\naws_secret_access_key = %s\n", id, secret)
	if err := os.WriteFile(os.Getenv("AWS_SHARED_CREDENTIALS_FILE"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func wrongPoint(t *testing.T, settings string, broken, mended func(*testing.T, *estate), want []string) {
	e := newEstate(t)
	west := e.w.AddAccount(account).Region("eu-west-1")
	vpc := west.AddVPC("west", "10.9.0.0/16")
	far := west.AddInterface(awstest.InterfaceSpec{Subnet: west.AddSubnet(vpc, "eu-west-1a", "10.9.0.0/24", ""), Private: []string{"10.9.0.10"}})
	if broken != nil {
		broken(t, e)
	}
	dir := newDirectory(t, e)
	dir.write("policy.yaml", fmt.Sprintf(policyText, 80))
	dir.write("far.yaml", farAsset)
	pass := func(settings string) *controller.Pass {
		t.Helper()
		dir.write("bulkhead.yaml", fmt.Sprintf(twoPoints, dir.url, dir.url, settings))
		return dir.pass()
	}
	p := pass(settings)
	for _, row := range p.Plan.Points {
		switch row.Name {
		case "other":
			if row.Status != plan.Unreachable {
				t.Errorf("point %q is %s", row.Name, row.Status)
			}
			for _, w := range want {
				if !strings.Contains(row.Error, w) {
					t.Errorf("%q is missing in %q", w, row.Error)
				}
			}
		default:
			if row.Error != "" {
				t.Errorf("point %q: %s", row.Name, row.Error)
			}
		}
	}
	if got := e.find(e.web).Groups; len(got) != 1 || got[0] == e.empty {
		t.Errorf("%s: %s: the other point waited: %v", p.Result, p.Why, got)
	}
	if n, _ := west.Interface(far); len(n.Groups) != 1 {
		t.Errorf("%+v", n)
	}
	if mended != nil {
		mended(t, e)
	} else {
		settings = ""
	}
	if p := pass(settings); p.Result != controller.Applied {
		t.Fatalf("mended: %s: %s", p.Result, p.Why)
	}
	if p := pass(settings); p.Result != controller.InSync {
		t.Errorf("mended, again: %s: %s", p.Result, p.Why)
	}
}

// directory is a site directory, and a controller that makes passes with it.
type directory struct {
	t    *testing.T
	path string
	url  string // of the simulation
	c    *controller.Controller
	kind driver.Kind
}

func newDirectory(t *testing.T, e *estate) *directory {
	t.Helper()
	url, stop, err := e.w.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	st, err := store.Open(t.TempDir(), "cloudy", time.Now)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = st.Close() })
	d := &directory{t: t, path: t.TempDir(), url: url, c: &controller.Controller{Store: st, Now: time.Now, Who: "eva"}, kind: aws.Kind()}
	open := d.kind.Open
	d.kind.Open = func(site string, points []config.Point) (driver.Driver, error) {
		x, err := open(site, points)
		if err == nil {
			t.Cleanup(func() { _ = x.(*aws.Driver).Close() })
		}
		return x, err
	}
	return d
}

func (d *directory) write(name, text string) {
	d.t.Helper()
	if err := os.WriteFile(filepath.Join(d.path, name), []byte(text), 0o600); err != nil {
		d.t.Fatal(err)
	}
}

func (d *directory) pass() *controller.Pass {
	d.t.Helper()
	ctx := context.Background()
	s, diags, err := reconcile.LoadWith(ctx, d.path, time.Now(), []driver.Kind{d.kind}, reconcile.LoadOptions{Collect: true,
		Known: func(string) (map[string]inventory.Known, error) { return reconcile.KnownSources(d.c.Store) }})
	if err != nil || s == nil || diags.HasErrors() {
		d.t.Fatal(err, diags.All())
	}
	devices, err := s.Devices(ctx, false)
	if err != nil {
		d.t.Fatal(err)
	}
	p, err := d.c.Pass(ctx, s, devices, controller.PassOptions{})
	if err != nil {
		d.t.Fatal(err)
	}
	return p
}
