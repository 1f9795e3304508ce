package decode

import (
	"strings"
	"testing"

	"pgregory.net/rapid"

	"bulkhead/internal/tries"
	"bulkhead/pkg/driver"
)

// verdicts writes programs of the shape in which chains are executed once and ways to
// the end are followed once: chains within chains give a mark to some services, and
// what follows asks sets about the mark and writes it to the flow. Rules of any other
// kind are strewn in.
func (g generator) verdicts() string {
	maybe := func(label, text string) string {
		if rapid.Bool().Draw(g.t, label) {
			return text + "\n"
		}
		return ""
	}
	strewn := func(label string) string {
		if rapid.IntRange(0, 4).Draw(g.t, label) > 0 {
			return ""
		}
		return g.rules(1, 1) + "\n"
	}
	side := func(label string) string { return g.one(label, "dport", "dport", "sport") }
	key := "meta mark . meta l4proto . th "
	services := func(name string) string {
		return "chain " + name + " {\n" + maybe("types", "meta l4proto "+g.one("to", "icmp", "{ icmp, ipv6-icmp }", "udp")+" goto protos") +
			maybe("turn", "ct direction reply goto protos") +
			strewn("s1") + "meta mark set " + key + side("side") + " map @given\n" +
			maybe("end", "meta mark & 0x40000000 != 0 return") +
			maybe("ranges", "meta mark set "+key+side("side2")+" map @ranges") +
			maybe("original", "meta l4proto tcp ct reply proto-src 80 meta mark set 0x42000002") +
			"goto protos\n}\n"
	}
	ask := func(name, services string) string {
		return "chain " + name + " {\njump " + services + "\n" + strewn("a1") +
			maybe("stop", "meta mark & 0x40000000 != 0 return") +
			maybe("anew", "meta mark set "+g.one("from", "ip saddr map @m4", "ip daddr map @mi4", "meta mark map @rest", "0x2")) + "}\n"
	}
	sets := g.sets() + "set permit { type mark;" + g.some("permit", "0x42000001", "0x42000002", "0x42000003", "0x42000004", "0x43000001") +
		"set noted { type mark; flags interval;" + g.some("noted", "0x42000001-0x42000002", "0x42000003", "0x2") +
		"map given { type mark . inet_proto . inet_service : mark;" + g.some("given", "0x1 . tcp . 80 : 0x42000001", "0x1 . tcp . 22 : 0x42000002",
		"0x2 . tcp . 80 : 0x42000003", "0x2 . udp . 443 : 0x42000001", "0x3 . udp . 22 : 0x42000003") +
		"map ranges { type mark . inet_proto . inet_service : mark; flags interval;" + g.some("ranges", "0x1 . tcp . 20-25 : 0x42000002", "0x2-0x3 . udp . 50-90 : 0x42000004") +
		"map protos { type mark . inet_proto : mark;" + g.some("protos", "0x1 . tcp : 0x42000003", "0x2 . udp : 0x42000002", "0x3 . 47 : 0x42000001") +
		"map rest { type mark : mark;" + g.some("rest", "0x1 : 0x42000004", "0x2 : 0x3", "0x42000002 : 0x42000001") +
		"map fates { type mark : verdict;" + g.some("fates", "0x42000001 : goto allowed", "0x42000002 : drop", "0x42000003 : jump note", "0x42000004 : goto allowed")
	note := "chain note {\n" + strewn("n1") + maybe("dir", "ct direction reply return") + maybe("unhold", "meta priority set 0x3") + "counter\n}\n"
	allowed := "chain allowed {\n" + strewn("w1") + maybe("untracked", "ct state untracked accept") + maybe("flat", "meta l4proto { 47, icmp } accept") +
		maybe("turned", "ct mark & 0xff000000 == 0x43000000 goto turned") + maybe("write", "ct mark set meta mark") + maybe("again", "meta mark @noted drop") + "accept\n}\n" +
		"chain turned {\nmeta mark set meta mark & 0xfeffffff | 0x01000000\nct mark set meta mark\n" + maybe("clear", "meta mark set 0") + "accept\n}\n"
	protos := "chain protos {\n" + strewn("p1") + "meta mark set meta mark . meta l4proto map @protos\n" +
		maybe("default", "meta mark & 0x40000000 == 0 meta mark set meta mark map @rest") + "}\n"
	main := "chain main { type filter hook " + g.one("hook", "forward", "forward", "input", "output") + " priority filter; policy " + g.one("policy", "accept", "drop") + ";\n" +
		"meta mark set 0x1\nmeta priority set 0x2\n" + strewn("m1") +
		maybe("state", "ct mark @permit "+g.one("live", "accept", "ct direction original accept")) +
		maybe("class", "meta mark set ip saddr map @m4") + maybe("class2", "meta priority set ip daddr map @mi4") +
		g.one("into", "jump ask\n", "meta nfproto ipv4 jump ask\n", "ct state new jump ask\nct state != new jump ask2\n", "jump ask\nmeta mark & 0x40000000 == 0 jump ask2\n") +
		g.one("tail", "meta mark @permit goto allowed\nmeta mark @noted jump note\n", "meta mark vmap @fates\n",
			"meta mark @permit goto allowed\nmeta mark set meta mark map @rest\nmeta mark @permit goto allowed\n") +
		strewn("m2") + "}\n"
	last := ""
	if rapid.Bool().Draw(g.t, "last") {
		last = "chain last { type filter hook postrouting priority srcnat; policy accept;\n" +
			g.one("late", "meta mark 0x42000003 drop", "ct mark 0x42000001 drop", "ct mark @noted meta mark set 0", "meta mark & 0x1 == 0x1 accept") + "\n" + strewn("l1") + "}\n"
	}
	sub := "chain sub { counter\n}\n"
	return table(sets + sub + note + allowed + protos + services("ports") + services("ports2") + ask("ask", "ports") + ask("ask2", "ports2") + main + last)
}

// The executor that remembers chains and ways is held against one packet at a time.
func TestVerdictsAgainstInterpreter(t *testing.T) {
	l := newLoader(t)
	tried, taken := 0, 0
	// Each program is judged in every situation, packet by packet.
	tries.Checks(t, 30, func(rt *rapid.T) {
		text := generator{rt}.verdicts()
		tried++
		rs, msg := l.try(text)
		if msg != "" {
			return // the drawn text was no ruleset
		}
		opt := testOptions()
		opt.Pairs = rapid.SampledFrom([]int{0, -1}).Draw(rt, "pairs")
		res := Analyze(rs, opt)
		for _, f := range res.Decoded.Findings {
			if strings.Contains(f.Text, "cannot be known") {
				return // a port was looked up of a protocol that has none
			}
			if strings.Contains(f.Text, "not proved") && !strings.Contains(f.Text, "expected connection") {
				rt.Fatalf("finding %v\n%s", f, text)
			}
		}
		taken++
		for _, r := range res.Decoded.Relations {
			marks := []uint32{0}
			if r.Situation.Tracking == driver.TrackRelated {
				if marks = res.Marks.Accepting; len(marks) == 0 {
					marks = []uint32{0}
				}
				if anyMark(res.Decoded) || len(find(t, res.Decoded, r.Situation.Hook, driver.TrackRelated)) > 12 {
					continue
				}
			}
			checkRelation(rt, t, rs, r, marks, text)
		}
		checkMarks(rt, t, rs, res, text)
	})
	t.Logf("%d of %d programs judged", taken, tried)
	if tries.All && taken < tried/2 {
		t.Errorf("only %d of %d programs could be judged", taken, tried)
	}
}
