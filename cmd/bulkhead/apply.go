package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"bulkhead/pkg/apply"
	"bulkhead/pkg/controller"
	"bulkhead/pkg/diag"
	"bulkhead/pkg/driver"
	"bulkhead/pkg/plan"
	"bulkhead/pkg/reconcile"
)

type applyOptions struct {
	yes    bool
	accept []string
	reason string
	points []string
	format string
	// confirm is how long the change stays on trial; negative is what the site says.
	confirm time.Duration
	auto    bool
	// file is a saved plan that alone may be applied; "" is none.
	file    string
	rollsTo string // the apply that is gone back to
}

func (a *app) applyCmd() *cobra.Command {
	var o applyOptions
	cmd := &cobra.Command{
		Use:   "apply [PLAN.json]",
		Short: "make the devices enforce the policy, proved before and after",
		Long: `Plan, prove, change the devices, read them back and prove again. If a device then
does not hold what was meant, the previous state is put back on all of them.

Where a device can hold a change on trial, it goes back to what it held before by
itself unless the change is confirmed in time: with an answer here, by "bulkhead
confirm", or by --auto-confirm. That needs no controller and no way to the device, so
that a change which locks its operator out undoes itself.

With a file that "plan -o json --out FILE" wrote, apply does exactly that plan and
refuses if policy, inventory or a device has moved since.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			file := ""
			if len(args) > 0 {
				file = args[0]
			}
			return a.apply(cmd.Context(), file, o)
		},
	}
	applyFlags(cmd, &o)
	return cmd
}

// applyFlags are those of every command that changes devices by a plan.
func applyFlags(cmd *cobra.Command, o *applyOptions) {
	f := cmd.Flags()
	f.BoolVarP(&o.yes, "yes", "y", false, "do not ask")
	f.StringSliceVar(&o.accept, "accept", nil, "accept a brake by its name")
	f.StringVar(&o.reason, "reason", "", "why; wanted with --accept")
	f.StringSliceVar(&o.points, "point", nil, "only these points (and those that share their device)")
	f.BoolVar(&o.auto, "auto-confirm", false, "confirm as soon as everything is proved")
	f.DurationVar(&o.confirm, "confirm-timeout", -1, "how long the change waits to be confirmed; 0 makes it for good at once (default: the site's confirm_timeout)")
	f.Lookup("confirm-timeout").DefValue = "" // -1 is nobody's business
	outputFlag(cmd, &o.format, "text", "json")
}

func (o *applyOptions) check() error {
	if len(o.accept) > 0 && strings.TrimSpace(o.reason) == "" {
		return fmt.Errorf("--accept needs --reason: say why, so that others can read it later")
	}
	if err := knownBrakes(o.accept); err != nil {
		return err
	}
	if o.confirm > 0 && o.confirm < minConfirm {
		return fmt.Errorf("--confirm-timeout %s: too short to read a device back and prove it; at least %s, or 0 for no trial", o.confirm, minConfirm)
	}
	return nil
}

func (a *app) apply(ctx context.Context, file string, o applyOptions) error {
	if err := o.check(); err != nil {
		return err
	}
	if d, err := a.daemon(); err != nil {
		return err
	} else if d != nil {
		return a.applyByDaemon(ctx, d, file, o)
	}
	s, err := a.load(ctx, o.accept)
	if err != nil {
		return err
	}
	// From before the plan to the end: two controllers must not plan against each other.
	st, err := a.openState(s, "apply")
	if err != nil {
		return err
	}
	defer st.Close()
	c := a.controller(st)
	if err := onTrial(c.Ready(ctx, s)); err != nil {
		return err
	}
	o.file = file
	devices, err := s.Devices(ctx, false)
	if err != nil {
		return err
	}
	defer reconcile.Close(devices)
	r, err := a.planWith(ctx, c, s, devices, o)
	if err != nil || r == nil {
		return err
	}
	return a.carryOut(ctx, c, r, s, o)
}

// planWith plans, settles what a dead controller left, shows the plan, and asks
// whoever has to be asked. It returns nil where there is nothing to do.
func (a *app) planWith(ctx context.Context, c *controller.Controller, s *reconcile.Site, devices []*reconcile.Device, o applyOptions) (*reconcile.Result, error) {
	opt, err := c.Options(o.points)
	if err != nil {
		return nil, err
	}
	if err := c.Remember(s, ""); err != nil {
		return nil, err
	}
	opt.Lasting = true
	r, err := planOf(ctx, s, devices, opt)
	if err != nil {
		return nil, err
	}
	if err := c.Settle(s, r.Plan); err != nil {
		return nil, fmt.Errorf("cannot end an apply that was left unfinished: %w; nothing was written to any device", err)
	}
	if o.file != "" {
		if err := samePlan(o.file, r.Plan); err != nil {
			return nil, err
		}
	}
	if o.format == "text" && o.file == "" {
		if _, err := a.out.Write(plan.Text(r.Plan, a.colour(""))); err != nil {
			return nil, err
		}
	}
	if err := planExit(r.Plan, false); err != nil {
		return nil, err
	}
	if len(r.Jobs) == 0 {
		if err := c.Remember(s, o.reason); err != nil {
			return nil, err
		}
		fmt.Fprintln(a.err, "nothing to do: every point enforces what policy says")
		return nil, a.said(o.format, r.Plan, nil)
	}
	if err := brakesAccepted(r.Plan, o.accept); err != nil {
		return nil, err
	}
	if o.rollsTo == "" {
		why, err := c.NeedsApproval(s, r.Plan)
		if err != nil {
			return nil, err
		}
		if why != "" {
			return nil, withCode(exitRefused, fmt.Errorf("%s: a second person applies it with `bulkhead approve %s`", why, r.Plan.ID))
		}
	}
	if !o.yes {
		if err := a.ask(ctx, fmt.Sprintf("Apply plan %s?", r.Plan.ID)); err != nil {
			return nil, err
		}
	}
	return r, c.Remember(s, o.reason)
}

// minConfirm is the shortest trial that an operator can make use of.
const minConfirm = 5 * time.Second

// carryOut applies the jobs, and writes down before and after what is done, by whom
// and why.
func (a *app) carryOut(ctx context.Context, c *controller.Controller, r *reconcile.Result, s *reconcile.Site, o applyOptions) error {
	order := controller.Order{Reason: o.reason, RollsTo: o.rollsTo, Timeout: o.confirm, Confirm: o.auto}
	if o.confirm < 0 {
		order.Timeout = s.Config.Settings.ConfirmTimeout
	}
	done, runErr := c.Apply(ctx, s, r, order)
	if done.Apply.ID == "" { // it never began
		return runErr
	}
	outcomes, storeErr := done.Outcomes, done.Store
	waits := runErr == nil && controller.Waits(&done)
	if waits && !o.yes {
		// The devices stay on trial while somebody is asked: who was locked out cannot
		// answer.
		a.sayProofs(outcomes)
		asked, cancel := context.WithDeadline(ctx, done.Apply.Deadline)
		yes := a.ask(asked, trialQuestion(done.Apply.ID, done.Apply.Deadline))
		cancel()
		// An operator who gives up takes it back, too.
		j, err := c.Store.Journal(done.Apply.ID)
		if err == nil {
			done.Apply, err = c.EndTrial(context.WithoutCancel(ctx), s, j, yes == nil)
		}
		if err != nil {
			return trialExit(err)
		}
		if yes != nil {
			fmt.Fprintf(a.err, "apply %s: %s\n", done.Apply.ID, done.Apply.State)
			return errNobodyConfirmed
		}
		for i := range outcomes {
			outcomes[i].Until = time.Time{}
		}
		waits = false
	}
	storeErr = oneLine(storeErr)
	switch {
	case waits:
		var needs []string
		for _, j := range r.Jobs {
			if _, ok := j.Driver.(driver.Trier); !ok {
				needs = append(needs, j.Device)
			}
		}
		fmt.Fprintln(a.err, trialNote(done.Apply.ID, done.Apply.Deadline, needs...))
	default:
		fmt.Fprintf(a.err, "apply %s: %s\n", done.Apply.ID, done.Apply.State)
	}
	if err := a.said(o.format, r.Plan, outcomes); err != nil {
		return err
	}
	if runErr != nil {
		if storeErr != nil {
			runErr = fmt.Errorf("%w; besides, %w: the history is not complete", runErr, storeErr)
		}
		return applyExit(r.Jobs, outcomes, runErr)
	}
	if o.yes {
		a.sayProofs(outcomes)
	}
	if storeErr != nil {
		return fmt.Errorf("everything was applied and proved, but %w: the history is not complete, and a point that loses its rules may be taken for a new one", storeErr)
	}
	return nil
}

func (a *app) sayProofs(outcomes []apply.Outcome) {
	for _, out := range outcomes {
		for _, p := range out.Proof {
			if left := observingIn(p.Findings); left > 0 {
				fmt.Fprintf(a.err, "point %s: proved for when it begins to enforce, in %s; until then it observes and drops nothing\n", p.Point, left.Round(time.Second))
				continue
			}
			fmt.Fprintf(a.err, "point %s: proved (%d situations, %d pairs of address sets)\n", p.Point, p.Situations, p.Pairs)
		}
	}
}

// oneLine says errors that were joined one after the other, each once: a full disk
// refuses every write with the same words.
func oneLine(err error) error {
	if err == nil {
		return nil
	}
	var said []string
	for _, line := range strings.Split(err.Error(), "\n") {
		if !slices.Contains(said, line) {
			said = append(said, line)
		}
	}
	return errors.New(strings.Join(said, "; "))
}

// applyExit turns what became of the devices into an exit code, and lists what
// was left.
func applyExit(jobs []apply.Job, outcomes []apply.Outcome, runErr error) error {
	var left []string
	changed := false
	for i := range jobs {
		switch {
		case i >= len(outcomes):
			left = append(left, fmt.Sprintf("%s was not touched", jobs[i].Device))
		case outcomes[i].Unknown:
			changed = true
			left = append(left, fmt.Sprintf("%s may hold a part of the change: run verify", jobs[i].Device))
		case outcomes[i].Applied:
			changed = true
			left = append(left, fmt.Sprintf("%s is changed", jobs[i].Device))
		case outcomes[i].Undone:
			left = append(left, fmt.Sprintf("%s is as it was before", jobs[i].Device))
		default:
			left = append(left, fmt.Sprintf("%s was not changed", jobs[i].Device))
		}
	}
	switch {
	case changed:
		return withCode(exitPartial, fmt.Errorf("applied in part: %w\n  %s", runErr, strings.Join(left, "\n  ")))
	case errors.Is(runErr, apply.ErrNotProved), errors.Is(runErr, driver.ErrMoved), errors.Is(runErr, driver.ErrRefused):
		return withCode(exitRefused, runErr)
	}
	return runErr
}

func (a *app) said(format string, p *plan.Plan, outcomes []apply.Outcome) error {
	if format != "json" {
		return nil
	}
	return writeJSON(a.out, map[string]any{"formatVersion": "1.0", "plan": p, "outcomes": notNil(outcomes)})
}

// samePlan refuses a saved plan that is no longer what would be done.
func samePlan(file string, now *plan.Plan) error {
	b, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("cannot read the plan: %w", err)
	}
	var was plan.Plan
	if err := json.Unmarshal(b, &was); err != nil || was.ID == "" {
		return fmt.Errorf("%q is not a plan: write one with `bulkhead plan -o json --out plan.json`", file)
	}
	if was.ID == now.ID {
		return nil
	}
	var moved []string
	if was.PolicyHash != now.PolicyHash {
		moved = append(moved, "the site directory")
	}
	if was.InventoryHash != now.InventoryHash {
		moved = append(moved, "the inventory")
	}
	for _, pt := range now.Points {
		i := slices.IndexFunc(was.Points, func(x plan.Point) bool { return x.Name == pt.Name })
		if i < 0 || was.Points[i].State != pt.State {
			moved = append(moved, "point "+pt.Name)
		}
	}
	if len(moved) == 0 {
		moved = append(moved, "time (a policy expired, or another version made the plan)")
	}
	return withCode(exitRefused, fmt.Errorf("plan %s is stale: since it was made, %s moved; plan again", was.ID, strings.Join(moved, ", ")))
}

func brakesAccepted(p *plan.Plan, accept []string) error {
	var open []string
	for _, b := range p.Brakes {
		if !reconcile.Accepts(accept, b.Name) {
			open = append(open, fmt.Sprintf("  %s: %s\n", b.Name, diag.Safe(b.Saw)))
		}
	}
	if len(open) == 0 {
		return nil
	}
	names := []string{}
	for _, b := range p.Brakes {
		if !reconcile.Accepts(accept, b.Name) && !slices.Contains(names, b.Name) {
			names = append(names, b.Name)
		}
	}
	return withCode(exitRefused, fmt.Errorf("a brake holds this plan:\n%sif that is meant, repeat with --accept %s --reason \"...\"", strings.Join(open, ""), strings.Join(names, ",")))
}

// ask wants a yes. Without somebody to answer, or once the command is interrupted,
// it is a no.
func (a *app) ask(ctx context.Context, question string) error {
	if f, ok := a.in.(*os.File); ok {
		if st, err := f.Stat(); err == nil && st.Mode()&os.ModeCharDevice == 0 {
			return withCode(exitRefused, fmt.Errorf("nobody is there to confirm: repeat with --yes"))
		}
	}
	fmt.Fprintf(a.err, "%s Only \"yes\" does: ", diag.Safe(question))
	// The signal that interrupts does not end the read: the goroutine is left to the
	// end of the process.
	answer := make(chan string, 1)
	go func() {
		line, _ := bufio.NewReader(a.in).ReadString('\n') // an answer that ends without a newline is an answer
		answer <- line
	}()
	select {
	case <-ctx.Done():
		fmt.Fprintln(a.err)
		return withCode(exitRefused, fmt.Errorf("interrupted; nothing was written to any device"))
	case line := <-answer:
		if strings.TrimSpace(line) != "yes" {
			return withCode(exitRefused, fmt.Errorf("not confirmed; nothing was written to any device"))
		}
	}
	return nil
}
