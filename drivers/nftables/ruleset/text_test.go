package ruleset

import (
	"encoding/binary"
	"strings"
	"testing"
	"time"
)

func be(v uint32) []byte   { return binary.BigEndian.AppendUint32(nil, v) }
func host(v uint32) []byte { return binary.NativeEndian.AppendUint32(nil, v) }

func join(parts ...[]byte) (out []byte) {
	for _, p := range parts {
		out = append(out, p...)
		for len(out)%4 != 0 {
			out = append(out, 0)
		}
	}
	return out
}

func TestElementText(t *testing.T) {
	const dns = 53
	for want, s := range map[string]Set{
		"* : 0x1, 10.0.0.1 : 0x10": {TypeText: "typeof ip saddr : meta mark", Elements: []Element{
			{Flags: ElemCatchAll, Data: host(1)}, {Key: be(0x0a000001), Data: host(16)}}},
		"10.0.0.1 : 16": {TypeText: "typeof ip saddr : meta length", Elements: []Element{{Key: be(0x0a000001), Data: host(16)}}},
		"0x10 . 1:2000 : 0x5, 0x11 . none : drop": {TypeText: "typeof meta mark . meta priority : meta mark", Elements: []Element{
			{Key: join(host(16), host(0x12000)), Data: host(5)}, {Key: join(host(17), host(0)), Verdict: &Verdict{}}}},
		"0x20000001 . tcp . 6000-6999 : 0x7": {TypeText: "type mark . inet_proto . inet_service : mark", Flags: SetInterval | SetConcat, Elements: []Element{
			{Key: join(be(0x20000001), []byte{6}, []byte{0x17, 0x70}), KeyEnd: join(be(0x20000001), []byte{6}, []byte{0x1b, 0x57}), Data: host(7)}}},
		"10.0.9.10 . 10.0.0.0/24 . udp . 53": {TypeText: "type ipv4_addr . ipv4_addr . inet_proto . inet_service", Flags: SetInterval | SetConcat, Elements: []Element{
			{Key: join(be(0x0a00090a), be(0x0a000000), []byte{17}, []byte{0, dns}), KeyEnd: join(be(0x0a00090a), be(0x0a0000ff), []byte{17}, []byte{0, dns})}}},
		"10.0.0.0/24 : 0x1, 10.0.1.0-10.0.1.2 : 0x2, 255.0.0.0/8 : 0x3": {TypeText: "type ipv4_addr : mark", Flags: SetInterval, Elements: []Element{
			{Key: be(0), Flags: ElemIntervalEnd}, // as nft leaves it
			{Key: be(0x0a000000), Data: host(1)}, {Key: be(0x0a000100), Flags: ElemIntervalEnd},
			{Key: be(0x0a000103), Flags: ElemIntervalEnd}, {Key: be(0x0a000100), Data: host(2)}, // in any order
			{Key: be(0xff000000), Data: host(3)}}},
		"0x1-0x2, 0x7-0xffffffff": {TypeText: "type mark", Flags: SetInterval, Elements: []Element{
			{Key: be(1)}, {Key: be(3), Flags: ElemIntervalEnd}, {Key: be(7)}}},
		"ipv4 timeout 1m, ipv6 timeout 1s500ms": {TypeText: "type nf_proto", Flags: SetTimeout, Elements: []Element{
			{Key: []byte{2}, Timeout: time.Minute}, {Key: []byte{10}, Timeout: 1500 * time.Millisecond}}},
		"0x5 counter packets 1 bytes 60 : goto eval": {TypeText: "type mark : verdict", Elements: []Element{
			{Key: host(5), HasCounter: true, Packets: 1, Bytes: 60, Verdict: &Verdict{Code: -4, Chain: "eval"}}}},
		`"eth0" : "seen"`:             {TypeText: "type ifname : counter", Elements: []Element{{Key: []byte("eth0\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"), Object: "seen"}}},
		"0x0a000001 : 0x01":           {Elements: []Element{{Key: be(0x0a000001), Data: []byte{1}}}}, // not rendered
		"00:1b:1b:12:34:56 . 0x1":     {TypeText: "type ether_addr . mark", Elements: []Element{{Key: join([]byte{0, 0x1b, 0x1b, 0x12, 0x34, 0x56}, host(1))}}},
		"::1 : return, 2001:db8::/32": {TypeText: "type ipv6_addr : verdict", Flags: SetInterval, Elements: v6()},
	} {
		if got := strings.Join(s.elementTexts(), ", "); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
}

// v6 is a prefix and a single address, which sorts first.
func v6() []Element {
	wide := func(hi, lo uint32) []byte { return append(append(be(hi), make([]byte, 8)...), be(lo)...) }
	return []Element{{Key: wide(0x20010db8, 0)}, {Key: wide(0x20010db9, 0), Flags: ElemIntervalEnd},
		{Key: wide(0, 1), Verdict: &Verdict{Code: -5}}, {Key: wide(0, 2), Flags: ElemIntervalEnd}}
}

func TestTableText(t *testing.T) {
	x := Table{Family: FamilyInet, Name: "t", Flags: TableOwner | TablePersist,
		Objects: []Object{{Name: "seen", Type: 1}, {Name: "q", Type: 2}},
		Sets: []Set{{Name: "x", TypeText: "type mark", Flags: SetTimeout | SetEval, Size: 9, Timeout: time.Hour, Exprs: []Expr{{Name: "counter"}},
			Elements: []Element{{Key: host(1)}, {Key: host(2)}}}},
		Chains: []Chain{{Name: "c", Rules: []Rule{{Text: "accept"}, {Exprs: []Expr{{Name: "xt"}}}}},
			{Name: "f", Type: "filter", Hook: &Hook{Num: 2, Priority: -5}}}}
	want := `table inet t {
	# flags owner
	# flags persist
	counter seen {
	}

	# object "q" of type 2
	set x {
		type mark
		flags dynamic,timeout
		size 9
		timeout 1h
		counter
		elements = {
			0x1,
			0x2
		}
	}

	chain c {
		accept
		# a rule of 1 expressions
	}

	chain f {
		type filter hook forward priority -5; policy drop;
	}

}
`
	if got := x.Text(); got != want {
		t.Errorf("got\n%s", got)
	}
	dev := Chain{Name: "c", Type: "filter", Hook: &Hook{Devices: []string{"a\"b\n", "c"}}, Policy: 1}
	var b strings.Builder
	dev.text(&b, FamilyNetdev)
	if !strings.Contains(b.String(), `hook ingress devices = { "a.b.", "c" } priority 0; policy accept;`) {
		t.Errorf("got %s", b.String())
	}
}
