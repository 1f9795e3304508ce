package controller

import (
	"context"
	"errors"
	"fmt"

	"bulkhead/pkg/apply"
	"bulkhead/pkg/reconcile"
	"bulkhead/pkg/store"
)

// settingUnconfirmed keeps the hash of the site directory whose apply nobody confirmed.
const settingUnconfirmed = "unconfirmed"

// BrakeUnconfirmed holds a site directory that was put on trial for somebody to confirm,
// and went back. Applied again by itself, and confirmed by itself, it would lock out
// for good whoever it had locked out for two minutes.
const BrakeUnconfirmed = "unconfirmed"

// ErrOtherTrial says that what waits to be confirmed is not what somebody means.
var ErrOtherTrial = errors.New("another change is on trial")

// WaitingFor gives the apply that is on trial: the named one if id is not "". What is
// about to be confirmed is a plan: break-glass ends, and is made permanent by nobody.
func (c *Controller) WaitingFor(id string, confirm bool) (store.Journal, error) {
	j, err := apply.Waiting(c.Store)
	if err != nil {
		return j, err
	}
	if id != "" {
		named, err := c.Store.Apply(id)
		if err != nil {
			return j, err
		}
		if named.ID != j.Apply.ID {
			return j, fmt.Errorf("%w: apply %s is %s; the one on trial is %s", ErrOtherTrial, named.ID, named.State, j.Apply.ID)
		}
	}
	if confirm && j.Apply.Plan == "" {
		return j, fmt.Errorf("%w: apply %s is no plan (%s): it goes back at its time, or by `bulkhead close POINT`", ErrOtherTrial, j.Apply.ID, j.Apply.Reason)
	}
	return j, nil
}

// notConfirmed notes that what somebody was to confirm has gone back.
func (c *Controller) notConfirmed(a store.Apply) error {
	if !a.ByHand || a.Plan == "" || a.RollsTo != "" || a.State == store.Confirmed {
		return nil
	}
	p, err := c.planOf(a)
	if err != nil {
		return err
	}
	return c.Store.PutSetting(settingUnconfirmed, p.PolicyHash)
}

// unconfirmed reports whether a site directory, by its hash, went back unconfirmed.
func (c *Controller) unconfirmed(hash string) (bool, error) {
	return c.isSetting(settingUnconfirmed, hash)
}

// isSetting reports whether a hash is what a setting keeps.
func (c *Controller) isSetting(key, hash string) (bool, error) {
	kept, err := c.Store.Setting(key)
	if errors.Is(err, store.ErrNotFound) {
		return false, nil
	}
	return kept == hash && hash != "", err
}

// wanted ends what holds a site directory, by its hash: somebody wants it after all.
func (c *Controller) wanted(hash string) error {
	var errs []error
	for _, key := range []string{settingRolledBack, settingUnconfirmed} {
		is, err := c.isSetting(key, hash)
		if is {
			err = c.Store.PutSetting(key, "")
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// Plan makes a plan and writes nothing anywhere, not even what is known of the sources.
// Where a change is on trial, it is a plan against what is in force now, and the result
// says so.
func (c *Controller) Plan(ctx context.Context, s *reconcile.Site, devices []*reconcile.Device, only []string) (*Pass, error) {
	opt, err := c.Options(only)
	if err != nil {
		return nil, err
	}
	r, err := s.RunOnce(ctx, devices, opt)
	if err != nil {
		return nil, err
	}
	p := &Pass{Plan: r.Plan, Result: Held, Why: "only a plan was wanted"}
	trial := c.NoTrial(ctx, s)
	switch {
	case errors.Is(trial, ErrOnTrial):
		p.Result, p.Why = OnTrial, trial.Error()
	case trial != nil:
		return nil, trial
	case r.Plan.Blocked() != "":
		p.Result, p.Why = Refused, r.Plan.Blocked()
	case len(r.Jobs) == 0:
		p.Result, p.Why = InSync, ""
		p.unreached()
	}
	return p, nil
}
