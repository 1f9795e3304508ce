package lab

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// TestMain runs all tests in a sandbox: nothing of theirs touches the machine's
// own namespaces. Where the system forbids one they fail: a skipped test proves
// nothing.
func TestMain(m *testing.M) {
	if os.Getenv("BULKHEAD_LAB_TEST_OUTSIDE") != "" {
		os.Exit(m.Run())
	}
	if !Inside() {
		err := Sandbox(context.Background(), Command{Path: "/proc/self/exe", Args: os.Args[1:], Stdout: os.Stdout, Stderr: os.Stderr})
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if err := EnterSandbox(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	goleak.VerifyTestMain(m)
}

func pfx(list ...string) []netip.Prefix {
	var out []netip.Prefix
	for _, s := range list {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

// small is a cable with a, a bridge with b and c.
func small() Topology {
	return Topology{Segments: []Segment{
		{Name: "left", Interface: "eth1", Addresses: pfx("10.1.0.1/24", "2001:db8:1::1/64"),
			Hosts: []Host{{Name: "a", MAC: "02:00:00:00:00:0a", Addresses: pfx("10.1.0.10/24", "2001:db8:1::10/64")}}},
		{Name: "right", Interface: "eth2", Addresses: pfx("10.2.0.1/24", "2001:db8:2::1/64"), Hosts: []Host{
			{Name: "b", Addresses: pfx("10.2.0.11/24", "2001:db8:2::11/64")},
			{Name: "c", Addresses: pfx("10.2.0.12/24", "2001:db8:2::12/64")},
		}},
	}}
}

func build(t *testing.T, top Topology) *Net {
	t.Helper()
	n, err := Build(top)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
	return n
}

func nft(t *testing.T, ns *Namespace, text string) {
	t.Helper()
	cmd := exec.Command("nft", "-f", "-")
	cmd.Stdin = strings.NewReader(text)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := ns.Run(cmd); err != nil {
		t.Fatalf("nft: %v\n%s", err, out.String())
	}
}

func prober(t *testing.T, n *Net) *Prober {
	t.Helper()
	p, err := NewProber(n)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

// services is one probe of every kind for a family.
func services(four bool) []Probe {
	out := []Probe{{Proto: 6, Num: 102}, {Proto: 17, Num: 53}, {Proto: 17, Num: 6000, Fragments: 2}, {Proto: 17, Num: 6001, Fragments: 5},
		{Proto: 47}, {Proto: 132, Num: 3868}, {Proto: 33, Num: 5001}, {Proto: 136, Num: 5002}, {Proto: 50}, {Proto: 99}, {Proto: 255}}
	if four {
		return append(out, Probe{Proto: 1, Num: 8 << 8}, Probe{Proto: 1, Num: 13 << 8}, Probe{Proto: 1, Num: 3<<8 | 4})
	}
	return append(out, Probe{Proto: 58, Num: 128 << 8}, Probe{Proto: 58, Num: 2 << 8}, Probe{Proto: 58, Num: 139 << 8})
}

func everything(n *Net) []Probe {
	var out []Probe
	for _, from := range n.Hosts() {
		for _, to := range n.Hosts() {
			for _, four := range []bool{true, false} {
				if from == to {
					continue
				}
				for _, p := range services(four) {
					p.From, p.Dst = from, n.Addr(to, four)
					out = append(out, p)
				}
			}
		}
	}
	return out
}

func run(t *testing.T, p *Prober, probes []Probe) []Result {
	t.Helper()
	got, err := p.Run(t.Context(), probes, ProbeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestOpenNetworkCarriesEverything(t *testing.T) {
	n := build(t, small())
	p := prober(t, n)
	probes := everything(n)
	for i, r := range run(t, p, probes) {
		if !r.Got || r.Part {
			t.Errorf("lost: %+v", probes[i])
		}
		if r.Src != n.Addr(probes[i].From, probes[i].Dst.Is4()) || r.Dst != probes[i].Dst {
			t.Errorf("%+v arrived as %s -> %s", probes[i], r.Src, r.Dst)
		}
	}
}

// The receiver decides: what the gateway drops did not arrive, whatever the
// sender heard, and what passes the same rules did.
func TestDropsAreSeen(t *testing.T) {
	n := build(t, small())
	p := prober(t, n)
	nft(t, n.Gateway, `table inet t { chain f { type filter hook forward priority 0; policy accept;
		ct state new tcp dport 102 reject
		ip daddr 10.2.0.12 udp dport 53 drop
		ip6 daddr 2001:db8:2::12 icmpv6 type echo-request drop
		ip protocol gre drop
		udp dport 6001 drop
	}
}`)
	probes := everything(n)
	for i, r := range run(t, p, probes) {
		q := probes[i]
		crosses := n.Crosses(q.From, n.Owner(q.Dst))
		want := !crosses || !(q.Proto == 6 && q.Num == 102 || q.Dst.String() == "10.2.0.12" && q.Proto == 17 && q.Num == 53 ||
			q.Dst.String() == "2001:db8:2::12" && q.Proto == 58 && q.Num == 128<<8 || q.Dst.Is4() && q.Proto == 47 || q.Num == 6001)
		if r.Got != want {
			t.Errorf("%+v: arrived %v, want %v", q, r.Got, want)
		}
	}
}

// A single fragment that slips through shows.
func TestPartOfADatagram(t *testing.T) {
	n := build(t, small())
	p := prober(t, n)
	// No connection tracking here, so fragments pass one by one; the first has ports.
	nft(t, n.Gateway, `table ip t { chain f { type filter hook forward priority 0; policy accept; udp dport 6000 drop;
	}
}`)
	got := run(t, p, []Probe{{From: "a", Dst: n.Addr("b", true), Proto: 17, Num: 6000, Fragments: 3}})
	if got[0].Got || !got[0].Part {
		t.Errorf("the first fragment is dropped and the others are not: %+v", got[0])
	}
}

func TestSpoofedSource(t *testing.T) {
	n := build(t, small())
	p := prober(t, n)
	spoof := []Probe{
		{From: "a", Src: n.Addr("c", true), Dst: n.Addr("b", true), Proto: 17, Num: 9},
		{From: "a", Src: netip.MustParseAddr("2001:db8:ffff::1"), Dst: n.Addr("b", false), Proto: 6, Num: 9},
	}
	for i, r := range run(t, p, spoof) {
		if !r.Got || r.Src != spoof[i].Src {
			t.Errorf("spoofed probe %d: %+v", i, r)
		}
	}
	nft(t, n.Gateway, `table inet t { chain f { type filter hook prerouting priority -300; policy accept; fib saddr . iif oif missing drop;
	}
}`)
	for i, r := range run(t, p, spoof) {
		if r.Got {
			t.Errorf("spoofed probe %d came through a reverse path check", i)
		}
	}
}

func TestThousands(t *testing.T) {
	n := build(t, small())
	p := prober(t, n)
	var probes []Probe
	for i := range 3000 {
		probes = append(probes, Probe{From: "a", Dst: n.Addr("b", i%2 == 0), Proto: 17, Num: uint16(1000 + i)})
	}
	nft(t, n.Gateway, `table inet t { chain f { type filter hook forward priority 0; policy accept; udp dport < 2000 drop;
	}
}`)
	begin := time.Now()
	for i, r := range run(t, p, probes) {
		if r.Got != (probes[i].Num >= 2000) {
			t.Fatalf("%+v: %+v", probes[i], r)
		}
	}
	t.Logf("%d probes in %s", len(probes), time.Since(begin))
}

func TestRefusals(t *testing.T) {
	n := build(t, small())
	p := prober(t, n)
	for _, q := range []Probe{
		{From: "nobody", Dst: n.Addr("b", true), Proto: 6},
		{From: "a", Dst: netip.MustParseAddr("10.2.0.99"), Proto: 6},
		{From: "a", Dst: n.Addr("b", false), Proto: 43},
		{From: "a", Src: n.Addr("a", true), Dst: n.Addr("b", false), Proto: 6},
		{From: "a", Dst: n.Addr("b", true), Proto: 47, Fragments: 2},
		{From: "a", Dst: n.Addr("b", true), Proto: 17, Fragments: 2, Only: 3},
		{From: "a", Dst: n.Addr("b", true), Proto: 17, Only: 1},
		{From: "a", Dst: n.Addr("b", true), Proto: 17, Flags: ACK},
	} {
		if _, err := p.Run(t.Context(), []Probe{q}, ProbeOptions{}); err == nil {
			t.Errorf("%+v was sent", q)
		} else if strings.ToLower(err.Error()[:1]) != err.Error()[:1] {
			t.Errorf("error %q begins with a capital", err)
		}
	}
	bad := small()
	bad.Segments[1].Hosts[0].Addresses = pfx("10.1.0.10/24")
	if n, err := Build(bad); err == nil {
		n.Close()
		t.Error("an address on two hosts was accepted")
	}
}
