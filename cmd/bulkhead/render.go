package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"bulkhead/pkg/diag"
	"bulkhead/pkg/driver"
	"bulkhead/pkg/reconcile"
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
				return d, nil
			}
		}
	}
	return nil, fmt.Errorf("no point %q", point)
}

func (a *app) removeCmd() *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use:   "remove POINT",
		Short: "take a point's objects off its device; nothing of others is touched",
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
			if d.Err != nil {
				return d.Err
			}
			ch, err := s.Removal(cmd.Context(), d, args[0])
			if err != nil {
				return err
			}
			if ch.Empty() {
				fmt.Fprintf(a.out, "point %s has nothing installed\n", args[0])
				return nil
			}
			a.printOps(ch)
			if !yes {
				if err := a.ask(cmd.Context(), fmt.Sprintf("Point %s will filter nothing any more. Remove?", args[0])); err != nil {
					return err
				}
			}
			if err := d.Driver.Apply(cmd.Context(), ch); err != nil {
				return err
			}
			rest, err := s.Removal(cmd.Context(), d, args[0])
			if err != nil {
				return fmt.Errorf("point %s was removed, and the device could not be read again: %w", args[0], err)
			}
			if !rest.Empty() {
				return withCode(exitPartial, fmt.Errorf("point %s is not removed: the device still holds %d objects of ours, the first is %s", args[0], len(rest.Ops), rest.Ops[0].Object))
			}
			fmt.Fprintf(a.out, "point %s removed\n", args[0])
			return a.forget(s, args[0])
		},
	}
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	return cmd
}

func (a *app) printOps(ch *driver.Change) {
	for _, op := range ch.Ops {
		fmt.Fprintln(a.out, diag.Safe(fmt.Sprintf("%s %s %s", op.Action, op.Object, op.Before)))
	}
}
