package daemon

import (
	"context"
	"time"

	"bulkhead/inventory/neighbor"
	"bulkhead/pkg/driver"
	"bulkhead/pkg/reconcile"
)

// heard is a network namespace whose changes are heard of.
type heard struct {
	what neighbor.What
	stop context.CancelFunc
}

// hear hears of changes around the site: of the neighbours that a source reports, of the
// routes and addresses of points. Without it a machine that is plugged in would be a
// stranger until the interval is over.
func (d *Daemon) hear(s *reconcile.Site) {
	want := map[string]neighbor.What{}
	for _, x := range s.Surroundings() {
		want[x.Netns] = x.What
	}
	for ns, h := range d.around {
		if want[ns] != h.what {
			h.stop()
			delete(d.around, ns)
		}
	}
	for ns, what := range want {
		if _, ok := d.around[ns]; ok {
			continue
		}
		ctx, stop := context.WithCancel(d.life)
		d.around[ns] = heard{what, stop}
		go d.listen(ctx, ns, what)
	}
}

// listen hears until ctx ends. Where it cannot, the interval is left, and it is tried
// again.
func (d *Daemon) listen(ctx context.Context, ns string, what neighbor.What) {
	// A site that takes long to work out is worked out the less often: what surrounds it may
	// cost a twentieth of the time, and is read at every interval anyhow.
	changed := func() {
		wait := min(20*time.Duration(d.loadTook.Load()), d.o.Interval)
		d.ask(why{what: "the neighbours or routes have changed", after: wait, reload: true})
	}
	for wait := firstRetry; ; wait = min(2*wait, lastRetry) {
		began := time.Now()
		err := neighbor.Watch(ctx, ns, what, changed)
		if ctx.Err() != nil {
			return
		}
		if time.Since(began) > lastRetry { // it worked for some time
			wait = firstRetry
		}
		d.o.Log.Warn("cannot hear of neighbours and routes; they are read now, and at every interval until then", "netns", ns, "error", err, "again_in", wait)
		changed() // something may have been missed
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
	}
}

func (k *known) stopWatching() {
	if k.watching != nil {
		k.watching()
		k.watching = nil
	}
}

// watch hears of writes to a device, if it can tell.
func (d *Daemon) watch(x *reconcile.Device) {
	w, ok := x.Driver.(driver.Watcher)
	k := d.known[x.Name]
	if !ok || k.watching != nil || x.Err != nil {
		return
	}
	ctx, stop := context.WithCancel(d.life)
	k.watching = stop
	go func() {
		for wait := firstRetry; ; wait = min(2*wait, lastRetry) {
			began := time.Now()
			err := w.Watch(ctx, func() { // by any goroutine
				select {
				case d.wake <- why{what: "somebody wrote to " + x.Name, device: x.Name, after: settleDrift}:
				case <-ctx.Done():
				}
			})
			if ctx.Err() != nil {
				return
			}
			if time.Since(began) > lastRetry { // it worked for some time
				wait = firstRetry
			}
			d.o.Log.Warn("cannot hear of changes; they are found by polling until then", "device", x.Name, "error", err, "again_in", wait)
			select {
			case <-ctx.Done():
				return
			case <-time.After(wait):
			}
		}
	}()
}
