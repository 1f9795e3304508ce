package drivertest

import (
	"net/netip"
	"slices"

	"bulkhead/pkg/packet"
	"bulkhead/pkg/policy"
)

// story is what happens to a site in the course of a year. Each step is one that
// has gone wrong somewhere.
func (f *Factory) story() []step {
	t := &teller{s: office(), protects: web(), everything: f.Everything}
	if t.everything == nil {
		t.everything = everything()
	}
	t.policies()
	t.assets()
	return t.out
}

// teller tells a story step by step.
type teller struct {
	s        *site
	protects packet.Addrs
	out      []step
	// everything is what policies name that mean every service; see Factory.
	everything []policy.Range
}

func (t *teller) then(says string, f func()) {
	f()
	t.out = append(t.out, step{says, t.s.clone(), t.protects})
}

// policies is the first half: what is said about the same machines changes.
func (t *teller) policies() {
	s, then := t.s, t.then
	then("nothing is isolated and nothing is said: everything passes", func() {
		s.group(policy.Group{Name: "web", Members: []string{"web-1"}})
	})
	then("web is isolated: only what a network needs passes", func() {
		s.group(policy.Group{Name: "web", Members: []string{"web-1"}, Isolate: policy.IsolateBoth})
	})
	then("everybody may use https", func() { s.says("https", "allow any web", tcp(443, 443)) })
	then("web may query the database", func() { s.says("db", "allow web db", tcp(5432, 5432)) })
	then("admins may do everything", func() { s.says("admin", "allow admins web", t.everything...) })
	then("the office is shut out by an earlier tier", func() {
		s.says("no-office", "deny office web", t.everything...)
		s.edit("no-office", func(p *policy.Policy) { p.Tier = policy.Emergency })
	})
	then("but for pings", func() {
		s.says("office-ping", "allow office web", ping()...)
		s.edit("office-ping", func(p *policy.Policy) { p.Tier = policy.Emergency; p.Order = 1 })
	})
	then("one desk of the office is let in again: a hole in a prefix", func() {
		s.group(policy.Group{Name: "office", Prefixes: []netip.Prefix{prefix("10.0.4.0/24"), prefix("2001:db8:4::/64")},
			ExceptPrefixes: []netip.Prefix{prefix("10.0.4.7"), prefix("2001:db8:4::7")}})
	})
	then("the admin's address goes to somebody else the same day", func() {
		s.asset("admin", "10.0.9.11", "2001:db8:9::11")
		s.asset("guest", "10.0.9.10", "2001:db8:9::10")
	})
	then("the database loses its IPv6 address", func() { s.asset("db-1", "10.0.0.20") })
	then("https moves by one port", func() { s.says("https", "allow any web", tcp(444, 444)) })
	then("https becomes a range, and QUIC comes", func() { s.says("https", "allow any web", tcp(443, 445), udp(443, 443)) })
	then("ssh from anywhere is denied, after everything else was allowed", func() {
		s.says("all", "allow any web", t.everything...)
		s.says("no-ssh", "deny any web", tcp(22, 22))
		s.edit("no-ssh", func(p *policy.Policy) { p.Order = 1 })
	})
	then("the broad permission is withdrawn", func() { delete(s.policies, "all"); delete(s.policies, "no-ssh") })
}

// assets is the second half: the machines change.
func (t *teller) assets() {
	s, then := t.s, t.then
	then("a second web server is protected", func() {
		s.asset("web-2", "10.0.0.11", "2001:db8::11")
		s.group(policy.Group{Name: "web", Members: []string{"web-1", "web-2"}, Isolate: policy.IsolateBoth})
		t.protects = t.protects.Union(Addrs("10.0.0.11", "2001:db8::11"))
	})
	then("the first one is taken away", func() {
		s.group(policy.Group{Name: "web", Members: []string{"web-2"}, Isolate: policy.IsolateBoth})
		t.protects = Addrs("10.0.0.11", "2001:db8::11")
	})
	then("the whole site is isolated", func() { s.group(policy.Group{Name: policy.GroupAny, Isolate: policy.IsolateBoth}) })
	then("and opened again", func() { s.group(policy.Group{Name: policy.GroupAny, Isolate: policy.IsolateNone}) })
	then("web answers but does not ask", func() { delete(s.policies, "db") })
	then("nothing is left to protect", func() { t.protects = packet.Addrs{} })
	then("and the first server comes back", func() {
		s.group(policy.Group{Name: "web", Members: []string{"web-1", "web-2"}, Isolate: policy.IsolateBoth})
		t.protects = web()
	})
}

// chapter gives one step by what it says; the words are those of the story.
func (f *Factory) chapter(says string) step {
	steps := f.story()
	i := slices.IndexFunc(steps, func(s step) bool { return s.says == says })
	return steps[i]
}

// before and after are two busy states with flows that each alone permits, and
// some that both do.
func (f *Factory) before() step {
	return f.chapter("one desk of the office is let in again: a hole in a prefix")
}

func (f *Factory) after() step {
	return f.chapter("ssh from anywhere is denied, after everything else was allowed")
}
