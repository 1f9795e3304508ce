package nftables_test

import (
	"context"
	"fmt"
	"net/netip"
	"os/exec"
	"strings"
	"testing"
	"time"

	"bulkhead/drivers/nftables"
	"bulkhead/pkg/compile"
	"bulkhead/pkg/driver"
	"bulkhead/pkg/lab"
	"bulkhead/pkg/packet"
	"bulkhead/pkg/policy"
)

// bench is a gateway with real hosts around it, and a driver for the gateway.
type bench struct {
	t      testing.TB
	net    *lab.Net
	prober *lab.Prober
	driver driver.Driver
	point  compile.Point
	ns     string
	done   map[string]bool // points that have enforced
}

func pfx(s string) netip.Prefix { return netip.MustParsePrefix(s) }

// The hosts of the bench. Their addresses are among those that random sites are
// about.
func topology() lab.Topology {
	return lab.Topology{Segments: []lab.Segment{
		{Name: "a", Interface: "eth1", Addresses: []netip.Prefix{pfx("10.0.0.254/24"), pfx("2001:db8::fe/64")}, Bridge: true, Hosts: []lab.Host{
			{Name: "a2", Addresses: []netip.Prefix{pfx("10.0.0.2/24"), pfx("2001:db8::2/64")}},
			{Name: "a5", Addresses: []netip.Prefix{pfx("10.0.0.5/24"), pfx("2001:db8::5/64")}},
		}},
		{Name: "b", Interface: "eth2", Addresses: []netip.Prefix{pfx("10.0.1.254/24"), pfx("2001:db8:0:1::fe/64")}, Bridge: true, Hosts: []lab.Host{
			{Name: "b3", Addresses: []netip.Prefix{pfx("10.0.1.3/24"), pfx("2001:db8:0:1::3/64")}},
			{Name: "b6", Addresses: []netip.Prefix{pfx("10.0.1.6/24"), pfx("2001:db8:0:1::6/64")}},
		}},
		{Name: "c", Interface: "eth3", Addresses: []netip.Prefix{pfx("192.0.2.254/24"), pfx("2001:db8:ffff::fe/64")}, Hosts: []lab.Host{
			{Name: "out", Addresses: []netip.Prefix{pfx("192.0.2.1/24"), pfx("2001:db8:ffff::1/64")}},
		}},
	}}
}

func newBench(t testing.TB) *bench {
	t.Helper()
	net, err := lab.Build(topology())
	if err != nil {
		t.Fatalf("cannot build the lab (these tests need root): %v", err)
	}
	t.Cleanup(func() {
		if err := net.Close(); err != nil {
			t.Error(err)
		}
	})
	prober, err := lab.NewProber(net)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { prober.Close() })
	b := &bench{t: t, net: net, prober: prober, ns: net.Gateway.Path, done: map[string]bool{}}
	b.driver = nftables.New(nftables.Options{Site: "lab", Netns: b.ns, Interfaces: []string{"eth1", "eth2", "eth3"}})
	b.point = compile.Point{Name: "gw", Mode: policy.Enforce, Transit: true}
	return b
}

// nft runs the nft tool in the gateway.
func (b *bench) nft(script string) {
	b.t.Helper()
	cmd := exec.Command("nft", "-f", "-")
	cmd.Stdin = strings.NewReader(script)
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := b.net.Gateway.Run(cmd); err != nil {
		b.t.Fatalf("nft: %v: %s\n%s", err, out.String(), script)
	}
}

func (b *bench) conntrack(args ...string) string {
	cmd := exec.Command("conntrack", args...)
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	_ = b.net.Gateway.Run(cmd) // it exits with 1 where nothing matched
	return out.String()
}

type fataler interface {
	Fatal(...any)
	Fatalf(string, ...any)
}

// apply makes the gateway enforce a world, proved before and after.
func (b *bench) apply(t fataler, w *policy.World) driver.Desired {
	want, state := b.render(t, w)
	mustProve(t, b.driver, want, state)
	b.change(t, w)
	b.prove(t, want)
	return want
}

func (b *bench) render(t fataler, w *policy.World) (driver.Desired, driver.State) {
	want := desired(t, w, []compile.Point{b.point})
	want.Site, want.Enforced = "lab", b.done
	have, err := b.driver.Read(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	r, err := b.driver.Render(want, have)
	if err != nil {
		t.Fatal(err)
	}
	return want, r.State
}

// change is apply without the proofs, for tests of what happens within a time:
// proofs take as long as the machine likes.
func (b *bench) change(t fataler, w *policy.World) driver.Desired {
	want, state := b.render(t, w)
	have, err := b.driver.Read(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	ch, err := b.driver.Diff(have, state)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.driver.Apply(context.Background(), ch); err != nil {
		t.Fatal(err)
	}
	b.done[b.point.Name] = true
	return want
}

func (b *bench) prove(t fataler, want driver.Desired) {
	now, err := b.driver.Read(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	mustProve(t, b.driver, want, now)
}

// permits builds a world in which only the given rules permit anything.
func permits(rules ...policy.Policy) *policy.World {
	groups := []policy.Group{{Name: "any", Isolate: policy.IsolateBoth}, {Name: "unknown"}, {Name: "unidentified"}}
	seen := map[string]bool{"any": true}
	for _, r := range rules {
		for _, g := range append(append([]string{}, r.From...), r.To...) {
			if !seen[g] {
				seen[g] = true
				a := netip.MustParseAddr(g)
				groups = append(groups, policy.Group{Name: g, Prefixes: []netip.Prefix{netip.PrefixFrom(a, a.BitLen())}})
			}
		}
	}
	book := &policy.Rulebook{Groups: groups, Policies: rules}
	policy.SortPolicies(book.Policies)
	return &policy.World{Book: book, Now: time.Now()}
}

// let permits a service between two addresses.
func let(from, to string, proto uint8, lo, hi uint16) policy.Policy {
	return policy.Policy{Name: fmt.Sprintf("%s-%s-%d-%d", from, to, proto, lo), From: []string{from}, To: []string{to}, Action: policy.Allow,
		Tier: policy.Application, Order: 100, Direction: policy.Both, Mode: policy.Enforce, Ranges: []policy.Range{{Proto: proto, Lo: lo, Hi: hi}}}
}

// flow opens a live TCP flow that the server pushes over while the client is
// silent.
func (b *bench) flow(client, server string, addr string, port uint16) *lab.Flow {
	b.t.Helper()
	f, err := b.net.OpenFlow(context.Background(), lab.FlowSpec{Client: client, Server: server, Addr: netip.MustParseAddr(addr), Port: port})
	if err != nil {
		b.t.Fatalf("cannot open the flow %s -> %s:%d: %v", client, server, port, err)
	}
	b.t.Cleanup(f.Close)
	return f
}

func (b *bench) mustLive(f *lab.Flow, what string) {
	b.t.Helper()
	n, err := f.During(context.Background(), 300*time.Millisecond)
	if err != nil || n == 0 {
		b.t.Errorf("%s: the flow was cut (%d bytes, %v)", what, n, err)
	}
}

func (b *bench) mustStop(f *lab.Flow, what string) {
	b.t.Helper()
	stopped, err := f.Stopped(context.Background(), 700*time.Millisecond, 4*time.Second)
	if err != nil || !stopped {
		b.t.Errorf("%s: the flow goes on (%v)", what, err)
	}
}

// one sends a single probe.
func (b *bench) one(p lab.Probe) bool {
	b.t.Helper()
	r, err := b.prober.Run(context.Background(), []lab.Probe{p}, lab.ProbeOptions{})
	if err != nil {
		b.t.Fatal(err)
	}
	return r[0].Got
}

func (b *bench) expect(p lab.Probe, got bool, why string) {
	b.t.Helper()
	if b.one(p) != got {
		b.t.Errorf("%s -> %s %s: received=%v: %s", p.From, p.Dst, packet.Services{{Lo: packet.Point(p.Proto, p.Num), Hi: packet.Point(p.Proto, p.Num)}}, !got, why)
	}
}

// ping sends one echo request with the system's own tool and wants the answer.
func (b *bench) ping(from, to string) (string, error) {
	cmd := exec.Command("ping", "-c", "1", "-W", "2", to)
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	err := b.net.Host(from).Run(cmd)
	return out.String(), err
}

// dnatFlow opens a live flow to an address that the gateway translates.
func (b *bench) dnatFlow(client, server, addr string, port uint16, real string) *lab.Flow {
	b.t.Helper()
	f, err := b.net.OpenFlow(context.Background(), lab.FlowSpec{Client: client, Server: server, Addr: netip.MustParseAddr(addr), Port: port, Listen: netip.MustParseAddrPort(real)})
	if err != nil {
		b.t.Fatalf("cannot open the flow %s -> %s:%d: %v", client, addr, port, err)
	}
	b.t.Cleanup(f.Close)
	return f
}
