package controller

import (
	"slices"
	"strings"
	"time"

	"bulkhead/pkg/apply"
	"bulkhead/pkg/config"
	"bulkhead/pkg/plan"
	"bulkhead/pkg/reconcile"
	"bulkhead/pkg/store"
)

// Settle ends the applies that a dead controller left, by what their points hold
// now. One with a point that this plan did not read stays as it is.
func (c *Controller) Settle(s *reconcile.Site, p *plan.Plan) error {
	open, err := c.Store.Unfinished()
	if err != nil {
		return err
	}
	found := map[string]apply.Found{}
	for _, pt := range p.Points {
		if pt.State != "" {
			found[pt.Name] = apply.Found{Fingerprint: pt.State, Proved: pt.Before != nil && pt.Before.Proved}
		}
	}
	for _, j := range open {
		if unread(j, s, found) || apply.HoldsOn(j, found) {
			c.say("%s", Unfinished(j, c.Now()))
			continue
		}
		done, err := apply.Settle(c.Store, j, found)
		if err != nil {
			return err
		}
		reason, said := "its controller ended before it could", "left unfinished"
		if done.ByHand && !done.Deadline.IsZero() && done.State != store.Confirmed {
			reason, said = "nobody confirmed it in time", "not confirmed in time"
		}
		if _, err := c.Store.AppendDone(store.Entry{Who: c.Who, From: c.From, Action: "settle", Object: done.ID,
			Reason: reason, Result: string(done.State)}); err != nil {
			return err
		}
		if err := c.notConfirmed(done); err != nil {
			return err
		}
		c.say("apply %s of %s on %s was %s; by what the devices hold it is %s:", done.ID, done.Who, done.From, said, done.State)
		for _, r := range done.Results {
			why := ""
			if r.Error != "" {
				why = ": " + r.Error
			}
			c.say("  point %s: %s%s", r.Point, r.State, why)
		}
	}
	return nil
}

// Unfinished says in a sentence what there is to know of an apply that nobody has
// ended.
func Unfinished(j store.Journal, now time.Time) string {
	var points []string
	for _, c := range j.Changes {
		points = append(points, c.Point)
	}
	who := "apply " + j.Apply.ID + " of " + j.Apply.Started.Format(time.RFC3339) + " (" + j.Apply.Who + " on " + j.Apply.From + ")"
	if left := j.Apply.Deadline.Sub(now); !j.Apply.Deadline.IsZero() && left > 0 {
		return who + " is on trial for another " + left.Round(time.Second).String() + ": confirm it (bulkhead confirm), take it back (bulkhead rollback) or wait"
	}
	return who + " was never finished: its controller ended before it could tell what became of " + strings.Join(points, ", ") +
		"; the next apply looks and says it in the history"
}

// unread tells whether an apply has a point of the site that nobody looked at.
func unread(j store.Journal, s *reconcile.Site, found map[string]apply.Found) bool {
	for _, c := range j.Changes {
		if _, ok := found[c.Point]; !ok && slices.ContainsFunc(s.Config.Settings.Points, func(p config.Point) bool { return p.Name == c.Point }) {
			return true
		}
	}
	return false
}
