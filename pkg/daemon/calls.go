package daemon

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"bulkhead/pkg/config"
	"bulkhead/pkg/controller"
	"bulkhead/pkg/diag"
	"bulkhead/pkg/reconcile"
	"bulkhead/pkg/store"
)

// siteFor gives the site that a plan is made of. It is the one in force, as it is now;
// or, if somebody accepts that sources lost something, the one without what they lost,
// which is in force only once that plan is applied. closeAfter drops what was opened for it.
func (d *Daemon) siteFor(ctx context.Context, accept, points []string) (*reconcile.Site, []*reconcile.Device, error) {
	d.reload(ctx)
	if bad := d.View().BadSite; bad != "" {
		// A plan of the last good one would be what is in force, and seem to be what is wanted.
		return nil, nil, &problem{http.StatusUnprocessableEntity, fmt.Errorf("%w: %s", errBadSite, bad)}
	}
	if err := knownPoints(d.site, points); err != nil {
		return nil, nil, err
	}
	if !reconcile.Accepts(accept, reconcile.BrakeSourceLost) || d.View().RolledBack != "" {
		return d.site, d.devices, nil
	}
	s, err := d.read(ctx, d.o.Now(), reconcile.AcceptsLost(accept), nil)
	if err != nil {
		return nil, nil, &problem{http.StatusConflict, err}
	}
	if err := s.CheckAccepted(accept); err != nil {
		return nil, nil, &problem{http.StatusUnprocessableEntity, err}
	}
	devices, err := s.Devices(ctx, false)
	if err != nil {
		return nil, nil, err
	}
	for _, x := range devices {
		if i := slices.IndexFunc(d.devices, func(y *reconcile.Device) bool { return y.Name == x.Name }); i >= 0 {
			x.Keep(d.devices[i])
		}
	}
	return s, devices, nil
}

// closeAfter closes what siteFor opened and the site in force does not use.
func (d *Daemon) closeAfter(devices []*reconcile.Device) { reconcile.CloseBut(devices, d.devices) }

// knownPoints refuses points that there are not: a plan of none of them would seem to
// be in sync.
func knownPoints(s *reconcile.Site, names []string) error {
	var all []string
	for _, p := range s.Config.Settings.Points {
		all = append(all, p.Name)
	}
	for _, n := range names {
		if slices.Contains(all, n) {
			continue
		}
		hint := ""
		if like := diag.Suggest(n, all); like != "" {
			hint = fmt.Sprintf(": did you mean %q?", like)
		}
		return refuse(http.StatusBadRequest, "no point %q in bulkhead.yaml%s", n, hint)
	}
	return nil
}

// planNow makes a plan, and changes nothing.
func (a *API) planNow(r *request) (any, error) {
	c := r.body.(*PlanCall)
	var p *controller.Pass
	var notes string
	err := a.d.Do(r.Context(), func(ctx context.Context) error {
		s, devices, err := a.d.siteFor(ctx, c.Accept, c.Points)
		if err != nil && !errors.Is(err, errBadSite) { // whose mistakes are said by whoever loads it
			return &besides{err, a.show.Beside(a.d.site, false)}
		}
		if err != nil {
			return err
		}
		defer a.d.closeAfter(devices)
		p, err = a.d.c.Plan(ctx, s, devices, c.Points)
		notes = a.show.Beside(s, false)
		return err
	})
	if err != nil {
		return nil, err
	}
	out := passAnswer(p)
	out.Notes = notes + rolledBackNote(a.d.View())
	return out, nil
}

// passNow makes a pass, on somebody's word, and gives it.
func (a *API) passNow(r *request, o controller.PassOptions) (any, error) {
	var p *controller.Pass
	err := a.d.by(r, func(ctx context.Context, d *Daemon) error {
		s, devices, err := d.siteFor(ctx, o.Accept, o.Only)
		if err != nil {
			return err
		}
		defer d.closeAfter(devices)
		began := d.o.Now()
		p, err = d.c.Pass(ctx, s, devices, o)
		if errors.Is(err, controller.ErrStale) {
			return &problem{http.StatusConflict, err}
		}
		other := s.Matrix != d.site.Matrix
		if other { // what was accepted is what there is from now on
			d.reload(ctx)
		}
		d.done(of(d.devices, o.Only), map[string]look{}, p, err, began)
		if other {
			for _, k := range d.known { // what is in force was worked out anew: it is looked at once more
				k.site, k.mark, k.good = nil, "", nil
			}
			d.next.add(why{what: "the loss of a source was accepted", after: driftGap}, d.o.Now())
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return passAnswer(p), nil
}

// by has something done by the goroutine that writes, in the name of who asks for it.
func (d *Daemon) by(r *request, f func(ctx context.Context, d *Daemon) error) error {
	return d.Do(r.Context(), func(ctx context.Context) error {
		d.c.Who, d.c.From = r.who.Name, r.who.From
		defer func() { d.c.Who, d.c.From = d.who, d.from }()
		return f(ctx, d)
	})
}

func (a *API) apply(r *request) (any, error) {
	c := r.body.(*ApplyCall)
	if reconcile.Accepts(c.Accept, reconcile.BrakeSourceLost) && c.Plan == "" {
		// The plan that it makes is another one than the daemon shows: nobody has seen it.
		return nil, refuse(http.StatusConflict, "accepting %s makes another plan: have that one made (POST /v1/plan with the same accept), and name it here", reconcile.BrakeSourceLost)
	}
	if len(c.Accept) > 0 {
		var err error
		if c.Reason, err = reasonOf(c.Reason); err != nil {
			return nil, err
		}
	}
	o := controller.PassOptions{Accept: c.Accept, Reason: c.Reason, Plan: c.Plan, Only: c.Points}
	if err := c.trialOf(&o); err != nil {
		return nil, err
	}
	return a.passNow(r, o)
}

func (a *API) approve(r *request) (any, error) {
	c := r.body.(*ApproveCall)
	reason := "approved by " + r.who.Name
	if len(c.Accept) > 0 {
		if !slices.Contains(r.who.Permissions, PermApply) {
			return nil, refuse(http.StatusForbidden, "%s may approve, and has not the permission %q that accepting a brake needs", r.who.Name, PermApply)
		}
		why, err := reasonOf(c.Reason)
		if err != nil {
			return nil, err
		}
		reason += ": " + why
	} else if c.Reason != "" {
		reason += ": " + c.Reason
	}
	// That plan and nothing else: one that has moved is refused.
	return a.passNow(r, controller.PassOptions{Plan: r.PathValue("id"), Approved: true, Accept: c.Accept, Reason: reason})
}

func (a *API) rollback(r *request) (any, error) {
	c := r.body.(*RollbackCall)
	reason, err := reasonOf(c.Reason)
	if err != nil {
		return nil, err
	}
	var p *controller.Pass
	err = a.d.by(r, func(ctx context.Context, d *Daemon) (err error) {
		began := d.o.Now()
		from := d.site.Config.Hash
		if d.View().RolledBack != "" { // from where one has gone back already
			from = ""
		}
		p, err = d.c.Rollback(ctx, c.Apply, d.o.Kinds, from, controller.PassOptions{Accept: c.Accept, Reason: reason})
		if err != nil {
			return &problem{http.StatusConflict, err}
		}
		d.done(d.devices, map[string]look{}, p, nil, began)
		d.reload(ctx) // what is in force from now on
		return nil
	})
	if err != nil {
		return nil, err
	}
	return passAnswer(p), nil
}

// overrideFor reads for how long, and why.
func overrideFor(r *request, fallback time.Duration) (time.Duration, string, error) {
	c := r.body.(*OverrideCall)
	reason, err := reasonOf(c.Reason)
	if err != nil {
		return 0, "", err
	}
	if c.For == "" {
		return fallback, reason, nil
	}
	for_, err := time.ParseDuration(c.For)
	if err != nil || for_ <= 0 {
		return 0, "", refuse(http.StatusBadRequest, "for is %q: a time is written like 15m or 24h", c.For)
	}
	return for_, reason, nil
}

// DefaultQuarantine is for how long an asset is cut off where nothing is said.
const DefaultQuarantine = 24 * time.Hour

// quarantine does not wait for a pass that is under way: what it writes to a device
// is one transaction of its own.
func (a *API) quarantine(r *request) (any, error) {
	for_, reason, err := overrideFor(r, DefaultQuarantine)
	if err != nil {
		return nil, err
	}
	v, err := a.site()
	if err != nil {
		return nil, err
	}
	q := reconcile.Quarantine{Asset: r.PathValue("id"), Until: a.d.o.Now().Add(for_), Who: r.who.Name, Reason: reason}
	c := controller.Controller{Store: a.d.o.Store, Now: a.d.o.Now, Who: r.who.Name, From: r.who.From}
	a.d.override.Lock()
	waits, err := c.Quarantine(r.Context(), v.Site, v.Devices, q)
	a.d.override.Unlock()
	a.d.Wake("asset " + q.Asset + " is in quarantine")
	if err != nil && waits == nil {
		return nil, &problem{http.StatusConflict, err}
	}
	if err != nil {
		return nil, err
	}
	return DoneAnswer{FormatVersion: format, Done: "asset " + q.Asset + " is in quarantine", Until: q.Until, Waits: append([]string{}, waits...)}, nil
}

func (a *API) release(r *request) (any, error) {
	reason, err := reasonOf(r.body.(*OverrideCall).Reason)
	if err != nil {
		return nil, err
	}
	c := controller.Controller{Store: a.d.o.Store, Now: a.d.o.Now, Who: r.who.Name, From: r.who.From}
	a.d.override.Lock()
	err = c.Release(r.PathValue("id"), r.who.Name, reason)
	a.d.override.Unlock()
	if err != nil {
		return nil, &problem{http.StatusConflict, err}
	}
	a.d.Wake("asset " + r.PathValue("id") + " is released")
	v, err := a.site()
	if err != nil {
		return nil, err
	}
	out := DoneAnswer{FormatVersion: format, Done: "asset " + r.PathValue("id") + " is released", Waits: []string{}}
	for _, d := range v.Devices {
		out.Waits = append(out.Waits, d.Name)
	}
	return out, nil
}

// DefaultOpen is for how long break-glass lasts where nothing is said.
const DefaultOpen = 15 * time.Minute

func (a *API) open(r *request) (any, error) {
	for_, reason, err := overrideFor(r, DefaultOpen)
	if err != nil {
		return nil, err
	}
	point := r.PathValue("name")
	var done store.Apply
	err = a.d.by(r, func(ctx context.Context, d *Daemon) (err error) {
		done, err = d.c.Open(ctx, d.site, d.devices, point, for_, reason)
		if !done.Deadline.IsZero() {
			d.noteTrial(&controller.Pass{Result: controller.OnTrial})
		}
		return err
	})
	if err != nil {
		return nil, &problem{http.StatusConflict, err}
	}
	return DoneAnswer{FormatVersion: format, Done: "point " + point + " drops nothing", Until: done.Deadline, Waits: []string{}}, nil
}

func (a *API) closePoint(r *request) (any, error) {
	point := r.PathValue("name")
	err := a.d.by(r, func(ctx context.Context, d *Daemon) error {
		if !slices.ContainsFunc(d.site.Config.Settings.Points, func(p config.Point) bool { return p.Name == point }) {
			return refuse(http.StatusNotFound, "there is no point %q", point)
		}
		if _, err := d.c.Close(ctx, d.site, point); err != nil {
			return &problem{http.StatusConflict, err}
		}
		d.trialEnded("break-glass was ended")
		return nil
	})
	if err != nil {
		return nil, err
	}
	return DoneAnswer{FormatVersion: format, Done: "point " + point + " enforces again", Waits: []string{}}, nil
}
