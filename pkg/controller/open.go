package controller

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"bulkhead/pkg/apply"
	"bulkhead/pkg/compile"
	"bulkhead/pkg/driver"
	"bulkhead/pkg/reconcile"
	"bulkhead/pkg/store"
)

// MaxOpen bounds break-glass: what is to last is policy.
const MaxOpen = 24 * time.Hour

// Open makes a point drop nothing for a time: its rules are put on trial in observe
// mode, and nobody confirms them. So the device goes back to enforcing by itself,
// also with every controller dead. Until then no plan is made.
func (c *Controller) Open(ctx context.Context, s *reconcile.Site, devices []*reconcile.Device, point string, long time.Duration, reason string) (store.Apply, error) {
	if long < time.Second || long > MaxOpen {
		return store.Apply{}, fmt.Errorf("break-glass lasts from a second to %s", MaxOpen)
	}
	if err := c.Ready(ctx, s); err != nil {
		return store.Apply{}, err
	}
	i := slices.IndexFunc(devices, func(d *reconcile.Device) bool {
		return slices.ContainsFunc(d.Points, func(p compile.Point) bool { return p.Name == point })
	})
	if i < 0 {
		return store.Apply{}, fmt.Errorf("there is no point %q", point)
	}
	d := devices[i]
	if d.Err != nil {
		return store.Apply{}, d.Err
	}
	if _, ok := driver.TrierOf(d.Driver); !ok {
		return store.Apply{}, fmt.Errorf("point %q: its device cannot go back by itself, so it is not opened: set `mode: observe` instead", point)
	}
	job, err := s.ObserveJob(ctx, d, point)
	if err != nil {
		return store.Apply{}, err
	}
	if job.Change.Empty() {
		return store.Apply{}, fmt.Errorf("point %q drops nothing already", point)
	}
	x := c.executor()
	x.Timeout = long
	a := store.Apply{Who: c.Who, From: c.From, Reason: fmt.Sprintf("open point %s for %s: %s", point, long, reason)}
	done, err := x.RunJournaled(ctx, c.Store, a, []apply.Job{*job}, false)
	return done.Apply, errors.Join(err, done.Store)
}

// Close ends break-glass, or whatever else is on trial at a point, before its time.
func (c *Controller) Close(ctx context.Context, s *reconcile.Site, point string) (store.Apply, error) {
	j, err := apply.Waiting(c.Store)
	if err != nil {
		return store.Apply{}, err
	}
	if !slices.ContainsFunc(j.Changes, func(x store.Change) bool { return x.Point == point }) {
		return store.Apply{}, fmt.Errorf("%w at point %q; apply %s is, elsewhere", apply.ErrNothingOnTrial, point, j.Apply.ID)
	}
	return c.EndTrial(ctx, s, j, false)
}
