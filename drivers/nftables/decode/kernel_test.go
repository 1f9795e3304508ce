package decode

import (
	"fmt"
	"testing"

	"bulkhead/pkg/driver"
	"bulkhead/pkg/packet"
)

// TestAnswers checks that a reply has the type that answers the flow's request,
// and the flow's code.
func TestAnswers(t *testing.T) {
	l := newLoader(t)
	for _, c := range []struct {
		name, src, dst       string
		proto                uint8
		request, answer, not uint16
	}{
		{"icmp", "10.0.0.1", "10.0.0.2", 1, 8, 0, 8},
		{"icmp", "10.0.0.1", "10.0.0.2", 1, 13, 14, 13},
		{"icmp", "10.0.0.1", "10.0.0.2", 1, 15, 16, 15},
		{"icmp", "10.0.0.1", "10.0.0.2", 1, 17, 18, 17},
		{"icmpv6", "2001:db8::1", "2001:db8::2", 58, 128, 129, 128},
		{"icmpv6", "2001:db8::1", "2001:db8::2", 58, 139, 140, 139},
	} {
		for _, typ := range []uint16{c.answer, c.not} {
			d := Decode(l.load(table(fmt.Sprintf(
				"chain forward { type filter hook forward priority 0; policy drop; ct state established %s type %d %s code 3 accept; }", c.name, typ, c.name))), testOptions())
			wantClean(t, d)
			got := permits(t, relation(t, d, "forward", driver.TrackReply, "", 1000, false), c.src, c.dst)
			var want packet.Services
			if typ == c.answer {
				at := packet.Point(c.proto, c.request<<8|3)
				want = packet.Services{{Lo: at, Hi: at}}
			}
			if !got.Equal(want) {
				t.Errorf("%s: a reply to type %d with a rule on type %d: %v, want %v", c.name, c.request, typ, got, want)
			}
		}
	}
}

// TestSharedClasses checks that addresses are one class only if the rest of their
// elements is the same, both ends of ranges included.
func TestSharedClasses(t *testing.T) {
	l := newLoader(t)
	d := Decode(l.load(table(`set sp { type ipv4_addr . inet_service; flags interval; elements = { 10.0.0.1 . 20-25, 10.0.0.2 . 20-90, 10.0.0.3 . 10-25, 10.0.0.4 . 20-25 } }
chain forward { type filter hook forward priority 0; policy drop; ip saddr . tcp dport @sp accept; }`)), testOptions())
	wantClean(t, d)
	r := relation(t, d, "forward", driver.TrackNew, "", 1000, false)
	if len(r.Src) != 5 { // three kinds of elements, the rest, and IPv6
		t.Errorf("%d classes: %v", len(r.Src), r.Src)
	}
	for src, want := range map[string]packet.Span{
		"10.0.0.1": {Lo: 20, Hi: 25}, "10.0.0.2": {Lo: 20, Hi: 90}, "10.0.0.3": {Lo: 10, Hi: 25}, "10.0.0.4": {Lo: 20, Hi: 25},
	} {
		tcp := packet.Services{{Lo: 6<<16 | want.Lo, Hi: 6<<16 | want.Hi}}
		if got := permits(t, r, src, "10.9.9.9"); !got.Equal(tcp) {
			t.Errorf("%s: %v, want %v", src, got, tcp)
		}
	}
}

// TestSourcePorts checks that runs of source ports are told apart where rules do.
func TestSourcePorts(t *testing.T) {
	d := Decode(newLoader(t).load(table(
		"chain forward { type filter hook forward priority 0; policy drop; tcp sport 20-30 accept; }")), testOptions())
	wantClean(t, d)
	var got string
	for _, r := range find(t, d, "forward", driver.TrackNew) {
		got += fmt.Sprintf("%d-%d %v; ", r.Situation.SrcPortLo, r.Situation.SrcPortHi, permits(t, r, "10.0.0.1", "10.0.0.2"))
	}
	if want := "0-19 nothing; 20-30 tcp; 31-65535 nothing; "; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// TestInterfaces checks names, prefixes of names, and everything else.
func TestInterfaces(t *testing.T) {
	d := Decode(newLoader(t).load(table(
		`chain forward { type filter hook forward priority 0; policy drop; iifname "eth0" drop; iifname "eth*" tcp dport 1 accept; iifname { "wan", "lo" } udp dport 2 accept; }`)), testOptions())
	wantClean(t, d)
	var got string
	for _, r := range find(t, d, "forward", driver.TrackNew) {
		got += fmt.Sprintf("%q %v; ", r.Situation.In, permits(t, r, "10.0.0.1", "10.0.0.2"))
	}
	if want := `"" nothing; "eth*" tcp/1; "eth0" nothing; "wan" udp/2; `; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// TestReversed checks that a ruleset which knows flows picked up from their far
// end must judge them as the flows that they are.
func TestReversed(t *testing.T) {
	l := newLoader(t)
	right := table(`chain there { ip saddr 10.0.0.1 tcp dport 80 accept
drop
}
chain back { ip daddr 10.0.0.1 tcp sport 80 accept
drop
}
chain turned { ct direction reply goto there
goto back
}
chain forward { type filter hook forward priority 0; policy drop;
ct mark & 0xff000000 == 0x43000000 goto turned
ct direction reply goto back
goto there
}`)
	wantClean(t, Decode(l.load(right), testOptions()))
	wrong := table(`chain there { ip saddr 10.0.0.1 tcp dport 80 accept
drop
}
chain back { ip daddr 10.0.0.1 tcp sport 80 accept
drop
}
chain forward { type filter hook forward priority 0; policy drop;
ct mark & 0xff000000 == 0x43000000 goto there
ct direction reply goto back
goto there
}`)
	if len(problems(Decode(l.load(wrong), testOptions()))) == 0 {
		t.Error("a reversed mark that is judged the wrong way round is not noticed")
	}
}
