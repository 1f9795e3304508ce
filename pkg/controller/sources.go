package controller

import (
	"fmt"
	"slices"
	"time"

	"bulkhead/inventory"
	"bulkhead/pkg/apply"
	"bulkhead/pkg/reconcile"
	"bulkhead/pkg/store"
)

// Options are those of a plan that is made from this state.
func (c *Controller) Options(only []string) (reconcile.Options, error) {
	return StateOptions(c.Store, only)
}

// StateOptions are those of a plan that is made from a state; nil is none.
func StateOptions(st *store.Store, only []string) (reconcile.Options, error) {
	opt := reconcile.Options{Only: only, Last: func() (*reconcile.Baseline, string, error) { return reconcile.LastApplied(st) }}
	if st == nil {
		return opt, nil
	}
	known, err := st.LastConfirmed()
	if err != nil {
		return opt, err
	}
	opt.Confirmed = func(point string) (*apply.Record, time.Time, error) {
		i := slices.IndexFunc(known, func(k store.Known) bool { return k.Point == point })
		if i < 0 {
			return nil, time.Time{}, nil
		}
		b, err := st.Blob(known[i].Hash)
		if err != nil {
			return nil, time.Time{}, err
		}
		rec, err := apply.ReadRecord(b)
		return &rec, known[i].At, err
	}
	opt.Enforced, err = st.Enforced()
	return opt, err
}

// Remember writes down what is to be known of the site's sources in the next run.
// With a reason, the losses that were accepted are, too, and the audit log says so;
// without one, such a source stays as it was known until the plan is agreed to.
func (c *Controller) Remember(s *reconcile.Site, reason string) error {
	for i := range s.Sources {
		if x := &s.Sources[i]; reason != "" && x.State == inventory.SourceAccepted {
			if _, err := c.Store.AppendAudit(store.Entry{Who: c.Who, From: c.From, Action: "accept", Object: "source " + x.Source, Reason: reason, Result: x.Why}); err != nil {
				return fmt.Errorf("%w; nothing was written to any device", err)
			}
		}
	}
	if err := s.RememberSources(c.Store, reason != ""); err != nil {
		return fmt.Errorf("%w; nothing was written to any device", err)
	}
	return nil
}
