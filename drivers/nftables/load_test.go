package nftables_test

import (
	"context"
	"errors"
	"net/netip"
	"os/exec"
	"strings"
	"testing"

	"bulkhead/drivers/nftables"
	"bulkhead/drivers/nftables/kernel"
	"bulkhead/pkg/compile"
	"bulkhead/pkg/driver"
	"bulkhead/pkg/policy"
)

// smallBuffer is what a socket sends at once where net.core.wmem_max is small.
const smallBuffer = 200 << 10

// bigSite is a site of so many single addresses, no two of them side by side, in
// three groups.
func bigSite(t *testing.T, addresses int) driver.Desired {
	t.Helper()
	w := permits()
	names := []string{"red", "green", "blue"}
	for i, name := range names {
		g := policy.Group{Name: name}
		for n := i; n < addresses; n += len(names) {
			at := uint32(20<<24 + 3*n)
			g.Prefixes = append(g.Prefixes, netip.PrefixFrom(netip.AddrFrom4([4]byte{byte(at >> 24), byte(at >> 16), byte(at >> 8), byte(at)}), 32))
		}
		w.Book.Groups = append(w.Book.Groups, g)
	}
	w.Book.Policies = []policy.Policy{let("red", "green", 6, 80, 80), let("green", "blue", 6, 443, 445), let("blue", "red", 17, 53, 53)}
	policy.SortPolicies(w.Book.Policies)
	return desired(t, w, []compile.Point{{Name: "gw", Mode: policy.Enforce, Transit: true}})
}

// plan reads the kernel and works out the change to what is wanted.
func plan(t *testing.T, d *nftables.Driver, want driver.Desired) *driver.Change {
	t.Helper()
	have, err := d.Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	r, err := d.Render(want, have)
	if err != nil {
		t.Fatal(err)
	}
	ch, err := d.Diff(have, r.State)
	if err != nil {
		t.Fatal(err)
	}
	return ch
}

// mustHold reads the kernel back, proves it, and fails if a second plan has
// anything to do.
func mustHold(t *testing.T, d *nftables.Driver, want driver.Desired) *nftables.State {
	t.Helper()
	now, err := d.Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	mustProve(t, d, want, now)
	if ch := plan(t, d, want); !ch.Empty() {
		t.Fatalf("a second plan is not empty: %d operations", len(ch.Ops))
	}
	return now.(*nftables.State)
}

// mustBeGone fails if anything of a load that failed is in the kernel.
func mustBeGone(t *testing.T, d *nftables.Driver) {
	t.Helper()
	now, err := d.Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if now.(*nftables.State).Table() != nil {
		t.Fatal("half of a table was left in the kernel")
	}
}

// A first load that no socket of an ordinary user takes as one is made in parts.
// What stops it in the middle leaves nothing that judges, and the next apply clears
// it away; then a change that opens a shard is made in parts, too.
func TestLoadInParts(t *testing.T) {
	ctx := context.Background()
	ns := newNetns(t)
	bounds := compile.DefaultBounds()
	bounds.Shard = 30_000
	d := nftables.New(nftables.Options{Site: "test", Netns: ns, Interfaces: ifaces, Bounds: bounds})
	d.LimitSend(smallBuffer)
	want := bigSite(t, 60_000)
	ch := plan(t, d, want)
	n := 0
	for _, s := range ch.To.(*nftables.State).Table().Sets {
		n += len(s.Elements)
	}
	if n < 50_000 {
		t.Fatalf("%d elements are no big load", n)
	}

	// The process ends between two parts.
	parts := 0
	stopAt := func(at int, stop func()) {
		parts = 0
		d.AfterPart(func(part int) {
			if parts++; part == at {
				stop()
			}
		})
	}
	stopAt(3, func() { panic("the process ends") })
	func() {
		defer func() { _ = recover() }()
		_ = d.Apply(ctx, ch)
	}()
	half, err := d.Read(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if half.(*nftables.State).Table() == nil {
		t.Fatal("nothing was loaded before the process ended")
	}
	for _, c := range half.(*nftables.State).Table().Chains {
		if c.Hook != nil {
			t.Fatalf("base chain %s judges by half of a table", c.Name)
		}
	}
	dec, err := d.Decode(half)
	if err != nil {
		t.Fatal(err)
	}
	if len(dec.Installed) > 0 {
		t.Fatalf("half of a table says that points %v are installed", dec.Installed)
	}

	// The next one clears it away, and is stopped by its context.
	ch = plan(t, d, want)
	if !ch.First {
		t.Error("what follows half of a load is a first load")
	}
	stopped, stop := context.WithCancel(ctx)
	stopAt(5, stop)
	if err := d.Apply(stopped, ch); !errors.Is(err, context.Canceled) || !errors.Is(err, driver.ErrRefused) {
		t.Fatalf("Apply() = %v, want that it was stopped and nothing was changed", err)
	}
	mustBeGone(t, d)

	// Somebody else writes between two parts.
	stopAt(2, func() {
		if out, err := exec.Command("ip", "netns", "exec", ns, "nft", "add table inet stranger").CombinedOutput(); err != nil {
			t.Fatalf("nft: %v: %s", err, out)
		}
	})
	if err := d.Apply(ctx, plan(t, d, want)); !errors.Is(err, driver.ErrMoved) {
		t.Fatalf("Apply() = %v, want that others wrote meanwhile", err)
	}
	mustBeGone(t, d)

	stopAt(-1, nil)
	if err := d.Apply(ctx, plan(t, d, want)); err != nil {
		t.Fatal(err)
	}
	if parts < 10 {
		t.Errorf("loaded in %d parts: was the limit heeded?", parts)
	}
	mustHold(t, d, want)

	// Growth opens a shard, which is filled before a rule looks it up.
	grown := bigSite(t, 90_000)
	stopped, stop = context.WithCancel(ctx)
	stopAt(2, stop)
	if err := d.Apply(stopped, plan(t, d, grown)); !errors.Is(err, context.Canceled) {
		t.Fatalf("Apply() = %v, want that it was stopped", err)
	}
	mustHold(t, d, want)
	stopAt(2, func() { panic("the process ends") })
	func() {
		defer func() { _ = recover() }()
		_ = d.Apply(ctx, plan(t, d, grown))
	}()
	now, err := d.Read(ctx)
	if err != nil {
		t.Fatal(err)
	}
	mustProve(t, d, want, now)
	stopAt(-1, nil)
	if err := d.Apply(ctx, plan(t, d, grown)); err != nil {
		t.Fatal(err)
	}
	if mustHold(t, d, grown).Table().Set("host4_3") == nil {
		t.Error("the site grew, and no shard was opened")
	}
}

// A change of what is in use that is too large for one transaction is refused and
// says what would help; nothing of it is done.
func TestChangeTooLargeIsRefused(t *testing.T) {
	ns := newNetns(t)
	d := nftables.New(nftables.Options{Site: "test", Netns: ns, Interfaces: ifaces})
	want := bigSite(t, 60_000)
	if err := d.Apply(t.Context(), plan(t, d, want)); err != nil {
		t.Fatal(err)
	}
	d.LimitSend(smallBuffer)
	less := bigSite(t, 10_000)
	err := d.Apply(t.Context(), plan(t, d, less))
	if !errors.Is(err, kernel.ErrTooLarge) || !errors.Is(err, driver.ErrRefused) || !strings.Contains(err.Error(), "net.core.wmem_max") {
		t.Fatalf("Apply() = %v, want that it names net.core.wmem_max", err)
	}
	mustHold(t, d, want)
}
