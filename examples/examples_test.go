package examples

import (
	"path/filepath"
	"testing"
	"time"

	"bulkhead/drivers"
	"bulkhead/pkg/reconcile"
)

// The day on which the examples are read; the plant's timed policy is alive.
func day() time.Time { return time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC) }

func load(t *testing.T, name string, now time.Time) *reconcile.Site {
	t.Helper()
	dir := filepath.Join(t.TempDir(), name)
	if err := Write(name, dir); err != nil {
		t.Fatal(err)
	}
	s, diags, err := reconcile.Load(t.Context(), dir, now, drivers.Kinds(), false)
	if err != nil {
		t.Fatal(err)
	}
	if text := diags.Text(nil); text != "" {
		t.Fatalf("%s is not clean:\n%s", name, text)
	}
	return s
}

// Every example loads without a warning, decides every membership, and gives the
// verdicts that its tests state.
func TestExamples(t *testing.T) {
	atLeast := map[string]int{"plant": 40, "datacenter": 30, "hybrid": 25}
	for _, name := range Names() {
		t.Run(name, func(t *testing.T) {
			s := load(t, name, day())
			if n := len(s.Config.Tests); n < atLeast[name] {
				t.Errorf("%d tests, want %d", n, atLeast[name])
			}
			for _, r := range s.RunTests() {
				if !r.Passed {
					t.Errorf("%s %q: %s", r.Where, r.Name, r.Reason)
				}
			}
			for _, c := range s.Inventory.Conflicts {
				t.Errorf("conflict: %s", c)
			}
			for _, u := range s.Members.Undecided {
				t.Errorf("undecided: group %q, asset %q, missing %q", u.Group, u.Asset, u.Missing)
			}
		})
	}
}

// The tests bite: the plant without its maintenance contract fails one.
func TestExpiredContract(t *testing.T) {
	s := load(t, "plant", time.Date(2037, 1, 1, 0, 0, 0, 0, time.UTC))
	failed := []string{}
	for _, r := range s.RunTests() {
		if !r.Passed {
			failed = append(failed, r.Name)
		}
	}
	if len(failed) != 1 || failed[0] != "maintainer reaches HMIs" {
		t.Errorf("failing tests: %q", failed)
	}
}

func TestNoSuchExample(t *testing.T) {
	if err := Write("nowhere", filepath.Join(t.TempDir(), "x")); err == nil {
		t.Error("an example that does not exist was written")
	}
}
