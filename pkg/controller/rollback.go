package controller

import (
	"context"
	"errors"
	"fmt"

	"bulkhead/pkg/driver"
	"bulkhead/pkg/reconcile"
	"bulkhead/pkg/store"
)

// settingRolledBack keeps the hash of the site directory that was gone back from: no
// pass applies it by itself again.
const settingRolledBack = "rolled-back-from"

// BrakeRolledBack holds a site directory that somebody has gone back from.
const BrakeRolledBack = "rolled-back"

// RollsTo finds the confirmed apply to go back to: the named one, or the one before
// the last.
func RollsTo(st *store.Store, id string) (store.Apply, error) {
	if id != "" {
		to, err := st.Apply(id)
		if err == nil && to.State != store.Confirmed {
			err = fmt.Errorf("apply %s is %s: only what was confirmed can be gone back to", to.ID, to.State)
		}
		return to, err
	}
	n := 0
	to, err := st.Newest(func(x store.Apply) bool {
		if x.State == store.Confirmed && x.Inputs != "" {
			n++
		}
		return n == 2
	})
	if !errors.Is(err, store.ErrNotFound) {
		return to, err
	}
	return store.Apply{}, errors.New("there is no apply before the last one to go back to: `bulkhead remove POINT` takes everything off")
}

// SiteOf works the site of an apply out again, with who is in quarantine now.
func (c *Controller) SiteOf(to store.Apply, kinds []driver.Kind) (*reconcile.Site, error) {
	if to.Inputs == "" {
		return nil, fmt.Errorf("apply %s does not hold what it was made from", to.ID)
	}
	inputs, err := c.Store.Blob(to.Inputs)
	if err != nil {
		return nil, err
	}
	q, err := Quarantines(c.Store)
	if err != nil {
		return nil, err
	}
	s, diags, err := reconcile.FromInputs(inputs, c.Now(), kinds, q...)
	if err != nil {
		return nil, err
	}
	if diags.HasErrors() {
		return nil, fmt.Errorf("the site of apply %s has errors by this version, the first is %s; nothing was written to any device", to.ID, diags.All()[0].Message)
	}
	return s, nil
}

// Rollback makes a pass with the site of an earlier apply, and keeps passes from
// applying the site directory again that was gone back from, by its hash ("": none).
func (c *Controller) Rollback(ctx context.Context, id string, kinds []driver.Kind, from string, o PassOptions) (*Pass, error) {
	to, err := RollsTo(c.Store, id)
	if err != nil {
		return nil, err
	}
	s, err := c.SiteOf(to, kinds)
	if err != nil {
		return nil, err
	}
	devices, err := s.Devices(ctx, false)
	if err != nil {
		return nil, err
	}
	defer reconcile.Close(devices)
	o.rollsTo = to.ID
	p, err := c.Pass(ctx, s, devices, o)
	if err == nil && (p.Result == Applied || p.Result == InSync) && from != "" && s.Config.Hash != from {
		err = c.RolledBackFrom(from)
	}
	return p, err
}

// Pinned gives the site that was gone back to, where a site directory is the one that
// was gone back from; nil where it is not.
func (c *Controller) Pinned(hash string, kinds []driver.Kind) (*reconcile.Site, string, error) {
	back, err := c.rolledBack(hash)
	if err != nil || !back {
		return nil, "", err
	}
	a, err := c.Store.Newest(func(a store.Apply) bool { return a.State == store.Confirmed && a.Inputs != "" })
	if errors.Is(err, store.ErrNotFound) {
		return nil, "", errors.New("a site directory was gone back from, and the history does not tell to what")
	}
	if err != nil {
		return nil, "", err
	}
	s, err := c.SiteOf(a, kinds)
	return s, a.ID, err
}

// RolledBackFrom holds a site directory, by its hash.
func (c *Controller) RolledBackFrom(hash string) error {
	return c.Store.PutSetting(settingRolledBack, hash)
}

// rolledBack reports whether a site directory was gone back from.
func (c *Controller) rolledBack(hash string) (bool, error) {
	return c.isSetting(settingRolledBack, hash)
}
