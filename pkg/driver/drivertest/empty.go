package drivertest

import (
	"fmt"
	"net/netip"
	"testing"

	"bulkhead/internal/tries"
	"bulkhead/pkg/packet"
	"bulkhead/pkg/policy"
)

// An empty list is not an absent one. A group without addresses, on either side of
// a policy, allows nobody and denies nobody; taken out of a group it takes nothing
// out; and a list that holds nothing but things that resolve to nothing is empty
// like any other. In real systems each of these became "any" (#1 #2).
//
// What is enforced must be what is enforced without the policy that names the
// empty group. The proof compares with exactly that.
func checkEmpty(t testing.TB, f *Factory) {
	for i, p := range f.Placements {
		b := newBench(t, f)
		b.looks = tries.Of(10)
		isolations, cases := []policy.Isolation{policy.IsolateBoth, policy.IsolateNone}, empties()
		if i > 0 {
			isolations, cases = isolations[:1], cases[:6]
		}
		for _, c := range tries.Some(cases) {
			for _, isolate := range isolations {
				b.empty(t, p, c, isolate)
			}
		}
		// A point that protects nothing filters nothing.
		b.play(t, p, step{p.Name + ": a point protects nothing", f.before().site, packet.Addrs{}})
	}
}

func (b *bench) empty(t tb, p Placement, c emptiness, isolate policy.Isolation) {
	t.Helper()
	s := office()
	s.group(policy.Group{Name: "web", Members: []string{"web-1"}, Isolate: isolate})
	s.says("office", "allow office web", tcp(443, 443))
	without := newGoal(t, s.world(), p.Points(web()))
	c.add(s)
	says := fmt.Sprintf("%s: %s, web isolates %s", p.Name, c.says, isolate)
	now := b.play(t, p, step{says, s, web()})
	// The policy changes nothing, so what is there is right without it.
	r := b.render(t, without, now)
	if text := wrong(without, b.decode(t, now), r.Residue); text != "" {
		t.Fatalf("%s: an empty group changed what is enforced: %s", says, text)
	}
}

type emptiness struct {
	says string
	add  func(*site)
}

// empties are the ways in which a list can hold nothing.
func empties() []emptiness {
	nobody := map[string]policy.Group{
		"no fields":              {},
		"lists that are present": {Members: []string{}, Prefixes: []netip.Prefix{}, Groups: []string{}, ExceptGroups: []string{}},
		"an asset that has none": {Members: []string{"ghost"}},
		"everything taken out":   {Prefixes: []netip.Prefix{prefix("10.0.4.0/24")}, ExceptPrefixes: []netip.Prefix{prefix("10.0.0.0/8")}},
		"an empty group":         {Groups: []string{"hollow"}},
	}
	var out []emptiness
	for _, how := range []string{"no fields", "lists that are present", "an asset that has none", "everything taken out", "an empty group"} {
		make := func(s *site) {
			s.asset("ghost")
			s.group(policy.Group{Name: "hollow"})
			g := nobody[how]
			g.Name, g.Isolate = "nobody", policy.IsolateBoth
			s.group(g)
		}
		for _, sentence := range []string{"allow nobody web", "allow web nobody", "deny nobody web", "deny web nobody", "allow nobody nobody"} {
			out = append(out, emptiness{fmt.Sprintf("%q where nobody has %s", sentence, how), func(s *site) {
				make(s)
				s.says("nothing", sentence, everything()...)
				s.edit("nothing", func(p *policy.Policy) { p.Tier = policy.Emergency })
			}})
		}
		out = append(out, emptiness{fmt.Sprintf("the office without nobody, who has %s", how), func(s *site) {
			make(s)
			g := s.groups["office"]
			g.ExceptGroups = []string{"nobody"}
			s.group(g)
		}})
	}
	return append(out, emptiness{"a policy for no service at all", func(s *site) { s.says("nothing", "allow any web") }})
}
