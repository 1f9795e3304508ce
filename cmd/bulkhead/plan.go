package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"bulkhead/pkg/controller"
	"bulkhead/pkg/daemon"
	"bulkhead/pkg/diag"
	"bulkhead/pkg/plan"
	"bulkhead/pkg/reconcile"
)

func (a *app) planCmd() *cobra.Command {
	var format, out string
	var detailed bool
	var points, accept []string
	cmd := &cobra.Command{
		Use:   "plan",
		Short: "show what would change, flows first; writes to no device",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			p, err := a.planned(cmd.Context(), points, accept)
			if err != nil {
				return err
			}
			if err := a.writePlan(p, format, out); err != nil {
				return err
			}
			return planExit(p, detailed)
		},
	}
	outputFlag(cmd, &format, "text", "json", "markdown", "html")
	cmd.Flags().StringVar(&out, "out", "", "write to this file instead of standard output")
	cmd.Flags().BoolVar(&detailed, "detailed-exitcode", false, "exit with 2 if there are changes")
	cmd.Flags().StringSliceVar(&points, "point", nil, "only these points (and those that share their device)")
	cmd.Flags().StringSliceVar(&accept, "accept", nil, "plan as if this brake were accepted: with source-lost, what sources lost is gone")
	return cmd
}

// planExit turns what a plan says into an exit code.
func planExit(p *plan.Plan, detailed bool) error {
	if why := p.Blocked(); why != "" {
		return withCode(exitRefused, fmt.Errorf("this plan cannot be applied: %s", why))
	}
	var down []string
	for _, pt := range p.Points {
		if pt.Status == plan.Unreachable || pt.Status == plan.Refused {
			down = append(down, fmt.Sprintf("point %q: %s", pt.Name, pt.Error))
		}
	}
	if len(down) > 0 {
		code := exitError
		if !slices.ContainsFunc(p.Points, func(x plan.Point) bool { return x.Status == plan.Unreachable }) {
			code = exitRefused
		}
		return withCode(code, fmt.Errorf("no plan for %s", strings.Join(down, "; ")))
	}
	if detailed && p.HasChanges() {
		return withCode(exitPending, errSaid)
	}
	return nil
}

// planned makes a plan, or has a running daemon make it.
func (a *app) planned(ctx context.Context, only, accept []string) (*plan.Plan, error) {
	if err := knownBrakes(accept); err != nil {
		return nil, err
	}
	if d := a.reader(ctx); d != nil {
		var p daemon.PassAnswer
		err := d.call(ctx, "POST", pathOf("plan"), daemon.PlanCall{Accept: accept, Points: only}, &p)
		var no *notAllowed
		switch {
		case errors.As(err, &no), errors.Is(err, errBadSite): // all mistakes are said where the site is loaded
			a.alone(err)
		case err != nil:
			return nil, err
		default:
			fmt.Fprint(a.err, p.Notes)
			if p.Result == controller.OnTrial {
				fmt.Fprintln(a.err, diag.Safe(p.Why))
			}
			return p.Plan, nil
		}
	}
	r, err := a.plan(ctx, only, accept)
	if err != nil {
		return nil, err
	}
	return r.Plan, nil
}

// plan makes a plan of the whole site, or of some points. It locks nothing.
func (a *app) plan(ctx context.Context, only, accept []string) (*reconcile.Result, error) {
	s, err := a.load(ctx, accept)
	if err != nil {
		return nil, err
	}
	enforced, err := a.enforced(s)
	if err != nil {
		return nil, err
	}
	st, err := a.readState(s.Config.Settings.Name)
	if err != nil {
		return nil, err
	}
	if st != nil {
		defer st.Close()
	}
	opt, err := controller.StateOptions(st, only)
	if err != nil {
		return nil, err
	}
	opt.Enforced = enforced
	devices, err := s.Devices(ctx, false)
	if err != nil {
		return nil, err
	}
	defer reconcile.Close(devices)
	return planOf(ctx, s, devices, opt)
}

func planOf(ctx context.Context, s *reconcile.Site, devices []*reconcile.Device, opt reconcile.Options) (*reconcile.Result, error) {
	if err := knownPoints(s, opt.Only); err != nil {
		return nil, err
	}
	return s.RunOnce(ctx, devices, opt)
}

func knownPoints(s *reconcile.Site, names []string) error {
	var all []string
	for _, p := range s.Config.Settings.Points {
		all = append(all, p.Name)
	}
	for _, n := range names {
		if !slices.Contains(all, n) {
			return fmt.Errorf("no point %q in bulkhead.yaml%s", n, didYouMean(n, all))
		}
	}
	return nil
}

// writePlan renders a plan to standard output or to a file.
func (a *app) writePlan(p *plan.Plan, format, out string) error {
	var text []byte
	var err error
	switch format {
	case "json":
		text, err = plan.JSON(p)
	case "markdown":
		text = plan.Markdown(p)
	case "html":
		text, err = plan.HTML(p)
	default:
		text = plan.Text(p, a.colour(out))
	}
	if err != nil {
		return err
	}
	if out == "" || out == "-" {
		_, err = a.out.Write(text)
		return err
	}
	if err := os.WriteFile(out, text, 0o600); err != nil {
		return fmt.Errorf("cannot write the plan: %w", err)
	}
	fmt.Fprintf(a.err, "plan %s written to %s\n", p.ID, out)
	return nil
}

// colour reports whether the text goes to a terminal that wants colour.
func (a *app) colour(out string) bool {
	if out != "" || os.Getenv("NO_COLOR") != "" || os.Getenv("TERM") == "dumb" {
		return false
	}
	f, ok := a.out.(*os.File)
	if !ok {
		return false
	}
	st, err := f.Stat()
	return err == nil && st.Mode()&os.ModeCharDevice != 0
}
