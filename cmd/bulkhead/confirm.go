package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"bulkhead/pkg/apply"
	"bulkhead/pkg/diag"
	"bulkhead/pkg/driver"
	"bulkhead/pkg/plan"
	"bulkhead/pkg/reconcile"
	"bulkhead/pkg/store"
)

func (a *app) confirmCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "confirm [APPLY]",
		Short: "make a change permanent that is on trial",
		Long: `Make the change permanent that "bulkhead apply" has put on trial. It is refused once
the devices have gone back to what they held before, and where what they hold on trial
is not what was proved.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return a.endWaiting(cmd.Context(), args, true) },
	}
}

// endWaiting confirms the apply that waits for it, or takes it back.
func (a *app) endWaiting(ctx context.Context, args []string, confirm bool) error {
	s, err := a.loaded(ctx, true)
	if err != nil {
		return err
	}
	st, err := a.openState(s, "confirm")
	if err != nil {
		return err
	}
	defer st.Close()
	j, err := apply.Waiting(st)
	if err != nil {
		if errors.Is(err, apply.ErrNothingOnTrial) {
			err = withCode(exitRefused, fmt.Errorf("%w: \"bulkhead history\" tells what became of the last apply", err))
		}
		return err
	}
	if len(args) > 0 {
		named, err := st.Apply(args[0])
		if err != nil {
			return err
		}
		if named.ID != j.Apply.ID {
			return withCode(exitRefused, fmt.Errorf("apply %s is %s; the one on trial is %s", named.ID, named.State, j.Apply.ID))
		}
	}
	done, err := a.endTrial(ctx, st, s, j.Apply.ID, confirm)
	if done.State != "" && done.State != store.Running {
		fmt.Fprintf(a.err, "apply %s: %s\n", done.ID, done.State)
	}
	switch {
	case errors.Is(err, driver.ErrTooLate):
		return withCode(exitRefused, fmt.Errorf("too late: %w", err))
	case err != nil:
		return withCode(exitPartial, err)
	}
	person, host := who()
	what := "confirm"
	if !confirm {
		what = "take back"
	}
	if _, err := st.AppendAudit(store.Entry{Who: person, From: host, Action: what, Object: done.ID, Result: string(done.State)}); err != nil {
		return err
	}
	if confirm {
		return a.noteConfirmed(st, done)
	}
	return nil
}

// noteConfirmed notes the points that enforce from now on, by the plan of the apply.
func (a *app) noteConfirmed(st *store.Store, done store.Apply) error {
	if done.Plan == "" {
		return nil
	}
	kept, err := st.Plan(done.Plan)
	if err != nil {
		return err
	}
	body, err := st.Blob(kept.Hash)
	if err != nil {
		return err
	}
	var p plan.Plan
	if err := json.Unmarshal(body, &p); err != nil {
		return fmt.Errorf("the plan of apply %s cannot be read: %w", done.ID, err)
	}
	var out []apply.Outcome
	for _, r := range done.Results {
		out = append(out, apply.Outcome{Points: []string{r.Point}, Applied: r.State == store.Confirmed})
	}
	return noteEnforced(st, &p, out)
}

// endTrial confirms an apply or takes it back.
func (a *app) endTrial(ctx context.Context, st *store.Store, s *reconcile.Site, id string, confirm bool) (store.Apply, error) {
	j, err := st.Journal(id)
	if err != nil {
		return j.Apply, err
	}
	devices, err := s.Devices(ctx, false)
	if err != nil {
		return j.Apply, err
	}
	on, err := s.OnTrial(devices, j)
	if err != nil {
		return j.Apply, err
	}
	return a.executor().EndTrial(ctx, st, j, on, confirm)
}

// noTrial refuses where a device still holds a change on trial: it would be the
// ground on which the next one is planned, and may go away under it.
func (a *app) noTrial(ctx context.Context, st *store.Store, s *reconcile.Site) error {
	j, err := apply.Waiting(st)
	if errors.Is(err, apply.ErrNothingOnTrial) {
		return nil
	}
	if err != nil {
		return err
	}
	left := j.Apply.Deadline.Sub(a.now())
	if left <= 0 {
		return nil
	}
	devices, err := s.Devices(ctx, false)
	if err != nil {
		return err
	}
	for _, d := range devices {
		on, err := onTrial(ctx, d)
		if err != nil {
			return fmt.Errorf("apply %s may be on trial for another %s, and that cannot be looked up: device %s: %w", j.Apply.ID, left.Round(time.Second), d.Name, err)
		}
		if on {
			return withCode(exitRefused, fmt.Errorf("apply %s of %s is on trial for another %s: confirm it (bulkhead confirm), take it back (bulkhead rollback) or wait",
				j.Apply.ID, diag.Safe(j.Apply.Who), left.Round(time.Second)))
		}
	}
	return nil // its controller died before it came to that, or after it was confirmed
}

func onTrial(ctx context.Context, d *reconcile.Device) (bool, error) {
	if d.Err != nil {
		return false, d.Err
	}
	t, ok := d.Driver.(driver.Trier)
	if !ok {
		return false, nil
	}
	now, err := d.Driver.Read(ctx)
	if err != nil {
		return false, err
	}
	x := t.Trial(now)
	return x != nil && x.Left > 0, nil
}
