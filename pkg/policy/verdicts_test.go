package policy_test

import (
	"net/netip"
	"testing"
	"time"

	"bulkhead/inventory"
	"bulkhead/pkg/compile"
	"bulkhead/pkg/packet"
	"bulkhead/pkg/policy"
)

// The verdicts below were worked out by hand from the words of the
// specification, before either evaluator was run on them. Both must give them.

var now = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

func asset(id string, kind inventory.Kind, labels map[string]string, addrs ...string) inventory.Asset {
	a := inventory.Asset{ID: id, Kind: kind, Labels: labels}
	for _, s := range addrs {
		a.Addresses = append(a.Addresses, netip.MustParsePrefix(s))
	}
	return a
}

type labels = map[string]string

// The network: two cells, two environments, a console that two people share, a
// known network, an outside API, and nobody else.
func network() []inventory.Asset {
	return []inventory.Asset{
		asset("hmi1", inventory.OT, labels{"cell": "1"}, "10.0.0.1/32", "2001:db8::1/128"),
		asset("plc1", inventory.OT, labels{"cell": "1"}, "10.0.0.2/32", "2001:db8::2/128"),
		asset("hmi2", inventory.OT, labels{"cell": "2"}, "10.0.0.3/32"),
		asset("plc2", inventory.OT, labels{"cell": "2"}, "10.0.0.4/32"),
		asset("console", inventory.Server, labels{"cell": "1"}, "10.0.0.5/32"),
		asset("guest", inventory.User, labels{"cell": "2"}, "10.0.0.5/32"),
		asset("spare", inventory.OT, labels{}, "10.0.0.6/32"),
		asset("web-prod", inventory.VM, labels{"env": "prod"}, "10.0.1.1/32"),
		asset("db-prod", inventory.VM, labels{"env": "prod"}, "10.0.1.2/32"),
		asset("db-dev", inventory.VM, labels{"env": "dev"}, "10.0.1.3/32"),
		asset("lan", inventory.Network, labels{}, "10.0.2.0/24"),
		asset("api", inventory.External, labels{}, "203.0.113.0/28"),
	}
}

func group(name string, iso policy.Isolation, members ...string) policy.Group {
	return policy.Group{Name: name, Isolate: iso, Members: members}
}

func builtIns(any, unknown, unidentified policy.Isolation) []policy.Group {
	return []policy.Group{{Name: "any", Isolate: any}, {Name: "unknown", Isolate: unknown}, {Name: "unidentified", Isolate: unidentified}}
}

func rule(name, from, to string, action policy.Action, more ...func(*policy.Policy)) policy.Policy {
	p := policy.Policy{Name: name, From: []string{from}, To: []string{to}, Action: action, Tier: policy.Application, Order: 100,
		Direction: policy.Both, Mode: policy.Enforce, Ranges: []policy.Range{{Proto: 6, Lo: 0, Hi: 65535}}}
	for _, f := range more {
		f(&p)
	}
	return p
}

func tier(t policy.Tier) func(*policy.Policy) { return func(p *policy.Policy) { p.Tier = t } }
func order(n int) func(*policy.Policy)        { return func(p *policy.Policy) { p.Order = n } }
func towards(d policy.Direction) func(*policy.Policy) {
	return func(p *policy.Policy) { p.Direction = d }
}
func same(l ...string) func(*policy.Policy)   { return func(p *policy.Policy) { p.Same = l } }
func differ(l ...string) func(*policy.Policy) { return func(p *policy.Policy) { p.Differ = l } }
func observed(p *policy.Policy)               { p.Mode = policy.Observe }
func until(t time.Time) func(*policy.Policy)  { return func(p *policy.Policy) { p.Expires = t } }
func ports(lo, hi uint16) func(*policy.Policy) {
	return func(p *policy.Policy) { p.Ranges = []policy.Range{{Proto: 6, Lo: lo, Hi: hi}} }
}

const none, ingress, egress, both = policy.IsolateNone, policy.IsolateIngress, policy.IsolateEgress, policy.IsolateBoth

type verdict struct {
	src, dst string
	port     uint16
	permit   bool
	why      string
}

var scenes = []struct {
	name     string
	groups   []policy.Group
	policies []policy.Policy
	verdicts []verdict
}{
	{"nothing isolates", builtIns(none, none, none), nil, []verdict{
		{"10.0.0.1", "10.0.0.2", 80, true, "two addresses that nothing isolates talk freely"},
		{"192.0.2.9", "10.0.0.2", 80, true, "strangers included"},
		{"2001:db8::1", "2001:db8::2", 80, true, "in both families"},
	}},
	{"isolated sides", append(builtIns(none, none, none), group("plcs", ingress, "plc1"), group("hmis", egress, "hmi1")), nil, []verdict{
		{"10.0.0.3", "10.0.0.2", 80, false, "into an ingress-isolated group"},
		{"10.0.0.2", "10.0.0.3", 80, true, "out of it is its other side"},
		{"10.0.0.1", "10.0.0.3", 80, false, "out of an egress-isolated group"},
		{"10.0.0.3", "10.0.0.1", 80, true, "into it is its other side"},
		{"2001:db8::3", "2001:db8::2", 80, false, "the other family of the same asset"},
	}},
	{"any isolated", builtIns(both, none, none), []policy.Policy{rule("a", "unknown", "any", policy.Allow, ports(443, 443))}, []verdict{
		{"10.0.0.1", "10.0.0.2", 80, false, "the whole site is default-deny"},
		{"192.0.2.9", "10.0.0.2", 443, true, "a stranger may"},
		{"10.0.0.1", "10.0.0.2", 443, false, "somebody known may not"},
		{"10.0.2.7", "10.0.0.2", 443, false, "an address in a declared network is not unknown"},
		{"192.0.2.9", "10.0.0.2", 444, false, "only that port"},
	}},
	{"unidentified isolated", builtIns(none, none, ingress), nil, []verdict{
		{"10.0.0.1", "10.0.2.7", 80, false, "a network does not identify who holds an address in it"},
		{"10.0.0.1", "203.0.113.3", 80, false, "nor does an external prefix"},
		{"10.0.0.1", "192.0.2.9", 80, false, "nor nobody"},
		{"10.0.2.7", "10.0.0.1", 80, true, "only the ingress side is isolated"},
		{"10.0.2.7", "10.0.0.5", 80, true, "a user identifies"},
	}},
	{"unknown isolated", builtIns(none, both, none), nil, []verdict{
		{"192.0.2.9", "10.0.0.1", 80, false, "what no policy says of strangers is dropped"},
		{"10.0.0.1", "192.0.2.9", 80, false, "both ways"},
		{"10.0.2.7", "10.0.0.1", 80, true, "a known network is not unknown"},
	}},
	{"a plain allow opens both ends", append(builtIns(both, none, none), group("hmis", none, "hmi1", "hmi2"), group("plcs", none, "plc1", "plc2")),
		[]policy.Policy{rule("a", "hmis", "plcs", policy.Allow, ports(102, 102))}, []verdict{
			{"10.0.0.1", "10.0.0.2", 102, true, "allowed on both sides"},
			{"10.0.0.1", "10.0.0.4", 102, true, "across cells too, since nothing compares"},
			{"10.0.0.2", "10.0.0.1", 102, false, "not the other way round"},
			{"10.0.0.1", "10.0.0.2", 103, false, "not another port"},
		}},
	{"directions", append(builtIns(both, none, none), group("hmis", none, "hmi1"), group("plcs", none, "plc1"), group("dbs", none, "db-prod")),
		[]policy.Policy{
			rule("in-only", "hmis", "plcs", policy.Allow, towards(policy.Ingress), ports(1, 10)),
			rule("out-only", "hmis", "plcs", policy.Allow, towards(policy.Egress), ports(5, 20)),
		}, []verdict{
			{"10.0.0.1", "10.0.0.2", 3, false, "the egress side is not opened by an ingress policy"},
			{"10.0.0.1", "10.0.0.2", 7, true, "both sides are, by two policies"},
			{"10.0.0.1", "10.0.0.2", 15, false, "the ingress side is not opened by an egress policy"},
		}},
	{"a direction-bound deny", append(builtIns(none, none, none), group("plcs", none, "plc1")),
		[]policy.Policy{
			rule("deny-in", "any", "plcs", policy.Deny, towards(policy.Ingress), order(10)),
			rule("allow", "any", "plcs", policy.Allow, order(20)),
		}, []verdict{
			{"10.0.0.1", "10.0.0.2", 80, false, "one side that denies is enough"},
			{"10.0.0.2", "10.0.0.1", 80, true, "the other direction is not named"},
		}},
	{"tiers and order", append(builtIns(none, none, none), group("plcs", none, "plc1")),
		[]policy.Policy{
			rule("z-allow", "any", "plcs", policy.Allow, ports(80, 80), order(1)),
			rule("deny", "any", "plcs", policy.Deny, tier(policy.Platform), order(900), ports(80, 81)),
			rule("b-deny", "any", "plcs", policy.Deny, ports(90, 90)),
			rule("a-allow", "any", "plcs", policy.Allow, ports(90, 90)),
			rule("early", "any", "plcs", policy.Deny, ports(91, 91), order(99)),
			rule("a-late", "any", "plcs", policy.Allow, ports(91, 91)),
			rule("em", "any", "plcs", policy.Allow, tier(policy.Emergency), ports(81, 81)),
		}, []verdict{
			{"10.0.0.1", "10.0.0.2", 80, false, "a deny in an earlier tier beats an allow, whatever the orders"},
			{"10.0.0.1", "10.0.0.2", 81, true, "and is beaten by an earlier tier itself"},
			{"10.0.0.1", "10.0.0.2", 90, true, "equal order: the bytes of the name decide, a-allow before b-deny"},
			{"10.0.0.1", "10.0.0.2", 91, false, "order comes before the name"},
			{"10.0.0.1", "10.0.0.2", 92, true, "nothing says anything"},
		}},
	{"pass", append(builtIns(none, none, none), group("plcs", both, "plc1"), group("hmis", none, "hmi1")),
		[]policy.Policy{
			rule("p-pass", "hmis", "plcs", policy.Pass, tier(policy.Platform), order(10)),
			rule("p-deny", "any", "plcs", policy.Deny, tier(policy.Platform), order(20)),
			rule("app", "any", "plcs", policy.Allow, ports(80, 80)),
			rule("pass-app", "hmis", "plcs", policy.Pass, ports(81, 81), order(1)),
			rule("app81", "hmis", "plcs", policy.Allow, ports(81, 81), order(2)),
			rule("base", "hmis", "plcs", policy.Allow, tier(policy.Baseline), ports(81, 81)),
			rule("pass-last", "hmis", "plcs", policy.Pass, tier(policy.Baseline), ports(82, 82), order(1)),
			rule("base82", "hmis", "plcs", policy.Allow, tier(policy.Baseline), ports(82, 82), order(2)),
		}, []verdict{
			{"10.0.0.1", "10.0.0.2", 80, true, "pass skips the rest of the platform tier"},
			{"10.0.0.3", "10.0.0.2", 80, false, "who is not passed meets the deny"},
			{"10.0.0.1", "10.0.0.2", 81, true, "passed over app81, and permitted in the baseline"},
			{"10.0.0.1", "10.0.0.2", 82, false, "a pass in the last tier leaves the default, and the group is isolated"},
			{"10.0.0.1", "10.0.0.2", 83, false, "nothing decides, and the group is isolated"},
		}},
	{"pass on one side", append(builtIns(none, none, none), group("plcs", none, "plc1"), group("hmis", none, "hmi1")),
		[]policy.Policy{
			rule("pass-out", "hmis", "plcs", policy.Pass, tier(policy.Platform), order(1), towards(policy.Egress)),
			rule("deny-all", "hmis", "plcs", policy.Deny, tier(policy.Platform), order(2)),
		}, []verdict{
			{"10.0.0.1", "10.0.0.2", 80, false, "the ingress side does not pass, and meets the deny"},
		}},
	{"same", append(builtIns(both, none, none), group("hmis", none, "hmi1", "hmi2", "spare"), group("plcs", none, "plc1", "plc2"), group("consoles", none, "console", "guest")),
		[]policy.Policy{
			rule("own-cell", "hmis", "plcs", policy.Allow, same("cell")),
			rule("consoles", "consoles", "plcs", policy.Allow, same("cell"), ports(22, 22)),
		}, []verdict{
			{"10.0.0.1", "10.0.0.2", 102, true, "own cell"},
			{"10.0.0.1", "10.0.0.4", 102, false, "another cell"},
			{"10.0.0.3", "10.0.0.4", 102, true, "the other cell among itself"},
			{"10.0.0.6", "10.0.0.2", 102, false, "no cell at all shares nothing"},
			{"10.0.0.5", "10.0.0.2", 22, true, "an address with two values shares either"},
			{"10.0.0.5", "10.0.0.4", 22, true, "and the other"},
			{"2001:db8::1", "2001:db8::2", 102, true, "in the other family too"},
		}},
	{"differ", append(builtIns(none, none, none), group("servers", none, "web-prod", "db-prod", "db-dev", "spare", "console")),
		[]policy.Policy{
			rule("no-crossing", "any", "any", policy.Deny, tier(policy.Platform), differ("env")),
			rule("no-cells", "any", "any", policy.Deny, tier(policy.Platform), differ("cell"), ports(7, 7)),
		}, []verdict{
			{"10.0.1.1", "10.0.1.2", 80, true, "one environment"},
			{"10.0.1.1", "10.0.1.3", 80, false, "two environments"},
			{"10.0.1.3", "10.0.1.1", 80, false, "either way"},
			{"10.0.0.6", "10.0.1.3", 80, true, "an end without the label differs from nothing"},
			{"10.0.0.5", "10.0.0.2", 7, true, "two values, one of them shared: no difference"},
			{"10.0.0.1", "10.0.0.4", 7, false, "two cells"},
		}},
	{"same and differ together", append(builtIns(both, none, none), group("all", none, "hmi1", "plc1", "plc2", "web-prod", "db-dev")),
		[]policy.Policy{rule("odd", "all", "all", policy.Allow, same("cell"), differ("env"))}, []verdict{
			{"10.0.0.1", "10.0.0.2", 80, false, "same cell, but neither carries env: differ does not hold"},
			{"10.0.1.1", "10.0.1.3", 80, false, "env differs, but neither carries cell: same does not hold"},
		}},
	{"observed and expired", append(builtIns(none, none, none), group("plcs", ingress, "plc1")),
		[]policy.Policy{
			rule("watched", "any", "plcs", policy.Allow, observed, ports(80, 80)),
			rule("gone", "any", "plcs", policy.Allow, until(now), ports(81, 81)),
			rule("soon", "any", "plcs", policy.Allow, until(now.Add(time.Second)), ports(82, 82)),
		}, []verdict{
			{"10.0.0.1", "10.0.0.2", 80, false, "an observed policy permits nothing"},
			{"10.0.0.1", "10.0.0.2", 81, false, "at its end a policy is absent"},
			{"10.0.0.1", "10.0.0.2", 82, true, "a second before it is there"},
		}},
	{"groups", append(builtIns(none, none, none),
		policy.Group{Name: "empty", Isolate: none, Members: []string{}},
		policy.Group{Name: "nested", Isolate: none, Groups: []string{"plain"}, ExceptAssets: []string{"plc1"}},
		policy.Group{Name: "plain", Isolate: none, Members: []string{"plc1", "plc2"}, Prefixes: []netip.Prefix{netip.MustParsePrefix("10.0.1.0/30")}, ExceptPrefixes: []netip.Prefix{netip.MustParsePrefix("10.0.1.2/32")}}),
		[]policy.Policy{
			rule("e", "empty", "any", policy.Deny, ports(1, 1)),
			rule("n", "any", "nested", policy.Deny, ports(2, 2)),
			rule("p", "any", "plain", policy.Deny, ports(3, 3)),
		}, []verdict{
			{"10.0.0.1", "10.0.0.2", 1, true, "an empty group matches nothing, never everything"},
			{"10.0.0.1", "10.0.0.4", 2, false, "nested membership"},
			{"10.0.0.1", "10.0.0.2", 2, true, "an exception of the outer group"},
			{"10.0.0.1", "10.0.1.1", 3, false, "a prefix of the group"},
			{"10.0.0.1", "10.0.1.2", 3, true, "an exception inside of it"},
			{"10.0.0.1", "10.0.0.2", 3, false, "a member"},
		}},
	{"self and loopback", builtIns(both, none, none), []policy.Policy{rule("d", "any", "any", policy.Deny)}, []verdict{
		{"10.0.0.1", "10.0.0.1", 80, true, "an address to itself always passes"},
		{"127.0.0.1", "127.0.0.2", 80, true, "and so does loopback"},
		{"::1", "::1", 80, true, "in both families"},
	}},
}

func TestVerdictsByHand(t *testing.T) {
	count := 0
	for _, sc := range scenes {
		t.Run(sc.name, func(t *testing.T) {
			book := &policy.Rulebook{Groups: sc.groups, Policies: sc.policies}
			policy.SortPolicies(book.Policies)
			w := &policy.World{Assets: network(), Book: book, Now: now}
			m, err := compile.Compile(compile.Input{Assets: w.Assets, Book: book, Now: now})
			if err != nil {
				t.Fatal(err)
			}
			for _, v := range sc.verdicts {
				count++
				f := policy.Flow{Src: netip.MustParseAddr(v.src), Dst: netip.MustParseAddr(v.dst), Proto: 6, Num: v.port}
				d := w.Decide(f)
				if d.Permit != v.permit {
					t.Errorf("Decide %s -> %s tcp/%d: permit=%v, want %v: %s", v.src, v.dst, v.port, d.Permit, v.permit, v.why)
				}
				if got := m.Verdict(f.Src, f.Dst, packet.Point(6, v.port)).Permit; !d.Self && got != v.permit {
					t.Errorf("compiled %s -> %s tcp/%d: permit=%v, want %v: %s", v.src, v.dst, v.port, got, v.permit, v.why)
				}
			}
		})
	}
	if count < 60 {
		t.Errorf("only %d verdicts; the specification wants 60", count)
	}
}

// What enforcing observed policies would change is told beside the verdict.
func TestShadowByHand(t *testing.T) {
	book := &policy.Rulebook{Groups: append(builtIns(none, none, none), group("plcs", ingress, "plc1")), Policies: []policy.Policy{
		rule("o-deny", "any", "any", policy.Deny, observed, ports(80, 80), order(1)),
		rule("o-allow", "any", "plcs", policy.Allow, observed, ports(90, 90)),
	}}
	w := &policy.World{Assets: network(), Book: book, Now: now}
	for _, c := range []struct {
		dst            string
		port           uint16
		permit, shadow bool
		by             string
	}{
		{"10.0.0.4", 80, true, false, "o-deny"},
		{"10.0.0.2", 90, false, true, "o-allow"},
		{"10.0.0.2", 91, false, false, ""},
		{"10.0.0.4", 91, true, true, ""},
	} {
		d := w.Decide(policy.Flow{Src: netip.MustParseAddr("10.0.0.1"), Dst: netip.MustParseAddr(c.dst), Proto: 6, Num: c.port})
		by := ""
		if d.ShadowIngress.Policy != nil {
			by = d.ShadowIngress.Policy.Name
		}
		if d.Permit != c.permit || d.Shadow != c.shadow || by != c.by {
			t.Errorf("to %s tcp/%d: permit %v shadow %v by %q, want %v %v %q", c.dst, c.port, d.Permit, d.Shadow, by, c.permit, c.shadow, c.by)
		}
	}
}

// An address that two machines claim gets what both may do, and no more.
func TestContestedAddressByHand(t *testing.T) {
	assets := append(network(), asset("clone", inventory.Server, labels{}, "10.0.0.1/32"))
	book := &policy.Rulebook{Groups: append(builtIns(both, none, none), group("hmis", none, "hmi1"), group("clones", none, "clone"), group("plcs", none, "plc1")),
		Policies: []policy.Policy{
			rule("h", "hmis", "plcs", policy.Allow, ports(102, 110)),
			rule("c", "clones", "plcs", policy.Allow, ports(105, 120)),
		}}
	w := &policy.World{Assets: assets, Book: book, Now: now}
	for port, want := range map[uint16]bool{103: false, 107: true, 115: false} {
		d := w.Decide(policy.Flow{Src: netip.MustParseAddr("10.0.0.1"), Dst: netip.MustParseAddr("10.0.0.2"), Proto: 6, Num: port})
		if d.Permit != want {
			t.Errorf("tcp/%d: permit %v, want %v", port, d.Permit, want)
		}
	}
}
