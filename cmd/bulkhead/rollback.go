package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"bulkhead/pkg/apply"
	"bulkhead/pkg/config"
	"bulkhead/pkg/reconcile"
	"bulkhead/pkg/store"
)

func (a *app) rollbackCmd() *cobra.Command {
	var o applyOptions
	cmd := &cobra.Command{
		Use:   "rollback [APPLY]",
		Short: "take back a change that is on trial, or go back to what an earlier apply enforced",
		Long: `Without an argument: take back the change that is on trial; if none is, go back to
what the confirmed apply before the last one enforced. With the ID of an apply: go back
to what that one enforced.

Going back is a plan like any other, from the policy and the inventory as they were
then: it is proved, the brakes hold it, and it is on trial until it is confirmed.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.rollback(cmd.Context(), args, o)
		},
	}
	applyFlags(cmd, &o)
	return cmd
}

func (a *app) rollback(ctx context.Context, args []string, o applyOptions) error {
	if err := o.check(); err != nil {
		return err
	}
	if len(args) == 0 {
		err := a.endWaiting(ctx, nil, false)
		if !errors.Is(err, apply.ErrNothingOnTrial) {
			return err
		}
	}
	name, dir, err := a.siteName()
	if err != nil {
		return err
	}
	st, err := a.openState(&reconcile.Site{Config: &config.Site{Settings: config.Settings{Name: name}}}, "rollback")
	if err != nil {
		return err
	}
	defer st.Close()
	to, err := rollsTo(st, args)
	if err != nil {
		return err
	}
	if to.Inputs == "" {
		return fmt.Errorf("apply %s in %q does not hold what it was made from: it was made by an earlier version", to.ID, dir)
	}
	inputs, err := st.Blob(to.Inputs)
	if err != nil {
		return err
	}
	s, diags, err := reconcile.FromInputs(inputs, a.now(), a.kinds)
	if err != nil {
		return err
	}
	if diags.HasErrors() {
		if err := diags.Render(a.err, reconcile.Source(a.site, s)); err != nil {
			return err
		}
		return fmt.Errorf("the site of apply %s has errors by this version; nothing was written to any device", to.ID)
	}
	c := a.controller(st)
	if err := onTrial(c.NoTrial(ctx, s)); err != nil {
		return err
	}
	o.rollsTo = to.ID
	fmt.Fprintf(a.err, "going back to what apply %s of %s enforced\n", to.ID, to.Started.Local().Format("2006-01-02 15:04:05"))
	r, err := a.planWith(ctx, c, s, o)
	if err != nil || r == nil {
		return err
	}
	if err := a.carryOut(ctx, c, r, s, o); err != nil {
		return err
	}
	fmt.Fprintf(a.err, "the site directory %q still says otherwise: the next apply plans that again\n", a.site)
	return nil
}

// rollsTo finds the apply to go back to.
func rollsTo(st *store.Store, args []string) (store.Apply, error) {
	if len(args) > 0 {
		to, err := st.Apply(args[0])
		if err == nil && to.State != store.Confirmed {
			err = withCode(exitRefused, fmt.Errorf("apply %s is %s: only what was confirmed can be gone back to", to.ID, to.State))
		}
		return to, err
	}
	all, err := st.History(0)
	if err != nil {
		return store.Apply{}, err
	}
	var confirmed []store.Apply
	for _, x := range all {
		if x.State == store.Confirmed {
			confirmed = append(confirmed, x)
		}
	}
	if len(confirmed) < 2 {
		return store.Apply{}, withCode(exitRefused, fmt.Errorf("there is no apply before the last one to go back to: `bulkhead remove POINT` takes everything off"))
	}
	return confirmed[1], nil
}
