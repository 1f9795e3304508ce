package reconcile_test

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"bulkhead/drivers"
	"bulkhead/drivers/nftables"
	"bulkhead/drivers/nftables/ruleset"
	"bulkhead/pkg/apply"
	"bulkhead/pkg/driver"
	"bulkhead/pkg/store"
)

var serial = &apply.Executor{AtOnce: 1}

func openStore(t *testing.T) (*store.Store, string) {
	t.Helper()
	dir := t.TempDir()
	s, err := store.Open(dir, "t", nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s, dir
}

// What every device held is in the store before the first write to any of them, and
// from there a device can be put back, byte for byte, by another process.
func TestJournalComesFirst(t *testing.T) {
	b := newBench(t, files())
	st, dir := openStore(t)
	seen := 0
	b.fakes["gw-a"].onApply = func() {
		seen++
		other, err := store.OpenReadOnly(dir, "t")
		if err != nil {
			t.Fatal(err)
		}
		defer other.Close()
		open, err := other.Unfinished()
		if err != nil || len(open) != 1 || len(open[0].Changes) != 2 || open[0].Apply.Who != "eva" {
			t.Fatalf("%+v %v", open, err)
		}
		if s := open[0].Steps; len(s) != 1 || s[0].Point != "gw-a" || s[0].State != store.Running {
			t.Errorf("%+v", s)
		}
	}
	done, err := serial.RunJournaled(context.Background(), st, store.Apply{Who: "eva"}, b.plan(t).Jobs, true)
	if err != nil || done.Store != nil || seen != 1 || done.Apply.State != store.Confirmed || len(done.Apply.Results) != 2 {
		t.Fatalf("%+v %v", done, err)
	}
	f := files()
	f["policy.yaml"] = strings.Replace(f["policy.yaml"], "tcp/5432", "tcp/5433", 1)
	changed := newBench(t, f)
	for name, d := range changed.fakes {
		d.state = b.fakes[name].state
	}
	before := b.fakes["gw-a"].state.(*nftables.State).OwnFingerprint()
	if done, err = serial.RunJournaled(context.Background(), st, store.Apply{Who: "eva"}, changed.plan(t).Jobs, true); err != nil {
		t.Fatal(err)
	}
	j, err := st.Journal(done.Apply.ID)
	if err != nil {
		t.Fatal(err)
	}
	rec, err := apply.ReadRecord(j.Changes[0].Previous)
	if err != nil || j.Changes[0].Point != "gw-a" {
		t.Fatalf("%+v %v", rec, err)
	}
	prev, err := drivers.Find("nftables").Decode(rec.State)
	if err != nil {
		t.Fatal(err)
	}
	gw := changed.fakes["gw-a"]
	if gw.state.(*nftables.State).OwnFingerprint() == before {
		t.Fatal("nothing changed")
	}
	back, err := gw.Diff(gw.state, prev)
	if err != nil || back.Empty() {
		t.Fatalf("%+v %v", back, err)
	}
	if err := gw.Apply(context.Background(), back); err != nil || gw.state.(*nftables.State).OwnFingerprint() != before {
		t.Errorf("the device is not as it was: %v", err)
	}
}

// How an apply ended is told point by point: changed, put back, never touched.
func TestJournalOfFailures(t *testing.T) {
	for _, c := range []struct {
		liar  string
		state store.State
		each  []store.State
	}{
		{"gw-b", store.Undone, []store.State{store.Undone, store.Undone}},
		{"gw-a", store.Undone, []store.State{store.Undone, store.Failed}},
	} {
		b := newBench(t, files())
		st, _ := openStore(t)
		b.fakes[c.liar].lie = without(t, "svc")
		done, err := serial.RunJournaled(context.Background(), st, store.Apply{Who: "eva"}, b.plan(t).Jobs, true)
		if err == nil || done.Store != nil || done.Apply.State != c.state {
			t.Fatalf("%s: %+v %v", c.liar, done, err)
		}
		for i, r := range done.Apply.Results {
			if r.State != c.each[i] || (r.Error == "") != (r.State == store.Confirmed) {
				t.Errorf("%s: %+v", c.liar, r)
			}
		}
		if open, err := st.Unfinished(); err != nil || len(open) != 0 {
			t.Errorf("%s: %d unfinished, %v", c.liar, len(open), err)
		}
	}
}

// A store that fails before the first write keeps every device as it is; one that
// fails after it undoes nothing, and is told.
func TestStoreFails(t *testing.T) {
	b := newBench(t, files())
	st, _ := openStore(t)
	jobs := b.plan(t).Jobs
	encode := jobs[1].Encode
	jobs[1].Encode = func(driver.State) ([]byte, error) { return nil, context.DeadlineExceeded }
	for _, name := range []string{"a state that cannot be written down", "a store that is closed"} {
		done, err := serial.RunJournaled(context.Background(), st, store.Apply{Who: "eva"}, jobs, true)
		if err == nil || !strings.Contains(err.Error(), "nothing was written to any device") || done.Apply.ID != "" {
			t.Errorf("%s: %+v %v", name, done, err)
		}
		jobs[1].Encode = encode
		_ = st.Close()
	}
	if b.fakes["gw-a"].applied+b.fakes["gw-b"].applied != 0 {
		t.Error("a device was written to")
	}
	st, _ = openStore(t)
	b.fakes["gw-a"].onApply = func() { _ = st.Close() }
	done, err := serial.RunJournaled(context.Background(), st, store.Apply{Who: "eva"}, jobs, true)
	if err != nil || done.Store == nil || len(done.Outcomes) != 2 || !done.Outcomes[0].Applied || !done.Outcomes[1].Applied {
		t.Errorf("%+v %v", done, err)
	}
}

// Every part of a state comes back; what would not is refused when it is written.
func TestEncodedStates(t *testing.T) {
	b := newBench(t, files())
	k := drivers.Find("nftables")
	for _, s := range []driver.State{nftables.Empty("t"), b.plan(t).Jobs[0].Change.To} {
		text, err := k.Encode(s)
		if err != nil {
			t.Fatal(err)
		}
		got, err := k.Decode(text)
		if err != nil || got.Fingerprint() != s.Fingerprint() {
			t.Fatalf("another state: %v", err)
		}
		// As it was written down by earlier versions, with the elements in the table.
		first, err := json.Marshal(map[string]any{"format": "nftables 1", "site": "t", "table": s.(*nftables.State).Table()})
		if err != nil {
			t.Fatal(err)
		}
		if old, err := k.Decode(first); err != nil || old.Fingerprint() != s.Fingerprint() {
			t.Errorf("a state of an earlier version is another one: %v", err)
		}
		again, err := k.Encode(got)
		if err != nil || !slices.Equal(again, text) {
			t.Errorf("written down twice, it differs: %v", err)
		}
	}
	odd := *b.plan(t).Jobs[0].Change.To.(*nftables.State)
	tb := *odd.Table()
	tb.Chains = append(slices.Clone(tb.Chains), ruleset.Chain{Name: "\xff"})
	odd.Ruleset = &ruleset.Ruleset{Tables: []ruleset.Table{tb}}
	if _, err := k.Encode(&odd); err == nil {
		t.Error("a name that is not UTF-8 was written down as another one")
	}
	for _, text := range []string{"", "{}", `{"format": "nftables 3"}`, `{"format": "nftables 2", "table": {"Sets": [{"Name": "a"}]}}`, "[]"} {
		if _, err := k.Decode([]byte(text)); err == nil {
			t.Errorf("%q is a state", text)
		}
	}
}
