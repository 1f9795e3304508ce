package lab

import (
	"fmt"
	"testing"

	"github.com/vishvananda/netlink"
)

// bridged is a star of three with a bridge in the middle, which hands fences on as it
// does every broadcast.
func bridged(t *testing.T, resolve bool) *Net {
	t.Helper()
	var hosts []Host
	for i := range 3 {
		hosts = append(hosts, Host{Name: fmt.Sprintf("h%d", i+1), Addresses: pfx(fmt.Sprintf("10.0.0.%d/24", i+1), fmt.Sprintf("10.9.%d.1/24", i), fmt.Sprintf("2001:db8::%d/64", i+1))})
	}
	n, err := BuildStar(Star{Hosts: hosts, Resolve: resolve})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
	off := false
	br := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "br0"}, MulticastSnooping: &off}
	if err := n.Gateway.link.LinkAdd(br); err != nil {
		t.Fatal(err)
	}
	if err := n.Gateway.up("br0"); err != nil {
		t.Fatal(err)
	}
	for i := range hosts {
		port, err := n.Gateway.link.LinkByName(Port(i))
		if err == nil {
			err = n.Gateway.link.LinkSetMaster(port, br)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return n
}

func TestStar(t *testing.T) {
	n := bridged(t, false)
	p := prober(t, n)
	probes := everything(n)
	for i := range probes {
		if probes[i].Fragments > 0 && i%2 == 0 {
			probes[i].Only = 2
		}
	}
	probes = append(probes,
		Probe{From: "h1", Dst: n.Addr("h2", true), Proto: 6, Num: 80, Flags: ACK},
		Probe{From: "h1", Dst: n.Addr("h2", true), Proto: 6, Num: 80, Fragments: 2},
		Probe{From: "h1", Dst: n.Addr("h2", false), Proto: 6, Num: 80, Fragments: 3, Only: 3},
		Probe{From: "h1", Dst: n.Addr("h2", true), Proto: 1, Num: 8 << 8, Fragments: 2, Only: 1},
		Probe{From: "h1", Dst: n.Addr("h2", false), Proto: 58, Num: 128 << 8, Fragments: 2},
		Probe{From: "h1", Dst: n.Addr("h2", true), Proto: 1, Num: 8 << 8, Fragments: 2, Only: 2})
	for i, r := range run(t, p, probes) {
		if !r.Got || r.Part {
			t.Errorf("%+v: %+v", probes[i], r)
		}
	}
	nft(t, n.Gateway, `table bridge t { chain f { type filter hook forward priority 0; policy accept;
		ip daddr 10.0.0.2 udp dport 53 drop
		ip6 daddr 2001:db8::2 tcp dport 102 drop
		ip protocol tcp tcp flags & ack == ack drop
	}
}`)
	for i, r := range run(t, p, probes) {
		q := probes[i]
		want := !(q.Dst.String() == "10.0.0.2" && q.Proto == 17 && q.Num == 53 || q.Dst.String() == "2001:db8::2" && q.Proto == 6 && q.Num == 102 || q.Flags&ACK != 0)
		if r.Got != want {
			t.Errorf("%+v: arrived %v, want %v", q, r.Got, want)
		}
	}
}

// Where a port is down nothing arrives, and nobody waits for a fence.
func TestStarLink(t *testing.T) {
	n := bridged(t, false)
	p := prober(t, n)
	probes := everything(n)
	for _, up := range []bool{false, true} {
		if err := n.SetLink(t.Context(), "h3", up); err != nil {
			t.Fatal(err)
		}
		for i, r := range run(t, p, probes) {
			want := up || probes[i].From != "h3" && n.Owner(probes[i].Dst) != "h3"
			if r.Got != want {
				t.Fatalf("port up %v: %+v: arrived %v, want %v", up, probes[i], r.Got, want)
			}
		}
	}
	if err := n.SetLink(t.Context(), "h4", false); err == nil {
		t.Error("the port of a host that is none was set down")
	}
}

// talks is one exchange of every kind for all pairs of hosts and their addresses.
func talks(n *Net, want func(*Talk) bool) []Talk {
	var out []Talk
	for _, from := range n.Hosts() {
		for _, to := range n.Hosts() {
			for _, h := range n.top.Segments[0].Hosts {
				for _, a := range h.Addresses {
					for _, kind := range []TalkKind{Connect, Echo, Ping} {
						if from == to || h.Name != to {
							continue
						}
						k := Talk{Kind: kind, From: from, Dst: a.Addr()}
						if kind != Ping {
							k.Port = 7000
						}
						k.Want = want(&k)
						out = append(out, k)
					}
				}
			}
		}
	}
	return out
}

func TestTalk(t *testing.T) {
	for _, resolve := range []bool{true, false} {
		n := bridged(t, resolve)
		try := func(want func(*Talk) bool) {
			list := talks(n, want)
			list = append(list, Talk{Kind: Connect, From: "h1", Dst: n.Addr("h2", true), Port: 7001, SrcPort: 1234}, Talk{Kind: Echo, From: "h1", Dst: n.Addr("h2", false), Port: 7001, SrcPort: 1234})
			for i := len(list) - 2; i < len(list); i++ {
				list[i].Want = want(&list[i])
			}
			got, err := n.Talk(t.Context(), list)
			if err != nil {
				t.Fatal(err)
			}
			for i := range got {
				if got[i] != list[i].Want {
					t.Errorf("resolve %v: %+v: %v", resolve, list[i], got[i])
				}
			}
		}
		try(func(*Talk) bool { return true })
		nft(t, n.Gateway, `table bridge t { chain f { type filter hook forward priority 0; policy accept;
		tcp dport 7000 drop
		ip daddr 10.9.1.1 icmp type echo-request drop
		ip6 saddr 2001:db8::3 udp sport 7000 drop
		ip daddr 10.0.0.2 tcp dport 7001 tcp flags & ack == ack drop
	}
}`)
		try(func(k *Talk) bool {
			return !(k.Kind == Connect || k.Kind == Ping && k.Dst.String() == "10.9.1.1" || k.Kind == Echo && k.Dst.String() == "2001:db8::3")
		})
	}
	n := bridged(t, false)
	for _, bad := range []Talk{{From: "h9", Dst: n.Addr("h1", true), Kind: Ping}, {From: "h1", Dst: n.Addr("h2", true)}, {From: "h1", Kind: Ping}} {
		if _, err := n.Talk(t.Context(), []Talk{bad}); err == nil {
			t.Errorf("%+v was tried", bad)
		}
	}
}
