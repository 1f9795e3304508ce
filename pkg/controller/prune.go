package controller

import (
	"errors"
	"fmt"

	"bulkhead/pkg/config"
	"bulkhead/pkg/reconcile"
	"bulkhead/pkg/store"
)

// Prune forgets applies that are too old to be kept, and says in the audit log how many.
// Whatever the settings say, what a rollback without an ID goes back to stays, and what
// drift, brakes and a site that was gone back from are held against.
func (c *Controller) Prune(h config.History) (store.Pruned, error) {
	r := store.Retention{Last: h.KeepLast, Within: h.KeepWithin, Most: h.KeepMost}
	needed, err := c.needed()
	if err != nil {
		return store.Pruned{}, fmt.Errorf("cannot tell what of the history is needed, so nothing is pruned: %w", err)
	}
	r.Keep = needed
	done, err := c.Store.Prune(r)
	if err != nil || done.Applies == 0 {
		return done, err
	}
	_, err = c.Store.AppendAudit(store.Entry{Who: c.Who, From: c.From, Action: "prune", Object: "history", Result: fmt.Sprintf("%d applies", done.Applies)})
	return done, err
}

// needed lists the applies that something else than curiosity asks for.
func (c *Controller) needed() ([]string, error) {
	out := []string{}
	inputs, plan := 0, 0
	// The last two whose site can be worked out again, and the last whose plan is there.
	_, err := c.Store.Newest(func(a store.Apply) bool {
		if a.State != store.Confirmed {
			return false
		}
		if a.Inputs != "" && inputs < 2 {
			inputs++
			out = append(out, a.ID)
		}
		if a.Plan != "" && plan < 1 {
			plan++
			out = append(out, a.ID)
		}
		return inputs == 2 && plan == 1
	})
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return nil, err
	}
	base, _, err := reconcile.LastApplied(c.Store)
	if err != nil {
		return nil, err
	}
	if base != nil {
		out = append(out, base.Apply())
	}
	return out, nil
}
