package reconcile_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"bulkhead/inventory"
	"bulkhead/pkg/driver"
	"bulkhead/pkg/policy/policytest"
	"bulkhead/pkg/reconcile"
	"bulkhead/pkg/store"
)

// sourceSite has one source, whose namespace is a name that a test can take away.
// What it says is not to be in question here, so that it is evidence.
func sourceSite(t *testing.T) (dir, ns string) {
	t.Helper()
	ns = filepath.Join(t.TempDir(), "ns")
	dir = writeSite(t, map[string]string{"bulkhead.yaml": "name: t\nsources:\n  near: {type: neighbor, stale_after: 10m, settings: {netns: " + ns + "}}\n"})
	return dir, ns
}

func TestFrozenSource(t *testing.T) {
	dir, ns := sourceSite(t)
	st := state(t)
	known := func(string) (map[string]inventory.Known, error) { return reconcile.KnownSources(st) }
	at := func(after time.Duration, opt reconcile.LoadOptions) (*reconcile.Site, error) {
		opt.Collect = true
		s, _, err := reconcile.LoadWith(context.Background(), dir, policytest.Epoch.Add(after), []driver.Kind{}, opt)
		return s, err
	}
	load := func(after time.Duration) *reconcile.Site {
		t.Helper()
		s, err := at(after, reconcile.LoadOptions{Known: known})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	remember := func(s *reconcile.Site, accepted bool) {
		t.Helper()
		if err := s.RememberSources(st, accepted); err != nil {
			t.Fatal(err)
		}
	}
	// Nothing is known, and it fails: there is no complete first inventory.
	if _, err := at(0, reconcile.LoadOptions{Known: known}); err == nil || !strings.Contains(err.Error(), `source "near" (bulkhead.yaml:3) failed, so the inventory is not complete`) {
		t.Errorf("a first failure: %v", err)
	}
	if err := os.Symlink("/proc/self/ns/net", ns); err != nil {
		t.Fatal(err)
	}
	s := load(0)
	if s.Sources[0].State != inventory.SourceCurrent {
		t.Fatalf("%+v", s.Sources)
	}
	remember(s, false)
	if err := os.Remove(ns); err != nil {
		t.Fatal(err)
	}
	// It fails: the last good report stands in, since when it is written down, and a
	// second look says the same.
	s = load(time.Minute)
	if x := s.Sources[0]; x.State != inventory.SourceFrozen || !x.Since.IsZero() || !x.LastGood.Equal(policytest.Epoch) {
		t.Errorf("%+v", x)
	}
	remember(s, false)
	remember(s, false)
	if x := load(5 * time.Minute).Sources[0]; x.State != inventory.SourceFrozen || !x.Since.Equal(policytest.Epoch.Add(time.Minute)) {
		t.Errorf("%+v", x)
	}
	if list, err := st.Sources(); err != nil || len(list) != 1 || list[0].Frozen == nil || !strings.Contains(list[0].Error, "it failed") || !list[0].LastGood.Equal(policytest.Epoch) {
		t.Errorf("%+v %v", list, err)
	}
	if x := load(11 * time.Minute).Sources[0]; x.State != inventory.SourceStale {
		t.Errorf("%+v", x)
	}
	// Accepted: written down only when the plan is agreed to.
	s, err := at(6*time.Minute, reconcile.LoadOptions{Known: known, AcceptLost: reconcile.AcceptsLost([]string{"source-lost"})})
	if err != nil || s.Sources[0].State != inventory.SourceAccepted {
		t.Fatalf("%+v %v", s, err)
	}
	remember(s, false)
	if list, _ := st.Sources(); !list[0].LastGood.Equal(policytest.Epoch) {
		t.Errorf("an accepted loss is remembered before it is agreed to: %+v", list)
	}
	remember(s, true)
	if list, _ := st.Sources(); !list[0].LastGood.Equal(policytest.Epoch.Add(6 * time.Minute)) {
		t.Errorf("an accepted loss is not remembered: %+v", list)
	}
	// A state that cannot be read is not one that knows nothing.
	if _, err := at(0, reconcile.LoadOptions{Known: func(string) (map[string]inventory.Known, error) { return nil, errors.New("torn") }}); err == nil || !strings.Contains(err.Error(), "torn") {
		t.Errorf("a torn state: %v", err)
	}
}

// Two that looked at the sources: the second to write is told.
func TestRememberTwice(t *testing.T) {
	dir, ns := sourceSite(t)
	if err := os.Symlink("/proc/self/ns/net", ns); err != nil {
		t.Fatal(err)
	}
	st := state(t)
	var both []*reconcile.Site
	for i := range 2 {
		s, _, err := reconcile.LoadWith(context.Background(), dir, policytest.Epoch.Add(time.Duration(i)*time.Second), []driver.Kind{},
			reconcile.LoadOptions{Collect: true, Known: func(string) (map[string]inventory.Known, error) { return reconcile.KnownSources(st) }})
		if err != nil {
			t.Fatal(err)
		}
		both = append(both, s)
	}
	if err := both[0].RememberSources(st, false); err != nil {
		t.Fatal(err)
	}
	if err := both[1].RememberSources(st, false); err == nil || !strings.Contains(err.Error(), "another controller") {
		t.Errorf("overwritten: %v", err)
	}
	// A damaged report is an error, and not a source that never reported.
	if err := st.PutSource(store.Source{Name: "near", LastGood: policytest.Epoch, Snapshot: "no such blob"}); err != nil {
		t.Fatal(err)
	}
	if _, err := reconcile.KnownSources(st); err == nil || !strings.Contains(err.Error(), `"near"`) {
		t.Errorf("damaged: %v", err)
	}
}
