package ovs

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"bulkhead/pkg/lab"
)

// What is committed is what packets meet, and what is none changes nothing.
func TestFollow(t *testing.T) {
	s := newSwitch(t, Options{Hosts: Hosts(2)})
	p := newProber(t, s)
	var doc atomic.Value
	f := s.Follow(func(context.Context) ([]byte, error) {
		if text := doc.Load().(string); text != "" {
			return []byte(text), nil
		}
		return nil, errors.New("no answer")
	})
	// IPv4 from port 1 is for ICMP alone; IPv6 has no list.
	icmp := document("ipv4-acl-type", "<icmp><type>0</type></icmp>")
	sync := func(text string, changed, fails bool) {
		t.Helper()
		doc.Store(text)
		if got, err := f.Sync(t.Context()); got != changed || (err != nil) != fails {
			t.Fatalf("%.60q: changed %v, %v", text, got, err)
		}
	}
	onlyReplies := func(q *lab.Probe) bool { return q.From != "h1" || q.Proto == protoICMPv6 }
	sync(icmp, true, false)
	expect(t, s, p, "ICMP type 0 alone", mesh(s), onlyReplies)
	sync(icmp, false, false)
	for _, bad := range []string{"", "<data", "<other/>", document("eth-acl-type", "")} {
		sync(bad, false, true)
	}
	expect(t, s, p, "after bad ones", mesh(s), onlyReplies)
	sync("<data/>", true, false)
	expect(t, s, p, "no list", mesh(s), all)

	// By itself.
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- f.Run(ctx, 10*time.Millisecond) }()
	doc.Store(icmp)
	for limit := time.Now().Add(time.Minute); ; {
		r, err := p.Run(t.Context(), mesh(s)[:1], lab.ProbeOptions{Tries: 1})
		if err != nil {
			t.Fatal(err)
		}
		if !r[0].Got {
			break
		}
		if time.Now().After(limit) {
			t.Fatal("a change is not taken up")
		}
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
	doc.Store("")
	if err := f.Run(t.Context(), time.Hour); err == nil {
		t.Error("a read that fails is passed over")
	}
}

// What is no IP passes any list, unless an entry names its type.
func TestOtherEthertypes(t *testing.T) {
	s := newSwitch(t, Options{Hosts: Hosts(2), Resolve: true})
	var talks []lab.Talk
	for _, four := range []bool{true, false} {
		talks = append(talks, lab.Talk{Kind: lab.Connect, From: "h1", Dst: s.Net.Addr("h2", four), Port: 443, Want: true})
	}
	arp := List{Port: 1, Direction: Out, Entries: []Entry{{Ethertype: 0x0806}}}
	for _, c := range []struct {
		lists ACLs
		four  bool
	}{
		{ACLs{arp}, false},
		{ACLs{{Port: 1, Drop4: true, Entries: []Entry{{Permit: true, Ethertype: IPv4, Proto: new(uint8(protoTCP))}}}}, true},
	} {
		if err := s.SetACLs(t.Context(), c.lists); err != nil {
			t.Fatal(err)
		}
		talks[0].Want = c.four
		got, err := s.Net.Talk(t.Context(), talks)
		if err != nil {
			t.Fatal(err)
		}
		for i := range got {
			if got[i] != talks[i].Want {
				t.Errorf("%+v: %+v: %v", c.lists, talks[i], got[i])
			}
		}
	}
}
