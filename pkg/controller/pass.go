package controller

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"bulkhead/pkg/apply"
	"bulkhead/pkg/config"
	"bulkhead/pkg/driver"
	"bulkhead/pkg/plan"
	"bulkhead/pkg/reconcile"
	"bulkhead/pkg/store"
)

// PassOptions are what one pass may do by itself.
type PassOptions struct {
	Only   []string // points; empty is all
	Accept []string // brakes
	Reason string
	// Plan is the ID of the only plan that may be applied, which somebody has seen; ""
	// is whatever it is. Another one is ErrStale.
	Plan string
	// Approved is set if that plan was approved by a second person.
	Approved bool
	// DryRun changes nothing.
	DryRun bool
	// ByHand leaves what is proved on trial, for somebody to confirm; else it is confirmed
	// at once.
	ByHand bool
	// Timeout is how long changes are on trial, 0 for none; nil is what the site says.
	Timeout *time.Duration

	rollsTo string // the apply that is gone back to
}

// ErrStale says that the plan which somebody has seen is not what would be done now.
var ErrStale = errors.New("the plan is stale")

// Result says how a pass ended.
type Result string

// The results of a pass.
const (
	InSync  Result = "in sync"
	Applied Result = "applied"
	Held    Result = "held"     // by a brake, for approval, or because only a report is wanted
	Refused Result = "refused"  // by a policy test, the proof, or a device
	Failed  Result = "failed"   // and what was changed is as it was
	Partial Result = "partial"  // some devices are changed, or may be
	Drifted Result = "drift"    // a device differs from what was applied, and only a report is wanted
	OnTrial Result = "on trial" // a change waits to be confirmed
)

// Pass is what one pass found and did.
type Pass struct {
	Result Result
	// Why says in a sentence what held or stopped it.
	Why string
	// Anew is set where nothing is wrong but that the site moved on while it was planned
	// for: the plan was dropped, and there is to be another one at once.
	Anew bool
	Plan *plan.Plan
	// Apply is what was done; nil for nothing.
	Apply *apply.Journaled
	// Drift names devices that others have changed since they were last applied to.
	Drift []string
}

// Pass brings the devices to what the site says, within the brakes, and confirms what
// is proved. A device that cannot be read does not keep the others from being
// changed; the pass is Failed then, and Why names it.
func (c *Controller) Pass(ctx context.Context, s *reconcile.Site, devices []*reconcile.Device, o PassOptions) (*Pass, error) {
	ready := c.Ready
	if o.DryRun {
		ready = c.NoTrial
	}
	if err := ready(ctx, s); err != nil {
		if errors.Is(err, ErrOnTrial) {
			return &Pass{Result: OnTrial, Why: err.Error()}, nil
		}
		return nil, err
	}
	opt, err := c.Options(o.Only)
	if err != nil {
		return nil, err
	}
	if !o.DryRun {
		if err := c.Remember(s, ""); err != nil {
			return nil, err
		}
	}
	opt.Lasting = true
	moved, err := c.moved()
	if err != nil {
		return nil, err
	}
	opt.Moved = slices.Sorted(maps.Keys(moved))
	r, err := s.RunOnce(ctx, devices, opt)
	if err != nil {
		return nil, err
	}
	p := &Pass{Plan: r.Plan}
	if !o.DryRun {
		if err := c.Settle(s, r.Plan); err != nil {
			return nil, fmt.Errorf("cannot end an apply that was left unfinished: %w; nothing was written to any device", err)
		}
	}
	if others, err := c.CutOffSince(s); err != nil {
		return nil, err
	} else if others && len(r.Jobs) > 0 {
		p.Result, p.Why, p.Anew = Held, "others are in quarantine now than when this was planned: it is planned anew", true
		return p, nil
	}
	if o.Plan != "" && r.Plan.ID != o.Plan {
		return nil, fmt.Errorf("%w: plan %s is not what would be done now, which is plan %s", ErrStale, o.Plan, r.Plan.ID)
	}
	unmoved, err := c.drift(p)
	if err != nil {
		return nil, err
	}
	if o.DryRun {
		r.Held = nil
	}
	switch {
	case r.Plan.Blocked() != "":
		p.Result, p.Why = Refused, r.Plan.Blocked()
		return p, nil
	case len(r.Jobs) == 0:
		if !o.DryRun && reconcile.Accepts(o.Accept, reconcile.BrakeSourceLost) { // it is accepted, although no device has to change
			if err := c.Remember(s, o.Reason); err != nil {
				return nil, err
			}
		}
		if len(r.Held) > 0 {
			if err := c.recordMoves(s, r, moved); err != nil {
				return nil, err
			}
		}
		p.Result = InSync
		p.unreached()
		return p, nil
	case o.DryRun:
		p.Result, p.Why = Held, "only a plan was wanted"
		return p, nil
	case s.Config.Settings.Drift == config.DriftReport && unmoved && len(p.Drift) > 0:
		p.Result, p.Why = Drifted, fmt.Sprintf("%s: somebody changed it, and `drift: report` leaves it so", strings.Join(p.Drift, ", "))
		return p, nil
	}
	if back, err := c.rolledBack(s.Config.Hash); err != nil {
		return nil, err
	} else if back && o.rollsTo == "" && !slices.Contains(o.Accept, BrakeRolledBack) {
		p.Result, p.Why = Held, BrakeRolledBack+": the site directory is the one that somebody has gone back from; change it, or accept this"
		return p, nil
	}
	if held, err := c.unconfirmed(s.Config.Hash); err != nil {
		return nil, err
	} else if held && o.rollsTo == "" && !o.Approved && !(unmoved && len(p.Drift) > 0) && !slices.Contains(o.Accept, BrakeUnconfirmed) {
		p.Result, p.Why = Held, BrakeUnconfirmed+": this site directory was put on trial, and nobody confirmed it; change it, apply it, or accept this"
		return p, nil
	}
	if open := openBrakes(r.Plan, o.Accept); len(open) > 0 {
		p.Result, p.Why = Held, strings.Join(open, "; ")
		return p, nil
	}
	if !o.Approved && o.rollsTo == "" && needsApproval(s, p, unmoved) {
		p.Result, p.Why = Held, waitsForApproval(r.Plan)
		return p, nil
	}
	if err := c.Remember(s, o.Reason); err != nil {
		return nil, err
	}
	order := Order{Reason: o.Reason, RollsTo: o.rollsTo, Timeout: s.Config.Settings.ConfirmTimeout, Confirm: !o.ByHand}
	if o.Timeout != nil {
		order.Timeout = *o.Timeout
	}
	done, err := c.Apply(ctx, s, r, order)
	if done.Apply.ID == "" {
		return nil, err
	}
	p.Apply = &done
	p.Result = Applied
	if done.Apply.State == store.Confirmed {
		var names []string
		for i := range done.Outcomes {
			names = append(names, done.Outcomes[i].Device)
		}
		done.Store = errors.Join(done.Store, c.writtenDown(names))
	}
	if err != nil {
		p.Result, p.Why = failure(&done, err), err.Error()
		return p, nil
	}
	if done.Store != nil {
		return p, fmt.Errorf("everything was applied and proved, but %w: the history is not complete", done.Store)
	}
	if Waits(&done) {
		p.Result, p.Why = OnTrial, fmt.Sprintf("apply %s is on trial until %s: confirm it (bulkhead confirm), take it back (bulkhead rollback) or wait",
			done.Apply.ID, done.Apply.Deadline.UTC().Format(time.RFC3339))
		return p, nil
	}
	p.unreached()
	return p, nil
}

func failure(done *apply.Journaled, err error) Result {
	if slices.ContainsFunc(done.Outcomes, func(o apply.Outcome) bool { return o.Applied || o.Unknown }) {
		return Partial
	}
	if errors.Is(err, apply.ErrNotProved) || errors.Is(err, driver.ErrMoved) || errors.Is(err, driver.ErrRefused) {
		return Refused
	}
	return Failed
}

// unreached makes a pass fail that could not see to all devices.
func (p *Pass) unreached() {
	var down []string
	for _, pt := range p.Plan.Points {
		if pt.Status == plan.Unreachable || pt.Status == plan.Refused {
			down = append(down, fmt.Sprintf("point %q: %s", pt.Name, pt.Error))
		}
	}
	if len(down) > 0 {
		p.Result, p.Why = Failed, strings.Join(down, "; ")
	}
}

// openBrakes says what holds a plan and was not accepted.
func openBrakes(p *plan.Plan, accept []string) []string {
	var out []string
	for _, b := range p.Brakes {
		if !reconcile.Accepts(accept, b.Name) {
			out = append(out, b.Name+": "+b.Saw)
		}
	}
	return out
}

// drift finds the devices that do not hold what was last confirmed on them, and
// tells whether the site is still the one that was applied last: then the
// difference is somebody else's doing.
func (c *Controller) drift(p *Pass) (unmoved bool, err error) {
	known, err := c.Store.LastConfirmed()
	if err != nil {
		return false, err
	}
	moved, err := c.moved() // that was our own doing
	if err != nil {
		return false, err
	}
	for _, pt := range p.Plan.Points {
		i := slices.IndexFunc(known, func(k store.Known) bool { return k.Point == pt.Name })
		if i < 0 || len(moved[pt.Device]) > 0 || pt.State == "" || pt.Status != plan.Changes {
			continue
		}
		rec, err := c.confirmed(known[i])
		if err != nil {
			return false, err
		}
		if rec.Fingerprint != pt.State && !slices.Contains(p.Drift, pt.Device) {
			p.Drift = append(p.Drift, pt.Device)
		}
	}
	last, err := c.last()
	if err != nil || last == nil {
		return false, err
	}
	return last.PolicyHash == p.Plan.PolicyHash && last.InventoryHash == p.Plan.InventoryHash, nil
}

// NeedsApproval says why a plan must not be applied before a second person has seen it;
// "" if it may. What puts back what was confirmed has been seen.
func (c *Controller) NeedsApproval(s *reconcile.Site, what *plan.Plan) (why string, err error) {
	p := &Pass{Plan: what}
	unmoved, err := c.drift(p)
	if err != nil || !needsApproval(s, p, unmoved) {
		return "", err
	}
	return waitsForApproval(what), nil
}

func needsApproval(s *reconcile.Site, p *Pass, unmoved bool) bool {
	return s.Config.Settings.Approval == config.ApprovalRequired && !(unmoved && len(p.Drift) > 0)
}

func waitsForApproval(p *plan.Plan) string { return fmt.Sprintf("plan %s waits for approval", p.ID) }

// confirmed reads what a point was last confirmed to hold. The state itself may be
// large, and is left out.
func (c *Controller) confirmed(k store.Known) (apply.Record, error) {
	b, err := c.Store.Blob(k.Hash)
	if err != nil {
		return apply.Record{}, err
	}
	return apply.ReadRecord(b)
}

// last is the plan that was confirmed last; nil if there is none.
func (c *Controller) last() (*plan.Plan, error) {
	a, err := c.Store.Newest(func(a store.Apply) bool { return a.State == store.Confirmed && a.Plan != "" })
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return c.planOf(a)
}
