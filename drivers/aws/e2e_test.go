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
	"bulkhead/pkg/controller"
	"bulkhead/pkg/driver"
	"bulkhead/pkg/reconcile"
	"bulkhead/pkg/store"
)

const siteText = `
name: cloudy
points:
  cloud:
    driver: aws
    protects: 'has(labels.tier)'
    accept_inexact: [icmp-family, no-multicast, provider-link-local, source-port]
    settings: {region: eu-central-1, endpoint: %q, exclusive: true}
limits: {first_enforcement: accept, newly_denied_percent: 100}
`

const policyText = `
assets:
  web: {kind: instance, addresses: [10.0.0.10, "2001:db8::10"], labels: {tier: web}}
  web2: {kind: instance, addresses: [10.0.0.13, "2001:db8::13"], labels: {tier: web}}
  app: {kind: instance, addresses: [10.0.0.11, "2001:db8::11"], labels: {tier: app}}
groups:
  web: {where: 'labels.tier == "web"', isolate: both}
  app: {where: 'labels.tier == "app"', isolate: both}
policies:
  - {name: web-to-app, from: web, to: app, services: [tcp/%d], action: allow}
`

// A site directory, and nothing else, brings an account to what it says: by the same pass
// that the daemon makes.
func TestPass(t *testing.T) {
	e := newEstate(t)
	url, stop, err := e.w.Start()
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	dir, ctx := t.TempDir(), context.Background()
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("bulkhead.yaml", fmt.Sprintf(siteText, url))
	st, err := store.Open(t.TempDir(), "cloudy", time.Now)
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	c := &controller.Controller{Store: st, Now: time.Now, Who: "eva"}
	kind := aws.Kind()
	pass := func() *controller.Pass {
		t.Helper()
		s, diags, err := reconcile.LoadWith(ctx, dir, time.Now(), []driver.Kind{kind}, reconcile.LoadOptions{})
		if err != nil || s == nil || diags.HasErrors() {
			t.Fatal(err, diags.All())
		}
		devices, err := s.Devices(ctx, false)
		if err != nil {
			t.Fatal(err)
		}
		defer reconcile.Close(devices)
		p, err := c.Pass(ctx, s, devices, controller.PassOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	for _, port := range []int{80, 443} {
		write("policy.yaml", fmt.Sprintf(policyText, port))
		if p := pass(); p.Result != controller.Applied {
			t.Fatalf("port %d: %s: %s", port, p.Result, p.Why)
		}
		if p := pass(); p.Result != controller.InSync {
			t.Fatalf("port %d, again: %s: %s", port, p.Result, p.Why)
		}
		got := map[string]bool{}
		for f := range e.permitted() {
			got[fmt.Sprintf("%s > %s %d/%d", f.From, f.To, f.Protocol, f.Port)] = true
		}
		for _, from := range []string{e.web, e.web2} {
			if !got[fmt.Sprintf("%s > %s 6/%d", from, e.app, port)] {
				t.Errorf("port %d does not pass from %s: %v", port, from, got)
			}
		}
		for k := range got {
			if strings.Contains(k, e.app) && !strings.HasSuffix(k, fmt.Sprintf(" > %s 6/%d", e.app, port)) {
				t.Errorf("%s passes", k)
			}
		}
	}
}
