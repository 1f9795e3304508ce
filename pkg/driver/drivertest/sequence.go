package drivertest

import (
	"fmt"
	"math/rand"
	"net/netip"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"bulkhead/internal/tries"
	"bulkhead/inventory"
	"bulkhead/pkg/compile"
	"bulkhead/pkg/packet"
	"bulkhead/pkg/policy"
	"bulkhead/pkg/policy/policytest"
)

// A driver must take a device from any desired state to any other, and prove each
// of them. On a device that is not atomic, every state in between must permit what
// both ends permit and nothing that neither does: a driver that removes first cuts
// live traffic (#13), one that adds to the wrong place opens a hole.
func checkStory(t testing.TB, f *Factory) {
	for _, p := range f.Placements {
		b := newBench(t, f)
		if !b.s.Driver().Capabilities().Atomic && b.s.Steps == nil {
			t.Fatalf("%s is not atomic and its factory has no Steps: what is seen during a change is not checked", f.Name)
		}
		for _, s := range tries.Some(f.story()) {
			s.says = p.Name + ": " + s.says
			b.play(t, p, s)
		}
		t.Logf("%s, %s: %d states, %d looks in between", f.Name, p.Name, len(tries.Some(f.story())), b.looked)
	}
}

// Random sites find what no story thinks of. Every step is a new site, so that
// addresses change owners (#6) and prefixes nest in every way (#9).
func checkRandom(t testing.TB, f *Factory) {
	brought, sites := 0, 0
	run := func(rt tb, draw *rapid.T) {
		b := newBench(t, f)
		defer func() { brought += b.brought }()
		b.looks, b.mayRefuse = tries.Of(40), f.MayRefuse
		p := rapid.SampledFrom(f.Placements).Draw(draw, "placement")
		for range rapid.IntRange(2, 3).Draw(draw, "steps") {
			w := policytest.World(draw, f.World)
			protects := rapid.SampledFrom([]packet.Addrs{Addrs("10.0.0.1"), Addrs("10.0.0.2/31", "2001:db8::1"), Addrs("10.0.1.0", "2001:db8::4/127"), {}}).Draw(draw, "protects")
			sites++
			b.bring(rt, newGoal(rt, w, p.Points(protects)))
		}
		b.brought-- // to nothing, which every device has room for
		b.bring(rt, newGoal(rt, office().world(), nil))
	}
	// A driver that refuses everything has shown nothing.
	defer func() {
		if t.Logf("%d of %d random sites fit the device", brought, sites); brought < sites/2 {
			t.Errorf("%d of %d random sites were refused", sites-brought, sites)
		}
	}()
	if f.Random == 0 {
		// Each case proves several states, and every state in between.
		tries.Checks(t, 12, func(rt *rapid.T) { run(rt, rt) })
		return
	}
	for seed := range f.Random {
		says := fmt.Sprintf("seed %d", seed)
		rapid.Custom(func(rt *rapid.T) bool { run(told{t, says}, rt); return true }).Example(seed)
	}
}

// Prefixes inside each other come and go. A driver that keeps lists of prefixes
// instead of sets removes what it never added (#9).
func checkNested(t testing.TB, f *Factory) {
	all := []netip.Prefix{prefix("10.0.4.0/24"), prefix("10.0.4.0/25"), prefix("10.0.4.0/32"), prefix("10.0.4.255/32"), prefix("0.0.0.0/0"),
		prefix("2001:db8:4::/64"), prefix("2001:db8:4::/127"), prefix("::/0")}
	r := rand.New(rand.NewSource(1))
	b := newBench(t, f)
	for n := range 8 {
		var some []netip.Prefix
		for _, p := range all {
			if r.Intn(2) == 0 {
				some = append(some, p)
			}
		}
		s := office()
		s.group(policy.Group{Name: "office", Prefixes: some})
		s.says("office", "allow office web", tcp(443, 443))
		b.play(t, f.Placements[0], step{fmt.Sprintf("step %d: the office has %s", n, some), s, web()})
	}
}

// A policy between a group that has only IPv4 and one that has only IPv6 permits
// nothing, and one family's rules never stand for the other's (#5 #10).
func checkFamilies(t testing.TB, f *Factory) {
	b := newBench(t, f)
	s := office()
	s.asset("web-1", "10.0.0.10")
	s.group(policy.Group{Name: "office", Prefixes: []netip.Prefix{prefix("2001:db8:4::/64")}})
	s.says("office", "allow office web", tcp(443, 443))
	b.play(t, f.Placements[0], step{"clients have IPv6 and the server IPv4", s, Addrs("10.0.0.10")})
	s.asset("web-1", "2001:db8::10")
	b.play(t, f.Placements[0], step{"the server changes to IPv6", s, Addrs("2001:db8::10")})
	s.group(policy.Group{Name: "office", Prefixes: []netip.Prefix{prefix("10.0.4.0/24")}})
	b.play(t, f.Placements[0], step{"the clients change to IPv4", s, Addrs("2001:db8::10")})
	s.says("office", "allow any web", policy.Range{Proto: 58, Lo: 0x8000, Hi: 0x80ff})
	b.play(t, f.Placements[0], step{"everybody may ping by IPv6", s, web()})
}

// The controller may die at any time and come back knowing nothing. What is on the
// device is then as it should be, and a driver that writes all the same, or takes
// its own objects for somebody else's, cuts traffic for nothing (#7).
func checkRestart(t testing.TB, f *Factory) {
	for _, p := range f.Placements {
		b := newBench(t, f)
		g := newGoal(t, f.before().site.world(), p.Points(web()))
		b.bring(t, g)
		writes := 0
		if b.s.Steps != nil {
			b.s.Steps(func() { writes++ })
		}
		for range 3 {
			b.settled(t, g)
		}
		if writes > 0 {
			t.Fatalf("%s: %d writes were made with nothing to do", p.Name, writes)
		}
	}
}

// Taking our points off leaves the device as it was before us, byte for byte:
// whatever stays would be there for ever, because nobody knows it.
func checkRemoval(t testing.TB, f *Factory) {
	for _, p := range f.Placements {
		b := newBench(t, f)
		empty := b.read(t).Fingerprint()
		var dump []byte
		if b.s.Dump != nil {
			dump = b.s.Dump()
		}
		none := newGoal(t, office().world(), nil)
		b.bring(t, none) // nothing to take off yet
		b.play(t, p, f.before())
		b.bring(t, none)
		if b.read(t).Fingerprint() != empty {
			t.Fatalf("%s: the device is not as it was before us", p.Name)
		}
		if b.s.Dump != nil && string(b.s.Dump()) != string(dump) {
			t.Fatalf("%s: the device held\n%s\nbefore us, and now holds\n%s", p.Name, dump, b.s.Dump())
		}
	}
}

// The same input gives the same state, in whatever order it comes: else every run
// would find something to change, and no plan could be compared with another.
func checkDeterminism(t testing.TB, f *Factory) {
	r := rand.New(rand.NewSource(2))
	for _, p := range f.Placements {
		b := newBench(t, f)
		have := b.read(t)
		for _, s := range []step{f.before(), f.after()} {
			points := func() []compile.Point { return p.Points(s.protects) }
			first := b.render(t, newGoal(t, s.site.world(), points()), have).State.Fingerprint()
			for range 4 {
				w := s.site.world()
				shuffle(r, w)
				if b.render(t, newGoal(t, w, points()), have).State.Fingerprint() != first {
					t.Fatalf("%s: %s: the same input in another order gives another state", p.Name, s.says)
				}
			}
		}
	}
}

func shuffle(r *rand.Rand, w *policy.World) {
	r.Shuffle(len(w.Assets), func(i, j int) { w.Assets[i], w.Assets[j] = w.Assets[j], w.Assets[i] })
	for i := range w.Assets {
		a := &w.Assets[i]
		*a = inventory.Asset{ID: a.ID, Kind: a.Kind, Labels: a.Labels, Addresses: mixed(r, a.Addresses)}
	}
	for i := range w.Book.Groups {
		g := &w.Book.Groups[i]
		g.Prefixes, g.Members = mixed(r, g.Prefixes), mixed(r, g.Members)
	}
	for i := range w.Book.Policies {
		p := &w.Book.Policies[i]
		p.From, p.To, p.Ranges = mixed(r, p.From), mixed(r, p.To), mixed(r, p.Ranges)
	}
}

func mixed[T any](r *rand.Rand, in []T) []T {
	out := slices.Clone(in)
	r.Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
	return out
}
