package main

import (
	"bytes"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"bulkhead/drivers"
	"bulkhead/drivers/aws/awstest"
)

const closeSite = `
name: cloudy
points:
  cloud:
    driver: aws
    protects: 'labels.tier == "web"'
    accept_inexact: [no-multicast, provider-link-local, source-port]
    settings: {region: eu-central-1, exclusive: true}
sources:
  ec2: {type: ec2, trust: full, stale_after: 30m, settings: {regions: [eu-central-1], functions: "off"}}
limits: {newly_denied_percent: 100}
groups:
  web: {where: 'labels.tier == "web"', isolate: both}
policies:
  - {name: among-web, from: web, to: web, services: [tcp/%d], action: allow}
`

// connections counts what a server has open.
type connections struct {
	mu   sync.Mutex
	now  map[net.Conn]bool
	ever int
}

func (c *connections) state(conn net.Conn, s http.ConnState) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch s {
	case http.StateNew:
		c.now[conn] = true
		c.ever++
	case http.StateClosed, http.StateHijacked:
		delete(c.now, conn)
	}
}

func (c *connections) count() (now, ever int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.now), c.ever
}

// Every command closes what it has opened, also where it fails: after each of them the
// simulated AWS has no connection left. (In a daemon the same calls would pile them up.)
func TestCommandsClose(t *testing.T) {
	w := awstest.New()
	a := w.AddAccount("111122223333")
	r := a.Region("eu-central-1")
	vpc := r.AddVPC("main", "10.0.0.0/16")
	sub := r.AddSubnet(vpc, "eu-central-1a", "10.0.0.0/24", "")
	for _, name := range []string{"web-1", "web-2"} {
		r.AddInstance(awstest.InstanceSpec{Name: name, Tags: map[string]string{"tier": "web"}, Interfaces: []awstest.InterfaceSpec{{Subnet: sub}}})
	}
	open := &connections{now: map[net.Conn]bool{}}
	srv := httptest.NewUnstartedServer(w)
	srv.Config.ConnState = open.state
	srv.Start()
	defer srv.Close()
	key, none := a.AddKey("bulkhead", "ec2:*"), filepath.Join(t.TempDir(), "none")
	for name, v := range map[string]string{
		"AWS_ACCESS_KEY_ID": key.ID, "AWS_SECRET_ACCESS_KEY": key.Secret, "AWS_SESSION_TOKEN": "", "AWS_PROFILE": "", "AWS_ENDPOINT_URL": srv.URL,
		"AWS_CONFIG_FILE": none, "AWS_SHARED_CREDENTIALS_FILE": none, "AWS_EC2_METADATA_DISABLED": "true", "AWS_CA_BUNDLE": "",
	} {
		t.Setenv(name, v)
	}
	dir, state := t.TempDir(), filepath.Join(t.TempDir(), "state")
	write := func(port int) {
		if err := os.WriteFile(filepath.Join(dir, "bulkhead.yaml"), fmt.Appendf(nil, closeSite, port), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(80)
	for _, c := range []struct {
		line string
		code int
		port int
		says string
	}{
		{"validate", 0, 80, ""},
		{"assets", 0, 80, ""},
		{"plan", 0, 80, "for the first time, and at once"},
		{"explain 10.0.0.4 10.0.0.5 tcp/80", 0, 80, ""},
		{"verify", 2, 80, ""},
		{"apply --yes --auto-confirm --accept first-enforcement --reason tried", 0, 80, ""},
		{"verify", 0, 80, ""},
		{"reconcile", 0, 443, ""},
		{"apply --yes", 0, 8443, "only by the daemon or the next pass"}, // stays on trial
		{"plan --point nobody", 1, 8443, ""},
		{"rollback --yes", 0, 8443, ""},
		{"apply --yes", 0, 8443, ""},
		{"confirm", 0, 8443, ""},
		{"rollback --yes --auto-confirm", 0, 8443, ""},
		{"remove --yes cloud", 0, 8443, ""},
	} {
		write(c.port)
		_, before := open.count()
		var out bytes.Buffer
		code := runWith(t.Context(), append([]string{"--site", dir, "--state", state}, strings.Fields(c.line)...), stdio{strings.NewReader(""), &out, &out}, drivers.Kinds())
		if code != c.code {
			t.Errorf("%s: exit code %d, want %d:\n%s", c.line, code, c.code, out.String())
		}
		if !strings.Contains(out.String(), c.says) {
			t.Errorf("%s does not say %q:\n%s", c.line, c.says, out.String())
		}
		now, ever := open.count()
		for begin := time.Now(); now > 0 && time.Since(begin) < 2*time.Second; now, _ = open.count() {
			time.Sleep(5 * time.Millisecond) // the server is told by the network
		}
		if now > 0 {
			t.Errorf("%s left %d of its %d connections open", c.line, now, ever-before)
		}
	}
}
