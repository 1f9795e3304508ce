package decode

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"bulkhead/internal/tries"
	"bulkhead/pkg/driver"
)

// fingerprint is what a decoding says of a handful of addresses that lie on both
// sides of every edge in smallLayout.
func fingerprint(tb testing.TB, d *driver.Decoded) string {
	v4 := []string{"0.0.0.0", "10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.9.10", "10.0.9.11", "10.1.0.0", "10.1.0.1", "10.1.255.255", "10.2.0.0"}
	v6 := []string{"::1:0", "2001:db8::", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff", "2001:db9::"}
	var b strings.Builder
	for _, r := range d.Relations {
		fmt.Fprintf(&b, "%+v\n", r.Situation)
		for _, list := range [][]string{v4, v6} {
			for _, s := range list {
				for _, t := range list {
					if p := permits(tb, r, s, t); !p.IsEmpty() {
						fmt.Fprintf(&b, "%s %s %s\n", s, t, p)
					}
				}
			}
		}
	}
	return b.String()
}

// correctLayout is smallLayout with failsafe traffic, stateless both ways, and a
// map that may hold a dead man's verdict.
func correctLayout() *layout {
	l := smallLayout()
	l.sets = append(l.sets,
		"set fs4 { type ipv4_addr . ipv4_addr . inet_proto . inet_service; flags interval; elements = { 10.0.9.10 . 10.0.0.1 . tcp . 22 }; }",
		"set learning { type nf_proto; flags timeout; }",
		"map when { type nf_proto : verdict; flags timeout; }")
	both := "ip saddr . ip daddr . meta l4proto . th dport @fs4 %s\nip daddr . ip saddr . meta l4proto . th sport @fs4 %s"
	l.chain = []string{"chain raw { type filter hook prerouting priority raw; policy accept;\n" +
		strings.ReplaceAll(both, "%s", "notrack") + "\n}"}
	l.rules = slices.Insert(l.rules, 0, strings.ReplaceAll(both, "%s", "accept"))
	return l
}

type mutant struct {
	name   string
	change func(l *layout)
}

// set replaces in all texts of a layout; it must hit something.
func swapText(old, new string) func(l *layout) {
	return func(l *layout) {
		hit := false
		for _, list := range [][]string{l.sets, l.rules, l.judge, l.back, l.chain} {
			for i := range list {
				hit = hit || strings.Contains(list[i], old)
				list[i] = strings.Replace(list[i], old, new, 1)
			}
		}
		if !hit {
			panic("nothing to replace: " + old)
		}
	}
}

func addRule(at int, text string) func(l *layout) {
	return func(l *layout) { l.rules = slices.Insert(l.rules, at, text) }
}

func dropRule(at int) func(l *layout) {
	return func(l *layout) { l.rules = slices.Delete(l.rules, at, at+1) }
}

func dropJudge(at int) func(l *layout) {
	return func(l *layout) { l.judge = slices.Delete(l.judge, at, at+1) }
}

func dropBack(at int) func(l *layout) {
	return func(l *layout) { l.back = slices.Delete(l.back, at, at+1) }
}

func foreignTable(text string) func(l *layout) {
	return func(l *layout) { l.more = append(l.more, text) }
}

// foreignChain is another table with one base chain.
func foreignChain(family, hook, prio, policy, rules string) func(l *layout) {
	return foreignTable(fmt.Sprintf("table %s foreign { chain c { type filter hook %s priority %s; policy %s; %s; }\n}\n", family, hook, prio, policy, rules))
}

func ruleMutants() []mutant {
	return []mutant{
		{"extra accept first", addRule(0, "accept")},
		{"extra accept for one service", addRule(0, "tcp dport 8080 accept")},
		{"extra accept for one source", addRule(0, "ip saddr 10.2.0.0/16 accept")},
		{"extra drop", addRule(0, "tcp dport 443 drop")},
		{"extra jump to an accept", func(l *layout) {
			l.chain = append(l.chain, "chain open { accept; }")
			l.rules = slices.Insert(l.rules, 0, "ip6 saddr 2001:db9::/32 jump open")
		}},
		{"extra goto nowhere much", func(l *layout) {
			l.chain = append(l.chain, "chain empty { counter; }")
			l.rules = slices.Insert(l.rules, 1, "meta l4proto udp goto empty")
		}},
		{"return early", addRule(0, "ip daddr 10.0.0.2 return")},
		{"established without a mark", swapText("ct state established ct mark @permit accept", "ct state established accept")},
		{"related passes", addRule(1, "ct state related accept")},
		{"untracked passes", addRule(1, "ct state untracked accept")},
		{"invalid passes", addRule(1, "ct state invalid accept")},
		{"no permitted fast path is harmless, but replies are not judged", dropRule(2)},
		{"no jump to judge", dropRule(3)},
		{"replies pass without a verdict", func(l *layout) { l.ends[2] = "accept" }},
		{"no accept", dropRule(5)},
		{"the deny set accepts", swapText("meta mark @permit accept", "meta mark != @permit accept")},
		{"policy accept and no drop", func(l *layout) {
			l.base = "type filter hook forward priority filter; policy accept;"
			l.rules = l.rules[:len(l.rules)-1]
		}},
		{"no final log, policy drops, drop became return", func(l *layout) {
			l.base = "type filter hook forward priority filter; policy accept;"
			l.rules[len(l.rules)-1] = "counter return"
		}},
		{"mark not cleared", dropJudge(0)},
		{"priority not cleared", dropJudge(1)},
		{"prefix over host", func(l *layout) { l.judge[2], l.judge[4] = l.judge[4], l.judge[2] }},
		{"source prefixes missing", dropJudge(2)},
		{"destination hosts missing", dropJudge(5)},
		{"ipv6 sources missing", dropJudge(6)},
		{"pair lookup missing", dropJudge(8)},
		{"icmp by the port rule", func(l *layout) {
			l.judge[11] = strings.Replace(l.judge[11], "meta l4proto != { icmp, ipv6-icmp } ", "", 1)
			l.judge = slices.Delete(l.judge, 10, 11)
		}},
		{"services missing", dropJudge(11)},
		{"ranges missing", dropJudge(13)},
		{"whole protocols missing", dropJudge(15)},
		{"replies judged unswapped", func(l *layout) { l.back = slices.Clone(l.judge) }},
		{"icmp replies by header", dropBack(10)},
		{"limit on accepting", addRule(0, "limit rate 5/second accept")},
		{"quota on accepting", addRule(0, "tcp dport 80 quota 10 mbytes accept")},
		{"random accept", addRule(0, "meta random & 1 == 1 accept")},
		{"tcp flags accept", addRule(0, "tcp flags ack accept")},
		{"length accept", addRule(0, "meta length < 100 accept")},
		{"dscp accept", addRule(0, "ip dscp ef accept")},
		{"checksum as a port", addRule(0, "meta l4proto icmp th dport 0 accept")},
		{"output interface accept", addRule(0, "oifname eth9 accept")},
		{"incoming interface accept", addRule(0, "iifname eth9 accept")},
		{"source port accept", addRule(0, "tcp sport 20 accept")},
		{"local address accept", addRule(0, "fib daddr type local accept")},
		{"reject", addRule(0, "tcp dport 443 reject")},
		{"notrack", func(l *layout) {
			l.chain = append(l.chain, "chain early { type filter hook prerouting priority -310; ip saddr 10.0.0.1 notrack; }")
		}},
		{"a second base chain drops", func(l *layout) {
			l.chain = append(l.chain, "chain late { type filter hook forward priority 10; tcp dport 443 drop; }")
		}},
		{"a second base chain at the same priority", func(l *layout) { l.chain = append(l.chain, "chain late { type filter hook forward priority filter; }") }},
		{"unread dynamic set accepts", func(l *layout) {
			l.sets = append(l.sets, "set seen { type ipv4_addr; flags dynamic,timeout; timeout 1h; }")
			l.rules = slices.Insert(l.rules, 0, "ip saddr @seen accept")
		}},
		{"dynamic set guards an accept", func(l *layout) {
			l.sets = append(l.sets, "set seen { type ipv4_addr; size 10; flags dynamic,timeout; timeout 1h; }")
			l.rules = slices.Insert(l.rules, 0, "add @seen { ip saddr } accept")
		}},
		{"constant mark", addRule(5, "ct mark set 0x1234")},
	}
}

func elementMutants() []mutant {
	return []mutant{
		{"host in another class", swapText("10.0.0.2 : 0x12", "10.0.0.3 : 0x12")},
		{"host missing", swapText("10.0.0.1 : 0x11, ", "")},
		{"host added", swapText("10.0.0.1 : 0x11,", "10.0.0.1 : 0x11, 10.0.0.3 : 0x11,")},
		{"prefix widened", swapText("10.1.0.0/16 : 0x13", "10.0.0.0/15 : 0x13")},
		{"ipv6 prefix narrowed", swapText("2001:db8::/32 : 0x15", "2001:db8::/33 : 0x15")},
		{"pair missing", swapText("0x11 . 0x12 : 0x20000001, ", "")},
		{"pair turned round", swapText("0x11 . 0x12", "0x12 . 0x11")},
		{"pair of another ruleset", swapText("0x11 . 0x12 : 0x20000001", "0x11 . 0x12 : 0x20000003")},
		{"port off by one", swapText("tcp . 443", "tcp . 444")},
		{"protocol changed", swapText("tcp . 443", "udp . 443")},
		{"service missing", swapText(", 0x20000003 . tcp . 22 : 0x42000001", "")},
		{"range wider", swapText("6000-6999", "6000-7000")},
		{"range in one family of protocols more", swapText("udp . 6000-6999", "6-17 . 6000-6999")},
		{"icmp type changed", swapText("icmp . 2048", "icmp . 0")},
		{"permit missing", swapText("0x42000001, 0x42000002, 0x42000003", "0x42000002, 0x42000003")},
		{"stale permit", swapText("0x42000003, 0x42000004 }", "0x42000003, 0x42000004, 0x42000009 }")},
		{"foreign permit", swapText("0x42000003, 0x42000004 }", "0x42000003, 0x42000004, 0x1 }")},
		{"ruleset id as a permit", swapText("0x42000003, 0x42000004 }", "0x42000003, 0x42000004, 0x20000001 }")},
		{"verdict only for a while", swapText("set permit { type mark; size 65535; counter; elements = { 0x42000001,", "set permit { type mark; size 65535; flags timeout; counter; elements = { 0x42000001 timeout 1h,")},
		{"failsafe wider", swapText("10.0.9.10 .", "10.0.9.0/24 .")},
		{"failsafe missing", swapText("tcp . 22 }", "tcp . 23 }")},
		{"dead man's verdict", func(l *layout) {
			l.rules = slices.Insert(l.rules, 0, "meta nfproto vmap @when")
			swapText("map when { type nf_proto : verdict; flags timeout; }", "map when { type nf_proto : verdict; flags timeout; elements = { ipv4 timeout 1h : drop }; }")(l)
		}},
		{"catch-all class", swapText("10.0.0.1 : 0x11, 10.0.0.2 : 0x12", "* : 0x11, 10.0.0.2 : 0x12")},
	}
}

func foreignMutants() []mutant {
	return []mutant{
		{"foreign drop", foreignChain("inet", "forward", "10", "accept", "tcp dport 443 drop")},
		{"foreign policy", foreignChain("ip", "forward", "-5", "drop", "accept")},
		{"foreign reject", foreignChain("ip6", "forward", "10", "accept", "reject")},
		{"foreign drop in a called chain", foreignTable("table ip foreign { chain d { tcp dport 1 drop; }\nchain c { type filter hook forward priority 0; ip saddr vmap { 10.0.0.1 : jump d }; }\n}\n")},
		{"foreign drop in a verdict map", foreignChain("ip", "postrouting", "0", "accept", "ip daddr vmap { 10.0.0.2 : drop }")},
		{"foreign notrack", foreignChain("ip", "prerouting", "raw", "accept", "notrack")},
		{"foreign ct mark", foreignChain("inet", "postrouting", "10", "accept", "ct mark set 0x42000001")},
		{"foreign mark", foreignChain("inet", "prerouting", "mangle", "accept", "meta mark set 0x42000001")},
		{"foreign packet rewriting", foreignChain("inet", "prerouting", "mangle", "accept", "ip daddr set 10.0.0.2")},
		{"foreign tproxy", foreignChain("inet", "prerouting", "mangle", "accept", "meta l4proto tcp tproxy to :50080")},
		{"foreign synproxy", foreignChain("inet", "forward", "10", "accept", "tcp dport 443 synproxy mss 1460 wscale 7")},
		{"foreign ingress drop", foreignTable("table netdev foreign { chain c { type filter hook ingress device lo priority 0; policy accept; ip saddr 10.0.0.1 drop; }\n}\n")},
	}
}

// TestMutants breaks a correct ruleset in many ways. Each must be noticed: the
// relation changes, or something is named that keeps it from being proved.
func TestMutants(t *testing.T) {
	l := newLoader(t)
	base := Analyze(l.load(correctLayout().text()), testOptions())
	wantClean(t, base.Decoded)
	want := fingerprint(t, base.Decoded)
	all := append(append(ruleMutants(), elementMutants()...), foreignMutants()...)
	if len(all) < 60 {
		t.Fatalf("only %d mutants", len(all))
	}
	for _, m := range tries.Some(all) {
		broken := correctLayout()
		m.change(broken)
		rs, msg := l.try(broken.text())
		if msg != "" {
			t.Errorf("%s: nft: %.300s", m.name, msg)
			continue
		}
		got := Analyze(rs, testOptions())
		if len(problems(got.Decoded)) == 0 && fingerprint(t, got.Decoded) == want {
			t.Errorf("%s: not noticed", m.name)
		}
	}
}

// A site may accept what can do no more than drop, and nothing else of others: what
// takes packets out of tracking, sets marks or rewrites packets may let pass what
// policy denies.
func TestForeignThatOnlyDrops(t *testing.T) {
	l := newLoader(t)
	for _, m := range foreignMutants() {
		broken := correctLayout()
		m.change(broken)
		only := strings.Contains(m.name, "drop") || strings.Contains(m.name, "policy") || strings.Contains(m.name, "reject")
		for _, f := range Analyze(l.load(broken.text()), testOptions()).Decoded.Findings {
			if named := strings.HasSuffix(f.Foreign, " foreign"); !f.Harmless && named != only {
				t.Errorf("%s: %q: may be accepted: %v, want %v", m.name, f.Text, named, only)
			}
		}
	}
}

// TestHarmless changes what changes nothing: the relation stays and nothing is
// reported.
func TestHarmless(t *testing.T) {
	l := newLoader(t)
	want := fingerprint(t, Analyze(l.load(correctLayout().text()), testOptions()).Decoded)
	for _, m := range []mutant{
		{"counter", addRule(0, "counter")},
		{"limited log", addRule(0, "limit rate 5/second log")},
		{"rule that never matches", addRule(0, "meta nfproto ipv4 meta nfproto ipv6 accept")},
		{"opaque key that the protocol rules out", addRule(0, "meta l4proto icmp meta l4proto . th dport { tcp . 80 } accept")},
		{"both outcomes drop", addRule(6, "tcp dport 9 meta random & 1 == 1 drop")},
		{"ordinary learning window", swapText("set learning { type nf_proto; flags timeout; }", "set learning { type nf_proto; flags timeout; elements = { ipv4 timeout 1m }; }")},
		{"dynamic set that only records", func(l *layout) {
			l.sets = append(l.sets, "set seen { type ipv4_addr; size 10; flags dynamic,timeout; timeout 1h; }")
			l.rules = slices.Insert(l.rules, 0, "add @seen { ip saddr counter }")
		}},
		{"foreign accept", foreignChain("inet", "forward", "-10", "accept", "accept")},
		{"foreign counting and logging", foreignChain("inet", "forward", "-10", "accept", "tcp dport 1 limit rate 1/second counter log")},
		{"foreign nat", foreignTable("table ip foreign { chain c { type nat hook postrouting priority srcnat; oifname eth0 masquerade; }\n}\n")},
		{"foreign drop off our path", foreignChain("inet", "input", "0", "drop", "counter")},
		{"foreign mark behind us", foreignChain("inet", "postrouting", "0", "accept", "meta mark set 0x1")},
		{"foreign dormant table", foreignTable("table inet foreign { flags dormant; chain c { type filter hook forward priority 0; policy drop; }\n}\n")},
		{"jump to an empty chain", func(l *layout) {
			l.chain = append(l.chain, "chain empty { counter; }")
			l.rules = slices.Insert(l.rules, 0, "jump empty")
		}},
	} {
		changed := correctLayout()
		m.change(changed)
		rs, msg := l.try(changed.text())
		if msg != "" {
			t.Errorf("%s: nft: %.300s", m.name, msg)
			continue
		}
		got := Analyze(rs, testOptions())
		if p := problems(got.Decoded); len(p) > 0 {
			t.Errorf("%s: %s", m.name, p)
		}
		if g := fingerprint(t, got.Decoded); g != want {
			t.Errorf("%s: the relation changed:\n%s\nwas\n%s", m.name, g, want)
		}
	}
}

// TestWhy names the deciding rule and the element that led there.
func TestWhy(t *testing.T) {
	l := newLoader(t)
	d := Decode(l.load(correctLayout().text()), testOptions())
	r := relation(t, d, "forward", driver.TrackNew, "", 40000, false)
	for _, c := range []struct {
		src, dst string
		svc      uint32
		want     []string
	}{
		{"10.0.0.1", "10.0.0.2", 6<<16 | 443, []string{"chain forward rule", "(handle ", "lookup meta mark @permit accept", "mark 0x42000001 from chain judge rule 12", "01000020 . 06000000 . 01bb0000 of @svc"}},
		{"10.0.0.1", "10.0.0.3", 6<<16 | 443, []string{"chain forward rule 9", "drop"}},
		{"10.0.9.10", "10.0.0.1", 6<<16 | 22, []string{"chain forward rule 1", "@fs4 accept"}},
	} {
		got := r.Why(netip.MustParseAddr(c.src), netip.MustParseAddr(c.dst), c.svc)
		for _, w := range c.want {
			if !strings.Contains(got, w) {
				t.Errorf("%s > %s: %q does not say %q", c.src, c.dst, got, w)
			}
		}
	}
}
