package netconf_test

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"bulkhead/drivers/netconf"
	"bulkhead/drivers/netconf/netconftest"
	"bulkhead/pkg/controller"
	"bulkhead/pkg/driver"
	"bulkhead/pkg/driver/portacl"
	"bulkhead/pkg/driver/portacl/acltest"
	"bulkhead/pkg/plan"
	"bulkhead/pkg/reconcile"
	"bulkhead/pkg/store"
)

const plantSite = `
name: plant
points:
  hall:
    driver: netconf
    protects: 'kind == "ot"'
    accept_inexact: [stateless-return, one-way-inbound, fragment]
    settings:
      address: %q
      user: admin
      password: {file: %q}
      known_hosts: %q
      dialect: ietf
      switch: sw1
      lags: [swp7=bond0, swp8=bond0]
      uplinks: [swp48]
%s
limits: {first_enforcement: accept, newly_denied_percent: 100}
`

const plantPolicy = `
groups:
  hmi: {where: 'labels.role == "hmi"', isolate: both}
  plc: {where: 'labels.role == "plc"', isolate: both}
policies:
  - {name: hmi-to-plc, from: hmi, to: plc, services: [tcp/%d], action: allow}
`

const plantAssets = `
assets:
  hmi: {kind: ot, addresses: [10.0.0.10, "2001:db8::10"], labels: {role: hmi}, attachments: [%s]}
  plc: {kind: ot, addresses: [10.0.0.11, "2001:db8::11"], labels: {role: plc}, attachments: [%s]}
`

// plant is a site directory with a switch.
type plant struct {
	*bed
	dir string
	c   *controller.Controller
}

// newPlant makes one; more are lines of its point's settings.
func newPlant(t *testing.T, o netconftest.Options, more string) *plant {
	t.Helper()
	p := &plant{bed: newBed(t, "ietf", o, nil), dir: t.TempDir()}
	secret := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(secret, []byte(p.server.Password()+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	p.write("bulkhead.yaml", fmt.Sprintf(plantSite, p.server.Address(), secret, p.known, more))
	p.write("policy.yaml", fmt.Sprintf(plantPolicy, 102))
	p.plug("{switch: sw1, port: swp1}", "{switch: sw1, port: swp2}")
	st, err := store.Open(t.TempDir(), "plant", time.Now)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	p.c = &controller.Controller{Store: st, Now: time.Now, Who: "eva"}
	return p
}

func (p *plant) write(name, text string) {
	p.t.Helper()
	if err := os.WriteFile(filepath.Join(p.dir, name), []byte(text), 0o600); err != nil {
		p.t.Fatal(err)
	}
}

func (p *plant) plug(hmi, plc string) { p.write("assets.yaml", fmt.Sprintf(plantAssets, hmi, plc)) }

func (p *plant) site() *reconcile.Site {
	p.t.Helper()
	s, diags, err := reconcile.LoadWith(timed(p.t), p.dir, time.Now(), []driver.Kind{netconf.Kind()}, reconcile.LoadOptions{})
	if err != nil || s == nil || diags.HasErrors() {
		p.t.Fatal(err, diags.All())
	}
	return s
}

func (p *plant) devices(s *reconcile.Site) []*reconcile.Device {
	p.t.Helper()
	devices, err := s.Devices(timed(p.t), false)
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { reconcile.Close(devices) })
	return devices
}

func (p *plant) pass(o controller.PassOptions, want controller.Result) *controller.Pass {
	p.t.Helper()
	s := p.site()
	devices := p.devices(s)
	r, err := p.c.Pass(timed(p.t), s, devices, o)
	reconcile.Close(devices)
	if err != nil {
		p.t.Fatal(err)
	}
	if r.Result != want {
		p.t.Fatalf("%s, want %s: %s %+v", r.Result, want, r.Why, r.Plan)
	}
	return r
}

// bound lists the ports that have lists of ours.
func (p *plant) bound() (out []string) {
	for _, port := range p.config().Ports {
		if slices.ContainsFunc(port.Bound, func(b portacl.Bound) bool { return portacl.Ours("plant", b.List) }) {
			out = append(out, port.Name)
		}
	}
	return out
}

// opens reports whether a TCP flow may be opened by what hangs on a port.
func (p *plant) opens(port, src, dst string, to uint16) bool {
	return acltest.Passes(p.config(), port, portacl.In, acltest.Packet{Src: netip.MustParseAddr(src), Dst: netip.MustParseAddr(dst), Proto: 6, SrcPort: 40000, DstPort: to})
}

// row gives the plan's only point.
func row(t *testing.T, p *controller.Pass) *plan.Point {
	t.Helper()
	if p.Plan == nil || len(p.Plan.Points) != 1 {
		t.Fatalf("no plan of one point: %+v", p.Plan)
	}
	return &p.Plan.Points[0]
}

// A site directory, and nothing else, brings a switch to what it says: by the same pass that
// the daemon makes, whatever the switch can do.
func TestPass(t *testing.T) {
	for _, tt := range []struct {
		name, more string
		o          netconftest.Options
	}{
		{"a candidate", "", netconftest.Options{}},
		{"a startup", "", netconftest.Options{Startup: true}},
		{"both directions", "      egress: true", netconftest.Options{}},
		{"shared lists", "      lists: class", netconftest.Options{}},
		{"no confirmed commit", "", netconftest.Options{Without: []string{"confirmed-commit:1.0", "confirmed-commit:1.1"}}},
		{"no candidate", "", netconftest.Options{WritableRunning: true, Without: []string{"candidate:1.0", "confirmed-commit:1.0", "confirmed-commit:1.1"}}},
		{"direct", "      commit: direct", netconftest.Options{WritableRunning: true}},
	} {
		t.Run(tt.name, func(t *testing.T) { passes(t, newPlant(t, tt.o, tt.more)) })
	}
}

func passes(t *testing.T, p *plant) {
	for _, port := range []uint16{102, 4840} {
		p.write("policy.yaml", fmt.Sprintf(plantPolicy, port))
		p.pass(controller.PassOptions{}, controller.Applied)
		r := p.pass(controller.PassOptions{}, controller.InSync)
		if x := row(t, r); x.Before == nil || !x.Before.Proved || len(x.Notes) > 0 {
			t.Errorf("port %d: not proved, or notes: %+v", port, x)
		}
		if got := p.bound(); !slices.Equal(got, []string{"swp1", "swp2"}) {
			t.Errorf("port %d: lists on %q", port, got)
		}
		for _, q := range []uint16{102, 4840} {
			for _, ends := range [][2]string{{"10.0.0.10", "10.0.0.11"}, {"2001:db8::10", "2001:db8::11"}} {
				if got := p.opens("swp1", ends[0], ends[1], q); got != (q == port) {
					t.Errorf("port %d: %s to %s tcp/%d passes: %t", port, ends[0], ends[1], q, got)
				}
				if p.opens("swp2", ends[1], ends[0], q) {
					t.Errorf("port %d: %s to %s tcp/%d passes", port, ends[1], ends[0], q)
				}
			}
		}
	}
}

// A change is on trial on the switch until somebody confirms it, and goes back if he does not
// want it. Each command makes a driver of its own.
func TestTrialByHand(t *testing.T) {
	for _, confirm := range []bool{true, false} {
		p := newPlant(t, netconftest.Options{}, "")
		r := p.pass(controller.PassOptions{ByHand: true}, controller.OnTrial)
		if p.opens("swp2", "10.0.0.11", "10.0.0.10", 102) || len(p.bound()) != 2 {
			t.Errorf("what is on trial is not in force: %q", p.bound())
		}
		j, err := p.c.Store.Journal(r.Apply.Apply.ID)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := p.c.EndTrial(timed(t), p.site(), j, confirm); err != nil {
			t.Fatalf("confirm %t: %v", confirm, err)
		}
		if got := p.bound(); (len(got) == 2) != confirm {
			t.Errorf("confirm %t: lists on %q", confirm, got)
		}
		if confirm {
			p.pass(controller.PassOptions{}, controller.InSync)
		}
	}
}

// An asset takes its policy to another port: the old one has no list any more.
func TestAssetMovesToAnotherPort(t *testing.T) {
	p := newPlant(t, netconftest.Options{}, "")
	p.pass(controller.PassOptions{}, controller.Applied)
	for _, tt := range []struct {
		hmi  string
		want []string
	}{
		{"{switch: sw1, port: swp5}", []string{"swp2", "swp5"}},
		{"{switch: sw1, port: swp5}, {switch: sw1, port: swp6}", []string{"swp2", "swp5", "swp6"}}, // two ports
		{"{switch: sw1, port: swp7}, {switch: sw1, port: swp8}", []string{"bond0", "swp2"}},        // two members of one
		{"{switch: sw1, port: swp1}", []string{"swp1", "swp2"}},
	} {
		p.plug(tt.hmi, "{switch: sw1, port: swp2}")
		p.pass(controller.PassOptions{}, controller.Applied)
		p.pass(controller.PassOptions{}, controller.InSync)
		if got := p.bound(); !slices.Equal(got, tt.want) {
			t.Errorf("%s: lists on %q, want %q", tt.hmi, got, tt.want)
		}
		for _, port := range tt.want {
			if port != "swp2" && (!p.opens(port, "10.0.0.10", "10.0.0.11", 102) || p.opens(port, "10.0.0.10", "10.0.0.11", 22)) {
				t.Errorf("%s: port %s lets pass something else than policy says", tt.hmi, port)
			}
		}
	}
}

// What a point chooses and does not hang on its switch is not protected there, and the plan
// says so.
func TestAssetAttachedElsewhere(t *testing.T) {
	p := newPlant(t, netconftest.Options{}, "")
	p.plug("{switch: sw1, port: swp1}", "{switch: sw2, port: swp2}")
	x := row(t, p.pass(controller.PassOptions{}, controller.Applied))
	if text := strings.Join(x.Notes, "\n"); !strings.Contains(text, `not attached to "sw1"`) || !strings.Contains(text, `1, the first is "plc"`) {
		t.Errorf("notes: %q", x.Notes)
	}
	if got := p.bound(); !slices.Equal(got, []string{"swp1"}) {
		t.Errorf("lists on %q", got)
	}
	if !p.opens("swp1", "10.0.0.10", "10.0.0.11", 102) || p.opens("swp1", "10.0.0.10", "10.0.0.11", 22) {
		t.Error("the hmi's port does not do what policy says")
	}
	p.pass(controller.PassOptions{}, controller.InSync)
}

// Nobody knows where on the switch an asset hangs whose attachment names no port: nothing is
// proved then, and nothing is written.
func TestAttachmentWithoutPort(t *testing.T) {
	p := newPlant(t, netconftest.Options{}, "")
	p.plug("{switch: sw1, port: swp1}", "{switch: sw1}")
	s := p.site()
	r, err := p.c.Pass(timed(t), s, p.devices(s), controller.PassOptions{})
	if err != nil || r.Result == controller.Applied || r.Result == controller.InSync {
		t.Fatalf("%v %+v", err, r)
	}
	x := row(t, r)
	if text := strings.Join(x.Notes, "\n"); !strings.Contains(text, `the first is "plc"; name the port`) {
		t.Errorf("notes: %q", x.Notes)
	}
	if x.After == nil || x.After.Proved || len(p.bound()) > 0 {
		t.Errorf("proved, or lists on %q: %+v", p.bound(), x.After)
	}
}

// A list on an uplink would judge what comes from other switches.
func TestAssetOnUplink(t *testing.T) {
	p := newPlant(t, netconftest.Options{}, "")
	p.plug("{switch: sw1, port: swp48}", "{switch: sw1, port: swp2}")
	s := p.site()
	r, err := p.c.Pass(timed(t), s, p.devices(s), controller.PassOptions{})
	if err != nil || r.Result == controller.Applied || len(p.bound()) > 0 {
		t.Fatalf("%v %+v", err, r)
	}
	if x := row(t, r); !strings.Contains(x.Error, `port "swp48" is an uplink`) {
		t.Errorf("%q", x.Error)
	}
}

// A secret that is missing is told of its switch, when it is asked; and it counts as soon as it
// is there.
func TestMissingSecret(t *testing.T) {
	p := newPlant(t, netconftest.Options{}, "")
	secret := filepath.Join(t.TempDir(), "password")
	p.write("bulkhead.yaml", fmt.Sprintf(plantSite, p.server.Address(), secret, p.known, ""))
	s := p.site()
	devices := p.devices(s)
	r, err := p.c.Pass(timed(t), s, devices, controller.PassOptions{})
	if err != nil || r.Result == controller.Applied {
		t.Fatalf("%v %+v", err, r)
	}
	if x := row(t, r); x.Status != plan.Unreachable || !strings.Contains(x.Error, secret) {
		t.Errorf("%s: %q", x.Status, x.Error)
	}
	if err := os.WriteFile(secret, []byte(p.server.Password()), 0o600); err != nil {
		t.Fatal(err)
	}
	if r, err = p.c.Pass(timed(t), s, devices, controller.PassOptions{}); err != nil || r.Result != controller.Applied {
		t.Fatalf("%v %+v", err, r)
	}
}

// Neither the switch nor a secret is asked for what the switch would be given.
func TestRenderedText(t *testing.T) {
	p := newPlant(t, netconftest.Options{}, "")
	p.write("bulkhead.yaml", fmt.Sprintf(plantSite, "192.0.2.1", "/no/such/secret", p.known, ""))
	s := p.site()
	text, err := s.RenderText(p.devices(s)[0])
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"list bh-plant-", "permit tcp 10.0.0.10/32 10.0.0.11/32 port 102", "port swp1\n  in bh-plant-"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is missing in\n%s", want, text)
		}
	}
}

// Each setting does on the switch what it says.
func TestSettingsTakeEffect(t *testing.T) {
	receives := func(p *plant) bool {
		return slices.ContainsFunc(p.config().Port("swp1").Bound, func(b portacl.Bound) bool { return b.Dir == portacl.Out })
	}
	strangers := func(p *plant) bool { return p.opens("swp1", "10.9.9.9", "10.9.9.8", 22) }
	shares := func(p *plant) bool { return slices.Equal(p.config().Port("swp1").Bound, p.config().Port("swp2").Bound) }
	waits := func(p *plant) bool {
		return slices.ContainsFunc(p.config().Lists, func(l portacl.List) bool { return strings.HasPrefix(l.Name, "bh-plant-trial-") })
	}
	for _, tt := range []struct {
		name, with, without string
		is                  func(p *plant) bool
	}{
		{"egress", "      egress: true", "      egress: false", receives},
		{"strangers", "      strangers: permit", "      strangers: drop", strangers},
		{"lists", "      lists: class", "      lists: port", shares},
		{"commit", "      commit: confirmed", "      commit: direct", waits},
	} {
		for _, more := range []string{tt.with, tt.without, ""} {
			p := newPlant(t, netconftest.Options{WritableRunning: true}, more)
			// Both are of one class.
			p.write("policy.yaml", strings.ReplaceAll(fmt.Sprintf(plantPolicy, 102), `labels.role == "plc"`, "false"))
			p.write("assets.yaml", strings.ReplaceAll(fmt.Sprintf(plantAssets, "{switch: sw1, port: swp1}", "{switch: sw1, port: swp2}"), "role: plc", "role: hmi"))
			p.pass(controller.PassOptions{ByHand: true}, controller.OnTrial)
			want := more == tt.with || more == "" && tt.name == "commit"
			if got := tt.is(p); got != want {
				t.Errorf("%s with %q: %t", tt.name, more, got)
			}
		}
	}
}
