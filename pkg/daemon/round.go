package daemon

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
	"bulkhead/pkg/controller"
	"bulkhead/pkg/plan"
	"bulkhead/pkg/reconcile"
)

// round does what is wanted: it takes the site as it is now, looks which devices may
// differ from it, and has those planned and changed. It returns true where the site
// moved on meanwhile, so that another round is due at once: that is nobody's trouble, and
// no device waits for it.
func (d *Daemon) round(ctx context.Context, w pending) (anew bool) {
	began := d.o.Now()
	// An asset that was cut off has changed its device: that is no drift.
	if w.reload || d.expired(began) || d.cutOff() {
		d.reload(ctx)
	}
	d.lookAtUnfinished()
	due, seen, soon := d.due(ctx, w)
	if soon > 0 {
		d.next.add(why{what: "again", after: soon}, d.o.Now())
	}
	due = d.repair(ctx, due, seen)
	// Some were only looked at because somebody wrote to them.
	due = slices.DeleteFunc(due, func(x *reconcile.Device) bool {
		k := d.known[x.Name]
		return k.failures > 0 && began.Before(k.retry)
	})
	if len(due) == 0 {
		d.metrics.quiet(len(d.View().Trouble) == 0)
		d.planExpiry()
		d.prepare(ctx)
		return false
	}
	var only []string
	for _, x := range due {
		for i := range x.Points {
			only = append(only, x.Points[i].Name)
		}
	}
	if len(due) == len(d.devices) {
		only = nil
	}
	d.o.Log.Debug("a pass begins", "why", w.why, "devices", len(due))
	p, err := d.c.Pass(ctx, d.site, d.devices, controller.PassOptions{Only: only})
	if err == nil && p.Anew {
		d.next.add(why{what: p.Why, reload: true}, d.o.Now())
		return true
	}
	d.done(due, seen, p, err, began)
	d.planExpiry()
	d.prepare(ctx)
	return false
}

// cutOff reports whether others are in quarantine now than when the site was worked
// out. Where that cannot be told they may be.
func (d *Daemon) cutOff() bool {
	others, err := d.c.CutOffSince(d.site)
	return err != nil || others
}

// reload takes the site as it is now. A bad one leaves the last good one in force.
func (d *Daemon) reload(ctx context.Context) {
	s, err := d.o.Load(ctx, d.o.Now())
	if err == nil && !d.same(s) {
		err = d.use(ctx, s)
	} else if err == nil {
		for _, x := range d.devices {
			d.known[x.Name].foot.same(d.site, s)
		}
		if s.Matrix != d.site.Matrix { // the same said in the same words, worked out once more
			s.Matrix, s.Members, s.World = d.site.Matrix, d.site.Members, d.site.World
		}
		d.site = s
		d.publish(func(v *View) { v.Site, v.BadSite, v.BadSince = s, "", time.Time{} })
	}
	if err == nil {
		d.metrics.siteGood.Set(1)
		return
	}
	d.metrics.siteGood.Set(0)
	if v := d.View(); v.BadSite != err.Error() {
		d.o.Log.Error("the site is not taken over; the last good one stays in force", "error", err)
		d.publish(func(v *View) {
			if v.BadSince.IsZero() {
				v.BadSince = d.o.Now()
			}
			v.BadSite = err.Error()
		})
	}
}

// same reports whether a site says what the one in force says: then that one is kept,
// with all that was worked out for it.
func (d *Daemon) same(s *reconcile.Site) bool {
	if d.site == nil || s.Config.Hash != d.site.Config.Hash || s.Inventory != d.site.Inventory && s.InventoryHash() != d.site.InventoryHash() || !slices.Equal(s.Quarantined, d.site.Quarantined) {
		return false
	}
	if d.expired(s.Now) {
		return false
	}
	// What surrounds a device (addresses, routes) is part of what it enforces. Points of
	// another inventory protect what they did, or it would have another hash.
	return s.SameSurroundings(context.Background(), d.devices)
}

// expired reports whether a policy of the site in force has expired since it was
// worked out.
func (d *Daemon) expired(now time.Time) bool {
	at := d.nextExpiry()
	return !at.IsZero() && !now.Before(at)
}

// nextExpiry is when the next policy expires, or a quarantine ends; zero is never.
func (d *Daemon) nextExpiry() (next time.Time) {
	if d.site == nil {
		return next
	}
	soonest := func(at time.Time) {
		if at.After(d.site.Now) && (next.IsZero() || at.Before(next)) {
			next = at
		}
	}
	for i := range d.site.Matrix.Policies {
		soonest(d.site.Matrix.Policies[i].Expires)
	}
	for _, q := range d.site.Quarantined {
		soonest(q.Until)
	}
	return next
}

func (d *Daemon) planExpiry() {
	if at := d.nextExpiry(); !at.IsZero() {
		now := d.o.Now()
		if left := at.Sub(now); left < d.o.Interval {
			d.next.add(why{what: "a policy expires", after: max(left, time.Millisecond), reload: true}, now)
		}
	}
}

// due gives the devices that have to be looked at, with what was seen of them; soon
// is when to come back for those that have to wait.
func (d *Daemon) due(ctx context.Context, w pending) (due []*reconcile.Device, seen map[string]look, soon time.Duration) {
	later := func(wait time.Duration) {
		if soon == 0 || wait < soon {
			soon = wait
		}
	}
	now := d.o.Now()
	var maybe []*reconcile.Device
	for _, x := range d.devices {
		k := d.known[x.Name]
		if k.looking || !w.all && !w.devices[x.Name] && k.failures == 0 {
			continue
		}
		if wait := k.retry.Sub(now); k.failures > 0 && wait > 0 {
			later(wait)
			if k.good == nil || !w.devices[x.Name] { // else what was confirmed can be put back
				continue
			}
		}
		if wait := driftGap - now.Sub(k.looked); w.devices[x.Name] && wait > 0 {
			later(wait)
			continue
		}
		maybe = append(maybe, x)
	}
	seen = map[string]look{}
	for name, l := range d.looks(ctx, maybe) {
		k := d.known[name]
		k.looked = now
		seen[name] = l
		switch {
		case l.same:
			k.mark = l.mark
		case l.err != nil:
			d.failed(name, k, l.err.Error(), lastRetry)
		}
	}
	for _, x := range maybe {
		if l, ok := seen[x.Name]; ok && !l.same && l.err == nil {
			due = append(due, x)
		}
	}
	return due, seen, soon
}

// failed has a device tried again later, and later each time but not later than most, and
// shows what keeps it from being what it has to be.
func (d *Daemon) failed(name string, k *known, text string, most time.Duration) {
	now := d.o.Now()
	k.site, k.mark = nil, ""
	k.failures++
	wait := min(firstRetry<<min(k.failures-1, 20), lastRetry, most)
	k.retry = now.Add(wait)
	d.next.add(why{what: "another try", after: wait}, now)
	d.publish(func(v *View) {
		v.Trouble = maps.Clone(v.Trouble)
		v.Trouble[name] = text
	})
}

// remember keeps the state of a device that was found in sync, if it still holds that.
func (d *Daemon) remember(x *reconcile.Device, k *known, print string) {
	if k.goodSite == d.site.Matrix && k.good != nil {
		return
	}
	s, err := x.Read(context.Background())
	if err == nil && s.Fingerprint() == print {
		k.good, k.goodPrint, k.goodSite, k.goodAt = s, print, d.site.Matrix, d.o.Now()
		k.goodOf, k.goodOn = d.site, x
	}
}

// repair puts right what others did to devices that were in sync, at once, and
// returns those that a pass has to look at. A device for which there is a newer plan that
// cannot be carried out (held, refused, no room in the state) is put back to what was
// confirmed on it: a plan that waits must not leave it open.
func (d *Daemon) repair(ctx context.Context, due []*reconcile.Device, seen map[string]look) (left []*reconcile.Device) {
	if d.site.Config.Settings.Drift == config.DriftReport {
		return due
	}
	for _, x := range due {
		k := d.known[x.Name]
		now := seen[x.Name].now
		// What came since is for the pass; and who was cut off since must stay so.
		if now == nil || k.good == nil || k.goodSite != d.site.Matrix && (k.failures == 0 || !slices.Equal(k.goodOf.Quarantined, d.site.Quarantined)) {
			left = append(left, x)
			continue
		}
		began := d.o.Now()
		done, err := d.c.Repair(ctx, k.goodOf, k.goodOn, now, k.good, k.goodAt)
		if done == nil && err == nil {
			left = append(left, x)
			continue
		}
		k.site, k.mark = nil, ""
		d.metrics.drift.WithLabelValues(x.Name).Inc()
		if done != nil && done.Store != nil {
			d.o.Log.Error("a repair is not in the history", "device", x.Name, "error", done.Store)
		}
		if errors.Is(err, apply.ErrNotProved) {
			d.o.Log.Warn("somebody changed a device; what was confirmed is back, and is not proved", "device", x.Name, "error", err)
			left = append(left, x)
			continue
		}
		if err != nil { // a pass sees to it, with all that it knows
			d.o.Log.Warn("drift was not repaired at once", "device", x.Name, "error", err)
			left = append(left, x)
			continue
		}
		d.o.Log.Warn("somebody changed a device; it is put right", "device", x.Name, "apply", done.Apply.ID, "took", d.o.Now().Sub(began).Round(time.Millisecond))
		d.metrics.applies.WithLabelValues(string(done.Apply.State)).Inc()
		d.next.add(why{what: "after a repair", device: x.Name, after: driftGap}, d.o.Now())
	}
	return left
}

// done notes what became of a pass.
func (d *Daemon) done(due []*reconcile.Device, seen map[string]look, p *controller.Pass, err error, began time.Time) {
	now := d.o.Now()
	trouble := map[string]string{}
	for name, text := range d.View().Trouble {
		if d.known[name] != nil && !slices.ContainsFunc(due, func(x *reconcile.Device) bool { return x.Name == name }) {
			trouble[name] = text
		}
	}
	trialLeft := d.noteTrial(p)
	for _, x := range due {
		k := d.known[x.Name]
		text := d.verdict(x, p, err)
		switch {
		case text == "":
			k.failures, k.site, k.mark = 0, nil, ""
			if p.Result == controller.InSync {
				k.site, k.mark = d.site.Matrix, seen[x.Name].mark
				d.remember(x, k, printOf(x, p.Plan))
			} else {
				k.good = nil // it holds something else now, and means to
			}
			if p.Apply != nil { // look once more, now that it has changed
				d.next.add(why{what: "after the change", device: x.Name, after: driftGap}, now)
			}
		default:
			trouble[x.Name] = text
			if holds(x, p) {
				d.remember(x, k, printOf(x, p.Plan))
			}
			d.failed(x.Name, k, text, trialLeft)
		}
	}
	problem := ""
	if err != nil {
		problem = err.Error()
		d.o.Log.Error("a pass failed", "error", err)
	}
	if p != nil && p.Plan != nil {
		last := d.View().Pass
		if p.Result != controller.InSync && (last == nil || last.Result != p.Result || last.Why != p.Why || p.Apply != nil) {
			d.o.Log.Info("a pass ended", "result", p.Result, "why", p.Why, "drift", p.Drift, "took", now.Sub(began).Round(time.Millisecond))
		}
	}
	d.publish(func(v *View) {
		if p != nil && p.Plan != nil {
			v.Pass, v.At = p, now
		}
		v.Trouble, v.Problem = trouble, problem
	})
	d.metrics.pass(p, err, now.Sub(began))
}

// holds reports whether our own objects on a device are what they have to be. Others'
// rules may keep it from being proved all the same.
func holds(x *reconcile.Device, p *controller.Pass) bool {
	if p == nil || p.Plan == nil {
		return false
	}
	for i := range x.Points {
		k := slices.IndexFunc(p.Plan.Points, func(pt plan.Point) bool { return pt.Name == x.Points[i].Name })
		if k < 0 || p.Plan.Points[k].State == "" || len(p.Plan.Points[k].Ops) > 0 {
			return false
		}
	}
	return true
}

// verdict says what keeps a device from being what it has to be; "" for nothing.
func (d *Daemon) verdict(x *reconcile.Device, p *controller.Pass, err error) string {
	if err != nil {
		return err.Error()
	}
	if p.Plan != nil {
		for i := range x.Points {
			k := slices.IndexFunc(p.Plan.Points, func(pt plan.Point) bool { return pt.Name == x.Points[i].Name })
			if k >= 0 && (p.Plan.Points[k].Status == plan.Unreachable || p.Plan.Points[k].Status == plan.Refused) {
				return p.Plan.Points[k].Error
			}
		}
		if p.Result == controller.Failed && p.Apply == nil { // of others
			return ""
		}
	}
	switch p.Result {
	case controller.InSync, controller.Applied:
		return ""
	}
	return fmt.Sprintf("%s: %s", p.Result, p.Why)
}

// printOf is the fingerprint of a device when it was planned for.
func printOf(x *reconcile.Device, p *plan.Plan) string {
	i := slices.IndexFunc(p.Points, func(pt plan.Point) bool { return pt.Device == x.Name })
	if i < 0 {
		return ""
	}
	return p.Points[i].State
}

// statusLine is one line for systemctl status.
func (d *Daemon) statusLine() string {
	v := d.View()
	var parts []string
	if v.Pass != nil {
		parts = append(parts, string(v.Pass.Result))
	}
	if len(v.Trouble) > 0 {
		parts = append(parts, fmt.Sprintf("%d of %d devices in trouble", len(v.Trouble), len(v.Devices)))
	}
	if v.BadSite != "" {
		parts = append(parts, "the site directory is bad, the last good one is in force")
	}
	if v.State != "" {
		parts = append(parts, "nothing can be written to the state")
	}
	return strings.Join(parts, "; ")
}
