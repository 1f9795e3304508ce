package live_test

import (
	"context"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"bulkhead/drivers/nftables"
	"bulkhead/internal/tries"
	"bulkhead/inventory"
	"bulkhead/pkg/classify"
	"bulkhead/pkg/compile"
	"bulkhead/pkg/live"
	"bulkhead/pkg/policy"
	"bulkhead/pkg/prove"
)

// ownNamespace puts the test into a network namespace of its own.
func ownNamespace(t *testing.T) {
	t.Helper()
	runtime.LockOSThread() // for good: the thread ends with the test's goroutine
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Fatalf("cannot make a network namespace (these tests need root): %v", err)
	}
}

// site is a site that changes, followed live on a real kernel.
type site struct {
	t      *testing.T
	r      *rand.Rand
	live   *live.Site
	assets map[string]inventory.Asset
	book   *policy.Rulebook
	next   int
	now    time.Time
	drawn  int // policies, besides those of whole books
}

var gateway = []compile.Point{{Name: "gw", Mode: policy.Enforce, Transit: true}}

// newSite draws a site: hosts with a role, an environment and a place, groups of
// those, and policies between them.
func newSite(t *testing.T, seed uint64, hosts int, split bool) *site {
	ownNamespace(t)
	s := &site{t: t, r: rand.New(rand.NewPCG(seed, 7)), assets: map[string]inventory.Asset{}, now: time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)}
	for range hosts {
		a := s.asset(fmt.Sprintf("h%03d", s.next))
		s.next++
		s.assets[a.ID] = a
	}
	s.open(split)
	return s
}

// openSite is newSite of given hosts.
func openSite(t *testing.T, seed uint64, hosts []inventory.Asset, split bool) *site {
	ownNamespace(t)
	s := &site{t: t, r: rand.New(rand.NewPCG(seed, 7)), assets: map[string]inventory.Asset{}, now: time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)}
	for _, a := range hosts {
		s.assets[a.ID] = a
	}
	s.open(split)
	return s
}

func (s *site) open(split bool) {
	s.t.Helper()
	s.book = s.drawBook()
	o := nftables.Options{Site: "live"}
	if split { // as a large site: class spaces, and no list of pairs
		o.Pairs, o.Bounds = 1, compile.Bounds{Pairs: -1, Spaces: 64, Elements: 1 << 20, Bits: 28, SpaceCost: 3}
	}
	l, err := live.Open(context.Background(), live.Options{Name: "live", Book: s.book, Points: gateway, Driver: nftables.New(o), Now: func() time.Time { return s.now }}, s.list(), nil)
	if err != nil {
		s.t.Fatal(err)
	}
	s.live = l
	s.t.Cleanup(func() { l.Close() })
}

func (s *site) list() []inventory.Asset {
	var out []inventory.Asset
	for _, id := range slices.Sorted(maps.Keys(s.assets)) {
		out = append(out, s.assets[id])
	}
	return out
}

func (s *site) pick(prefix string, n int) string { return fmt.Sprintf("%s%d", prefix, s.r.IntN(n)) }

func (s *site) asset(id string) inventory.Asset {
	a := inventory.Asset{ID: id, Kind: inventory.Server, Labels: map[string]string{"role": s.pick("r", 4), "env": s.pick("e", 2)}}
	if s.r.IntN(4) > 0 {
		a.Labels["cell"] = s.pick("c", 3)
	}
	s.address(&a)
	return a
}

// address gives a host an address that nobody has.
func (s *site) address(a *inventory.Asset) {
	a.Addresses = nil
	for range 1 + s.r.IntN(2) {
		addr := netip.AddrFrom4([4]byte{10, 0, byte(s.r.IntN(2)), byte(s.r.IntN(250))})
		if s.r.IntN(3) == 0 {
			addr = netip.MustParseAddr(fmt.Sprintf("2001:db8::%x", s.r.IntN(4000)))
		}
		p := netip.PrefixFrom(addr, addr.BitLen())
		taken := slices.Contains(a.Addresses, p)
		for _, o := range s.assets {
			taken = taken || o.ID != a.ID && slices.Contains(o.Addresses, p)
		}
		if !taken {
			a.Addresses = append(a.Addresses, p)
		}
	}
}

func (s *site) drawBook() *policy.Rulebook {
	b := &policy.Rulebook{Groups: []policy.Group{
		{Name: policy.GroupAny, Isolate: policy.IsolateBoth}, {Name: policy.GroupUnidentified}, {Name: policy.GroupUnknown},
		{Name: "net", Prefixes: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/26"), netip.MustParsePrefix("2001:db8::/118")}},
		{Name: "few", Members: []string{"h001", "h005", "h007"}, Isolate: policy.IsolateIngress},
		{Name: "most", Groups: []string{"r0", "r1", "net"}, ExceptGroups: []string{"few"}},
	}}
	for i := range 4 {
		b.Groups = append(b.Groups, policy.Group{Name: fmt.Sprintf("r%d", i), Where: fmt.Sprintf("labels.role == \"r%d\"", i)})
	}
	for i := range 2 {
		b.Groups = append(b.Groups, policy.Group{Name: fmt.Sprintf("e%d", i), Where: fmt.Sprintf("labels.env == \"e%d\"", i)})
		b.Groups = append(b.Groups, policy.Group{Name: fmt.Sprintf("r1e%d", i), Where: fmt.Sprintf("labels.role == \"r1\" && labels.env == \"e%d\"", i)})
	}
	slices.SortFunc(b.Groups, func(x, y policy.Group) int { return strings.Compare(x.Name, y.Name) })
	for i := range 6 + s.r.IntN(10) {
		b.Policies = append(b.Policies, s.drawPolicy(b, i))
	}
	policy.SortPolicies(b.Policies)
	return b
}

func (s *site) drawPolicy(b *policy.Rulebook, number int) policy.Policy {
	name := func() string { return b.Groups[s.r.IntN(len(b.Groups))].Name }
	p := policy.Policy{Name: fmt.Sprintf("p%02d", number), From: []string{name()}, To: []string{name()}, Action: policy.Allow, Tier: policy.Application,
		Order: s.r.IntN(5), Direction: policy.Both, Mode: policy.Enforce}
	for range 1 + s.r.IntN(2) {
		port := uint16(80 + s.r.IntN(6))
		p.Ranges = append(p.Ranges, policy.Range{Proto: 6, Lo: port, Hi: port + uint16(s.r.IntN(3))})
	}
	switch s.r.IntN(12) {
	case 0, 1, 2:
		p.Action, p.Tier = policy.Deny, policy.Platform
	case 3:
		p.Action = policy.Deny
	case 4:
		p.Direction = policy.Ingress
	case 5:
		p.Same = []string{"cell"}
	case 6:
		p.Expires = s.now.Add(time.Duration(1+s.r.IntN(400)) * time.Hour)
	}
	return p
}

// policies adds a policy, takes one away, or gives one other services.
func (s *site) policies(ctx context.Context) (string, live.Step, error) {
	b := *s.book
	b.Policies = slices.Clone(b.Policies)
	what := "nothing"
	at := s.r.IntN(len(b.Policies) + 1)
	switch {
	case s.r.IntN(2) == 0 || at == len(b.Policies):
		s.drawn++
		p := s.drawPolicy(&b, 100+s.drawn)
		what = fmt.Sprint("with ", p)
		b.Policies = append(b.Policies, p)
		policy.SortPolicies(b.Policies)
	case s.r.IntN(3) > 0:
		what = "without " + b.Policies[at].Name
		b.Policies = slices.Delete(b.Policies, at, at+1)
	default:
		what = "other services for " + b.Policies[at].Name
		b.Policies[at].Ranges = s.drawPolicy(&b, 0).Ranges
	}
	s.book = &b
	st, err := s.live.Book(ctx, s.book)
	return what, st, err
}

// change does one random thing to the site, and says what.
func (s *site) change(ctx context.Context) (string, live.Step, error) {
	ids := slices.Sorted(maps.Keys(s.assets))
	id := ids[s.r.IntN(len(ids))]
	switch n := s.r.IntN(50); {
	case n == 0:
		s.book = s.drawBook()
		st, err := s.live.Book(ctx, s.book)
		return "another book", st, err
	case n == 1:
		s.now = s.now.Add(50 * time.Hour)
		st, err := s.live.Expire(ctx)
		return "time passes", st, err
	case n >= 40:
		return s.policies(ctx)
	case n < 5 && len(s.assets) > 5:
		delete(s.assets, id)
		st, err := s.live.Remove(ctx, id)
		return "remove " + id, st, err
	case n < 9:
		id = fmt.Sprintf("h%03d", s.next)
		s.next++
		a := s.asset(id)
		s.assets[id] = a
		st, err := s.live.Asset(ctx, a)
		return "add " + id, st, err
	case n < 16:
		a := s.assets[id]
		s.address(&a)
		s.assets[id] = a
		st, err := s.live.Asset(ctx, a)
		return fmt.Sprint("move ", id, " to ", a.Addresses), st, err
	}
	a := s.assets[id]
	a.Labels = maps.Clone(a.Labels)
	for _, l := range []struct { // in this order: the same seed gives the same changes
		name string
		n    int
	}{{"role", 4}, {"env", 2}, {"cell", 3}} {
		if s.r.IntN(2) == 0 {
			a.Labels[l.name] = s.pick(l.name[:1], l.n)
		}
	}
	s.assets[id] = a
	st, err := s.live.Asset(ctx, a)
	return fmt.Sprint("label ", id, " ", a.Labels), st, err
}

// oracle compiles the site from nothing, reads the kernel, and lists every pair.
func (s *site) oracle(ctx context.Context, what string) {
	s.t.Helper()
	cl, diags := classify.Compile(s.book, nil)
	if diags.HasErrors() {
		s.t.Fatal(diags.All()[0].Message)
	}
	list := s.list()
	m, err := compile.Compile(compile.Input{Assets: list, Book: s.book, Where: cl.Classify(list).Matches, Now: s.now})
	if err != nil {
		s.t.Fatal(err)
	}
	d := nftables.New(nftables.Options{Site: "live", Pairs: 1 << 30})
	now, err := d.Read(ctx)
	if err != nil {
		s.t.Fatal(err)
	}
	dec, err := d.Decode(now)
	if err != nil {
		s.t.Fatal(err)
	}
	for _, res := range prove.Device(m, gateway, dec) {
		for i := range res.Wrong {
			s.t.Error(res.Wrong[i].String())
		}
		if !res.Proved {
			s.t.Fatalf("%s: the kernel does not hold what a compile from nothing says: %v", what, res.Findings)
		}
	}
}

var howMany = flag.Int("changes", tries.Of(300), "how many changes TestChangesEqualCompileFromNothing makes")

// Whatever happens to a site, in whatever order, the kernel enforces what a compile
// from nothing says; and the live site's own proofs say so.
func TestChangesEqualCompileFromNothing(t *testing.T) {
	for name, split := range map[string]bool{"one table": false, "class spaces": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // each is in a namespace of its own
			ctx := context.Background()
			s := newSite(t, 3, 20, split)
			followed, whole, alone, amended := 0, map[string]int{}, 0, 0
			for i := range *howMany {
				what, st, err := s.change(ctx)
				if err != nil {
					t.Fatalf("change %d, %s: %v", i, what, err)
				}
				if st.Whole != "" {
					whole[st.Whole]++
				} else if st.Amended {
					amended++
				} else if st.Touched > 0 {
					followed++
				}
				if s.r.IntN(3) > 0 {
					if err := s.live.Settle(ctx); err != nil {
						t.Fatal(err)
					}
				}
				proof, err := s.live.Prove(ctx)
				if err != nil {
					t.Fatalf("change %d, %s: %v", i, what, err)
				}
				if proof.Whole == "" {
					alone++
				}
				s.oracle(ctx, fmt.Sprintf("change %d, %s (%+v)", i, what, st))
			}
			t.Logf("%d changes followed, %d of policies, %d proved by themselves; whole: %v", followed, amended, alone, whole)
			if followed < *howMany/8 || split && (alone < *howMany/8 || amended < *howMany/20) {
				t.Error("hardly any change was followed: the test shows little")
			}
		})
	}
}
