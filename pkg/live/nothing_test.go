package live_test

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"bulkhead/drivers/nftables"
	"bulkhead/inventory"
	"bulkhead/pkg/compile"
	"bulkhead/pkg/live"
	"bulkhead/pkg/policy"
)

// Tables that a device leaves out for some addresses, because what follows comes to
// the same for them: nobody shares a cell with addresses that no asset holds, a deny
// from everything of somebody to whom nothing else is allowed is the default. Each was
// a right device that was taken for a wrong one.
func TestTablesLeftOut(t *testing.T) {
	host := func(id, cell, env, role string, addrs ...string) inventory.Asset {
		a := inventory.Asset{ID: id, Kind: inventory.Server, Labels: map[string]string{"cell": cell, "env": env, "role": role}}
		for _, text := range addrs {
			p := netip.MustParseAddr(text)
			a.Addresses = append(a.Addresses, netip.PrefixFrom(p, p.BitLen()))
		}
		return a
	}
	tcp := func(ports ...uint16) (out []policy.Range) {
		for i := 0; i < len(ports); i += 2 {
			out = append(out, policy.Range{Proto: 6, Lo: ports[i], Hi: ports[i+1]})
		}
		return out
	}
	rule := func(name, from, to string, tier policy.Tier, action policy.Action, r []policy.Range, same ...string) policy.Policy {
		return policy.Policy{Name: name, From: []string{from}, To: []string{to}, Ranges: r, Action: action, Tier: tier,
			Direction: policy.Both, Mode: policy.Enforce, Same: same}
	}
	for name, drawn := range map[string]struct {
		assets   []inventory.Asset
		policies []policy.Policy
		move     inventory.Asset
	}{
		"nobody": {
			[]inventory.Asset{host("a", "c1", "e0", "r0", "10.0.1.137"), host("b", "c0", "e1", "r1", "2001:db8::27d", "2001:db8::787"),
				host("c", "c0", "e1", "r3", "2001:db8::2c6"), host("d", "c2", "e1", "r3", "2001:db8::9b8"), host("e", "c1", "e1", "r2", "10.0.0.105")},
			[]policy.Policy{rule("a", "e1", "r3", policy.Application, policy.Allow, tcp(83, 84)), rule("b", policy.GroupUnknown, "most", policy.Application, policy.Allow, tcp(82, 83), "cell"),
				rule("c", policy.GroupUnidentified, "most", policy.Application, policy.Deny, tcp(82, 82))},
			host("e", "c2", "e1", "r2", "10.0.0.105"),
		},
		"denied anyway": {
			[]inventory.Asset{host("a", "c0", "e1", "r1", "10.0.0.192", "10.0.0.8"), host("b", "c0", "e1", "r0", "10.0.0.80", "10.0.1.56")},
			[]policy.Policy{rule("a", "e1", policy.GroupAny, policy.Platform, policy.Deny, tcp(82, 82, 84, 85)),
				rule("b", "r1", policy.GroupUnknown, policy.Application, policy.Allow, tcp(81, 84))},
			host("b", "c0", "e0", "r1", "10.0.0.80", "10.0.1.56"),
		},
		"some of them": {
			[]inventory.Asset{host("a", "c1", "e1", "r2", "2001:db8::1b0"), host("b", "c2", "e0", "r2", "10.0.0.153")},
			[]policy.Policy{rule("a", "most", policy.GroupAny, policy.Platform, policy.Deny, tcp(83, 86)),
				rule("b", "r2", "most", policy.Application, policy.Allow, tcp(84, 86))},
			host("b", "c2", "e0", "r2", "10.0.0.15"),
		},
	} {
		for size, many := range map[string]int{"": 0, ", many classes": 1200} {
			t.Run(name+size, func(t *testing.T) {
				ownNamespace(t)
				ctx := context.Background()
				book := &policy.Rulebook{Policies: drawn.policies, Groups: []policy.Group{
					{Name: policy.GroupAny, Isolate: policy.IsolateBoth}, {Name: "e1", Where: `labels.env == "e1"`},
					{Name: "few", Members: []string{"z"}, Isolate: policy.IsolateIngress},
					{Name: "most", Groups: []string{"r0", "r1", "net"}, ExceptGroups: []string{"few"}},
					{Name: "net", Prefixes: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/26"), netip.MustParsePrefix("2001:db8::/118")}},
					{Name: "r0", Where: `labels.role == "r0"`}, {Name: "r1", Where: `labels.role == "r1"`},
					{Name: "r2", Where: `labels.role == "r2"`}, {Name: "r3", Where: `labels.role == "r3"`},
					{Name: policy.GroupUnidentified}, {Name: policy.GroupUnknown},
				}}
				assets := append(drawn.assets[:len(drawn.assets):len(drawn.assets)], crowd(book, many)...)
				policy.SortPolicies(book.Policies)
				d := nftables.New(nftables.Options{Site: "live", Pairs: 1, Bounds: compile.Bounds{Pairs: -1, Spaces: 64, Elements: 1 << 20, Bits: 28, SpaceCost: 3}})
				now := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
				l, err := live.Open(ctx, live.Options{Name: "live", Book: book, Points: gateway, Driver: d, Now: func() time.Time { return now }}, assets, nil)
				if err != nil {
					t.Fatal(err)
				}
				defer l.Close()
				if _, err := l.Prove(ctx); err != nil {
					t.Fatal(err)
				}
				if _, err := l.Asset(ctx, drawn.move); err != nil {
					t.Fatal(err)
				}
				if _, err := l.Prove(ctx); err != nil {
					t.Fatal(err)
				}
				s := &site{t: t, assets: map[string]inventory.Asset{}, book: book, now: now}
				for _, a := range append(assets, drawn.move) {
					s.assets[a.ID] = a
				}
				if many > 0 { // too many pairs to list
					alone(ctx, t, l, assets[len(drawn.assets):])
					return
				}
				s.oracle(ctx, "a host that moved")
			})
		}
	}
}

// alone moves a host into the class of another one: what was shown of all pairs holds
// for a single address, too, and no whole proof is needed.
func alone(ctx context.Context, t *testing.T, l *live.Site, crowd []inventory.Asset) {
	t.Helper()
	moved := crowd[0]
	moved.Labels = crowd[1].Labels
	if st, err := l.Asset(ctx, moved); err != nil || st.Whole != "" {
		t.Fatalf("a host of the crowd cannot be moved: %v, %s", err, st.Whole)
	}
	proof, err := l.Prove(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if proof.Whole != "" {
		t.Errorf("a host was not proved by itself: %s", proof.Whole)
	}
}

// crowd makes hosts that are in as many classes, by groups that no policy names: too
// many for a proof to look at all pairs of them.
func crowd(book *policy.Rulebook, many int) (out []inventory.Asset) {
	for i := range many {
		a := inventory.Asset{ID: fmt.Sprintf("crowd%d", i), Kind: inventory.Server, Labels: map[string]string{}}
		for bit := range 11 {
			a.Labels[fmt.Sprintf("b%d", bit)] = fmt.Sprint(i >> bit & 1)
		}
		addr := netip.AddrFrom4([4]byte{10, 9, byte(i >> 8), byte(i)})
		a.Addresses = []netip.Prefix{netip.PrefixFrom(addr, 32)}
		out = append(out, a)
	}
	for bit := 0; many > 0 && bit < 11; bit++ {
		book.Groups = append(book.Groups, policy.Group{Name: fmt.Sprintf("b%d", bit), Where: fmt.Sprintf("labels.b%d == \"1\"", bit)})
	}
	slices.SortFunc(book.Groups, func(x, y policy.Group) int { return strings.Compare(x.Name, y.Name) })
	return out
}
