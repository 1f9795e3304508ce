package reconcile_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"bulkhead/drivers"
	"bulkhead/drivers/nftables"
	"bulkhead/pkg/config"
	"bulkhead/pkg/driver"
	"bulkhead/pkg/policy/policytest"
	"bulkhead/pkg/reconcile"
)

// fake is a device that speaks the language of nftables and holds its state in
// memory. It can be told to misbehave.
type fake struct {
	*nftables.Driver
	state   driver.State
	applied int
	// Faults.
	readErr   error
	writeErr  error                                // after the write went half way
	lie       func(want driver.State) driver.State // what it holds after an apply instead
	refuseOff bool                                 // it cannot be put back
	onApply   func()
}

func (f *fake) Read(context.Context) (driver.State, error) { return f.state, f.readErr }

func (f *fake) Apply(ctx context.Context, c *driver.Change) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	f.applied++
	if f.onApply != nil {
		f.onApply()
	}
	if f.refuseOff && f.applied > 1 {
		return errors.New("the device hung up")
	}
	f.state = c.To
	if f.lie != nil && f.applied == 1 {
		f.state = f.lie(c.To)
	}
	if f.writeErr != nil && f.applied == 1 {
		return f.writeErr
	}
	return nil
}

// bench is a site whose points are fakes, one device a point.
type bench struct {
	site    *reconcile.Site
	devices []*reconcile.Device
	fakes   map[string]*fake
	kind    driver.Kind
}

// kindEmpty is a device that holds nothing of ours.
func (b *bench) kindEmpty() driver.State { return nftables.Empty("t") }

const siteText = `name: t
points:
  gw-a: {driver: fake, zones: {a: {interfaces: [eth1], prefixes: [10.0.1.0/24]}, b: {interfaces: [eth2], prefixes: [10.0.2.0/24]}}}
  gw-b: {driver: fake, zones: {a: {interfaces: [eth1], prefixes: [10.0.1.0/24]}, b: {interfaces: [eth2], prefixes: [10.0.2.0/24]}}}
observe_learn: 0s
limits: {first_enforcement: accept}
`

const policyText = `assets:
  web: {kind: vm, addresses: [10.0.1.10], labels: {role: web}}
  db: {kind: vm, addresses: [10.0.2.10], labels: {role: db}}
groups:
  web: {where: 'labels.role == "web"'}
  db: {where: 'labels.role == "db"', isolate: both}
policies:
  - {name: web-to-db, from: web, to: db, services: [tcp/5432], action: allow}
`

func writeSite(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func newBench(t *testing.T, files map[string]string, q ...reconcile.Quarantine) *bench {
	t.Helper()
	b := &bench{fakes: map[string]*fake{}}
	kind := driver.Kind{Name: "fake",
		Device: func(p *config.Point) string { return "device of " + p.Name },
		Netns:  func(*config.Point) (string, bool) { return "", false },
		Open: func(site string, points []config.Point) (driver.Driver, error) {
			f := &fake{Driver: nftables.New(nftables.Options{Site: site, Interfaces: []string{"eth1", "eth2"}}), state: nftables.Empty(site)}
			b.fakes[points[0].Name] = f
			return f, nil
		},
		Encode: drivers.Find("nftables").Encode, Decode: drivers.Find("nftables").Decode}
	s, diags, err := reconcile.Load(context.Background(), writeSite(t, files), policytest.Epoch, []driver.Kind{kind}, true,
		func(string) ([]reconcile.Quarantine, error) { return q, nil })
	if err != nil || s == nil {
		t.Fatalf("%v %+v", err, diags.All())
	}
	b.site, b.kind = s, kind
	if b.devices, err = s.Devices(context.Background(), false); err != nil {
		t.Fatal(err)
	}
	return b
}

func (b *bench) plan(t *testing.T) *reconcile.Result {
	t.Helper()
	r, err := b.site.RunOnce(context.Background(), b.devices, reconcile.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func files() map[string]string {
	return map[string]string{"bulkhead.yaml": siteText, "policy.yaml": policyText}
}

func load(t *testing.T, files map[string]string) (*reconcile.Site, error) {
	t.Helper()
	s, _, err := reconcile.Load(context.Background(), writeSite(t, files), policytest.Epoch, []driver.Kind{{Name: "fake"}}, true)
	return s, err
}
