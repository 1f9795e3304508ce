package store

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var t0 = time.Date(2026, 3, 1, 8, 0, 0, 0, time.UTC)

func clock() time.Time { return t0 }

func open(t *testing.T, dir string) *Store {
	t.Helper()
	s, err := OpenWith(Options{Dir: dir, Site: "plant", Now: clock, Command: "bulkhead serve"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// fill does one whole apply of two points, one of which fails.
func fill(t *testing.T, s *Store) Apply {
	t.Helper()
	n, err := s.PutSnapshot([]byte("assets"))
	must(t, err)
	p, err := s.PutPlan(Plan{Who: "eva", Summary: "1 change"}, []byte(`{"changes":1}`))
	must(t, err)
	a, err := s.BeginApply(Apply{Plan: p.ID, Snapshot: n.ID, Who: "eva", Reason: "ticket 7", Accepted: []Accepted{{"first-enforcement", "agreed"}}},
		[]Change{{"gw", []byte("old gw"), []byte("new gw")}, {"sw1", []byte("old sw1"), []byte("new sw1")}})
	must(t, err)
	must(t, s.Arm(a.ID, t0.Add(time.Minute)))
	must(t, s.Step(a.ID, "gw", 1, "load", Running))
	must(t, s.Step(a.ID, "gw", 1, "load", Confirmed))
	must(t, s.Step(a.ID, "sw1", 1, "set", Failed))
	must(t, s.FinishApply(a.ID, Partial, []PointResult{{"gw", Confirmed, ""}, {"sw1", Failed, "no reply"}}))
	must(t, s.PutSource(Source{Name: "neighbours", LastGood: t0}))
	must(t, s.PutSetting("k", "v"))
	return a
}

func checkFilled(t *testing.T, s *Store) {
	t.Helper()
	h, err := s.History(0)
	if err != nil || len(h) != 1 || h[0].State != Partial || h[0].Reason != "ticket 7" || len(h[0].Results) != 2 || h[0].Accepted[0].Reason != "agreed" {
		t.Fatalf("history %+v %v", h, err)
	}
	j, err := s.Journal(h[0].ID[:5])
	if err != nil || len(j.Changes) != 2 || string(j.Changes[1].Previous) != "old sw1" || len(j.Steps) != 2 || j.Steps[0].State != Confirmed {
		t.Fatalf("journal %+v %v", j, err)
	}
	known, err := s.LastConfirmed()
	if err != nil || len(known) != 1 || known[0].Point != "gw" {
		t.Fatalf("confirmed %+v %v", known, err)
	}
	if b, err := s.Blob(known[0].Hash); err != nil || string(b) != "new gw" {
		t.Fatalf("%q %v", b, err)
	}
	if r := s.Verify(""); !r.OK() || r.Entries < 2 {
		t.Fatalf("audit %+v", r)
	}
	if v, err := s.Setting("k"); err != nil || v != "v" {
		t.Fatalf("%q %v", v, err)
	}
}

// What was written is there after the store was closed and opened again, and for
// a reader beside the writer.
func TestRoundTrip(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	s := open(t, dir)
	fill(t, s)
	checkFilled(t, s)
	r, err := OpenReadOnly(dir, "plant")
	must(t, err)
	checkFilled(t, r)
	if err := r.PutSetting("k", "w"); !errors.Is(err, ErrReadOnly) {
		t.Errorf("a reader wrote: %v", err)
	}
	must(t, r.Close())
	must(t, s.Close())
	if err := s.PutSetting("k", "w"); err == nil {
		t.Error("a closed store took a write")
	}
	checkFilled(t, open(t, dir))
	for name, mode := range map[string]os.FileMode{"": 0o700, "plant.db": 0o600, "plant.head": 0o600, "plant.lock": 0o600} {
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Mode().Perm() != mode {
			t.Errorf("%q: %v %v", name, info, err)
		}
	}
}

// A second writer is told who the first one is; a lock file that a dead process
// left is no lock; another site is another lock.
func TestTwoWriters(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	_, err := Open(dir, "plant", clock)
	var l *LockedError
	if !errors.As(err, &l) || l.Holder.PID != os.Getpid() || !strings.Contains(err.Error(), `"bulkhead serve"`) || !l.Holder.Since.Equal(t0) {
		t.Fatalf("second writer: %v", err)
	}
	other, err := Open(dir, "office", clock)
	must(t, err)
	must(t, other.Close())
	must(t, s.Close())
	if b, err := os.ReadFile(filepath.Join(dir, "plant.lock")); err != nil || len(b) == 0 {
		t.Fatal("the lock file should have stayed")
	}
	open(t, dir)
}

// IDs sort by age also where the clock stands or is set back; a beginning that
// fits one is enough, one that fits several is an error.
func TestIDs(t *testing.T) {
	now := t0
	s, err := Open(t.TempDir(), "plant", func() time.Time { return now })
	must(t, err)
	defer s.Close()
	last := ""
	for _, d := range []time.Duration{0, 0, -time.Hour, time.Second, time.Hour, -2 * time.Hour} {
		now = now.Add(d)
		n, err := s.PutSnapshot([]byte{byte(d)})
		must(t, err)
		if n.ID <= last {
			t.Errorf("%s after %s", n.ID, last)
		}
		last = n.ID
	}
	if last != "s20260301-090001-001" && !strings.HasPrefix(last, "s20260301-") {
		t.Error(last)
	}
	if _, err := s.Snapshot("s20260301-080000-002"); err != nil {
		t.Error(err)
	}
	if _, err := s.Snapshot("s2026"); err == nil || !strings.Contains(err.Error(), "ambiguous") {
		t.Errorf("ambiguous: %v", err)
	}
	for _, id := range []string{"", "x"} {
		if _, err := s.Snapshot(id); !errors.Is(err, ErrNotFound) {
			t.Errorf("%q: %v", id, err)
		}
	}
}

// An apply that nobody finished is found with what each device had before; a
// finished one takes no more steps.
func TestUnfinished(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	a, err := s.BeginApply(Apply{Who: "eva"}, []Change{{"gw", []byte("before"), []byte("after")}})
	must(t, err)
	must(t, s.Step(a.ID, "gw", 1, "load", Running))
	must(t, s.Close())
	s = open(t, dir)
	u, err := s.Unfinished()
	if err != nil || len(u) != 1 || string(u[0].Changes[0].Previous) != "before" || u[0].Steps[0].State != Running {
		t.Fatalf("%+v %v", u, err)
	}
	if err := s.FinishApply(a.ID, Undone, []PointResult{{"other", Undone, ""}}); err == nil {
		t.Error("a point that was never journaled has a result")
	}
	must(t, s.FinishApply(a.ID, Undone, []PointResult{{"gw", Undone, ""}}))
	if err := s.Step(a.ID, "gw", 2, "more", Running); err == nil {
		t.Error("a step after the end")
	}
	if known, err := s.LastConfirmed(); err != nil || len(known) != 0 {
		t.Errorf("undone, and taken for confirmed: %v %v", known, err)
	}
	if _, err := s.BeginApply(Apply{Who: "eva"}, []Change{{Point: "gw"}, {Point: "gw"}}); err == nil {
		t.Error("one point twice")
	}
}

// Pruning keeps what is named by what is kept, and gives space back.
func TestPrune(t *testing.T) {
	dir := t.TempDir()
	now := t0
	s, err := Open(dir, "plant", func() time.Time { return now })
	must(t, err)
	defer s.Close()
	fill(t, s)
	for i := range 20 {
		now = now.Add(time.Hour)
		_, err := s.PutSnapshot(bytes.Repeat([]byte{byte(i)}, i+1))
		must(t, err)
	}
	before := s.m.end
	done, err := s.Prune(Retention{Within: 3 * time.Hour})
	must(t, err)
	if s.m.end >= before || done.Before != before || done.After != s.m.end {
		t.Errorf("%d bytes after pruning, %d before; said %+v", s.m.end, before, done)
	}
	if n, err := s.Snapshots(); err != nil || len(n) != 5 { // those of 3 hours, and that of the last confirmed apply
		t.Errorf("%d snapshots: %v %v", len(n), n, err)
	}
	checkFilled(t, s)
	must(t, s.PutSetting("after", "pruning"))
	must(t, s.Close())
	checkFilled(t, open(t, dir))
}
