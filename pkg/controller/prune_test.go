package controller_test

import (
	"fmt"
	"testing"
	"time"

	"bulkhead/pkg/config"
	"bulkhead/pkg/controller"
	"bulkhead/pkg/reconcile"
	"bulkhead/pkg/store"
)

// However little is kept, what a rollback goes back to and what the brakes compare with
// is there, behind any number of repairs and of applies of some points; and the audit
// log says what was done.
func TestPruneKeepsWhatIsNeeded(t *testing.T) {
	now := time.Date(2026, 3, 1, 8, 0, 0, 0, time.UTC)
	clock := func() time.Time { return now }
	st, err := store.Open(t.TempDir(), "t", clock)
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	apply := func(a store.Apply, whole, inputs bool, n int) string {
		t.Helper()
		now = now.Add(time.Hour)
		a.Who = "eva"
		if a.Reason != "repair" {
			p, err := st.PutPlan(store.Plan{Who: "eva"}, fmt.Appendf(nil, `{"id":"%d"}`, n))
			must(err)
			s, err := st.PutSnapshot(fmt.Appendf(nil, `{"baseline":{"formatVersion":"1.0","whole":%v,"ids":["%d"],"groups":{}}}`, whole, n))
			must(err)
			a.Plan, a.Snapshot = p.ID, s.ID
		}
		if inputs {
			a.Inputs, err = st.PutBlob(fmt.Appendf(nil, "inputs %d", n))
			must(err)
		}
		a, err := st.BeginApply(a, []store.Change{{Point: "gw", Previous: fmt.Appendf(nil, "%d", n), Intended: fmt.Appendf(nil, "%d", n+1)}})
		must(err)
		must(st.FinishApply(a.ID, store.Confirmed, []store.PointResult{{Point: "gw", State: store.Confirmed}}))
		return a.ID
	}
	target := apply(store.Apply{}, true, true, 0)
	apply(store.Apply{}, true, true, 10)
	whole := apply(store.Apply{}, true, false, 20) // of an older version, which kept no inputs
	for i := range 5 {
		apply(store.Apply{}, false, false, 30+i)
	}
	for i := range 30 {
		apply(store.Apply{Reason: "repair"}, false, false, 50+i)
	}
	c := &controller.Controller{Store: st, Now: clock, Who: "eva", From: "here"}
	done, err := c.Prune(config.History{KeepLast: 2, KeepWithin: time.Minute, KeepMost: 10})
	must(err)
	if to, err := controller.RollsTo(st, ""); err != nil || to.ID != target {
		t.Errorf("a rollback goes to %q, and went to %q before: %v", to.ID, target, err)
	} else if _, err := st.Blob(to.Inputs); err != nil {
		t.Error(err)
	}
	if b, why, err := reconcile.LastApplied(st); err != nil || b == nil || b.Apply() != whole {
		t.Errorf("the brakes compare with %+v (%s): %v", b, why, err)
	}
	left, err := st.History(0)
	must(err)
	if len(left) != 6 || done.Applies != 38-6 { // the three, the last two by a plan, the last of the point
		t.Errorf("%d applies are left; said %+v", len(left), done)
	}
	entries, err := st.Audit(0, 0)
	must(err)
	if last := entries[len(entries)-1]; last.Action != "prune" || last.Result != "32 applies" || last.Who != "eva" {
		t.Errorf("%+v", last)
	}
	if _, err := c.Prune(config.History{KeepLast: 2, KeepWithin: time.Minute, KeepMost: 10}); err != nil {
		t.Error(err)
	}
	if again, _ := st.Audit(0, 0); len(again) != len(entries) {
		t.Error("the audit log says that nothing was pruned")
	}
}
