package daemon

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"time"

	"bulkhead/pkg/compile"
	"bulkhead/pkg/driver"
	"bulkhead/pkg/reconcile"
)

// DefaultMoveFrom is from how many assets on a few that change are moved ahead of the
// plan. A smaller site is planned, put on trial and proved as a whole in a moment.
const DefaultMoveFrom = 5000

// footing is what a device's assets are moved from ahead of a plan; see reconcile.Footing.
type footing struct {
	f     *reconcile.Footing
	last  string          // the apply that it was compared with
	tried *compile.Matrix // for which site it was tried to get one, at this mark
	mark  string
}

func (f *footing) drop() {
	if f.f != nil {
		_ = f.f.Close() // it is given up: there is nothing left to do about an error
	}
	f.f = nil
}

// same takes over that a site is in force which says what the one before said.
func (f *footing) same(was, is *reconcile.Site) {
	switch {
	case f.f == nil:
	case f.f.At == was.Inventory:
		f.f.Take(is)
	default:
		f.drop()
	}
}

// moveAhead moves a few assets of a large site as soon as the inventory says so, before
// the site is worked out and planned for. The pass that follows finds it done, and writes
// it into the history. Whatever a plan would be held for is left to the plan.
func (d *Daemon) moveAhead(ctx context.Context, x *reconcile.Coming) {
	if d.site == nil {
		return
	}
	began := d.o.Now()
	assets, err := d.tryToMove(ctx, x)
	switch {
	case errors.Is(err, reconcile.ErrWait):
		d.o.Log.Debug("a change of assets is not made ahead of the plan", "why", err)
	case err != nil:
		d.o.Log.Warn("a change of assets could not be made ahead of the plan", "error", err)
	case len(assets) > 0:
		d.o.Log.Info("assets are moved ahead of the plan", "assets", len(assets), "first", assets[0], "took", d.o.Now().Sub(began).Round(time.Millisecond))
		d.metrics.moves.Add(float64(len(assets)))
	}
}

// tryToMove moves the assets in which a coming site differs from the one in force, and
// gives their IDs; none if nothing was done.
func (d *Daemon) tryToMove(ctx context.Context, x *reconcile.Coming) (assets []string, err error) {
	var ready []*reconcile.Device
	for _, dev := range d.devices {
		if k := d.known[dev.Name]; k.foot.f != nil && k.foot.f.At == d.site.Inventory && k.failures == 0 {
			ready = append(ready, dev)
		}
	}
	if len(ready) == 0 || d.View().RolledBack != "" || d.expired(d.o.Now()) {
		return nil, nil
	}
	changed, gone, err := d.site.Differs(x)
	if err != nil || len(changed)+len(gone) == 0 {
		return nil, err
	}
	if err := d.c.MayMove(x.Config.Hash); err != nil {
		return nil, err
	}
	moves := make([]*reconcile.Moves, len(ready))
	var names []string
	for i, dev := range ready {
		if moves[i], err = d.known[dev.Name].foot.f.Plan(x, changed, gone); err != nil {
			break
		}
		names = append(names, dev.Name)
	}
	for _, a := range changed {
		assets = append(assets, a.ID)
	}
	assets = append(assets, gone...)
	slices.Sort(assets)
	if err == nil {
		err = d.c.NoteMoves(names, assets)
	}
	if err != nil {
		for _, dev := range ready { // they have gone on, and the devices have not
			d.known[dev.Name].foot.drop()
		}
		return nil, err
	}
	done := false
	for i, dev := range ready {
		k := d.known[dev.Name]
		_, e := moves[i].Make(ctx)
		if !errors.Is(e, reconcile.ErrWait) {
			// It holds something else now, and means to: nobody may put back what it held.
			k.site, k.mark, k.good = nil, "", nil
			done = true
		}
		if e != nil {
			k.foot.drop()
			err = errors.Join(err, fmt.Errorf("device %s: %w", dev.Name, e))
		}
	}
	if !done {
		return nil, err
	}
	return assets, err
}

// keepFooting takes over what a device's assets are moved from where a site comes into
// force: the one for which they were moved, or one that says the same. Any other site has
// the device planned for as a whole, and it is got ready anew.
func (d *Daemon) keepFooting(k *known, s *reconcile.Site, old, x *reconcile.Device) {
	if k.foot.f == nil {
		return
	}
	if old == nil || k.foot.f.At != s.Inventory || !reflect.DeepEqual(old.Points, x.Points) {
		k.foot.drop()
		return
	}
	k.foot.f.Take(s)
}

// prepare makes ready to move assets of devices that are in step with a large site. It
// takes seconds there, so that it is done when nothing else is due.
func (d *Daemon) prepare(ctx context.Context) {
	now := d.o.Now()
	if len(d.site.Inventory.Assets) < d.o.MoveFrom || !d.next.at.IsZero() && d.next.at.Sub(now) < settleFiles || len(d.wake) > 0 {
		return
	}
	for _, x := range d.devices {
		k := d.known[x.Name]
		if _, ok := x.Driver.(driver.MoverMaker); !ok || k.site != d.site.Matrix || k.failures > 0 {
			continue
		}
		f := &k.foot
		if f.f != nil && !f.f.InStep(ctx) {
			f.drop() // others wrote to it, and it was found in sync since
		}
		if f.f == nil && f.tried == d.site.Matrix && f.mark == k.mark {
			continue
		}
		last := d.lastApply()
		if f.f != nil && (f.last == last || f.f.At != d.site.Inventory) {
			continue
		}
		began := d.o.Now()
		f.last, f.tried, f.mark = last, d.site.Matrix, k.mark
		if err := d.footing(ctx, x, f); err != nil {
			f.drop()
			d.o.Log.Debug("assets of a device are not moved ahead of plans", "device", x.Name, "why", err)
			continue
		}
		d.o.Log.Debug("assets of a device can be moved ahead of plans", "device", x.Name, "took", d.o.Now().Sub(began).Round(time.Millisecond))
	}
}

// footing gets a footing, or compares the one that there is with the last apply.
func (d *Daemon) footing(ctx context.Context, x *reconcile.Device, f *footing) error {
	base, why, err := reconcile.LastApplied(d.o.Store)
	switch {
	case err != nil:
		return err
	case base == nil:
		return errors.New(why)
	case f.f != nil:
		return f.f.Compare(base)
	}
	enforced, err := d.o.Store.Enforced()
	if err != nil {
		return err
	}
	f.f, err = d.site.Footing(ctx, x, enforced, base)
	return err
}

// lastApply is the ID of the newest apply; "" if that cannot be told.
func (d *Daemon) lastApply() string {
	list, err := d.o.Store.History(1)
	if err != nil || len(list) == 0 {
		return ""
	}
	return list[0].ID
}
