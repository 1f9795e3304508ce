package kernel

import (
	"context"
	"net"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"

	"bulkhead/drivers/nftables/ruleset"
)

// tracking turns on connection tracking, with marks by destination port.
const tracking = `
table inet tracking {
	chain out { type filter hook output priority 0;
		ct state new th dport 5001-5400 ct mark set 0x1389
		ct state new th dport 5002 ct mark set 5002
		ct state new meta l4proto { icmp, icmpv6 } ct mark set 0x77
	}
}
`

// udpFlows sends a datagram to each port of both loopback addresses.
func udpFlows(t testing.TB, ports ...int) {
	t.Helper()
	for _, ip := range []string{"127.0.0.1", "::1"} {
		l, err := net.ListenPacket("udp", net.JoinHostPort(ip, "0"))
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range ports {
			if _, err := l.WriteTo([]byte("x"), &net.UDPAddr{IP: net.ParseIP(ip), Port: p}); err != nil {
				t.Fatal(err)
			}
		}
		t.Cleanup(func() { l.Close() })
	}
}

func TestConntrackMarks(t *testing.T) {
	freshNS(t)
	c := open(t)
	ctx := context.Background()
	flows, err := c.ListFlows(ctx, 0, 0, 0)
	if err != nil || len(flows) != 0 {
		t.Fatalf("without tracking: %v %v", flows, err)
	}
	run(t, "", "ip", "link", "set", "lo", "up")
	nft(t, tracking)
	udpFlows(t, 5001, 5002, 5003)
	run(t, "", "ping", "-c1", "-W1", "127.0.0.1")
	flows, err = c.ListFlows(ctx, 0, 0, 0)
	if err != nil || len(flows) != 7 {
		t.Fatalf("%d flows %+v, want 7: %v", len(flows), flows, err)
	}
	some, err := c.ListFlows(ctx, 5002, 0xffff, ruleset.FamilyIPv6)
	if err != nil || len(some) != 1 {
		t.Fatalf("%+v: %v", some, err)
	}
	f := some[0]
	if one := netip.MustParseAddr("::1"); f.Orig.Src != one || f.Orig.Dst != one || f.Orig.DstPort != 5002 || f.Reply.SrcPort != 5002 ||
		f.Orig.Proto != unix.IPPROTO_UDP || f.Mark != 5002 || f.ID == 0 || f.Family != ruleset.FamilyIPv6 {
		t.Errorf("%+v", f)
	}
	ping, err := c.ListFlows(ctx, 0x77, 0xff, ruleset.FamilyIPv4)
	if err != nil || len(ping) != 1 || ping[0].Orig.ICMPType != 8 || ping[0].Reply.ICMPType != 0 || ping[0].Orig.ICMPID == 0 {
		t.Fatalf("%+v: %v", ping, err)
	}
	// One that has ended is no error and is not counted.
	gone := f
	gone.Orig.DstPort = 9
	n, err := c.SetMark(ctx, append(flows, gone), 0x40000009)
	if err != nil || n != 7 {
		t.Fatalf("%d marked: %v", n, err)
	}
	if some, err = c.ListFlows(ctx, 0x40000009, 0xffffffff, 0); err != nil || len(some) != 7 {
		t.Fatalf("%d bear the mark: %v", len(some), err)
	}
	if all, err := c.ListFlows(ctx, 0, 0, 0); err != nil || len(all) != 7 {
		t.Fatalf("%d flows: a mark made one up: %v", len(all), err)
	}
	if n, err = c.SetMark(ctx, some[:1], 0x21); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	if n, err = c.ClearMarks(ctx, 0x40000000, 0xf0000000); err != nil || n != 6 {
		t.Fatalf("%d cleared: %v", n, err)
	}
	marks := map[uint32]int{}
	flows, _ = c.ListFlows(ctx, 0, 0, 0)
	for _, f := range flows {
		marks[f.Mark]++
	}
	if marks[9] != 6 || marks[0x21] != 1 { // the bits outside the mask stay
		t.Fatalf("marks %v", marks)
	}
}

// TestLiveFlowIsRemarked is what it is for: a TCP flow that is let through by
// its mark stops when the mark is cleared, and the entry stays.
func TestLiveFlowIsRemarked(t *testing.T) {
	freshNS(t)
	c := open(t)
	run(t, "", "ip", "link", "set", "lo", "up")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	nft(t, `table inet t {
	counter dropped { }
	chain out { type filter hook output priority 0;
		meta l4proto tcp ct state new ct mark set 0x41
		ct mark 0x41 accept
		meta l4proto tcp counter name dropped drop
	}
}`)
	a, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	b, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	buf := make([]byte, 8)
	if _, err := a.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	if n, err := b.Read(buf); n != 5 || err != nil {
		t.Fatal(n, err)
	}
	if n, err := c.ClearMarks(context.Background(), 0x41, 0xff); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	_, _ = a.Write([]byte("again"))
	flows, err := c.ListFlows(context.Background(), 0, 0xff, ruleset.FamilyIPv4)
	if err != nil || len(flows) != 1 || flows[0].Orig.Proto != unix.IPPROTO_TCP {
		t.Fatalf("%+v: %v", flows, err)
	}
	// The counter of the object: NFTA_COUNTER_PACKETS.
	obj := read(t, c).Table(inet, "t").Objects[0]
	var e ruleset.Element
	in := attrs{}
	referenceStateful(ruleset.Expr{Name: "counter", Data: obj.Data}, &in, &e)
	if in.err != nil || e.Packets == 0 {
		t.Errorf("nothing was dropped: %+v %v", e, in.err)
	}
}

func TestManyMarks(t *testing.T) {
	freshNS(t)
	c := open(t)
	run(t, "", "ip", "link", "set", "lo", "up")
	nft(t, tracking)
	var ports []int
	for p := 5001; p <= 5400; p++ {
		ports = append(ports, p)
	}
	udpFlows(t, ports...)
	n, err := c.ClearMarks(context.Background(), 0, 0)
	if err != nil || n != 800 {
		t.Fatalf("mask 0: %d %v", n, err)
	}
	if n, err = c.ClearMarks(context.Background(), 0x1000, 0xf000); err != nil || n != 800 {
		t.Fatalf("%d cleared: %v", n, err)
	}
	if f, err := c.ListFlows(context.Background(), 0x1000, 0xf000, 0); err != nil || len(f) != 0 {
		t.Fatalf("%d left: %v", len(f), err)
	}
}
