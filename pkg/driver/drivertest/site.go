package drivertest

import (
	"maps"
	"net/netip"
	"slices"
	"strings"

	"bulkhead/inventory"
	"bulkhead/pkg/compile"
	"bulkhead/pkg/driver"
	"bulkhead/pkg/packet"
	"bulkhead/pkg/policy"
	"bulkhead/pkg/policy/policytest"
)

// site is a site that a story writes down and goes on to change.
type site struct {
	assets   []inventory.Asset
	groups   map[string]policy.Group
	policies map[string]policy.Policy
}

// office is where the stories play: a web server and a database, both with two
// families, clients in an office, and an administrator.
func office() *site {
	s := &site{groups: map[string]policy.Group{}, policies: map[string]policy.Policy{}}
	s.asset("web-1", "10.0.0.10", "2001:db8::10")
	s.asset("db-1", "10.0.0.20", "2001:db8::20")
	s.asset("admin", "10.0.9.10", "2001:db8:9::10")
	s.group(policy.Group{Name: "web", Members: []string{"web-1"}, Isolate: policy.IsolateBoth})
	s.group(policy.Group{Name: "db", Members: []string{"db-1"}})
	s.group(policy.Group{Name: "admins", Members: []string{"admin"}})
	s.group(policy.Group{Name: "office", Prefixes: []netip.Prefix{prefix("10.0.4.0/24"), prefix("2001:db8:4::/64")}})
	return s
}

// web is what the stories' endpoint points protect.
func web() packet.Addrs { return Addrs("10.0.0.10", "2001:db8::10") }

func (s *site) asset(id string, addrs ...string) {
	a := inventory.Asset{ID: id, Kind: inventory.Server, Labels: map[string]string{}}
	for _, text := range addrs {
		a.Addresses = append(a.Addresses, prefix(text))
	}
	s.assets = slices.DeleteFunc(s.assets, func(o inventory.Asset) bool { return o.ID == id })
	s.assets = append(s.assets, a)
}

func (s *site) group(g policy.Group) {
	if g.Isolate == "" {
		g.Isolate = policy.IsolateNone
	}
	s.groups[g.Name] = g
}

// says adds a policy: "allow office web".
func (s *site) says(name, sentence string, ranges ...policy.Range) {
	words := strings.Fields(sentence)
	s.policies[name] = policy.Policy{Name: name, Action: policy.Action(words[0]), From: strings.Split(words[1], ","), To: strings.Split(words[2], ","),
		Ranges: ranges, Tier: policy.Application, Order: 100, Direction: policy.Both, Mode: policy.Enforce}
}

// edit changes a policy.
func (s *site) edit(name string, f func(*policy.Policy)) {
	p := s.policies[name]
	f(&p)
	s.policies[name] = p
}

func tcp(lo, hi uint16) policy.Range { return policy.Range{Proto: 6, Lo: lo, Hi: hi} }

func udp(lo, hi uint16) policy.Range { return policy.Range{Proto: 17, Lo: lo, Hi: hi} }

func ping() []policy.Range {
	return []policy.Range{{Proto: 1, Lo: 0x800, Hi: 0x8ff}, {Proto: 58, Lo: 0x8000, Hi: 0x80ff}}
}

func everything() []policy.Range {
	var out []policy.Range
	for p := range 256 {
		out = append(out, policy.Range{Proto: uint8(p), Hi: 65535})
	}
	return out
}

func (s *site) clone() *site {
	return &site{assets: slices.Clone(s.assets), groups: maps.Clone(s.groups), policies: maps.Clone(s.policies)}
}

// world gives the site as it is now.
func (s *site) world() *policy.World {
	w := &policy.World{Assets: slices.Clone(s.assets), Book: &policy.Rulebook{}, Where: map[string][]string{}, Now: policytest.Epoch}
	groups := maps.Clone(s.groups)
	for _, name := range []string{policy.GroupAny, policy.GroupUnknown, policy.GroupUnidentified} {
		if _, ok := groups[name]; !ok {
			groups[name] = policy.Group{Name: name, Isolate: policy.IsolateNone}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(groups)) {
		w.Book.Groups = append(w.Book.Groups, groups[name])
	}
	for _, name := range slices.Sorted(maps.Keys(s.policies)) {
		w.Book.Policies = append(w.Book.Policies, s.policies[name])
	}
	policy.SortPolicies(w.Book.Policies)
	return w
}

// goal is a desired state with the world that it comes from.
type goal struct {
	world *policy.World
	want  driver.Desired
}

// newGoal compiles a world for points. Without points the goal is that nothing of
// ours is left.
func newGoal(t tb, w *policy.World, points []compile.Point) *goal {
	t.Helper()
	g := &goal{world: w, want: driver.Desired{Site: Site, Now: w.Now, Points: points}}
	m, err := compile.Compile(compile.Input{Assets: w.Assets, Book: w.Book, Where: w.Where, Now: w.Now})
	if err != nil {
		t.Fatalf("cannot compile: %v", err)
	}
	if len(points) > 0 {
		g.want.View = compile.NewView(m, points)
	}
	return g
}
