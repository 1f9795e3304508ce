package nftables_test

import (
	"errors"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"bulkhead/pkg/lab"
	"bulkhead/pkg/packet"
	"bulkhead/pkg/policy"
)

func tcpPorts(lo, hi uint16) packet.Services {
	return packet.ServicesOf([]policy.Range{{Proto: 6, Lo: lo, Hi: hi}})
}

// In every test below the server pushes and the client is silent: what is cut too
// eagerly shows at once, and so does what goes on although it is denied.

// A host that leaves its group loses its live flow; a bystander keeps its own.
func TestLiveFlowThroughMembershipChange(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	groups := func(members ...string) *policy.World {
		w := permits()
		g := policy.Group{Name: "clients"}
		for _, m := range members {
			a := netip.MustParseAddr(m)
			g.Prefixes = append(g.Prefixes, netip.PrefixFrom(a, a.BitLen()))
		}
		w.Book.Groups = append(w.Book.Groups, g)
		rule := let("clients", "any", 6, 80, 80)
		w.Book.Policies = []policy.Policy{rule}
		return w
	}
	b.apply(t, groups("10.0.0.2", "10.0.0.5", "2001:db8::2"))
	leaves, stays, six := b.flow("a2", "b3", "10.0.1.3", 80), b.flow("a5", "b3", "10.0.1.3", 80), b.flow("a2", "b3", "2001:db8:0:1::3", 80)
	b.apply(t, groups("10.0.0.5", "2001:db8::2"))
	b.mustStop(leaves, "it left its group")
	b.mustLive(stays, "a bystander with the same verdict")
	b.mustLive(six, "the other family of the same host, which did not leave")
}

// A policy that loses one of its services ends the flows of that one only.
func TestLiveFlowThroughPolicyChange(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	two := let("10.0.0.2", "10.0.1.3", 6, 80, 81)
	b.apply(t, permits(two))
	f80, f81 := b.flow("a2", "b3", "10.0.1.3", 80), b.flow("a2", "b3", "10.0.1.3", 81)
	one := two
	one.Ranges = []policy.Range{{Proto: 6, Lo: 80, Hi: 80}}
	b.apply(t, permits(one))
	b.mustLive(f80, "still permitted by the same policy")
	b.mustStop(f81, "no longer permitted, though the policy still is")
}

// A first enforcement keeps what policy permits although the flow was never
// tracked, and ends what it denies when learning is over.
func TestLiveFlowThroughFirstEnforcement(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.point.Learn = 3 * time.Second
	good, bad := b.flow("a2", "b3", "10.0.1.3", 80), b.flow("a5", "b3", "10.0.1.3", 80)
	want := b.change(t, permits(let("10.0.0.2", "10.0.1.3", 6, 80, 80)))
	b.mustLive(good, "while it learns")
	b.mustLive(bad, "while it only observes")
	time.Sleep(b.point.Learn)
	b.mustLive(good, "permitted, first seen from its server's side")
	b.mustStop(bad, "denied, after learning")
	b.prove(t, want)
	b.apply(t, permits(let("10.0.0.2", "10.0.1.3", 6, 80, 80), let("10.0.0.2", "10.0.1.3", 6, 443, 443)))
	b.mustLive(good, "after a later change that does not concern it")
	b.apply(t, permits(let("10.0.0.2", "10.0.1.3", 6, 443, 443)))
	b.mustStop(good, "after a later change that denies it")
}

// Tracking may begin before our rules do, for whatever reason, and see a flow first
// from its server's side: it goes on all the same.
func TestLiveFlowTrackedBeforeFirstEnforcement(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.point.Learn = 2 * time.Second
	good, bad := b.flow("a2", "b3", "10.0.1.3", 80), b.flow("a5", "b3", "10.0.1.3", 80)
	b.nft("table inet early { chain f { type filter hook forward priority 5; ct state new counter; }\n}")
	b.mustLive(good, "tracked, and nothing enforced")
	b.change(t, permits(let("10.0.0.2", "10.0.1.3", 6, 80, 80)))
	time.Sleep(b.point.Learn + 200*time.Millisecond)
	b.mustLive(good, "permitted, and tracked from its server's side before the rules came")
	b.mustStop(bad, "denied")
}

// A table that was flushed and is loaded again finds its live flows again, and
// no mark from before speaks for anybody.
func TestLiveFlowThroughFlushAndReload(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.point.Learn = time.Second
	b.done["gw"] = true // nothing to observe first
	both := []policy.Policy{let("10.0.0.2", "10.0.1.3", 6, 80, 80), let("10.0.0.5", "10.0.1.3", 6, 80, 80)}
	b.apply(t, permits(both...))
	stays, goes := b.flow("a2", "b3", "10.0.1.3", 80), b.flow("a5", "b3", "10.0.1.3", 80)
	b.nft("flush ruleset")
	b.mustLive(goes, "without any rules")
	b.apply(t, permits(both[0]))
	b.mustLive(stays, "loaded again")
	b.mustStop(goes, "denied by what was loaded")
	time.Sleep(1200 * time.Millisecond)
	b.mustLive(stays, "when the pick-up window is over")
}

// Translated flows are judged as the forward hook sees them: the real server, and
// the real client.
func TestLiveFlowsThroughTranslation(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.nft(`table ip nat {
		chain pre { type nat hook prerouting priority dstnat; ip daddr 192.0.2.254 tcp dport 8080 dnat to 10.0.1.3:80; }
		chain post { type nat hook postrouting priority srcnat; ip saddr 10.0.0.0/24 ip daddr 192.0.2.1 masquerade; }
	}`)
	world := func(rules ...policy.Policy) *policy.World { return permits(rules...) }
	in, outw := let("192.0.2.1", "10.0.1.3", 6, 80, 80), let("10.0.0.2", "192.0.2.1", 6, 90, 90)
	other := let("10.0.0.5", "192.0.2.1", 6, 90, 90)
	b.apply(t, world(in, outw, other))
	dnat := b.dnatFlow("out", "b3", "192.0.2.254", 8080, "10.0.1.3:80")
	snat, bystander := b.flow("a2", "out", "192.0.2.1", 90), b.flow("a5", "out", "192.0.2.1", 90)
	b.apply(t, world(in, outw, other, let("10.0.0.5", "10.0.1.6", 6, 1, 1)))
	b.mustLive(dnat, "DNAT, through a change that does not concern it")
	b.mustLive(snat, "SNAT, through a change that does not concern it")
	b.apply(t, world(in, other))
	b.mustStop(snat, "SNAT, denied")
	b.mustLive(bystander, "SNAT, a bystander")
	b.mustLive(dnat, "DNAT, a bystander")
	b.apply(t, world(other))
	b.mustStop(dnat, "DNAT, denied")
	b.expect(lab.Probe{From: "out", Dst: netip.MustParseAddr("192.0.2.254"), To: "b3", Proto: 6, Num: 8080}, false, "a new flow to the translated address")
}

// ICMP of both families: queries as flows of their own, answers with them, and
// messages that are no queries one by one.
func TestICMP(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.apply(t, permits(let("10.0.0.2", "10.0.1.3", 1, 0x800, 0x8ff), let("2001:db8::2", "2001:db8:0:1::3", 58, 0x8000, 0x80ff), let("10.0.0.5", "10.0.1.3", 1, 0x0300, 0x03ff)))
	v4, v6 := netip.MustParseAddr("10.0.1.3"), netip.MustParseAddr("2001:db8:0:1::3")
	b.expect(lab.Probe{From: "a2", Dst: v4, Proto: 1, Num: 0x800}, true, "echo request")
	b.expect(lab.Probe{From: "a5", Dst: v4, Proto: 1, Num: 0x800}, false, "echo request of another")
	b.expect(lab.Probe{From: "a2", Dst: v4, Proto: 1, Num: 0x0d00}, false, "timestamp request")
	b.expect(lab.Probe{From: "a2", Dst: v6, Proto: 58, Num: 0x8000}, true, "ICMPv6 echo request")
	b.expect(lab.Probe{From: "a5", Dst: v6, Proto: 58, Num: 0x8000}, false, "ICMPv6 echo request of another")
	b.expect(lab.Probe{From: "a2", Dst: v4, Proto: 1, Num: 0x0301}, false, "an error about nothing")
	b.expect(lab.Probe{From: "a5", Dst: v4, Proto: 1, Num: 0x0301}, true, "an error that policy permits as such")
	if out, err := b.ping("a2", "10.0.1.3"); err != nil {
		t.Errorf("ping: answers do not come back: %v: %s", err, out)
	}
	if out, err := b.ping("a2", "2001:db8:0:1::3"); err != nil {
		t.Errorf("ping: ICMPv6 answers do not come back: %v: %s", err, out)
	}
}

// A flow that may be opened from one end only is not held up by what the tracking
// remembers of the other end's, in protocols that have no beginning.
func TestOldEntryDoesNotBlockTheOtherDirection(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	there, back := netip.MustParseAddr("10.0.1.3"), netip.MustParseAddr("10.0.0.2")
	b.apply(t, permits(let("10.0.1.3", "10.0.0.2", 17, 500, 500), let("10.0.1.3", "10.0.0.2", 50, 0, 65535)))
	b.expect(lab.Probe{From: "b3", Dst: back, Proto: 17, Num: 500, SrcPort: 500}, true, "permitted")
	b.expect(lab.Probe{From: "b3", Dst: back, Proto: 50}, true, "permitted")
	b.apply(t, permits(let("10.0.0.2", "10.0.1.3", 17, 500, 500), let("10.0.0.2", "10.0.1.3", 50, 0, 65535)))
	b.expect(lab.Probe{From: "a2", Dst: there, Proto: 17, Num: 500, SrcPort: 500}, true, "permitted now, the other way round")
	b.expect(lab.Probe{From: "a2", Dst: there, Proto: 50}, true, "permitted now, the other way round")
	b.apply(t, permits())
	b.expect(lab.Probe{From: "a2", Dst: there, Proto: 17, Num: 500, SrcPort: 500}, false, "denied")
	b.expect(lab.Probe{From: "b3", Dst: back, Proto: 17, Num: 500, SrcPort: 500}, false, "denied, and no answer to anything")
}

// A first enforcement finds UDP flows too, whichever side sends.
func TestLiveUDPFlowThroughFirstEnforcement(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.point.Learn = 1500 * time.Millisecond
	open := func(client string) *lab.Flow {
		f, err := b.net.OpenFlow(t.Context(), lab.FlowSpec{Client: client, Server: "b3", Addr: netip.MustParseAddr("10.0.1.3"), Port: map[string]uint16{"a2": 80, "a5": 81}[client], UDP: true})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(f.Close)
		return f
	}
	good, bad := open("a2"), open("a5")
	b.change(t, permits(let("10.0.0.2", "10.0.1.3", 17, 80, 80)))
	time.Sleep(b.point.Learn + 200*time.Millisecond)
	b.mustLive(good, "permitted, seen first from its server's side")
	b.mustStop(bad, "denied, after learning")
}

// An ICMP error about a permitted flow comes back, whoever policy lets send ICMP.
func TestICMPErrorsAboutPermittedFlows(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.apply(t, permits(let("10.0.0.2", "10.0.1.3", 17, 9, 9), let("2001:db8::2", "2001:db8:0:1::3", 17, 9, 9)))
	for _, addr := range []string{"10.0.1.3:9", "[2001:db8:0:1::3]:9"} {
		var got error
		err := b.net.Host("a2").Do(func() error {
			c, err := net.Dial("udp", addr)
			if err != nil {
				return err
			}
			defer c.Close()
			for range 3 { // the first may wait for a neighbour
				if _, err := c.Write([]byte("x")); err != nil {
					got = err
					return nil
				}
				c.SetReadDeadline(time.Now().Add(300 * time.Millisecond))
				if _, got = c.Read(make([]byte, 1)); errors.Is(got, syscall.ECONNREFUSED) {
					return nil
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if !errors.Is(got, syscall.ECONNREFUSED) {
			t.Errorf("%s: the closed port's ICMP error did not come back: %v", addr, got)
		}
	}
}
