package live_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"bulkhead/drivers/nftables"
	"bulkhead/inventory"
	"bulkhead/pkg/apply"
	"bulkhead/pkg/compile"
	"bulkhead/pkg/driver"
	"bulkhead/pkg/live"
	"bulkhead/pkg/policy"
)

// liar is a driver that gets changes of policies wrong.
type liar struct {
	*nftables.Driver
	spoil func(a *compile.Amendment) bool // reports whether there was something to get wrong
	lied  bool
}

type lyingMover struct {
	driver.Amender
	l *liar
}

func (l *liar) Mover(ctx context.Context, now, rendered driver.State) (driver.Mover, error) {
	m, err := l.Driver.Mover(ctx, now, rendered)
	if err != nil {
		return nil, err
	}
	return lyingMover{m.(driver.Amender), l}, nil
}

func (m lyingMover) Prepare(a *compile.Amendment, now time.Time) (driver.Amending, error) {
	if m.l.spoil != nil {
		bad := *a
		bad.Pairs, bad.Contents = slices.Clone(a.Pairs), slices.Clone(a.Contents)
		m.l.lied = m.l.spoil(&bad)
		a = &bad
	}
	return m.Amender.Prepare(a, now)
}

// amendable is a site of roles and places, with policies enough for several tables; the
// more a table costs, the fewer there are. Nobody of role r3 is at place s2.
func amendable(t *testing.T, cost int) (*site, *liar) {
	ownNamespace(t)
	s := &site{t: t, assets: map[string]inventory.Asset{}, now: time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)}
	for i := range 60 {
		if i%4 == 3 && i/4%3 == 2 {
			continue
		}
		addr := netip.AddrFrom4([4]byte{10, 0, 0, byte(2*i + 1)})
		if i%5 == 0 {
			addr = netip.MustParseAddr(fmt.Sprintf("2001:db8::%x", 2*i+1))
		}
		a := inventory.Asset{ID: fmt.Sprintf("h%02d", i), Kind: inventory.Server, Addresses: []netip.Prefix{netip.PrefixFrom(addr, addr.BitLen())},
			Labels: map[string]string{"role": fmt.Sprint("r", i%4), "site": fmt.Sprint("s", i/4%3)}}
		s.assets[a.ID] = a
	}
	b := &policy.Rulebook{Groups: []policy.Group{{Name: policy.GroupAny, Isolate: policy.IsolateBoth}, {Name: policy.GroupUnknown}}}
	for i := range 4 {
		b.Groups = append(b.Groups, policy.Group{Name: fmt.Sprint("r", i), Where: fmt.Sprintf("labels.role == \"r%d\"", i)})
	}
	for i := range 3 {
		b.Groups = append(b.Groups, policy.Group{Name: fmt.Sprint("s", i), Where: fmt.Sprintf("labels.site == \"s%d\"", i)})
	}
	slices.SortFunc(b.Groups, func(x, y policy.Group) int { return strings.Compare(x.Name, y.Name) })
	b.Policies = []policy.Policy{
		rule("no", "s0", "s1", policy.Deny, 22), rule("web", "r0", "r1", policy.Allow, 80), rule("db", "r1", "r2", policy.Allow, 5432),
		rule("admin", "s2", "r0", policy.Allow, 22), rule("home", "s1", "s1", policy.Allow, 123), rule("log", "any", "r3", policy.Allow, 514),
		rule("new", "unknown", "r0", policy.Allow, 443),
	}
	policy.SortPolicies(b.Policies)
	s.book = b
	l := &liar{Driver: nftables.New(nftables.Options{Site: "live", Pairs: 1, Bounds: compile.Bounds{Pairs: -1, Spaces: 64, Elements: 1 << 20, Bits: 28, SpaceCost: cost}})}
	site, err := live.Open(context.Background(), live.Options{Name: "live", Book: b, Points: gateway, Driver: l, Now: func() time.Time { return s.now }}, s.list(), nil)
	if err != nil {
		t.Fatal(err)
	}
	s.live = site
	t.Cleanup(func() { site.Close() })
	if _, err := site.Prove(context.Background()); err != nil {
		t.Fatal(err)
	}
	return s, l
}

func rule(name, from, to string, action policy.Action, port uint16) policy.Policy {
	p := policy.Policy{Name: name, From: []string{from}, To: []string{to}, Ranges: []policy.Range{{Proto: 6, Lo: port, Hi: port}}, Action: action,
		Tier: policy.Application, Direction: policy.Both, Mode: policy.Enforce, Order: 10}
	if action == policy.Deny {
		p.Tier = policy.Platform
	}
	return p
}

// book gives the site another policy, or takes one of a name away.
func (s *site) with(add *policy.Policy, without string) *policy.Rulebook {
	b := *s.book
	b.Policies = slices.DeleteFunc(slices.Clone(b.Policies), func(p policy.Policy) bool { return p.Name == without })
	if add != nil {
		b.Policies = append(b.Policies, *add)
	}
	policy.SortPolicies(b.Policies)
	s.book = &b
	return s.book
}

// A change of policies that a driver gets wrong in one entry is not made: the witnesses
// of the proof show it, whichever entry it is.
func TestAmendmentIsProved(t *testing.T) {
	ctx := context.Background()
	more, less := rule("more", "r0", "r2", policy.Allow, 9000), rule("less", "s1", "r1", policy.Deny, 80)
	wide := rule("web", "r0", "r1", policy.Allow, 81)
	lies := 0
	for name, change := range map[string]struct {
		add     *policy.Policy
		without string
	}{"a policy more": {&more, ""}, "a deny": {&less, ""}, "a policy less": {nil, "db"}, "other services": {&wide, "web"}} {
		for kind, spoil := range map[string]func(c *compile.PairChange, a *compile.Amendment){
			"left as it was": func(c *compile.PairChange, a *compile.Amendment) { c.Src, c.Dst = a.Pairs[0].Src, a.Pairs[0].Dst },
			"taken out":      func(c *compile.PairChange, _ *compile.Amendment) { c.Content = -1 },
			"another content": func(c *compile.PairChange, a *compile.Amendment) {
				c.Content = (c.Content + 1) % int32(len(a.Contents))
			},
		} {
			t.Run(name+", an entry "+kind, func(t *testing.T) {
				s, l := amendable(t, 3)
				l.spoil = func(a *compile.Amendment) bool {
					if len(a.Pairs) == 0 || len(a.Contents) == 0 && kind == "another content" {
						return false
					}
					before := slices.Clone(a.Pairs)
					at := len(a.Pairs) - 1
					spoil(&a.Pairs[at], a)
					if kind == "left as it was" {
						a.Pairs = a.Pairs[:at]
					}
					return !slices.Equal(before, a.Pairs)
				}
				st, err := s.live.Book(ctx, s.with(change.add, change.without))
				if err != nil {
					t.Fatal(err)
				}
				if l.lied && !strings.Contains(st.Whole, "does not enforce") && !strings.Contains(st.Whole, "not proved") {
					t.Errorf("an entry that is wrong was taken: %+v", st)
				}
				if l.lied {
					lies++
				}
				if !l.lied && st.Whole != "" {
					t.Errorf("nothing was wrong: %+v", st)
				}
				s.oracle(ctx, name)
			})
		}
	}
	if lies < 6 {
		t.Errorf("only %d changes were got wrong: the test shows little", lies)
	}
}

// Policies that come, go and expire touch the entries that they concern and nothing
// else, and the device is then what a compile from nothing makes of it, moves of
// addresses between them included.
func TestAmendments(t *testing.T) {
	ctx := context.Background()
	s, _ := amendable(t, 3)
	step := func(what string, f func() (live.Step, error), most int) {
		t.Helper()
		st, err := f()
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if st.Whole != "" || st.Touched > most {
			t.Errorf("%s: %+v, and it may touch %d", what, st, most)
		}
		if p, err := s.live.Prove(ctx); err != nil || p.Whole != "" {
			t.Errorf("%s: %q, %v", what, p.Whole, err)
		}
		s.oracle(ctx, what)
	}
	move := func(id, role string) func() (live.Step, error) {
		return func() (live.Step, error) {
			a := s.assets[id]
			a.Labels = maps.Clone(a.Labels)
			a.Labels["role"] = role
			s.assets[id] = a
			return s.live.Asset(ctx, a)
		}
	}
	more := rule("more", "r0", "r2", policy.Allow, 9000)
	step("a policy more", func() (live.Step, error) { return s.live.Book(ctx, s.with(&more, "")) }, 20)
	step("a move", move("h01", "r2"), 10)
	step("the policy less", func() (live.Step, error) { return s.live.Book(ctx, s.with(nil, "more")) }, 20)
	step("a policy of strangers less", func() (live.Step, error) { return s.live.Book(ctx, s.with(nil, "new")) }, 20)
	step("a move back", move("h01", "r1"), 10)

	timed := rule("timed", "s0", "r3", policy.Allow, 7000)
	timed.Expires = s.now.Add(time.Hour)
	if st, err := s.live.Book(ctx, s.with(&timed, "")); err != nil || st.Whole == "" {
		t.Fatalf("a policy that expires: %+v, %v", st, err)
	}
	if _, err := s.live.Prove(ctx); err != nil {
		t.Fatal(err)
	}
	step("a policy less beside one that expires", func() (live.Step, error) { return s.live.Book(ctx, s.with(nil, "log")) }, 100)
	s.now = s.now.Add(2 * time.Hour)
	step("an expiry", func() (live.Step, error) { return s.live.Expire(ctx) }, 400)
	step("a move after it", move("h02", "r0"), 10)
}

// A host that comes to a combination of groups that no table has seen together gets the
// entries of its class, and is shown by itself; of a driver that gets one wrong the
// device is found not to enforce what policy says.
func TestNewCombination(t *testing.T) {
	ctx := context.Background()
	move := func(s *site) (live.Step, error) {
		a := s.assets["h03"] // of r3, at s0
		a.Labels = map[string]string{"role": "r3", "site": "s2"}
		s.assets[a.ID] = a
		return s.live.Asset(ctx, a)
	}
	s, _ := amendable(t, 1000)
	st, err := move(s)
	if err != nil || st.Whole != "" || st.Born != 1 || st.Touched < 7 {
		t.Fatalf("%+v, %v", st, err)
	}
	if p, err := s.live.Prove(ctx); err != nil || p.Whole != "" || p.Addresses != 1 {
		t.Fatalf("%+v, %v", p, err)
	}
	s.oracle(ctx, "a new combination")
	a := s.assets["h07"]
	a.Labels = map[string]string{"role": "r3", "site": "s2"}
	s.assets[a.ID] = a
	if st, err := s.live.Asset(ctx, a); err != nil || st.Whole != "" || st.Born != 0 {
		t.Fatalf("another one of it: %+v, %v", st, err)
	}
	if p, err := s.live.Prove(ctx); err != nil || p.Whole != "" {
		t.Fatalf("another one of it: %+v, %v", p, err)
	}
	s.oracle(ctx, "another one of it")

	wrong := 0
	for at := range 12 {
		s, l := amendable(t, 1000)
		l.spoil = func(a *compile.Amendment) bool {
			if at >= len(a.Pairs) {
				return false
			}
			a.Pairs = slices.Delete(a.Pairs, at, at+1)
			return true
		}
		if _, err := move(s); err != nil {
			t.Fatal(err)
		}
		_, err := s.live.Prove(ctx)
		if l.lied {
			wrong++
		}
		if l.lied != errors.Is(err, apply.ErrNotProved) {
			t.Errorf("entry %d left out (%v): %v", at, l.lied, err)
		}
	}
	if wrong < 2 {
		t.Errorf("%d entries could be left out: the test shows little", wrong)
	}
}
