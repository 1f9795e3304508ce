package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"bulkhead/pkg/apply"
	"bulkhead/pkg/config"
	"bulkhead/pkg/controller"
	"bulkhead/pkg/reconcile"
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
	d, err := a.daemon()
	if err != nil {
		return err
	}
	if d != nil {
		return a.rollbackByDaemon(ctx, d, args, o)
	}
	if len(args) == 0 {
		err := a.endWaiting(ctx, nil, false)
		if !errors.Is(err, apply.ErrNothingOnTrial) {
			return err
		}
	}
	name, _, err := a.siteName()
	if err != nil {
		return err
	}
	st, err := a.openState(&reconcile.Site{Config: &config.Site{Settings: config.Settings{Name: name}}}, "rollback")
	if err != nil {
		return err
	}
	defer st.Close()
	id := ""
	if len(args) > 0 {
		id = args[0]
	}
	to, err := controller.RollsTo(st, id)
	if err != nil {
		return withCode(exitRefused, err)
	}
	c := a.controller(st)
	s, err := c.SiteOf(to, a.kinds)
	if err != nil {
		return err
	}
	if err := onTrial(c.Ready(ctx, s)); err != nil {
		return err
	}
	o.rollsTo = to.ID
	fmt.Fprintf(a.err, "going back to what apply %s of %s enforced\n", to.ID, to.Started.Local().Format("2006-01-02 15:04:05"))
	devices, err := s.Devices(ctx, false)
	if err != nil {
		return err
	}
	defer reconcile.Close(devices)
	r, err := a.planWith(ctx, c, s, devices, o)
	if err != nil || r == nil {
		return err
	}
	if err := a.carryOut(ctx, c, r, s, o); err != nil {
		return err
	}
	if cfg, _ := config.Load(a.site); cfg.Hash != s.Config.Hash {
		if err := c.RolledBackFrom(cfg.Hash); err != nil {
			return err
		}
	}
	fmt.Fprintf(a.err, "the site directory %q still says otherwise: the next apply plans that again; `reconcile` and the daemon leave it until it changes\n", a.site)
	return nil
}
