// Package controller does what everybody who changes devices of a site does around a
// plan: it ends what a dead controller has left, writes down what is about to be
// done, by whom and why, has it carried out, and notes what became of it. The
// command line, the scheduled job and the daemon share it.
package controller

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"bulkhead/pkg/apply"
	"bulkhead/pkg/diag"
	"bulkhead/pkg/driver"
	"bulkhead/pkg/plan"
	"bulkhead/pkg/policy"
	"bulkhead/pkg/reconcile"
	"bulkhead/pkg/store"
)

// Controller works on one site, whose state it holds open for writing.
type Controller struct {
	Store *store.Store
	Now   func() time.Time
	// Say hears what is done, a line at a time.
	Say apply.Progress
	// Who wants it, and from where; they go into the history.
	Who, From string
}

// Order is what somebody wants done with a plan.
type Order struct {
	Reason string
	// RollsTo is the apply whose result a rollback restores.
	RollsTo string
	// Timeout is how long changes are on trial; 0 makes them for good at once.
	Timeout time.Duration
	// Confirm confirms as soon as everything is proved and Check is content.
	Confirm bool
	// Check is asked after the canary and after all devices, behind the site's probes;
	// nil asks nobody.
	Check func(ctx context.Context) error
}

// ErrOnTrial says that a device still holds a change on trial.
var ErrOnTrial = errors.New("a change is on trial")

func (c *Controller) say(format string, args ...any) {
	if c.Say != nil {
		c.Say("%s", diag.Safe(fmt.Sprintf(format, args...)))
	}
}

func (c *Controller) executor() *apply.Executor {
	return &apply.Executor{Now: c.Now, Say: func(format string, args ...any) { c.say(format, args...) }}
}

// Apply carries out a plan's jobs. What the order's trial leaves waiting is ended by
// EndTrial. The apply has no ID where nothing was begun.
func (c *Controller) Apply(ctx context.Context, s *reconcile.Site, r *reconcile.Result, o Order) (apply.Journaled, error) {
	record, err := c.record(s, r.Plan, o)
	if err != nil {
		return apply.Journaled{}, fmt.Errorf("%w; nothing was written to any device", err)
	}
	x := c.executor()
	x.Timeout, x.Check = o.Timeout, both(c.probes(ctx, s), o.Check)
	done, err := x.RunJournaled(ctx, c.Store, record, r.Jobs, o.Confirm)
	if cutErr := c.keepCutOff(ctx, s, r.Jobs, err); cutErr != nil {
		c.say("%s", cutErr)
	}
	if done.Apply.ID != "" && !Waits(&done) {
		done.Store = errors.Join(done.Store, c.noteEnforced(r.Plan, done.Outcomes))
		if err == nil {
			done.Store = errors.Join(done.Store, c.wanted(s.Config.Hash))
		}
	}
	return done, err
}

// Waits reports whether an apply is on trial.
func Waits(done *apply.Journaled) bool {
	return slices.ContainsFunc(done.Outcomes, func(o apply.Outcome) bool { return !o.Until.IsZero() })
}

// record stores what an apply is made from, and says who wants it and why.
func (c *Controller) record(s *reconcile.Site, p *plan.Plan, o Order) (store.Apply, error) {
	x := store.Apply{Reason: strings.TrimSpace(o.Reason), RollsTo: o.RollsTo, Who: c.Who, From: c.From}
	// A plan of some points says nothing of the others: the next brakes compare with
	// the last one of all of them.
	text, err := s.Snapshot(len(p.Points) == len(s.Config.Settings.Points))
	if err != nil {
		return x, err
	}
	snap, err := c.Store.PutSnapshot(text)
	if err != nil {
		return x, err
	}
	body, err := plan.JSON(p)
	if err != nil {
		return x, err
	}
	kept, err := c.Store.PutPlan(store.Plan{Who: x.Who, Summary: "plan " + p.ID}, body)
	if err != nil {
		return x, err
	}
	x.Plan, x.Snapshot = kept.ID, snap.ID
	inputs, err := s.Inputs()
	if err != nil {
		return x, err
	}
	if x.Inputs, err = c.Store.PutBlob(inputs); err != nil {
		return x, err
	}
	for _, b := range p.Brakes { // all of them are accepted, or nobody came this far
		if !slices.ContainsFunc(x.Accepted, func(y store.Accepted) bool { return y.Brake == b.Name }) {
			x.Accepted = append(x.Accepted, store.Accepted{Brake: b.Name, Reason: x.Reason})
		}
	}
	return x, nil
}

// noteEnforced writes down which points enforce now. A point that only observes has
// not enforced: it still has to learn.
func (c *Controller) noteEnforced(p *plan.Plan, outcomes []apply.Outcome) error {
	enforced, err := c.Store.Enforced()
	if err != nil {
		return err
	}
	for _, out := range outcomes {
		for _, name := range out.Points {
			if out.Applied && enforces(p, name) {
				enforced[name] = true
			}
		}
	}
	return c.Store.SetEnforced(enforced)
}

func enforces(p *plan.Plan, point string) bool {
	return slices.ContainsFunc(p.Points, func(pt plan.Point) bool { return pt.Name == point && pt.Mode == string(policy.Enforce) })
}

// EndTrial confirms an apply that waits for it, or takes it back.
func (c *Controller) EndTrial(ctx context.Context, s *reconcile.Site, j store.Journal, confirm bool) (store.Apply, error) {
	devices, err := s.Devices(ctx, false)
	if err != nil {
		return j.Apply, err
	}
	defer reconcile.Close(devices)
	on, err := s.OnTrial(devices, j)
	if err != nil {
		return j.Apply, err
	}
	done, err := c.executor().EndTrial(ctx, c.Store, j, on, confirm)
	if !confirm || err != nil {
		var jobs []apply.Job
		for _, d := range devices {
			jobs = append(jobs, apply.Job{Device: d.Name, Driver: d.Driver, Points: d.Points})
		}
		if cutErr := c.stayCutOff(ctx, s, jobs); cutErr != nil {
			c.say("%s", cutErr)
		}
	}
	what := "confirm"
	if !confirm {
		what = "take back"
	}
	result := string(done.State)
	if err != nil {
		result = err.Error()
	}
	if _, auditErr := c.Store.AppendDone(store.Entry{Who: c.Who, From: c.From, Action: what, Object: done.ID, Result: result}); auditErr != nil {
		return done, errors.Join(err, auditErr)
	}
	if done.State != store.Running {
		err = errors.Join(err, c.notConfirmed(done))
	}
	if err != nil || !confirm || done.Plan == "" {
		return done, err
	}
	p, err := c.planOf(done)
	if err != nil {
		return done, err
	}
	if err := c.wanted(p.PolicyHash); err != nil {
		return done, err
	}
	var out []apply.Outcome
	for _, r := range done.Results {
		out = append(out, apply.Outcome{Points: []string{r.Point}, Applied: r.State == store.Confirmed})
	}
	return done, c.noteEnforced(p, out)
}

// planOf gives the plan of an apply.
func (c *Controller) planOf(a store.Apply) (*plan.Plan, error) {
	kept, err := c.Store.Plan(a.Plan)
	if err != nil {
		return nil, err
	}
	body, err := c.Store.Blob(kept.Hash)
	if err != nil {
		return nil, err
	}
	var p plan.Plan
	if err := json.Unmarshal(body, &p); err != nil {
		return nil, fmt.Errorf("the plan of apply %s cannot be read: %w", a.ID, err)
	}
	return &p, nil
}

// Ready ends what is overdue, and fails with ErrOnTrial where a change is on trial.
func (c *Controller) Ready(ctx context.Context, s *reconcile.Site) error {
	if err := c.endOverdue(ctx, s); err != nil {
		return err
	}
	return c.NoTrial(ctx, s)
}

// endOverdue takes back an apply that nobody confirmed in time, where devices have it
// that cannot go back by themselves. One that cannot be read now is put back later.
func (c *Controller) endOverdue(ctx context.Context, s *reconcile.Site) error {
	j, err := apply.Waiting(c.Store)
	if errors.Is(err, apply.ErrNothingOnTrial) {
		return nil
	}
	if err != nil || c.Now().Before(j.Apply.Deadline) {
		return err
	}
	held, err := apply.Held(j)
	if err != nil || len(held) == 0 {
		return err
	}
	devices, err := s.Devices(ctx, false)
	if err != nil {
		return err
	}
	defer reconcile.Close(devices)
	for _, d := range devices {
		if !slices.Contains(held, d.Name) {
			continue
		}
		err := d.Err
		if err == nil {
			_, err = d.Read(ctx)
		}
		if err != nil {
			c.say("apply %s was not confirmed in time, and %s cannot be put back yet: %v", j.Apply.ID, d.Name, err)
			return c.notConfirmed(j.Apply) // nor is it applied to the others by itself
		}
	}
	done, err := c.EndTrial(ctx, s, j, false)
	if err != nil {
		return fmt.Errorf("apply %s was not confirmed in time, and could not be taken back: %w", j.Apply.ID, err)
	}
	c.say("apply %s was not confirmed in time: %s", done.ID, done.State)
	return nil
}

// NoTrial fails with ErrOnTrial where a device still holds a change on trial: it
// would be the ground on which the next one is planned, and may go away under it.
func (c *Controller) NoTrial(ctx context.Context, s *reconcile.Site) error {
	j, err := apply.Waiting(c.Store)
	if errors.Is(err, apply.ErrNothingOnTrial) {
		return nil
	}
	if err != nil {
		return err
	}
	left := j.Apply.Deadline.Sub(c.Now())
	if left <= 0 {
		return nil
	}
	devices, err := s.Devices(ctx, false)
	if err != nil {
		return err
	}
	defer reconcile.Close(devices)
	for _, d := range devices {
		on, err := holdsTrial(ctx, d, j)
		if err != nil {
			return fmt.Errorf("apply %s may be on trial for another %s, and that cannot be looked up: device %s: %w", j.Apply.ID, left.Round(time.Second), d.Name, err)
		}
		if on {
			return fmt.Errorf("%w: apply %s of %s is on trial for another %s: confirm it (bulkhead confirm), take it back (bulkhead rollback) or wait",
				ErrOnTrial, j.Apply.ID, diag.Safe(j.Apply.Who), left.Round(time.Second))
		}
	}
	return nil // its controller died before it came to that, or after it was confirmed
}

func holdsTrial(ctx context.Context, d *reconcile.Device, j store.Journal) (bool, error) {
	t, ok := driver.TrierOf(d.Driver)
	held, err := apply.Held(j)
	if err != nil || !ok && !slices.Contains(held, d.Name) {
		return false, err
	}
	// Whether it can go back by itself was known when the change was made.
	ok = ok && !slices.Contains(held, d.Name)
	if d.Err != nil {
		return false, d.Err
	}
	now, err := d.Read(ctx)
	if err != nil {
		return false, err
	}
	if !ok { // what it holds tells whether its controller came to that
		found := map[string]apply.Found{}
		for i := range d.Points {
			found[d.Points[i].Name] = apply.Found{Fingerprint: now.Fingerprint()}
		}
		return apply.HoldsOn(j, found), nil
	}
	x := t.Trial(now)
	return x != nil && x.Left > 0, nil
}
