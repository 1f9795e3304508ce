package reconcile_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"bulkhead/internal/tries"
	"bulkhead/inventory"
	"bulkhead/pkg/reconcile"
	"bulkhead/pkg/store"
)

// movedSite has machines of some roles, groups in groups and exceptions, and a group that
// is everybody but one machine.
// Role n is in no group.
func movedSite(roles []string, settings string) map[string]string {
	var b strings.Builder
	b.WriteString("assets:\n  odd: {kind: vm, addresses: [10.0.3.1], labels: {role: x}}\n")
	for i, role := range roles {
		if role != "" {
			fmt.Fprintf(&b, "  m%d: {kind: vm, addresses: [10.0.1.%d], labels: {role: %s}}\n", i, 20+i, role)
		}
	}
	const policy = `groups:
  x: {where: 'labels.role == "x"', isolate: both}
  y: {where: 'labels.role == "y"', isolate: both}
  some: {groups: [x, y], except: [odd]}
  rest: {where: 'labels.role == "z"', members: [odd]}
  most: {prefixes: ["0.0.0.0/0"], except: [y]}
policies:
  - {name: x-to-y, from: x, to: y, services: [tcp/5432], action: allow}
  - {name: among-most, from: most, to: most, services: [tcp/80], action: allow}
`
	text := brakeSite + settings
	if strings.Contains(settings, "limits:") {
		text = strings.Replace(brakeSite, "limits: {first_enforcement: accept}\n", "", 1) + settings
	}
	return map[string]string{"bulkhead.yaml": text, "policy.yaml": policy, "assets.yaml": b.String()}
}

// Whatever a plan would be held for because assets left groups, or because something is
// open to everybody, is not done ahead of it; through several moves.
func TestMovesKeepToTheBrakes(t *testing.T) {
	by, free := map[string]int{}, 0
	tries.Checks(t, 400, func(rt *rapid.T) {
		role := rapid.SampledFrom([]string{"x", "x", "y", "n", "n", ""})
		limits := rapid.SampledFrom([]string{"", "limits: {assets_lost_percent: 100}\n"}).Draw(rt, "limits")
		roles := make([]string, 9)
		for i := range roles {
			roles[i] = role.Draw(rt, "role")
		}
		site := func() *reconcile.Site {
			return newBench(t, movedSite(roles, limits)).site
		}
		s := site()
		st := state(t)
		keep(t, st, s, true, store.Confirmed)
		last, _, err := reconcile.LastApplied(st)
		if err != nil {
			rt.Fatal(err)
		}
		f, err := reconcile.FootingOf(s, last)
		if err != nil {
			rt.Fatal(err)
		}
		for range rapid.IntRange(1, 3).Draw(rt, "moves") {
			for range rapid.IntRange(1, 2).Draw(rt, "assets") {
				roles[rapid.IntRange(0, len(roles)-1).Draw(rt, "which")] = role.Draw(rt, "becomes")
			}
			next := site()
			changed, gone, ok := inventory.Changes(s.Inventory, next.Inventory, reconcile.MoveAtMost)
			if !ok {
				rt.Fatal("too many changes")
			}
			err := f.Brakes(changed, gone)
			for _, a := range changed {
				if f.Nearly().Contains(a.Addresses[0].Addr()) {
					err = reconcile.ErrWait
				}
			}
			for _, id := range gone {
				if f.Nearly().Contains(s.Inventory.Lookup(id).Addresses[0].Addr()) {
					err = reconcile.ErrWait
				}
			}
			brakes := reconcile.Held(last, next)
			if len(brakes) > 0 && !errors.Is(err, reconcile.ErrWait) {
				rt.Fatalf("%v hold a plan, and it is done ahead of it: %v, %v are gone", brakes, changed, gone)
			}
			if err != nil {
				by[fmt.Sprint(brakes)]++
				return // the footing is given up
			}
			free++
			f.Take(next)
			s = next
		}
	})
	if t.Logf("it waited %v, and did not %d times", by, free); tries.All && (free < 5 || by["[assets-lost]"] < 5 || by["[any-to-any]"] < 1) {
		t.Error("the test shows little")
	}
}

// What a site, or a change of it, is not moved for.
func TestWhatIsNotMoved(t *testing.T) {
	roles := []string{"x", "x", "y", "z"}
	quick := func(roles []string, settings string) *reconcile.Site {
		t.Helper()
		return newBench(t, movedSite(roles, settings)).site
	}
	s := quick(roles, "")
	if err := s.Movable(); err != nil {
		t.Fatal(err)
	}
	for what, settings := range map[string]string{
		"approval": "approval: required\n",
		"probes":   "probes:\n  - {name: far, ping: 10.0.1.2}\n",
	} {
		if err := quick(roles, settings).Movable(); !errors.Is(err, reconcile.ErrWait) {
			t.Errorf("%s: %v", what, err)
		}
	}
	coming := func(s *reconcile.Site) *reconcile.Coming {
		return &reconcile.Coming{Config: s.Config, Inventory: s.Inventory, Sources: s.Sources}
	}
	other := quick([]string{"x", "y", "y", ""}, "")
	changed, gone, err := s.Differs(coming(other))
	if err != nil || len(changed) != 1 || changed[0].ID != "m1" || !slices.Equal(gone, []string{"m3"}) {
		t.Errorf("%v %v %v", changed, gone, err)
	}
	many := make([]string, reconcile.MoveAtMost+len(roles)+1)
	for i := range many {
		many[i] = "x"
	}
	twice := coming(other)
	twice.Inventory = &inventory.Inventory{Assets: other.Inventory.Assets, Conflicts: []inventory.Conflict{{Kind: inventory.MACHeldTwice}}}
	cut := coming(other)
	cut.Quarantined = []reconcile.Quarantine{{Asset: "m1"}}
	frozen := coming(other)
	frozen.Sources = []inventory.Standing{{Source: "cloud", State: inventory.SourceFrozen}}
	book := coming(other)
	book.Config = quick(roles, "").Config
	changedBook := *book.Config.Book
	changedBook.Policies = changedBook.Policies[1:]
	book.Config.Book = &changedBook
	for what, x := range map[string]*reconcile.Coming{
		"too many":   coming(quick(many, "")),
		"settings":   coming(quick(roles, "drift: report\n")),
		"policies":   book,
		"conflicts":  twice,
		"quarantine": cut,
		"frozen":     frozen,
	} {
		if _, _, err := s.Differs(x); !errors.Is(err, reconcile.ErrWait) {
			t.Errorf("%s: %v", what, err)
		}
	}

	// Of assets that are in no group too many may be gone.
	st := state(t)
	n := quick([]string{"n", "n", "n", "n"}, "")
	keep(t, st, n, true, store.Confirmed)
	last, _, err := reconcile.LastApplied(st)
	if err != nil {
		t.Fatal(err)
	}
	for gone, held := range map[string]bool{"m0": false, "m0 m1": true} {
		f, err := reconcile.FootingOf(n, last)
		if err != nil {
			t.Fatal(err)
		}
		if err := f.Brakes(nil, strings.Fields(gone)); errors.Is(err, reconcile.ErrWait) != held {
			t.Errorf("%s of five are gone: %v", gone, err)
		}
	}
}
