package decode

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"bulkhead/drivers/nftables/ruleset"
	"bulkhead/internal/tries"
	"bulkhead/pkg/driver"
	"bulkhead/pkg/packet"
)

// generator writes random programs in nft's language over a small universe.
type generator struct{ t *rapid.T }

func (g generator) one(label string, list ...string) string {
	return rapid.SampledFrom(list).Draw(g.t, label)
}

func (g generator) addr4() string {
	return g.one("v4", "10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.0/30", "10.0.0.2-10.0.0.6", "10.0.0.0/8", "10.0.0.7")
}

func (g generator) addr6() string {
	return g.one("v6", "2001:db8::1", "2001:db8::2", "2001:db8::/64", "2001:db8::1-2001:db8::5")
}

func (g generator) ports() string {
	return g.one("port", "22", "80", "20-30", "79-81", "443")
}

func (g generator) mark() string {
	return g.one("mark", "0x1", "0x2", "0x3", "0x42000001", "0x42000002", "0x43000001")
}

func (g generator) bang() string { return g.one("not", "", "", "!= ") }

// match is one condition.
func (g generator) match() string {
	switch rapid.IntRange(0, 25).Draw(g.t, "match") {
	case 0:
		return "ip saddr " + g.bang() + g.addr4()
	case 1:
		return "ip daddr " + g.bang() + g.addr4()
	case 2:
		return "ip6 saddr " + g.bang() + g.addr6()
	case 3:
		return "ip6 daddr " + g.bang() + g.addr6()
	case 4:
		return "tcp dport " + g.bang() + g.ports()
	case 5:
		return "udp sport " + g.bang() + g.ports()
	case 6:
		return "meta l4proto " + g.bang() + g.one("proto", "tcp", "udp", "{ icmp, ipv6-icmp }", "{ tcp, udp }", "gre")
	case 7:
		return "icmp type " + g.bang() + g.one("type", "echo-request", "destination-unreachable", "{ echo-request, echo-reply }")
	case 8:
		return "icmpv6 type " + g.one("type6", "echo-request", "nd-neighbor-solicit", "{ 133-136 }")
	case 9:
		return "iifname " + g.bang() + g.one("if", "eth0", "eth1", "\"eth*\"", "{ eth0, wan }")
	case 10:
		return "ct state " + g.one("state", "new", "established", "invalid", "untracked", "{ established, related }", "established,new")
	case 11:
		return "ct direction " + g.one("dir", "original", "reply")
	case 12:
		return "ct mark " + g.bang() + g.mark()
	case 13:
		return "ct mark & 0xff000000 == 0x42000000"
	case 14:
		return "meta mark " + g.bang() + g.mark()
	case 15:
		return "meta mark & 0x3 " + g.one("mm", "== 0x1", "!= 0", "> 0x1")
	case 16:
		return g.one("pair", "ip saddr . ip daddr", "ip daddr . ip saddr") + " " + g.bang() + "@p4"
	case 17:
		return g.one("fs", "ip saddr . ip daddr . meta l4proto . th dport @fs4", "ip daddr . ip saddr . meta l4proto . th sport @fs4")
	case 18:
		return g.one("s4", "ip saddr ", "ip daddr ", "ct original ip saddr ", "ct reply ip saddr ") + g.bang() + g.one("set", "@s4", "@i4")
	case 19:
		return g.one("tag", "meta mark ", "ct mark ") + "@marks"
	case 20:
		return "meta l4proto tcp ct reply proto-src " + g.ports()
	case 21:
		return g.one("lt", "tcp dport < 80", "tcp dport >= 23", "ip saddr > 10.0.0.3", "ip6 daddr <= 2001:db8::3", "udp sport > 25")
	case 22:
		return "iifname . ip saddr @spoof"
	case 23:
		return "meta l4proto { tcp, udp } th dport " + g.ports()
	case 24:
		return g.one("sp", "ip saddr . tcp dport @sp", "ip daddr . tcp sport @sp", "icmp type 13-18", "icmpv6 type { 129, 140 }")
	}
	return "meta nfproto " + g.one("fam", "ipv4", "ipv6")
}

// act is what a rule does.
func (g generator) act(depth int) string {
	n := 11
	if depth == 0 {
		n = 13
	}
	switch k := rapid.IntRange(0, n).Draw(g.t, "act"); k {
	case 0, 1:
		return "accept"
	case 2, 3:
		return "drop"
	case 4:
		return "return"
	case 5:
		return "meta mark set " + g.mark()
	case 6:
		return "meta mark set " + g.one("m", "ip saddr map @m4", "ip daddr map @mi4", "meta mark . meta priority map @mm", "meta mark . meta l4proto . th dport map @svcr", "meta mark . meta l4proto . th dport map @svc", "ct mark", "ct mark & 0xfeffffff")
	case 7:
		return "meta priority set " + g.one("pr", "ip daddr map @m4", "ip saddr map @mi4")
	case 8:
		return "ct mark set " + g.one("cm", "meta mark", g.mark())
	case 9:
		return g.one("vm", "ip saddr vmap @v4", "tcp dport vmap { 22 : accept, 79-81 : drop }", "ip daddr vmap { 10.0.0.1 : return, 10.0.0.2 : drop, 10.0.0.0-10.0.0.0 : accept }")
	case 10, 11:
		return "counter"
	case 12:
		return "jump sub"
	}
	return "goto sub"
}

func (g generator) rules(n, depth int) string {
	var out []string
	for range rapid.IntRange(1, n).Draw(g.t, "rules") {
		var parts []string
		for range rapid.IntRange(0, 2).Draw(g.t, "matches") {
			parts = append(parts, g.match())
		}
		out = append(out, strings.Join(append(parts, g.act(depth)), " "))
	}
	return strings.Join(out, "\n")
}

func (g generator) some(label string, list ...string) string {
	var out []string
	for i, x := range list {
		if rapid.IntRange(0, 2).Draw(g.t, fmt.Sprintf("%s %d", label, i)) > 0 {
			out = append(out, x)
		}
	}
	if len(out) == 0 {
		out = list[:1]
	}
	return " elements = { " + strings.Join(out, ", ") + " }; }\n"
}

// sets are those that matches and actions ask.
func (g generator) sets() string {
	return "set s4 { type ipv4_addr; flags timeout;" + g.some("s4", "10.0.0.1", "10.0.0.2 timeout 1h", "10.0.0.5") +
		"set i4 { type ipv4_addr; flags interval,timeout;" + g.some("i4", "10.0.0.0/31", "10.0.0.4-10.0.0.6 timeout 1h", "10.0.0.3") +
		"set p4 { type ipv4_addr . ipv4_addr;" + g.some("p4", "10.0.0.1 . 10.0.0.2", "10.0.0.2 . 10.0.0.1", "10.0.0.3 . 10.0.0.3") +
		"set fs4 { type ipv4_addr . ipv4_addr . inet_proto . inet_service; flags interval;" + g.some("fs4", "10.0.0.1 . 10.0.0.0/30 . tcp . 22", "10.0.0.4-10.0.0.7 . 10.0.0.2 . udp . 20-90") +
		"set sp { type ipv4_addr . inet_service; flags interval;" + g.some("sp", "10.0.0.1 . 20-25", "10.0.0.2 . 20-90", "10.0.0.3-10.0.0.7 . 20-30") +
		"set marks { type mark;" + g.some("marks", "0x1", "0x42000001", "0x43000001") +
		"set spoof { type ifname . ipv4_addr; flags interval;" + g.some("spoof", "eth0 . 10.0.0.0/30", "eth1 . 10.0.0.2") +
		"map m4 { typeof ip saddr : meta length;" + g.some("m4", "10.0.0.1 : 0x1", "10.0.0.2 : 0x2", "10.0.0.5 : 0x1") +
		"map mi4 { typeof ip saddr : meta length; flags interval;" + g.some("mi4", "10.0.0.0/30 : 0x2", "10.0.0.4/31 : 0x3") +
		"map mm { typeof meta mark . meta priority : meta mark;" + g.some("mm", "0x1 . 0x2 : 0x42000001", "0x2 . 0x2 : 0x3", "0x2 . 0x0 : 0x1", "0x0 . 0x1 : 0x2", "0x3 . 0x2 : 0x42000002") +
		"map svc { type mark . inet_proto . inet_service : mark;" + g.some("svc", "0x1 . tcp . 80 : 0x42000001", "0x42000001 . udp . 22 : 0x2") +
		"map svcr { type mark . inet_proto . inet_service : mark; flags interval;" + g.some("svcr", "0x1 . tcp . 20-25 : 0x42000002", "0x2-0x3 . 6-17 . 50-90 : 0x1") +
		"map v4 { type ipv4_addr : verdict;" + g.some("v4", "10.0.0.1 : accept", "10.0.0.2 : drop", "10.0.0.3 : return", "10.0.0.5 : jump sub")
}

func (g generator) program() string {
	sets := g.sets()
	raw := ""
	hook := g.one("hook", "forward", "forward", "input", "output")
	if rapid.Bool().Draw(g.t, "raw") {
		raw = "chain raw { type filter hook " + map[bool]string{true: "output", false: "prerouting"}[hook == "output"] + " priority raw; policy accept;\nmeta mark set 0\nmeta priority set 0\n" +
			g.match() + " notrack\n" + g.rules(2, 0) + "\n}\n"
	}
	return table(sets + "chain sub {\n" + g.rules(4, 1) + "\n}\n" + raw +
		"chain main { type filter hook " + hook + " priority filter; policy " + g.one("policy", "accept", "drop") +
		";\nmeta mark set 0\nmeta priority set 0\n" + g.words() + g.rules(8, 0) + "\n}\n")
}

// words lets some programs do what class-map rulesets do: words of both ends, and
// a lookup of the pair.
func (g generator) words() string {
	if !rapid.Bool().Draw(g.t, "words") {
		return ""
	}
	out := ""
	for range rapid.IntRange(1, 2).Draw(g.t, "maps") {
		out += "meta mark set " + g.one("w1", "ip saddr", "ip saddr", "ip daddr") + " map " + g.one("wm1", "@m4", "@mi4") + "\n" +
			"meta priority set " + g.one("w2", "ip daddr", "ip daddr", "ip saddr") + " map " + g.one("wm2", "@m4", "@mi4") + "\n"
	}
	out += g.rules(3, 1) + "\n"
	if rapid.Bool().Draw(g.t, "masked") {
		out += "meta mark set (meta mark & 0x3) . (meta priority & " + g.one("pm", "0x2", "0x1", "0x3") + ") map @mm\n"
	} else {
		out += "meta mark set meta mark . meta priority map @mm\n"
	}
	return out
}

var (
	universe4 = []string{"10.0.0.0", "10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.5", "10.0.0.7", "11.0.0.0"}
	universe6 = []string{"2001:db8::1", "2001:db8::2", "2001:db8::6", "::1:0"}
)

func universeServices() []uint32 {
	var out []uint32
	for _, p := range []uint8{6, 17} {
		for _, n := range []uint16{0, 22, 25, 31, 50, 79, 80, 90, 443, 65535} {
			out = append(out, packet.Point(p, n))
		}
	}
	for _, p := range []uint8{1, 58} {
		for _, typ := range []uint16{0, 3, 8, 13, 15, 17, 128, 129, 133, 135, 139} {
			out = append(out, packet.Point(p, typ<<8), packet.Point(p, typ<<8|1))
		}
	}
	return append(out, packet.Point(47, 0), packet.Point(132, 80), packet.Point(0, 0))
}

// packetOf makes the packet of a flow in a situation; where there is none, the
// flow's first.
func packetOf(s driver.Situation, src, dst netip.Addr, svc uint32, sport uint16, in string, mark uint32) flowPacket {
	p := flowPacket{src: src, dst: dst, svc: svc, sport: sport, in: in, ct: ctNew}
	if s.Tracking == driver.TrackUntracked {
		p.ct = ctUntracked
		return p
	}
	dom, _ := numberOfAddr(src)
	f := firstsOf(dom)
	switch {
	case f.invalid.Contains(svc):
		p.ct = ctInvalid
	case f.untracked.Contains(svc):
		p.ct = ctUntracked
	case s.Tracking == driver.TrackForward:
		p.ct = ctForward
	case s.Tracking == driver.TrackReply:
		p.ct, p.reply = ctReply, true
	case s.Tracking == driver.TrackRelated && !packet.IsICMP(uint8(svc>>16)):
		p.ct, p.ctmark = ctRelated, mark
	}
	return p
}

// ifaceNames gives concrete interfaces of a class.
func ifaceNames(hook, in string) []string {
	if strings.HasSuffix(in, "*") {
		return []string{strings.TrimSuffix(in, "*") + "7"}
	}
	if in == "" && hook == "output" {
		return []string{""}
	}
	if in == "" {
		return []string{"zzz9"}
	}
	return []string{in}
}

func checkRelation(t *rapid.T, tb testing.TB, rs *ruleset.Ruleset, r driver.Relation, relatedMarks []uint32, text string) {
	addrs := append(slices.Clone(universe4), universe6...)
	parsed := map[*ruleset.Rule][]op{}
	for _, sa := range addrs {
		for _, da := range addrs {
			src, dst := netip.MustParseAddr(sa), netip.MustParseAddr(da)
			if src.Is4() != dst.Is4() {
				continue
			}
			got := permits(tb, r, sa, da)
			for _, svc := range universeServices() {
				want := false
				for _, mark := range relatedMarks {
					for _, in := range ifaceNames(r.Situation.Hook, r.Situation.In) {
						p := packetOf(r.Situation, src, dst, svc, r.Situation.SrcPortLo, in, mark)
						b := &brute{tb: tb, t: &rs.Tables[0], p: p, expired: r.Situation.Expired, parsed: parsed}
						pass := b.run(r.Situation.Hook)
						want = want || pass
						if len(relatedMarks) == 1 && got.Contains(svc) != pass {
							t.Fatalf("%+v: %v: decoded %v, interpreter %v\nwhy: %s\n%s", r.Situation, p, got.Contains(svc), pass, r.Why(src, dst, svc), text)
						}
					}
				}
				if got.Contains(svc) != want {
					t.Fatalf("%+v: %s %s %x: decoded %v, interpreter %v\n%s", r.Situation, sa, da, svc, got.Contains(svc), want, text)
				}
			}
		}
	}
}

func anyMark(d *driver.Decoded) bool {
	return slices.ContainsFunc(d.Findings, func(f driver.Finding) bool { return strings.Contains(f.Text, "any mark accepts") })
}

// checkMarks asks the interpreter which marks let something through that is
// dropped without, and expects them to be named.
func checkMarks(t *rapid.T, tb testing.TB, rs *ruleset.Ruleset, res Result, text string) {
	parsed := map[*ruleset.Rule][]op{}
	hook := res.Decoded.Relations[0].Situation.Hook
	pass := func(p flowPacket, mark uint32) bool {
		p.ctmark = mark
		return (&brute{tb: tb, t: &rs.Tables[0], p: p, parsed: parsed}).run(hook)
	}
	for _, mark := range []uint32{1, 2, 3, 0x42000001, 0x42000002, 0x42abc123, 0x77777777} {
		if anyMark(res.Decoded) || slices.Contains(res.Marks.Accepting, mark) {
			continue
		}
		for _, sa := range universe4 {
			for _, da := range universe4 {
				for _, svc := range universeServices() {
					for _, tr := range []driver.Tracking{driver.TrackForward, driver.TrackReply} {
						p := packetOf(driver.Situation{Tracking: tr}, netip.MustParseAddr(sa), netip.MustParseAddr(da), svc, 40000, "zzz9", 0)
						if hook == "output" {
							p.in = ""
						}
						if p.ct.entry() && p.ct != ctNew && pass(p, mark) && !pass(p, 0) {
							t.Fatalf("mark %x passes: %v\n%s", mark, p, text)
						}
					}
				}
			}
		}
	}
}

// TestAgainstInterpreter holds the symbolic executor against one packet at a
// time, on random programs that the kernel has accepted.
func TestAgainstInterpreter(t *testing.T) {
	l := newLoader(t)
	tried, taken, graphs := 0, 0, 0
	tries.Check(t, func(rt *rapid.T) {
		text := generator{rt}.program()
		tried++
		rs, msg := l.try(text)
		if msg != "" {
			return // the drawn text was no ruleset
		}
		taken++
		opt := testOptions()
		opt.Pairs = rapid.SampledFrom([]int{0, -1}).Draw(rt, "pairs")
		res := Analyze(rs, opt)
		for _, r := range res.Decoded.Relations {
			if r.Rest != nil {
				graphs++
				break
			}
		}
		for _, f := range res.Decoded.Findings {
			if strings.Contains(f.Text, "not proved") && !strings.Contains(f.Text, "expected connection") {
				rt.Fatalf("finding %v\n%s", f, text)
			}
		}
		if len(res.Decoded.Relations) == 0 {
			rt.Fatalf("no relations\n%s", text)
		}
		for _, r := range res.Decoded.Relations {
			marks := []uint32{0}
			if r.Situation.Tracking == driver.TrackRelated {
				marks = res.Marks.Accepting
				if anyMark(res.Decoded) || r.Situation.Expired || len(find(t, res.Decoded, r.Situation.Hook, driver.TrackRelated)) > 12 {
					continue
				}
				if len(marks) == 0 {
					marks = []uint32{0}
				}
			}
			checkRelation(rt, t, rs, r, marks, text)
		}
		checkMarks(rt, t, rs, res, text)
	})
	t.Logf("%d of %d programs loaded, %d with tables", taken, tried, graphs)
}
