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
// understood first. It is read back and proved as ever. It returns nil where our own
// objects are what they were; a pass has to tell then what others' changes mean.
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
	ch, err := d.Driver.Diff(now, known)
	if err != nil || ch.Empty() {
		return nil, err
	}
	job := s.RepairJob(d, ch, read)
	a := store.Apply{Who: c.Who, From: c.From, Reason: "repair: somebody changed " + d.Name}
	done, err := c.executor().RunJournaled(ctx, c.Store, a, []apply.Job{job}, true)
	return &done, errors.Join(err, done.Store)
}
