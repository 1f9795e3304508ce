package daemon

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"bulkhead/pkg/apply"
	"bulkhead/pkg/compile"
	"bulkhead/pkg/controller"
	"bulkhead/pkg/driver"
	"bulkhead/pkg/reconcile"
	"bulkhead/pkg/store"
)

// afterTrial is how long after the end of a trial a device is looked at: its clock and
// ours count the same time, and begin a little apart.
const afterTrial = time.Second

// noteTrial shows what waits to be confirmed, after a pass that found it, and gives how
// long to wait at most before the next look: a device that goes back by itself tells
// nobody.
func (d *Daemon) noteTrial(p *controller.Pass) time.Duration {
	if p == nil {
		return lastRetry
	}
	var on *store.Apply
	left := lastRetry
	if p.Result == controller.OnTrial {
		if j, err := apply.Waiting(d.o.Store); err == nil {
			on = &j.Apply
			now := d.o.Now()
			left = max(0, j.Apply.Deadline.Sub(now)) + afterTrial
			d.next.add(why{what: "the time of a trial is over", after: left, reload: true}, now)
		}
	}
	d.publish(func(v *View) { v.OnTrial = on })
	return left
}

// lookAtUnfinished has all devices of an apply looked at that nobody has ended, also those
// that are in sync: what became of it can be told only of all of them together, and one
// that could not be read for a while would keep it unfinished for good.
func (d *Daemon) lookAtUnfinished() {
	for _, id := range d.o.Store.Running() {
		points, err := d.o.Store.PointsOf(id)
		if err != nil {
			d.o.Log.Error("cannot tell which points an unfinished apply is of", "apply", id, "error", err)
			continue
		}
		for _, x := range of(d.devices, points) {
			d.known[x.Name].site, d.known[x.Name].mark = nil, ""
		}
	}
}

// trialEnded looks at everything, whatever it waits for: nothing is on trial any more.
func (d *Daemon) trialEnded(what string) {
	for _, k := range d.known {
		k.failures = 0
	}
	d.publish(func(v *View) { v.OnTrial = nil })
	d.next.add(why{what: what, reload: true}, d.o.Now())
}

// confirm makes permanent what is on trial.
func (a *API) confirm(r *request) (any, error) { return a.endTrial(r, true) }

// takeBack ends a trial before its time.
func (a *API) takeBack(r *request) (any, error) { return a.endTrial(r, false) }

func (a *API) endTrial(r *request, confirm bool) (any, error) {
	var done store.Apply
	err := a.d.by(r, func(ctx context.Context, d *Daemon) error {
		j, err := d.c.WaitingFor(r.body.(*TrialCall).Apply, confirm)
		switch {
		case errors.Is(err, store.ErrNotFound):
			return &problem{http.StatusNotFound, err}
		case errors.Is(err, apply.ErrNothingOnTrial), errors.Is(err, controller.ErrOtherTrial):
			return &problem{http.StatusConflict, err}
		case err != nil:
			return err
		}
		done, err = d.c.EndTrial(ctx, d.site, j, confirm)
		d.trialEnded("a trial was ended")
		switch {
		case errors.Is(err, driver.ErrTooLate):
			return &problem{http.StatusConflict, fmt.Errorf("too late: %w", err)}
		case err != nil: // a device is at fault, and it may hold either
			return &problem{http.StatusBadGateway, err}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return TrialAnswer{FormatVersion: format, Apply: done}, nil
}

// trialOf reads how a change is to be confirmed.
func (c *ApplyCall) trialOf(o *controller.PassOptions) error {
	o.ByHand = c.Confirm != nil && !*c.Confirm
	if c.Timeout == "" {
		return nil
	}
	long, err := time.ParseDuration(c.Timeout)
	if err != nil || long < 0 || long > 0 && long < MinTrial || long > maxTrial {
		return refuse(http.StatusBadRequest, "timeout is %q: a trial lasts from %s to %s, written like 90s or 10m; 0 is none", c.Timeout, MinTrial, maxTrial)
	}
	o.Timeout = &long
	return nil
}

// MinTrial is the shortest trial that somebody can make use of; maxTrial keeps other
// changes waiting as long as it may.
const (
	MinTrial = 5 * time.Second
	maxTrial = 24 * time.Hour
)

// past gives one apply in full.
func (a *API) past(r *request) (any, error) {
	x, err := controller.HistoryOf(a.d.o.Store, r.PathValue("id"), true, a.d.o.Now())
	if errors.Is(err, store.ErrNotFound) {
		return nil, &problem{http.StatusNotFound, err}
	}
	return map[string]any{"formatVersion": format, "apply": x}, err
}

// keptPlan gives a plan that the state keeps, by the ID that it is kept under; or the
// one of the last pass by its own, which is what somebody approves.
func (a *API) keptPlan(r *request) (any, error) {
	id := r.PathValue("id")
	if v := a.d.View(); v.Pass != nil && v.Pass.Plan.ID == id {
		return map[string]any{"formatVersion": format, "plan": v.Pass.Plan}, nil
	}
	kept, err := a.d.o.Store.Plan(id)
	if errors.Is(err, store.ErrNotFound) {
		return nil, &problem{http.StatusNotFound, err}
	}
	if err != nil {
		return nil, err
	}
	body, err := a.d.o.Store.Blob(kept.Hash)
	return map[string]any{"formatVersion": format, "kept": kept, "plan": json.RawMessage(body)}, err
}

// of gives those of the devices that have one of the points; no points are all.
func of(devices []*reconcile.Device, points []string) (out []*reconcile.Device) {
	for _, x := range devices {
		if len(points) == 0 || slices.ContainsFunc(x.Points, func(p compile.Point) bool { return slices.Contains(points, p.Name) }) {
			out = append(out, x)
		}
	}
	return out
}
