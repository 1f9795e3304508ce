package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"bulkhead/pkg/apply"
	"bulkhead/pkg/diag"
	"bulkhead/pkg/driver"
	"bulkhead/pkg/reconcile"
	"bulkhead/pkg/store"
)

func (a *app) renderCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "render POINT",
		Short: "print the native configuration of a point; reads no device",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := a.loaded(cmd.Context(), true)
			if err != nil {
				return err
			}
			d, err := deviceOf(cmd.Context(), s, args[0])
			if err != nil {
				return err
			}
			defer driver.Close(d.Driver)
			if d.Err != nil {
				return d.Err
			}
			text, err := s.RenderText(d)
			if err != nil {
				return err
			}
			fmt.Fprint(a.out, text)
			return nil
		},
	}
}

// deviceOf opens the device of a point, and no other one. Its driver is to be closed.
func deviceOf(ctx context.Context, s *reconcile.Site, point string) (*reconcile.Device, error) {
	if err := knownPoints(s, []string{point}); err != nil {
		return nil, err
	}
	devices, err := s.Devices(ctx, false)
	if err != nil {
		return nil, err
	}
	for _, d := range devices {
		for _, p := range d.Points {
			if p.Name == point {
				reconcile.CloseBut(devices, []*reconcile.Device{d})
				return d, nil
			}
		}
	}
	reconcile.Close(devices)
	return nil, fmt.Errorf("no point %q", point)
}

func (a *app) removeCmd() *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use:   "remove POINT",
		Short: "take a point's objects off its device; nothing of others is touched",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.remove(cmd.Context(), args[0], yes)
		},
	}
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	return cmd
}

func (a *app) remove(ctx context.Context, point string, yes bool) error {
	s, err := a.loaded(ctx, true)
	if err != nil {
		return err
	}
	d, err := deviceOf(ctx, s, point)
	if err != nil {
		return err
	}
	defer driver.Close(d.Driver)
	if d.Err != nil {
		return d.Err
	}
	st, err := a.openState(s, "remove")
	if err != nil {
		return err
	}
	defer st.Close()
	if err := onTrial(a.controller(st).Ready(ctx, s)); err != nil {
		return err
	}
	ch, err := s.Removal(ctx, d, point)
	if err != nil {
		return err
	}
	if ch.Empty() {
		fmt.Fprintf(a.out, "point %s has nothing installed\n", point)
		return nil
	}
	a.printOps(ch)
	if !yes {
		if err := a.ask(ctx, fmt.Sprintf("Point %s will filter nothing any more. Remove?", point)); err != nil {
			return err
		}
	}
	x := store.Apply{Reason: "remove point " + point}
	x.Who, x.From = who()
	if x, err = apply.Begin(st, x, []apply.Job{s.RemovalJob(d, point, ch)}); err != nil {
		return err
	}
	err = a.takeOff(ctx, s, d, point, ch)
	state, why := store.Confirmed, ""
	if err != nil {
		state, why = store.Failed, err.Error()
	}
	storeErr := st.FinishApply(x.ID, state, []store.PointResult{{Point: point, State: state, Error: why}})
	if err == nil {
		storeErr = errors.Join(storeErr, forget(st, point))
	}
	if storeErr != nil {
		storeErr = fmt.Errorf("the removal of point %s could not be written down: %w", point, storeErr)
	}
	return errors.Join(err, storeErr)
}

func (a *app) takeOff(ctx context.Context, s *reconcile.Site, d *reconcile.Device, point string, ch *driver.Change) error {
	if err := d.Driver.Apply(ctx, ch); err != nil {
		return err
	}
	rest, err := s.Removal(ctx, d, point)
	if err != nil {
		return fmt.Errorf("point %s was removed, and the device could not be read again: %w", point, err)
	}
	if !rest.Empty() {
		return withCode(exitPartial, fmt.Errorf("point %s is not removed: the device still holds %d objects of ours, the first is %s", point, len(rest.Ops), rest.Ops[0].Object))
	}
	fmt.Fprintf(a.out, "point %s removed\n", point)
	return nil
}

// forget takes a point out of the list of those that have enforced.
func forget(st *store.Store, point string) error {
	e, err := st.Enforced()
	if err != nil || !e[point] {
		return err
	}
	delete(e, point)
	return st.SetEnforced(e)
}

func (a *app) printOps(ch *driver.Change) {
	for _, op := range ch.Ops {
		fmt.Fprintln(a.out, diag.Safe(fmt.Sprintf("%s %s %s", op.Action, op.Object, op.Before)))
	}
}
