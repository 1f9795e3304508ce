package live_test

import (
	"context"
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

// A table whose policies concern no two addresses has no entries, and a device that
// does not ask it is right: here nobody shares a cell with addresses that no asset holds. An address that
// changes its cell is proved all the same.
func TestTableThatConcernsNobody(t *testing.T) {
	ownNamespace(t)
	ctx := context.Background()
	host := func(id, cell, env, role string, addrs ...string) inventory.Asset {
		a := inventory.Asset{ID: id, Kind: inventory.Server, Labels: map[string]string{"cell": cell, "env": env, "role": role}}
		for _, text := range addrs {
			p := netip.MustParseAddr(text)
			a.Addresses = append(a.Addresses, netip.PrefixFrom(p, p.BitLen()))
		}
		return a
	}
	assets := []inventory.Asset{
		host("a", "c1", "e0", "r0", "10.0.1.137"), host("b", "c0", "e1", "r1", "2001:db8::27d", "2001:db8::787"),
		host("c", "c0", "e1", "r3", "2001:db8::2c6"), host("d", "c2", "e1", "r3", "2001:db8::9b8"), host("e", "c1", "e1", "r2", "10.0.0.105"),
	}
	tcp := func(lo, hi uint16) []policy.Range { return []policy.Range{{Proto: 6, Lo: lo, Hi: hi}} }
	rule := func(name, from, to string, order int, action policy.Action, r []policy.Range, same ...string) policy.Policy {
		return policy.Policy{Name: name, From: []string{from}, To: []string{to}, Ranges: r, Action: action, Tier: policy.Application, Order: order,
			Direction: policy.Both, Mode: policy.Enforce, Same: same}
	}
	book := &policy.Rulebook{
		Groups: []policy.Group{{Name: policy.GroupAny, Isolate: policy.IsolateBoth}, {Name: policy.GroupUnidentified}, {Name: policy.GroupUnknown},
			{Name: "net", Prefixes: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/26"), netip.MustParsePrefix("2001:db8::/118")}},
			{Name: "e1", Where: `labels.env == "e1"`},
			{Name: "r0", Where: `labels.role == "r0"`}, {Name: "r1", Where: `labels.role == "r1"`}, {Name: "r3", Where: `labels.role == "r3"`},
			{Name: "most", Groups: []string{"r0", "r1", "net"}, ExceptGroups: []string{"few"}},
			{Name: "few", Members: []string{"z"}, Isolate: policy.IsolateIngress}},
		Policies: []policy.Policy{
			rule("servers", "e1", "r3", 0, policy.Allow, tcp(83, 84)),
			rule("nobody", policy.GroupUnknown, "most", 1, policy.Allow, tcp(82, 83), "cell"),
			rule("strangers", "unidentified", "most", 3, policy.Deny, tcp(82, 82)),
		},
	}
	policy.SortPolicies(book.Policies)
	slices.SortFunc(book.Groups, func(a, b policy.Group) int { return strings.Compare(a.Name, b.Name) })
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
	if _, err := l.Asset(ctx, host("e", "c2", "e1", "r2", "10.0.0.105")); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Prove(ctx); err != nil {
		t.Fatal(err)
	}
	s := &site{t: t, assets: map[string]inventory.Asset{}, book: book, now: now}
	for _, a := range append(assets[:4:4], host("e", "c2", "e1", "r2", "10.0.0.105")) {
		s.assets[a.ID] = a
	}
	s.oracle(ctx, "an address that has a cell now")
}
