package aws_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"bulkhead/drivers/aws/awstest"
	"bulkhead/pkg/controller"
)

const functionSite = `
name: cloudy
points:
  cloud:
    driver: aws
    protects: 'kind == "function" || labels.tier == "app"'
    accept_inexact: [icmp-family, no-multicast, provider-link-local, source-port, no-interface]
    settings: {region: eu-central-1, endpoint: %[1]q, exclusive: true, functions: manage}
sources:
  cloud: {type: ec2, trust: full, settings: {regions: [eu-central-1], endpoint: %[1]q, functions: manage}}
limits: {first_enforcement: accept, newly_denied_percent: 100, assets_lost_percent: 100}
`

const functionPolicy = `
groups:
  fn: {where: 'kind == "function"', isolate: both}
  app: {where: 'labels.tier == "app"', isolate: both}
policies:
  - {name: fn-to-app, from: fn, to: app, services: [tcp/80], action: allow}
`

// With a source that tells where functions are, passes bring one under policy: each is proved
// before and after, and then there is nothing left to do.
func TestFunctionPasses(t *testing.T) {
	e := newLambda(t)
	for _, n := range []string{e.web, e.web2, e.app, e.db, e.far} {
		e.r.RemoveInterface(n)
	}
	e.app = e.r.InterfacesOf(e.r.AddInstance(awstest.InstanceSpec{Name: "app", Tags: map[string]string{"tier": "app"},
		Interfaces: []awstest.InterfaceSpec{{Subnet: e.sub, Private: []string{"10.0.0.11"}, Groups: []string{e.empty}}}}))[0].ID
	e.web, e.db = e.app, e.app
	dir := newDirectory(t, e.estate)
	dir.write("bulkhead.yaml", fmt.Sprintf(functionSite, dir.url))
	dir.write("policy.yaml", functionPolicy)
	for i, want := range []controller.Result{controller.Applied, controller.Applied, controller.InSync} {
		p := dir.pass()
		if p.Result != want {
			t.Fatalf("pass %d: %s: %s", i+1, p.Result, p.Why)
		}
		notes := strings.Join(p.Plan.Points[0].Notes, "\n")
		if strings.Contains(notes, "moves to an interface of its own") != (i == 0) {
			t.Errorf("pass %d: %s", i+1, notes)
		}
	}
	if now := e.reach(); len(now) == 0 || slices.ContainsFunc(now, func(s string) bool { return s != "to 10.0.0.11 0" && s != "to 10.0.0.10 0" && s != "to 10.0.0.12 0" }) {
		t.Errorf("%q", now)
	}
	if n := e.w.CountCalls("UpdateFunctionConfiguration"); n != 1 {
		t.Errorf("%d updates", n)
	}
}
