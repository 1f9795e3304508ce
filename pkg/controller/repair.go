package controller

import (
	"context"
	"errors"
	"time"

	"bulkhead/pkg/apply"
	"bulkhead/pkg/driver"
	"bulkhead/pkg/reconcile"
	"bulkhead/pkg/store"
)

// Repair brings a device from what it holds now back to a state that was read from it
// while it was in sync with the site, at the time that is given, without a plan: what
// is repaired is what was confirmed, and what the device holds instead need not be
// understood first. It is read back and proved as ever, and stays also where that fails.
// It returns nil where our own objects are what they were; a pass has to tell then what
// others' changes mean.
func (c *Controller) Repair(ctx context.Context, s *reconcile.Site, d *reconcile.Device, now, known driver.State, read time.Time) (*apply.Journaled, error) {
	if _, err := apply.Waiting(c.Store); !errors.Is(err, apply.ErrNothingOnTrial) {
		return nil, err
	}
	if r, ok := d.Driver.(driver.Resumer); ok {
		var err error
		if known, err = r.Resume(known, now, d.Points, c.Now().Sub(read)); err != nil {
			return nil, err
		}
	}
	if others, err := c.CutOffSince(s); err != nil || others {
		return nil, err // a pass knows of them
	}
	ch, err := d.Driver.Diff(now, known)
	if err != nil || ch.Empty() {
		return nil, err
	}
	jobs := []apply.Job{s.RepairJob(d, ch, read)}
	a := store.Apply{Who: c.Who, From: c.From, Reason: "repair: somebody changed " + d.Name}
	x := c.executor()
	// Where others' rules are on the path now, it is not proved; taken back, there would be
	// theirs alone.
	x.Forward = true
	done, err := x.RunJournaled(ctx, c.Store, a, jobs, true)
	if len(done.Outcomes) == 0 || !done.Outcomes[0].Applied && !done.Outcomes[0].Unknown {
		if errors.Is(err, store.ErrFull) || errors.Is(err, store.ErrFailed) {
			// The state says already what is put back: it was confirmed. That nothing can be
			// added to the history must not leave a device open.
			done.Store = errors.Join(done.Store, err)
			done.Outcomes, err = x.Run(ctx, jobs)
			if done.Apply.State = store.Confirmed; err != nil {
				done.Apply.State = store.Failed
			}
		}
	}
	return &done, errors.Join(err, c.keepCutOff(ctx, s, jobs, err))
}
