package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"bulkhead/pkg/controller"
	"bulkhead/pkg/daemon"
	"bulkhead/pkg/diag"
	"bulkhead/pkg/reconcile"
)

// override is for a time and a reason.
type override struct {
	long   time.Duration
	reason string
}

func overrideFlags(cmd *cobra.Command, o *override, long time.Duration) {
	if long > 0 {
		cmd.Flags().DurationVar(&o.long, "for", long, "for how long")
	}
	cmd.Flags().StringVar(&o.reason, "reason", "", "why (wanted)")
	_ = cmd.MarkFlagRequired("reason")
}

func (a *app) quarantineCmd() *cobra.Command {
	var o override
	cmd := &cobra.Command{
		Use:   "quarantine ASSET",
		Short: "cut an asset off, live flows included, whatever policy says",
		Long: `Nothing passes to or from the asset any more, at every point that enforces, but what
is essential; its live flows end. It is refused for the points themselves and for the
ends of failsafe flows. "release" takes it back, and so does time.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.overridden(cmd.Context(), pathOf("assets", args[0], "quarantine"), o, func(ctx context.Context, c *controller.Controller, s *reconcile.Site, devices []*reconcile.Device) (daemon.DoneAnswer, error) {
				q := reconcile.Quarantine{Asset: args[0], Until: a.now().Add(o.long), Who: c.Who, Reason: o.reason}
				waits, err := c.Quarantine(ctx, s, devices, q)
				return daemon.DoneAnswer{Done: "asset " + args[0] + " is in quarantine", Until: q.Until, Waits: waits}, err
			})
		},
	}
	overrideFlags(cmd, &o, daemon.DefaultQuarantine)
	return cmd
}

func (a *app) releaseCmd() *cobra.Command {
	var o override
	cmd := &cobra.Command{
		Use:   "release ASSET",
		Short: "end an asset's quarantine",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.overridden(cmd.Context(), pathOf("assets", args[0], "release"), o, func(ctx context.Context, c *controller.Controller, s *reconcile.Site, devices []*reconcile.Device) (daemon.DoneAnswer, error) {
				out := daemon.DoneAnswer{Done: "asset " + args[0] + " is released"}
				for _, d := range devices {
					out.Waits = append(out.Waits, d.Name)
				}
				return out, c.Release(args[0], c.Who, o.reason)
			})
		},
	}
	overrideFlags(cmd, &o, 0)
	return cmd
}

func (a *app) openCmd() *cobra.Command {
	var o override
	cmd := &cobra.Command{
		Use:   "open POINT",
		Short: "break-glass: a point drops nothing for a time, and then enforces again by itself",
		Long: `The point only observes for a time. It goes back to enforcing by a timer in the device
itself, also if no controller is alive then; "close" ends it before. Meanwhile nothing
else is applied.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.overridden(cmd.Context(), pathOf("points", args[0], "open"), o, func(ctx context.Context, c *controller.Controller, s *reconcile.Site, devices []*reconcile.Device) (daemon.DoneAnswer, error) {
				done, err := c.Open(ctx, s, devices, args[0], o.long, o.reason)
				return daemon.DoneAnswer{Done: "point " + args[0] + " drops nothing", Until: done.Deadline}, onTrial(err)
			})
		},
	}
	overrideFlags(cmd, &o, daemon.DefaultOpen)
	return cmd
}

func (a *app) closeCmd() *cobra.Command {
	o := override{reason: "closed"}
	return &cobra.Command{
		Use:   "close POINT",
		Short: "end break-glass before its time",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.overridden(cmd.Context(), pathOf("points", args[0], "close"), o, func(ctx context.Context, c *controller.Controller, s *reconcile.Site, devices []*reconcile.Device) (daemon.DoneAnswer, error) {
				_, err := c.Close(ctx, s, args[0])
				return daemon.DoneAnswer{Done: "point " + args[0] + " enforces again"}, err
			})
		},
	}
}

// overridden has the daemon do something, or does it where none runs.
func (a *app) overridden(ctx context.Context, path string, o override, alone func(context.Context, *controller.Controller, *reconcile.Site, []*reconcile.Device) (daemon.DoneAnswer, error)) error {
	d, err := a.daemon()
	if err != nil {
		return err
	}
	var out daemon.DoneAnswer
	if d != nil {
		call := daemon.OverrideCall{Reason: o.reason}
		if o.long > 0 {
			call.For = o.long.String()
		}
		if err := d.call(ctx, "POST", path, call, &out); err != nil {
			return err
		}
		a.sayDone(&out, true)
		return nil
	}
	s, err := a.loaded(ctx, true)
	if err != nil {
		return err
	}
	return a.controlling(ctx, s, "override", func(c *controller.Controller, devices []*reconcile.Device) error {
		out, err := alone(ctx, c, s, devices)
		if err != nil {
			return withCode(exitRefused, err)
		}
		a.sayDone(&out, false)
		return nil
	})
}

func (a *app) sayDone(out *daemon.DoneAnswer, daemon bool) {
	line := diag.Safe(out.Done)
	if !out.Until.IsZero() {
		line += " until " + out.Until.Local().Format("2006-01-02 15:04:05")
	}
	fmt.Fprintln(a.out, line)
	for _, w := range out.Waits {
		if daemon {
			fmt.Fprintf(a.err, "%s follows with the next pass, which has begun\n", diag.Safe(w))
		} else {
			fmt.Fprintf(a.err, "%s follows with the next apply\n", diag.Safe(w))
		}
	}
}

func (a *app) approveCmd() *cobra.Command {
	var o applyOptions
	cmd := &cobra.Command{
		Use:   "approve PLAN",
		Short: "approve the plan that waits, and have it applied",
		Long: `With "approval: required" in the settings a plan is applied when a second person approves
it by its ID, which "bulkhead plan" and the daemon show. That plan is applied and no other:
one that is stale is refused.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := o.check(); err != nil {
				return err
			}
			d, err := a.daemon()
			if err != nil {
				return err
			}
			if d == nil {
				return a.approveAlone(cmd.Context(), args[0], o)
			}
			var p daemon.PassAnswer
			if err := d.call(cmd.Context(), "POST", pathOf("plans", args[0], "approve"), daemon.ApproveCall{Accept: o.accept, Reason: o.reason}, &p); err != nil {
				return err
			}
			return a.sayPass(&p)
		},
	}
	f := cmd.Flags()
	f.StringSliceVar(&o.accept, "accept", nil, "accept a brake by its name")
	f.StringVar(&o.reason, "reason", "", "why; wanted with --accept")
	return cmd
}

// approveAlone applies a plan that somebody has seen where no daemon runs.
func (a *app) approveAlone(ctx context.Context, id string, o applyOptions) error {
	s, err := a.load(ctx, o.accept)
	if err != nil {
		return err
	}
	return a.controlling(ctx, s, "approve", func(c *controller.Controller, devices []*reconcile.Device) error {
		reason := "approved by " + c.Who
		if o.reason != "" {
			reason += ": " + o.reason
		}
		p, err := c.Pass(ctx, s, devices, controller.PassOptions{Plan: id, Approved: true, Accept: o.accept, Reason: reason})
		if errors.Is(err, controller.ErrStale) {
			return withCode(exitRefused, err)
		}
		if p == nil {
			return err
		}
		said := daemon.PassAnswer{Result: p.Result, Why: p.Why}
		if p.Apply != nil {
			said.Apply = p.Apply.Apply.ID
		}
		return errors.Join(err, a.sayPass(&said))
	})
}

// sayPass prints what a pass of the daemon came to.
func (a *app) sayPass(p *daemon.PassAnswer) error {
	switch {
	case p.Apply != "" && p.Result == controller.Applied:
		fmt.Fprintf(a.err, "apply %s: confirmed\n", p.Apply)
	case p.Apply != "":
		fmt.Fprintf(a.err, "apply %s: %s\n", p.Apply, p.Result)
	default:
		fmt.Fprintf(a.err, "%s\n", p.Result)
	}
	return passExit(&controller.Pass{Result: p.Result, Why: p.Why})
}
