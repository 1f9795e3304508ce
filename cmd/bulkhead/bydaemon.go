package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"bulkhead/pkg/apply"
	"bulkhead/pkg/controller"
	"bulkhead/pkg/daemon"
	"bulkhead/pkg/diag"
	"bulkhead/pkg/plan"
	"bulkhead/pkg/reconcile"
)

// applyByDaemon has the daemon make a plan, shows it, asks whoever has to be asked,
// and has that plan applied and nothing else. As without a daemon the change is on
// trial then, until somebody confirms it.
func (a *app) applyByDaemon(ctx context.Context, d *client, file string, o applyOptions) error {
	var st daemon.StatusAnswer
	if err := d.call(ctx, "GET", pathOf("status"), nil, &st); err == nil && !sameDir(st.Directory, a.site) {
		return fmt.Errorf("cannot apply: a daemon runs, and %w: nothing was written to any device", otherDir(&st, a.site))
	}
	var p daemon.PassAnswer
	if err := d.call(ctx, "POST", pathOf("plan"), daemon.PlanCall{Accept: o.accept, Points: o.points}, &p); err != nil {
		return err
	}
	fmt.Fprint(a.err, p.Notes)
	if p.Result == controller.OnTrial || p.Plan == nil {
		return a.sayPass(&p)
	}
	if file != "" {
		if err := samePlan(file, p.Plan); err != nil {
			return err
		}
	} else if o.format == "text" {
		if _, err := a.out.Write(plan.Text(p.Plan, a.colour(""))); err != nil {
			return err
		}
	}
	if err := planExit(p.Plan, false); err != nil {
		return err
	}
	call := daemon.ApplyCall{Accept: append([]string{controller.BrakeRolledBack, controller.BrakeUnconfirmed}, o.accept...), Reason: o.reason, Plan: p.Plan.ID, Points: o.points}
	if call.Reason == "" {
		call.Reason = "apply"
	}
	if !p.Plan.HasChanges() {
		if reconcile.Accepts(o.accept, reconcile.BrakeSourceLost) { // what is lost is lost, although no device has to change
			if err := d.call(ctx, "POST", pathOf("apply"), call, &p); err != nil {
				return err
			}
		}
		fmt.Fprintln(a.err, "nothing to do: every point enforces what policy says")
		return a.said(o.format, p.Plan, nil)
	}
	if err := brakesAccepted(p.Plan, o.accept); err != nil {
		return err
	}
	if !o.yes {
		if err := a.ask(ctx, fmt.Sprintf("Apply plan %s?", p.Plan.ID)); err != nil {
			return err
		}
	}
	call.Confirm = &o.auto
	if o.confirm >= 0 {
		call.Timeout = o.confirm.String()
	}
	if err := d.call(ctx, "POST", pathOf("apply"), call, &p); err != nil {
		return err
	}
	if p.Result == controller.OnTrial && p.Apply != "" {
		if done, err := a.trialByDaemon(ctx, d, &p, o); err != nil || !done {
			return err
		}
		p.Result, p.Why = controller.Applied, ""
	}
	if err := a.said(o.format, p.Plan, p.Outcomes); err != nil {
		return err
	}
	if err := a.sayPass(&p); err != nil {
		return err
	}
	if o.yes {
		a.sayProofs(p.Outcomes)
	}
	return nil
}

// trialByDaemon asks whether what is on trial is to stay, or says how to confirm it.
// done is set if it was confirmed here.
func (a *app) trialByDaemon(ctx context.Context, d *client, p *daemon.PassAnswer, o applyOptions) (done bool, err error) {
	if o.yes {
		fmt.Fprintln(a.err, trialNote(p.Apply, p.Until))
		if err := a.said(o.format, p.Plan, p.Outcomes); err != nil {
			return false, err
		}
		a.sayProofs(p.Outcomes)
		return false, nil
	}
	a.sayProofs(p.Outcomes)
	if a.ask(ctx, trialQuestion(p.Apply, p.Until)) != nil {
		// An operator who gives up takes it back, too.
		if err := a.endByDaemon(context.WithoutCancel(ctx), d, p.Apply, false); err != nil {
			return false, err
		}
		return false, errNobodyConfirmed
	}
	var t daemon.TrialAnswer
	if err := d.call(ctx, "POST", pathOf("confirm"), daemon.TrialCall{Apply: p.Apply}, &t); err != nil {
		return false, err
	}
	for i := range p.Outcomes {
		p.Outcomes[i].Until = time.Time{}
	}
	return true, nil
}

var errNobodyConfirmed = withCode(exitRefused, errors.New("the previous state was put back: nobody confirmed the change"))

func trialQuestion(apply string, until time.Time) string {
	return fmt.Sprintf("Apply %s is on trial until %s. Does everything work as it should, and is it to stay?", apply, until.Local().Format(time.TimeOnly))
}

// trialNote says how a trial ends. needs names the devices that only a controller takes
// back: time alone does nothing for them.
func trialNote(apply string, until time.Time, needs ...string) string {
	ends := "and so does time"
	if len(needs) > 0 {
		ends = fmt.Sprintf("and so does time, but on %s only by the daemon or the next pass", diag.Safe(strings.Join(needs, ", ")))
	}
	return fmt.Sprintf("apply %s: on trial until %s (%s): `bulkhead confirm` makes it permanent, `bulkhead rollback` takes it back, %s",
		apply, until.Local().Format(time.TimeOnly), time.Until(until).Round(time.Second), ends)
}

// endByDaemon has the daemon confirm what is on trial, or take it back; id "" is
// whatever it is.
func (a *app) endByDaemon(ctx context.Context, d *client, id string, confirm bool) error {
	what := "take-back"
	if confirm {
		what = "confirm"
	}
	var t daemon.TrialAnswer
	if err := d.call(ctx, "POST", pathOf(what), daemon.TrialCall{Apply: id}, &t); err != nil {
		return err
	}
	fmt.Fprintf(a.err, "apply %s: %s\n", t.Apply.ID, t.Apply.State)
	return nil
}

// rollbackByDaemon takes back what is on trial, or has the daemon go back to an earlier
// apply, and stay there.
func (a *app) rollbackByDaemon(ctx context.Context, d *client, args []string, o applyOptions) error {
	if len(args) == 0 {
		if err := a.endByDaemon(ctx, d, "", false); !errors.Is(err, apply.ErrNothingOnTrial) {
			return err
		}
	}
	call := daemon.RollbackCall{Accept: o.accept, Reason: o.reason}
	if call.Reason == "" {
		call.Reason = "rollback"
	}
	if len(args) > 0 {
		call.Apply = args[0]
	}
	if !o.yes {
		if err := a.ask(ctx, "The daemon goes back to what an earlier apply enforced, and stays there until the site directory changes. Go back?"); err != nil {
			return err
		}
	}
	var p daemon.PassAnswer
	if err := d.call(ctx, "POST", pathOf("rollback"), call, &p); err != nil {
		return err
	}
	return a.sayPass(&p)
}
