package controller

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"bulkhead/pkg/apply"
	"bulkhead/pkg/config"
	"bulkhead/pkg/driver"
	"bulkhead/pkg/store"
)

// Boot has every device that keeps nothing over a reboot, and holds nothing of ours,
// hold what was last confirmed on it. Nothing is planned and no source is asked: of the
// site only its points matter. Devices that hold a table of ours are left as they are.
// say hears what is done, a line at a time. What fails on one device keeps no other from
// being loaded.
func Boot(ctx context.Context, st *store.Store, set *config.Settings, kinds []driver.Kind, now time.Time, say apply.Progress) error {
	known, err := st.LastConfirmed()
	if err != nil {
		return err
	}
	var done []string
	var failed error
	for _, k := range known {
		i := slices.IndexFunc(set.Points, func(p config.Point) bool { return p.Name == k.Point })
		if i < 0 {
			say("point %s is no longer one of the site's; what was confirmed on it is not loaded", k.Point)
			continue
		}
		p := &set.Points[i]
		j := slices.IndexFunc(kinds, func(x driver.Kind) bool { return x.Name == p.Driver })
		if j < 0 || kinds[j].Aged == nil {
			continue // it keeps its state itself
		}
		device := kinds[j].Device(p)
		if slices.Contains(done, device) {
			continue
		}
		done = append(done, device)
		if err := bootDevice(ctx, st, k, set, &kinds[j], device, now, say); err != nil {
			failed = errors.Join(failed, fmt.Errorf("device %s: %w", device, err))
		}
	}
	return failed
}

func bootDevice(ctx context.Context, st *store.Store, k store.Known, set *config.Settings, kind *driver.Kind, device string, now time.Time, say apply.Progress) error {
	b, err := st.Blob(k.Hash)
	if err != nil {
		return err
	}
	rec, err := apply.ReadRecord(b)
	if err != nil {
		return err
	}
	was, err := kind.Decode(rec.State)
	if err != nil {
		return err
	}
	var points []config.Point
	for i := range set.Points {
		if p := &set.Points[i]; p.Driver == kind.Name && kind.Device(p) == device {
			points = append(points, *p)
		}
	}
	d, err := kind.Open(set.Name, points)
	if err != nil {
		return err
	}
	defer driver.Close(d)
	have, err := d.Read(ctx)
	if err != nil {
		return err
	}
	dec, err := d.Decode(have)
	if err != nil {
		return err
	}
	if len(dec.Installed) > 0 {
		say("%s holds rules of ours already: left as it is", device)
		return nil
	}
	from := rec.At
	if from.IsZero() {
		from = k.At
	}
	want := kind.Aged(was, now.Sub(from))
	ch, err := d.Diff(have, want)
	if err != nil || ch.Empty() {
		return err
	}
	if err := d.Apply(ctx, ch); err != nil {
		return err
	}
	if have, err = d.Read(ctx); err != nil {
		return err
	}
	rest, err := d.Diff(have, want)
	if err != nil {
		return err
	}
	if !rest.Empty() {
		return fmt.Errorf("it was loaded and differs in %d objects, the first is %s", len(rest.Ops), rest.Ops[0].Object)
	}
	say("%s holds what apply %s of %s confirmed", device, k.Apply, k.At.Format("2006-01-02T15:04:05Z07:00"))
	return nil
}
