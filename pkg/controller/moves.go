package controller

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"bulkhead/pkg/apply"
	"bulkhead/pkg/reconcile"
	"bulkhead/pkg/store"
)

// settingMoved is where the store keeps of which devices single addresses were moved
// ahead of a plan, since it was written down last what they hold.
const settingMoved = "moved"

// movedNamed bounds the assets that are kept of a device: they are named in the history.
const movedNamed = 50

// moved gives, by device, the assets that were moved ahead of a plan.
func (c *Controller) moved() (map[string][]string, error) {
	out := map[string][]string{}
	text, err := c.Store.Setting(settingMoved)
	if errors.Is(err, store.ErrNotFound) || err == nil && text == "" {
		return out, nil
	}
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal([]byte(text), &out); err != nil {
		return nil, fmt.Errorf("the list of devices of which addresses were moved cannot be read: %w", err)
	}
	return out, nil
}

func (c *Controller) setMoved(all map[string][]string) error {
	b, err := json.Marshal(all)
	if err != nil {
		return err
	}
	return c.Store.PutSetting(settingMoved, string(b))
}

// MayMove says what keeps assets of a site directory, by its hash, from being moved ahead
// of a plan, as it would keep the plan from being applied; nil for nothing.
func (c *Controller) MayMove(hash string) error {
	if _, err := apply.Waiting(c.Store); !errors.Is(err, apply.ErrNothingOnTrial) {
		return errors.Join(reconcile.ErrWait, err)
	}
	if open, err := c.Store.Unfinished(); err != nil || len(open) > 0 {
		return errors.Join(reconcile.ErrWait, err)
	}
	for _, held := range []func(string) (bool, error){c.rolledBack, c.unconfirmed} {
		if is, err := held(hash); err != nil || is {
			return errors.Join(reconcile.ErrWait, err)
		}
	}
	return nil
}

// NoteMoves writes down, before it is done, that assets are moved on devices ahead of the
// plan. What these then hold is in the state when a pass has found it to be right.
func (c *Controller) NoteMoves(devices, assets []string) error {
	all, err := c.moved()
	if err != nil {
		return err
	}
	for _, d := range devices {
		for _, id := range assets {
			if !slices.Contains(all[d], id) && len(all[d]) < movedNamed {
				all[d] = append(all[d], id)
			}
		}
	}
	if err := c.setMoved(all); err != nil {
		return err
	}
	_, err = c.Store.AppendAudit(store.Entry{Who: c.Who, From: c.From, Action: "move", Object: named(assets),
		Reason: "what the inventory says of it has changed", Result: "begun, ahead of the plan, on " + strings.Join(devices, ", ")})
	return err
}

// named names the first few of a list.
func named(list []string) string {
	const few = 5
	if len(list) <= few {
		return strings.Join(list, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(list[:few], ", "), len(list)-few)
}

// recordMoves writes into the history what devices hold of which addresses were moved:
// a pass has found it to be what they have to hold, and proved. A reboot loads it.
func (c *Controller) recordMoves(s *reconcile.Site, r *reconcile.Result, moved map[string][]string) error {
	var assets []string
	for i := range r.Held {
		assets = append(assets, moved[r.Held[i].Device]...)
	}
	slices.Sort(assets)
	assets = slices.Compact(assets)
	a, err := c.record(s, r.Plan, Order{Reason: "moved ahead of the plan: " + named(assets)})
	if err != nil {
		return err
	}
	if a, err = apply.Begin(c.Store, a, r.Held); err != nil {
		return err
	}
	var results []store.PointResult
	for i := range r.Held {
		for _, p := range r.Held[i].Points {
			results = append(results, store.PointResult{Point: p.Name, State: store.Confirmed})
		}
	}
	if err := c.Store.FinishApply(a.ID, store.Confirmed, results); err != nil {
		return err
	}
	done := make([]string, len(r.Held))
	for i := range r.Held {
		done[i] = r.Held[i].Device
	}
	return errors.Join(c.wanted(s.Config.Hash), c.writtenDown(done))
}

// writtenDown notes that the state has what devices hold.
func (c *Controller) writtenDown(devices []string) error {
	all, err := c.moved()
	if err != nil {
		return err
	}
	had := len(all)
	maps.DeleteFunc(all, func(d string, _ []string) bool { return slices.Contains(devices, d) })
	if len(all) == had {
		return nil
	}
	return c.setMoved(all)
}
