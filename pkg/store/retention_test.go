package store

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// history makes applies, an hour apart: by a plan that is confirmed (p), a repair (r), one
// that failed (f), one that nobody has ended (u). It gives their IDs in that order.
func history(t *testing.T, s *Store, now *time.Time, kinds string) (ids []string) {
	t.Helper()
	for i, k := range kinds {
		*now = now.Add(time.Hour)
		a := Apply{Who: "eva"}
		if k != 'r' {
			n, err := s.PutSnapshot(fmt.Appendf(nil, "assets %d", i))
			must(t, err)
			p, err := s.PutPlan(Plan{Who: "eva"}, fmt.Appendf(nil, "plan %d", i))
			must(t, err)
			a.Plan, a.Snapshot = p.ID, n.ID
			a.Inputs, err = s.PutBlob(fmt.Appendf(nil, "inputs %d", i))
			must(t, err)
		}
		a, err := s.BeginApply(a, []Change{{"gw", fmt.Appendf(nil, "before %d", i), fmt.Appendf(nil, "after %d", i)}})
		must(t, err)
		must(t, s.Step(a.ID, "gw", 1, "load", Running))
		ids = append(ids, a.ID)
		if k == 'u' {
			continue
		}
		state := Confirmed
		if k == 'f' {
			state = Failed
		}
		must(t, s.FinishApply(a.ID, state, []PointResult{{"gw", state, ""}}))
	}
	return ids
}

// left gives the places, in ids, of what the history still has; everything that one of
// them names has to be there.
func left(t *testing.T, s *Store, ids []string) (out []int) {
	t.Helper()
	list, err := s.History(0)
	must(t, err)
	for _, a := range slices.Backward(list) {
		out = append(out, slices.Index(ids, a.ID))
		j, err := s.Journal(a.ID)
		if err != nil || len(j.Changes) != 1 || len(j.Steps) != 1 {
			t.Errorf("%s: %+v %v", a.ID, j, err)
		}
		if a.Plan == "" {
			continue
		}
		p, err := s.Plan(a.Plan)
		must(t, err)
		n, err := s.Snapshot(a.Snapshot)
		must(t, err)
		for _, hash := range []string{p.Hash, n.Hash, a.Inputs} {
			if _, err := s.Blob(hash); err != nil {
				t.Errorf("%s: %v", a.ID, err)
			}
		}
	}
	known, err := s.LastConfirmed()
	must(t, err)
	for _, k := range known {
		if _, err := s.Blob(k.Hash); err != nil {
			t.Errorf("the last confirmed state of %s: %v", k.Point, err)
		}
	}
	if r := s.Verify(""); !r.OK() {
		t.Errorf("audit log: %+v", r)
	}
	return out
}

// What is kept: so many confirmed applies by a plan at least, whatever is younger than
// an age, but not without bound; always what is unfinished, what a device was last
// confirmed to hold, and what the caller names.
func TestRetention(t *testing.T) {
	//             0123456789
	const kinds = "pppufprrrr" // hours from 1 to 10
	for _, c := range []struct {
		name string
		r    Retention
		want []int
	}{
		{"everything", Retention{}, []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}},
		{"the last two by a plan", Retention{Last: 2}, []int{2, 3, 5, 9}},
		{"what is young", Retention{Within: 150 * time.Minute}, []int{3, 7, 8, 9}},
		{"both", Retention{Last: 3, Within: 150 * time.Minute}, []int{1, 2, 3, 5, 7, 8, 9}},
		{"young, but not too many", Retention{Last: 1, Within: 100 * time.Hour, Most: 3}, []int{3, 5, 7, 8, 9}},
		{"what is needed", Retention{Last: 1, Keep: []string{"first"}}, []int{0, 3, 5, 9}},
	} {
		dir, now := t.TempDir(), t0
		s, err := Open(dir, "plant", func() time.Time { return now })
		must(t, err)
		ids := history(t, s, &now, kinds)
		if c.r.Keep != nil {
			c.r.Keep = ids[:1]
		}
		entries := s.Verify("").Entries
		done, err := s.Prune(c.r)
		must(t, err)
		if got := left(t, s, ids); !slices.Equal(got, c.want) || done.Applies != len(kinds)-len(c.want) {
			t.Errorf("%s: left are %v, want %v; said %+v", c.name, got, c.want, done)
		}
		if open, err := s.Unfinished(); err != nil || len(open) != 1 || open[0].Apply.ID != ids[3] {
			t.Errorf("%s: unfinished are %+v %v", c.name, open, err)
		}
		if got := s.Verify("").Entries; got != entries {
			t.Errorf("%s: %d of %d audit entries", c.name, got, entries)
		}
		// A second time there is nothing to do, and nothing is written.
		if again, err := s.Prune(c.r); err != nil || again.Applies != 0 || c.r.Last > 0 && again.Before != again.After {
			t.Errorf("%s: again: %+v %v", c.name, again, err)
		}
		must(t, s.Close())
		s, err = Open(dir, "plant", func() time.Time { return now })
		must(t, err)
		if got := left(t, s, ids); !slices.Equal(got, c.want) {
			t.Errorf("%s: opened again: %v", c.name, got)
		}
		must(t, s.Close())
	}
}

// The index of a store that is pruned does not grow with the applies that it has seen,
// and what it has of the audit log is small.
func TestPrunedIndexStays(t *testing.T) {
	now := t0
	s, err := Open(t.TempDir(), "plant", func() time.Time { return now })
	must(t, err)
	defer s.Close()
	count := func() (n int) {
		for _, keys := range s.m.index {
			n += len(keys)
		}
		return n
	}
	after := 0
	for range 5 {
		history(t, s, &now, "prrrrrrrrrprrrrrrrrr")
		must(t, s.PutSource(Source{Name: "neighbours", LastGood: now}))
		_, err := s.Prune(Retention{Last: 2, Within: 5 * time.Hour, Most: 10})
		must(t, err)
		if after == 0 {
			after = count()
		} else if got := count(); got != after {
			t.Errorf("%d records are indexed, and %d after the first time", got, after)
		}
	}
	if n := s.Size(); n.Entries != 200 || n.Applies != 8 {
		t.Errorf("%+v", n)
	}
	if len(s.m.index[bucketAudit]) != 0 {
		t.Error("the audit log is indexed by name")
	}
}

// A file of which most is of no use any more is written anew, although nothing goes.
func TestPruneGivesSpaceBack(t *testing.T) {
	s := open(t, t.TempDir())
	for i := range 400 {
		must(t, s.PutSetting("k", string(make([]byte, 4096+i))))
	}
	done, err := s.Prune(Retention{Last: 1})
	if err != nil || done.After > 60_000 || done.Before < 400*4096 || done.Applies != 0 {
		t.Errorf("%+v %v", done, err)
	}
	if _, err := s.Setting("k"); err != nil {
		t.Error(err)
	}
}

// Pruning that is cut off anywhere leaves the file as it was, or as it has to be: a
// file that was not renamed is nobody's, one that was is known by the head of the one
// before it. A disk that fails at the head keeps the store from writing on.
func TestPruneIsCutOff(t *testing.T) {
	for n := 1; n <= 3; n++ {
		dir, failing := t.TempDir(), 0
		now := t0
		s, err := OpenWith(Options{Dir: dir, Site: "plant", Now: func() time.Time { return now }, wrap: func(f storage) storage { return broken{f, &failing, errors.New("torn")} }})
		must(t, err)
		ids := history(t, s, &now, "ppp")
		failing = n // of writes and syncs of the head: the new file is written beside
		_, err = s.Prune(Retention{Last: 1})
		if failing > 0 {
			must(t, err)
		} else if err == nil {
			t.Errorf("call %d failed, and nobody was told", n)
		} else if err := s.PutSetting("k", "v"); err == nil {
			t.Errorf("call %d: a store with a torn head goes on", n)
		}
		must(t, s.Close())
		s, err = Open(dir, "plant", clock)
		must(t, err)
		if got := left(t, s, ids); !slices.Equal(got, []int{2}) {
			t.Errorf("call %d: %v", n, got)
		}
		must(t, s.Close())
	}
	// What a killed process has left beside is not looked at.
	dir := t.TempDir()
	now := t0
	s, err := Open(dir, "plant", func() time.Time { return now })
	must(t, err)
	ids := history(t, s, &now, "pp")
	must(t, os.WriteFile(filepath.Join(dir, ".plant.db-1234"), []byte("half a file"), 0o600))
	must(t, s.Close())
	s = open(t, dir)
	if got := left(t, s, ids); !slices.Equal(got, []int{0, 1}) {
		t.Errorf("beside half a file: %v", got)
	}
}
