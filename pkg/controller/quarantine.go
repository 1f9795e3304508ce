package controller

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"bulkhead/pkg/apply"
	"bulkhead/pkg/compile"
	"bulkhead/pkg/driver"
	"bulkhead/pkg/packet"
	"bulkhead/pkg/policy"
	"bulkhead/pkg/reconcile"
	"bulkhead/pkg/store"
)

// settingQuarantine is where the store keeps who is in quarantine.
const settingQuarantine = "quarantine"

// Quarantines lists who is in quarantine by a site's state, those that have ended
// included.
func Quarantines(st *store.Store) ([]reconcile.Quarantine, error) {
	text, err := st.Setting(settingQuarantine)
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var out []reconcile.Quarantine
	if err := json.Unmarshal([]byte(text), &out); err != nil {
		return nil, fmt.Errorf("the list of assets in quarantine cannot be read: %w", err)
	}
	return out, nil
}

func (c *Controller) setQuarantines(all []reconcile.Quarantine) error {
	b, err := json.Marshal(reconcile.ActiveQuarantines(all, c.Now()))
	if err != nil {
		return err
	}
	return c.Store.PutSetting(settingQuarantine, string(b))
}

// MaxQuarantine bounds how long an asset is cut off by one word: what is to last is
// policy.
const MaxQuarantine = 90 * 24 * time.Hour

// Quarantine writes down that an asset is cut off, and cuts it off at once on every
// device that can do that without a plan. The next pass makes it part of what is
// rendered and proved. The names of devices where that pass has to be waited for are
// returned.
//
// It is written down first: a controller that dies in between finishes it.
func (c *Controller) Quarantine(ctx context.Context, s *reconcile.Site, devices []*reconcile.Device, q reconcile.Quarantine) (waits []string, err error) {
	switch left := q.Until.Sub(c.Now()); {
	case q.Reason == "":
		return nil, errors.New("a quarantine needs a reason: others have to read why")
	case left <= 0 || left > MaxQuarantine:
		return nil, fmt.Errorf("a quarantine lasts at most %s, and ends in the future", MaxQuarantine)
	}
	if _, err := s.CheckQuarantine(q.Asset, devices); err != nil {
		return nil, err
	}
	q.Since = c.Now().UTC()
	q.Until = q.Until.UTC()
	all, err := Quarantines(c.Store)
	if err != nil {
		return nil, err
	}
	all = slices.DeleteFunc(all, func(x reconcile.Quarantine) bool { return x.Asset == q.Asset })
	if err := c.setQuarantines(append(all, q)); err != nil {
		return nil, err
	}
	if _, e := c.Store.AppendDone(store.Entry{Who: q.Who, From: c.From, Action: "quarantine", Object: q.Asset, Reason: q.Reason, Result: "until " + q.Until.Format(time.RFC3339)}); e != nil {
		// On a full disk it is cut off all the same: its list found room.
		err = fmt.Errorf("asset %q is put into quarantine, and the audit log cannot say so: %w", q.Asset, e)
	}
	waits, cutErr := c.cutOff(ctx, s, devices)
	return waits, errors.Join(err, cutErr)
}

// cutOff has every device that enforces, and can do it without a plan, let nothing
// pass of the assets that are in quarantine. The names of the others are returned.
func (c *Controller) cutOff(ctx context.Context, s *reconcile.Site, devices []*reconcile.Device) (waits []string, err error) {
	cut, err := c.inQuarantine(s)
	if err != nil {
		return nil, err
	}
	for _, d := range devices {
		if !enforcing(d.Points) {
			continue
		}
		if d.Err != nil || !canIsolate(d.Driver) {
			waits = append(waits, d.Name)
			continue
		}
		if e := d.Driver.(driver.Isolator).Isolate(ctx, d.Points, cut); e != nil {
			waits = append(waits, d.Name)
			err = errors.Join(err, fmt.Errorf("device %s: %w", d.Name, e))
		}
	}
	return waits, err
}

// inQuarantine gives the addresses of those who are.
func (c *Controller) inQuarantine(s *reconcile.Site) (cut packet.Addrs, err error) {
	all, err := Quarantines(c.Store)
	for _, q := range reconcile.ActiveQuarantines(all, c.Now()) {
		if x := s.Inventory.Lookup(q.Asset); x != nil {
			cut = cut.Union(packet.AddrsOf(x.Addresses...))
		}
	}
	return cut, err
}

func enforcing(points []compile.Point) bool {
	return slices.ContainsFunc(points, func(p compile.Point) bool { return p.Mode == policy.Enforce })
}

func canIsolate(d driver.Driver) bool { _, ok := d.(driver.Isolator); return ok }

// CutOffSince reports whether others are in quarantine now than when a site was worked
// out. What was planned by it would let them go: they are written down before they are
// cut off, so that whoever asks after reading a device knows of all whom it showed.
func (c *Controller) CutOffSince(s *reconcile.Site) (bool, error) {
	all, err := Quarantines(c.Store)
	if err != nil {
		return false, err
	}
	return !slices.Equal(reconcile.ActiveQuarantines(all, c.Now()), s.Quarantined), nil
}

// stayCutOff cuts those off once more who are in quarantine, after a device was written
// to: what is put back is what was there before them.
func (c *Controller) stayCutOff(ctx context.Context, s *reconcile.Site, jobs []apply.Job) error {
	cut, err := c.inQuarantine(s)
	if err != nil || cut.IsEmpty() {
		return err
	}
	ctx = context.WithoutCancel(ctx)
	for i := range jobs {
		if enforcing(jobs[i].Points) && canIsolate(jobs[i].Driver) {
			if e := jobs[i].Driver.(driver.Isolator).Isolate(ctx, jobs[i].Points, cut); e != nil {
				err = errors.Join(err, fmt.Errorf("device %s: who is in quarantine may pass until the next look: %w", jobs[i].Device, e))
			}
		}
	}
	return err
}

// keepCutOff is stayCutOff after jobs that ended with failed, where there is need: where
// something may have been put back, or somebody was cut off meanwhile.
func (c *Controller) keepCutOff(ctx context.Context, s *reconcile.Site, jobs []apply.Job, failed error) error {
	if failed == nil {
		if others, err := c.CutOffSince(s); err != nil || !others {
			return err
		}
	}
	return c.stayCutOff(ctx, s, jobs)
}

// Release ends the quarantine of an asset; the next pass lets it have what policy
// says.
func (c *Controller) Release(asset, who, reason string) error {
	all, err := Quarantines(c.Store)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(all, func(x reconcile.Quarantine) bool { return x.Asset == asset && c.Now().Before(x.Until) })
	if i < 0 {
		return fmt.Errorf("asset %q is not in quarantine", asset)
	}
	if err := c.setQuarantines(slices.Delete(all, i, i+1)); err != nil {
		return err
	}
	_, err = c.Store.AppendDone(store.Entry{Who: who, From: c.From, Action: "release", Object: asset, Reason: reason, Result: "released"})
	return err
}
