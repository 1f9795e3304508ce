package daemon

import (
	"context"
	"time"

	"bulkhead/pkg/compile"
	"bulkhead/pkg/driver"
	"bulkhead/pkg/reconcile"
)

const (
	// patience is how long a round waits for devices to answer. One that takes longer has
	// a round of its own when it does: a switch that hangs must not keep the gateways from
	// being put right.
	patience = 2 * time.Second
	// looksAtOnce bounds how many devices are asked at the same time.
	looksAtOnce = 64
)

// look is what was seen of a device.
type look struct {
	device string
	site   *compile.Matrix // that it was held against
	mark   string          // from before everything else
	same   bool            // nothing has changed since it was in sync with that site
	now    driver.State    // nil: it was not read
	err    error           // it does not answer
}

// looks looks at devices, each by itself, and gives what was seen of those that answer
// in time.
func (d *Daemon) looks(ctx context.Context, devices []*reconcile.Device) map[string]look {
	out := map[string]look{}
	waits := map[string]bool{}
	var local []*reconcile.Device
	for _, x := range devices {
		k := d.known[x.Name]
		switch {
		case k.late != nil && k.late.site == d.site.Matrix:
			out[x.Name] = *k.late
		case x.Local() || x.Err != nil:
			local = append(local, x)
		default:
			waits[x.Name] = true
			d.begin(x, *k)
			k.looking = true
		}
		k.late = nil
	}
	for _, x := range local {
		out[x.Name] = lookAt(ctx, x, *d.known[x.Name], d.site.Matrix)
	}
	if len(waits) == 0 {
		return out
	}
	enough := time.NewTimer(patience)
	defer enough.Stop()
	for len(waits) > 0 {
		select {
		case l := <-d.answers:
			if k := d.known[l.device]; k != nil && waits[l.device] {
				k.looking = false
				out[l.device] = l
				delete(waits, l.device)
			} else {
				d.heard(l)
			}
		case <-enough.C:
			return out
		}
	}
	return out
}

// begin looks at a device in a goroutine of its own.
func (d *Daemon) begin(x *reconcile.Device, k known) {
	ctx, site := d.reads, d.site.Matrix
	go func() {
		select {
		case d.asking <- struct{}{}:
		case <-ctx.Done():
			return
		}
		l := lookAt(ctx, x, k, site)
		<-d.asking
		select {
		case d.answers <- l:
		case <-ctx.Done():
		}
	}()
}

// heard takes the answer of a device that has taken its time.
func (d *Daemon) heard(l look) {
	k := d.known[l.device]
	if k == nil { // it is no longer one of the site's
		return
	}
	k.looking, k.late = false, &l
	d.next.add(why{what: l.device + " has answered", device: l.device}, d.o.Now())
}

// lookAt asks a device whether it is as it was when it was last in sync: for its mark
// if it has one, and for all that it holds if that does not say so.
func lookAt(ctx context.Context, x *reconcile.Device, k known, site *compile.Matrix) look {
	l := look{device: x.Name, site: site}
	if x.Err != nil { // a plan says so
		return l
	}
	if m, ok := x.Driver.(driver.Marker); ok {
		timed, cancel := context.WithTimeout(ctx, reconcile.ReadTimeout)
		l.mark, l.err = m.Mark(timed)
		cancel()
		if l.err != nil {
			return l
		}
		if l.mark == k.mark && k.site == site {
			l.same = true
			return l
		}
	}
	known := k.good != nil && k.goodSite == site && k.site == site && k.failures == 0
	// What was confirmed can be put back also while a newer plan waits.
	repairable := k.good != nil && (k.goodSite == site || k.failures > 0)
	if !known && !repairable && x.Local() {
		return l
	}
	// A device that is not known to be right will be planned for, and read for that; one
	// that hangs must not hold up the plan of all.
	if l.now, l.err = x.Read(ctx); l.err == nil {
		l.same = known && l.now.Fingerprint() == k.goodPrint
	}
	return l
}
