// These tests hold the driver of switches against a real NETCONF server (netconfd behind
// OpenSSH), whose committed lists a switch with a real dataplane (Open vSwitch) follows: what
// counts is what becomes of packets.

package e2e

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"bulkhead/drivers/netconf"
	"bulkhead/drivers/netconf/dialect"
	"bulkhead/drivers/netconf/netconftest/yuma"
	"bulkhead/drivers/netconf/session"
	"bulkhead/inventory"
	"bulkhead/pkg/compile"
	"bulkhead/pkg/config"
	"bulkhead/pkg/driver"
	"bulkhead/pkg/lab"
	"bulkhead/pkg/lab/ovs"
	"bulkhead/pkg/packet"
	"bulkhead/pkg/policy"
	"bulkhead/pkg/policy/policytest"
	"bulkhead/pkg/prove"
)

// plant is three hosts on one switch, in one VLAN.
type plant struct {
	t      *testing.T
	server *yuma.Server
	sw     *ovs.Switch
	follow *ovs.Follower
	driver *netconf.Driver
	m      *compile.Matrix
	points []compile.Point
}

func newPlant(t *testing.T) *plant {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	t.Cleanup(cancel)
	p := &plant{t: t}
	var err error
	if p.server, err = yuma.Start(yuma.Options{Running: yuma.Interfaces("swp1", "swp2", "swp3")}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.server.Close)
	if p.sw, err = ovs.New(ctx, ovs.Options{Hosts: ovs.Hosts(3)}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.sw.Close(); err != nil {
			t.Error(err)
		}
	})
	known := filepath.Join(t.TempDir(), "known_hosts")
	if err := os.WriteFile(known, []byte(p.server.KnownHost()+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	options := session.Options{Address: p.server.Address(), User: p.server.User(), Key: config.NewValue(p.server.Key()), KnownHosts: known, Point: "sw1"}
	set := netconf.Settings{Session: options, Dialect: dialect.Named("ietf"), Egress: true}
	p.driver = netconf.New("plant", []string{"sw1"}, set)
	t.Cleanup(func() { _ = p.driver.Close() })
	p.follow = p.sw.Follow(func(ctx context.Context) ([]byte, error) {
		s, err := session.Dial(ctx, options) // a look of its own: the driver's session may be over
		if err != nil {
			return nil, err
		}
		defer s.Close()
		return s.GetConfig(ctx, session.Running, set.Dialect.Filter())
	})
	return p
}

// says compiles a policy: the HMI may use a port of the PLC.
func (p *plant) says(port uint16) driver.Desired {
	p.t.Helper()
	host := func(i int) []netip.Prefix {
		return []netip.Prefix{netip.MustParsePrefix(fmt.Sprintf("10.0.0.%d/32", i)), netip.MustParsePrefix(fmt.Sprintf("2001:db8::%d/128", i))}
	}
	w := &policy.World{Book: &policy.Rulebook{}, Where: map[string][]string{}, Now: policytest.Epoch}
	w.Assets = []inventory.Asset{{ID: "hmi", Kind: inventory.Server, Addresses: host(1)}, {ID: "plc", Kind: inventory.OT, Addresses: host(2)}}
	for _, name := range []string{policy.GroupAny, policy.GroupUnidentified, policy.GroupUnknown} {
		w.Book.Groups = append(w.Book.Groups, policy.Group{Name: name, Isolate: policy.IsolateNone})
	}
	w.Book.Groups = append(w.Book.Groups, policy.Group{Name: "hmi", Members: []string{"hmi"}, Isolate: policy.IsolateBoth}, policy.Group{Name: "plc", Members: []string{"plc"}, Isolate: policy.IsolateBoth})
	w.Book.Policies = []policy.Policy{{Name: "s7", Action: policy.Allow, From: []string{"hmi"}, To: []string{"plc"},
		Ranges: []policy.Range{{Proto: 6, Lo: port, Hi: port}, {Proto: 17, Lo: port, Hi: port}}, Tier: policy.Application, Order: 100, Direction: policy.Both, Mode: policy.Enforce}}
	m, err := compile.Compile(compile.Input{Assets: w.Assets, Book: w.Book, Where: w.Where, Now: w.Now})
	if err != nil {
		p.t.Fatal(err)
	}
	on := map[string]packet.Addrs{"swp1": packet.AddrsOf(host(1)...), "swp2": packet.AddrsOf(host(2)...)}
	p.m, p.points = m, []compile.Point{{Name: "sw1", Mode: policy.Enforce, Endpoint: true, Protects: on["swp1"].Union(on["swp2"]), Ports: on, Off: map[string]bool{}}}
	return driver.Desired{Site: "plant", Points: p.points, View: compile.NewView(m, p.points), Now: w.Now}
}

// plan renders and proves a change.
func (p *plant) plan(port uint16) (*driver.Change, []driver.Residue) {
	p.t.Helper()
	ctx := p.ctx()
	want := p.says(port)
	have, err := p.driver.Read(ctx)
	if err != nil {
		p.t.Fatal(err)
	}
	r, err := p.driver.Render(want, have)
	if err != nil {
		p.t.Fatal(err)
	}
	p.proved(r.State, r.Residue)
	c, err := p.driver.Diff(have, r.State)
	if err != nil {
		p.t.Fatal(err)
	}
	return c, r.Residue
}

func (p *plant) proved(s driver.State, residue []driver.Residue) {
	p.t.Helper()
	d, err := p.driver.Decode(s)
	if err != nil {
		p.t.Fatal(err)
	}
	for _, r := range prove.Device(p.m, p.points, d, residue...) {
		if !r.Proved {
			p.t.Fatalf("not proved: %v %v", r.Wrong, r.Findings)
		}
	}
}

func (p *plant) ctx() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	p.t.Cleanup(cancel)
	return ctx
}

// passes holds exchanges between hosts against what they should come to, after the switch has
// taken up what the server holds.
func (p *plant) passes(says string, want map[string]bool) {
	p.t.Helper()
	ctx := p.ctx()
	if _, err := p.follow.Sync(ctx); err != nil {
		p.t.Fatal(err)
	}
	got := p.talk(ctx)
	for name, ok := range want {
		if is, known := got[name]; !known || is != ok {
			p.t.Errorf("%s: %s works: %v, should be %v", says, name, is, ok)
		}
	}
}

func (p *plant) talk(ctx context.Context) map[string]bool {
	p.t.Helper()
	var names []string
	var talks []lab.Talk
	add := func(name string, kind lab.TalkKind, from string, to int, port uint16) {
		for _, a := range []string{fmt.Sprintf("10.0.0.%d", to), fmt.Sprintf("2001:db8::%d", to)} {
			family := map[bool]string{true: "4", false: "6"}[netip.MustParseAddr(a).Is4()]
			names = append(names, name+" v"+family)
			talks = append(talks, lab.Talk{Kind: kind, From: from, Dst: netip.MustParseAddr(a), Port: port})
		}
	}
	add("hmi to plc tcp 102", lab.Connect, "h1", 2, 102)
	add("hmi to plc tcp 103", lab.Connect, "h1", 2, 103)
	add("hmi to plc udp 102", lab.Echo, "h1", 2, 102)
	add("hmi pings plc", lab.Ping, "h1", 2, 0)
	add("plc to hmi tcp 102", lab.Connect, "h2", 1, 102)
	add("stranger to plc tcp 102", lab.Connect, "h3", 2, 102)
	add("plc to stranger tcp 102", lab.Connect, "h2", 3, 102)
	done, err := p.sw.Net.Talk(ctx, talks)
	if err != nil {
		p.t.Fatal(err)
	}
	out := map[string]bool{}
	for i, ok := range done {
		out[names[i]] = ok
	}
	return out
}

// table is what should work by a policy that permits a port of the PLC's; 0 is no policy.
func table(port uint16) map[string]bool {
	out := map[string]bool{}
	for _, f := range []string{" v4", " v6"} {
		none := port == 0
		out["hmi to plc tcp 102"+f] = none || port == 102
		out["hmi to plc tcp 103"+f] = none || port == 103
		out["hmi to plc udp 102"+f] = none || port == 102
		out["hmi pings plc"+f] = none
		out["plc to hmi tcp 102"+f] = none
		out["stranger to plc tcp 102"+f] = none
		out["plc to stranger tcp 102"+f] = none
	}
	return out
}

// Two devices in one VLAN are isolated from each other at their ports; a change on trial is in
// force, goes back by itself, also where the server is killed meanwhile, and stays when it is
// confirmed.
func TestPacketsFollowPolicy(t *testing.T) {
	p := newPlant(t)
	p.passes("without lists", table(0))

	c, residue := p.plan(102)
	if err := p.driver.Try(p.ctx(), c, 4*time.Second); err != nil {
		t.Fatal(err)
	}
	now, err := p.driver.Read(p.ctx())
	if err != nil {
		t.Fatal(err)
	}
	p.proved(now, residue)
	p.passes("on trial", table(102))
	p.goesBack(c.From)
	p.passes("gone back", table(0))

	c, _ = p.plan(102)
	if err := p.driver.Try(p.ctx(), c, 2*time.Minute); err != nil {
		t.Fatal(err)
	}
	if err := p.driver.Confirm(p.ctx(), c.To); err != nil {
		t.Fatal(err)
	}
	if now, err = p.driver.Read(p.ctx()); err != nil {
		t.Fatal(err)
	}
	if rest, err := p.driver.Diff(now, c.To); err != nil || !rest.Empty() {
		t.Fatalf("confirmed, and something is left to do: %+v %v", rest, err)
	}
	p.passes("confirmed", table(102))

	next, _ := p.plan(103)
	if err := p.driver.Try(p.ctx(), next, 2*time.Minute); err != nil {
		t.Fatal(err)
	}
	p.passes("another on trial", table(103))
	p.server.Kill()
	if err := p.server.Restart(); err != nil {
		t.Fatal(err)
	}
	p.goesBack(next.From)
	p.passes("killed while it waited", table(102))
	if err := p.driver.Undo(p.ctx()); err != nil {
		t.Errorf("nothing is on trial, and cannot be undone: %v", err)
	}

	next, _ = p.plan(103)
	if err := p.driver.Apply(p.ctx(), next); err != nil {
		t.Fatal(err)
	}
	p.passes("applied", table(103))
}

// goesBack waits until the server is back at a state. It looks every three seconds: netconfd
// counts the time of a confirmed commit only while it has been idle for one.
func (p *plant) goesBack(to driver.State) {
	p.t.Helper()
	for end := time.Now().Add(90 * time.Second); ; time.Sleep(3 * time.Second) {
		now, err := p.driver.Read(p.ctx())
		if err == nil && now.Fingerprint() == to.Fingerprint() {
			return
		}
		if time.Now().After(end) {
			p.t.Fatalf("it has not gone back: %v", err)
		}
	}
}
