package ovs

import (
	"context"
	"net/netip"
	"testing"

	"bulkhead/internal/tries"
	"bulkhead/pkg/lab"
)

// While lists are replaced, what both permit loses nothing, and what both drop never
// arrives. Probes are sent once each, as fast as the switch handles them.
func TestReplacementLosesNothing(t *testing.T) {
	s := newSwitch(t, Options{Hosts: Hosts(3)})
	p := newProber(t, s)
	udp := func(permit bool, ports ...Ports) Entry {
		return Entry{Permit: permit, Ethertype: IPv4, Proto: new(uint8(17)), DstPorts: ports}
	}
	// Both permit 53, at another place of the list and in another range; both drop 7.
	one := ACLs{{Port: 1, Drop4: true, Entries: []Entry{udp(true, Ports{53, 53}), udp(true, Ports{100, 200})}},
		{Port: 2, Direction: Out, Drop4: true, Entries: []Entry{udp(true, Ports{0, 6}, Ports{8, 65535})}}}
	two := ACLs{{Port: 1, Drop4: true, Entries: []Entry{udp(false, Ports{100, 200}), udp(false, Ports{7, 7}), udp(true, Ports{50, 60})}},
		{Port: 2, Direction: Out, Drop4: true, Entries: []Entry{udp(true, Ports{53, 53})}}}
	if err := s.SetACLs(t.Context(), one); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		defer stop()
		for i := range tries.Of(20) {
			if err := s.SetACLs(t.Context(), []ACLs{two, one}[i%2]); err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	dst := netip.MustParseAddr("10.0.0.2")
	sent := 0
	for ctx.Err() == nil {
		var probes []lab.Probe
		for i := range 20 {
			probes = append(probes, lab.Probe{From: "h1", Dst: dst, Proto: 17, Num: 53, SrcPort: uint16(1024 + (sent+i)%60000)},
				lab.Probe{From: "h1", Dst: dst, Proto: 17, Num: 7, SrcPort: uint16(1024 + (sent+i)%60000)})
		}
		got, err := p.Run(t.Context(), probes, lab.ProbeOptions{Tries: 1})
		if err != nil {
			t.Fatal(err)
		}
		for i, r := range got {
			if r.Got != (probes[i].Num == 53) {
				t.Fatalf("after %d packets: %+v: arrived %v", sent, probes[i], r.Got)
			}
		}
		sent += 20
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	t.Logf("%d packets of each kind", sent)
}

// Lists that are refused leave those before them.
func TestRefusedListsChangeNothing(t *testing.T) {
	s := newSwitch(t, Options{Hosts: Hosts(2)})
	p := newProber(t, s)
	if err := s.SetACLs(t.Context(), ACLs{{Port: 1, Drop4: true}}); err != nil {
		t.Fatal(err)
	}
	if err := s.SetACLs(t.Context(), ACLs{{Port: 1}, {Port: 3}}); err == nil {
		t.Error("a list for a port that is none was taken")
	}
	expect(t, s, p, "IPv4 is dropped at port 1", mesh(s), func(q *lab.Probe) bool { return q.From != "h1" || q.Proto == protoICMPv6 })
}

// Ordinary sockets need both ways, and lists know no connections.
func TestTalksThroughLists(t *testing.T) {
	s := newSwitch(t, Options{Hosts: Hosts(3), Resolve: true})
	tcp := new(uint8(protoTCP))
	entries := func(ethertype uint16) []Entry {
		return []Entry{
			{Permit: true, Ethertype: ethertype, Proto: tcp, DstPorts: []Ports{{443, 443}}},
			{Permit: true, Ethertype: ethertype, Proto: tcp, Established: true},
		}
	}
	// Neighbour discovery is IPv6, and a list that forgot it would cut the family off.
	discovery := func(kind uint8) Entry {
		return Entry{Permit: true, Ethertype: IPv6, Proto: new(uint8(protoICMPv6)), Type: &kind}
	}
	in := append(append(entries(IPv4), entries(IPv6)...), discovery(135), discovery(136))
	if err := s.SetACLs(t.Context(), ACLs{{Port: 1, Direction: In, Entries: in, Drop4: true, Drop6: true}}); err != nil {
		t.Fatal(err)
	}
	var talks []lab.Talk
	for _, four := range []bool{true, false} {
		h1, h2, h3 := s.Net.Addr("h1", four), s.Net.Addr("h2", four), s.Net.Addr("h3", four)
		talks = append(talks,
			lab.Talk{Kind: lab.Connect, From: "h1", Dst: h2, Port: 443, Want: true},
			lab.Talk{Kind: lab.Connect, From: "h1", Dst: h2, Port: 80},
			lab.Talk{Kind: lab.Connect, From: "h3", Dst: h1, Port: 80, Want: true}, // the answers are established
			lab.Talk{Kind: lab.Echo, From: "h1", Dst: h2, Port: 443},
			lab.Talk{Kind: lab.Echo, From: "h2", Dst: h1, Port: 443}, // the answer is dropped
			lab.Talk{Kind: lab.Echo, From: "h2", Dst: h3, Port: 443, Want: true},
			lab.Talk{Kind: lab.Ping, From: "h1", Dst: h2},
			lab.Talk{Kind: lab.Ping, From: "h3", Dst: h2, Want: true})
	}
	got, err := s.Net.Talk(t.Context(), talks)
	if err != nil {
		t.Fatal(err)
	}
	for i := range got {
		if got[i] != talks[i].Want {
			t.Errorf("%+v: %v", talks[i], got[i])
		}
	}
}
