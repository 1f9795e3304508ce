package decode

import (
	"fmt"
	"strings"
)

// layoutText is a class-map ruleset of the kind that a renderer emits: address to
// word, pair of words to ruleset, service to verdict id, verdict id to verdict.
// The rules come from a list, so that tests can break single ones.
type layout struct {
	sets  []string
	rules []string // of chain forward
	judge []string
	back  []string // the same for replies
	ends  []string // what follows the judging of replies
	chain []string // further chains of our table
	more  []string // further tables
	base  string   // what kind of chain forward is
}

func (l *layout) text() string {
	base := l.base
	if base == "" {
		base = "type filter hook forward priority filter; policy drop;"
	}
	lines := func(l []string) string { return strings.Join(l, "\n") }
	return table(lines(l.sets)+
		"\nchain judge {\n"+lines(l.judge)+"\n}\nchain back_judge {\n"+lines(l.back)+
		"\n}\nchain back {\njump back_judge\n"+lines(l.ends)+"\n}\n"+
		lines(l.chain)+"\nchain forward { "+base+"\n"+lines(l.rules)+"\n}\n") + lines(l.more)
}

func judgeRules(src4, dst4, src6, dst6, port string) []string {
	return []string{
		"meta mark set 0",
		"meta priority set 0",
		"meta mark set " + src4 + " map @net4",
		"meta priority set " + dst4 + " map @net4",
		"meta mark set " + src4 + " map @host4",
		"meta priority set " + dst4 + " map @host4",
		"meta mark set " + src6 + " map @net6",
		"meta priority set " + dst6 + " map @net6",
		"meta mark set meta mark . meta priority map @pair",
		"meta mark & 0x20000000 == 0 return",
		"meta l4proto { icmp, ipv6-icmp } meta mark set meta mark . meta l4proto . th sport map @svc",
		"meta l4proto != { icmp, ipv6-icmp } meta mark set meta mark . meta l4proto . " + port + " map @svc",
		"meta mark & 0x40000000 != 0 return",
		"meta mark set meta mark . meta l4proto . " + port + " map @svcr",
		"meta mark & 0x40000000 != 0 return",
		"meta mark set meta mark . meta l4proto map @proto",
	}
}

func layoutSets(hosts, nets4, nets6, pair, svc, svcr, proto, permit string) []string {
	el := func(s string) string {
		if s == "" {
			return ""
		}
		return "elements = { " + s + " };"
	}
	return []string{
		"map host4 { typeof ip saddr : meta length; size 65536; " + el(hosts) + " }",
		"map net4 { typeof ip saddr : meta length; flags interval; " + el(nets4) + " }",
		"map net6 { typeof ip6 saddr : meta length; flags interval; " + el(nets6) + " }",
		"map pair { typeof meta mark . meta priority : meta mark; size 262144; " + el(pair) + " }",
		"map svc { type mark . inet_proto . inet_service : mark; size 65536; " + el(svc) + " }",
		"map svcr { type mark . inet_proto . inet_service : mark; flags interval; " + el(svcr) + " }",
		"map proto { type mark . inet_proto : mark; size 1024; " + el(proto) + " }",
		"set permit { type mark; size 65535; counter; " + el(permit) + " }",
	}
}

// smallLayout permits tcp/443 and udp/6000-6999 from 10.0.0.1 to 10.0.0.2, ping
// from 10.1.0.0/16 (but not from 10.1.0.1) to 10.0.0.2, GRE and tcp/22 from
// 2001:db8::/32 to itself; and nothing else.
func smallLayout() *layout {
	return &layout{
		sets: layoutSets(
			"10.0.0.1 : 0x11, 10.0.0.2 : 0x12, 10.1.0.1 : 0x14",
			"10.1.0.0/16 : 0x13", "2001:db8::/32 : 0x15",
			"0x11 . 0x12 : 0x20000001, 0x13 . 0x12 : 0x20000002, 0x15 . 0x15 : 0x20000003",
			"0x20000001 . tcp . 443 : 0x42000001, 0x20000002 . icmp . 2048 : 0x42000002, 0x20000003 . tcp . 22 : 0x42000001",
			"0x20000001 . udp . 6000-6999 : 0x42000003",
			"0x20000003 . gre : 0x42000004",
			"0x42000001, 0x42000002, 0x42000003, 0x42000004"),
		judge: judgeRules("ip saddr", "ip daddr", "ip6 saddr", "ip6 daddr", "th dport"),
		rules: []string{
			"ct state established ct mark @permit accept",
			"ct direction reply goto back",
			"jump judge",
			"meta mark @permit ct mark set meta mark",
			"meta mark @permit accept",
			"limit rate 500/second log group 5",
			"counter drop",
		},
		back: backRules(),
		ends: []string{"meta mark @permit ct mark set meta mark", "meta mark @permit accept", "drop"},
	}
}

// backRules judge replies by the flow that they belong to.
func backRules() []string {
	judge := judgeRules("ip daddr", "ip saddr", "ip6 daddr", "ip6 saddr", "th sport")
	judge[10] = "meta l4proto icmp meta mark set meta mark . meta l4proto . ct original proto-dst map @svc"
	return judge
}

// bigLayout has classes of one host each, and a ruleset for every pair.
func bigLayout(classes, rulesets, services int) *layout {
	l := smallLayout()
	var hosts, pair, svc, permit []string
	for i := range classes {
		hosts = append(hosts, fmt.Sprintf("10.0.%d.%d : 0x%x", i/250, i%250, 0x100+i))
		for j := range classes {
			pair = append(pair, fmt.Sprintf("0x%x . 0x%x : 0x%x", 0x100+i, 0x100+j, 0x20000000+1+(i*31+j*17)%rulesets))
		}
	}
	for r := range rulesets {
		for s := range services {
			svc = append(svc, fmt.Sprintf("0x%x . tcp . %d : 0x%x", 0x20000001+r, 1000+s*13+r%7, 0x42000001+r%500))
		}
	}
	for v := range min(500, rulesets) {
		permit = append(permit, fmt.Sprintf("0x%x", 0x42000001+v))
	}
	l.sets = layoutSets(strings.Join(hosts, ","), "10.0.0.0/8 : 0x13", "2001:db8::/32 : 0x15",
		strings.Join(pair, ","), strings.Join(svc, ","), "0x20000001 . udp . 6000-6999 : 0x42000001", "0x20000001 . gre : 0x42000001", strings.Join(permit, ","))
	return l
}
