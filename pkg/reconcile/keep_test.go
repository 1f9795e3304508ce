package reconcile_test

import (
	"context"
	"testing"
	"time"

	"bulkhead/pkg/driver"
	"bulkhead/pkg/policy"
	"bulkhead/pkg/policy/policytest"
	"bulkhead/pkg/reconcile"
)

// A site that is loaded again with the one before at hand is that one where nothing has
// changed; and where others are in quarantine, nothing of the earlier quarantine is left.
func TestLoadAgain(t *testing.T) {
	dir := writeSite(t, files())
	var cut []reconcile.Quarantine
	load := func(keep *reconcile.Site) *reconcile.Site {
		t.Helper()
		s, diags, err := reconcile.LoadWith(context.Background(), dir, policytest.Epoch, []driver.Kind{{Name: "fake"}}, reconcile.LoadOptions{Keep: keep,
			Quarantined: []reconcile.InQuarantine{func(string) ([]reconcile.Quarantine, error) { return cut, nil }}})
		if err != nil || s == nil {
			t.Fatal(err, diags.All())
		}
		return s
	}
	denies := func(s *reconcile.Site) (n int) {
		for _, p := range s.Matrix.Policies {
			if p.Tier == policy.Emergency {
				n++
			}
		}
		return n
	}
	first := load(nil)
	if again := load(first); again.Matrix != first.Matrix {
		t.Error("nothing has changed, and the site was worked out once more")
	}
	last := first
	for _, assets := range [][]string{{"web"}, {"db"}, {"web", "db"}, {}} {
		cut = nil
		for _, a := range assets {
			cut = append(cut, reconcile.Quarantine{Asset: a, Until: policytest.Epoch.Add(time.Hour)})
		}
		last = load(last)
		if want := 2 * min(1, len(assets)); denies(last) != want {
			t.Errorf("with %v in quarantine there are %d denies, want %d", assets, denies(last), want)
		}
	}
}
