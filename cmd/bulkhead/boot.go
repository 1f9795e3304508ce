package main

import (
	"context"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"bulkhead/pkg/apply"
	"bulkhead/pkg/config"
	"bulkhead/pkg/driver"
	"bulkhead/pkg/store"
)

func (a *app) bootCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "boot",
		Short: "load what was last confirmed, before the network is up (for a boot unit)",
		Long: `Make every device of this machine hold what was last confirmed on it. A change that
was on trial when the machine went down is gone with that. Nothing is planned and no
source is asked; the policy files need not be in order. Points that had nothing
confirmed are left alone, and so are devices that already hold a table of ours.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.boot(cmd.Context()) },
	}
}

func (a *app) boot(ctx context.Context) error {
	cfg, _ := config.Load(a.site) // only the points matter: siteName says it where they cannot be read
	name, dir, err := a.siteName()
	if err != nil {
		return err
	}
	st, err := readState(dir, name)
	if err != nil {
		return err
	}
	if st == nil {
		fmt.Fprintf(a.out, "nothing was confirmed yet: there is no state of site %s in %s\n", name, dir)
		return nil
	}
	defer st.Close()
	known, err := st.LastConfirmed()
	if err != nil {
		return err
	}
	var done []string
	var failed error
	for _, k := range known {
		i := slices.IndexFunc(cfg.Settings.Points, func(p config.Point) bool { return p.Name == k.Point })
		if i < 0 {
			fmt.Fprintf(a.err, "point %s is no longer one of the site's; what was confirmed on it is not loaded\n", k.Point)
			continue
		}
		p := &cfg.Settings.Points[i]
		j := slices.IndexFunc(a.kinds, func(x driver.Kind) bool { return x.Name == p.Driver })
		if j < 0 || a.kinds[j].Aged == nil {
			continue // it keeps its state itself
		}
		kind := &a.kinds[j]
		device := kind.Device(p)
		if slices.Contains(done, device) {
			continue
		}
		done = append(done, device)
		if err := a.bootDevice(ctx, st, k, kind, device, cfg); err != nil {
			failed = fmt.Errorf("device %s: %w", device, err)
			fmt.Fprintln(a.err, failed)
		}
	}
	return failed
}

func (a *app) bootDevice(ctx context.Context, st *store.Store, k store.Known, kind *driver.Kind, device string, cfg *config.Site) error {
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
	for i := range cfg.Settings.Points {
		if p := &cfg.Settings.Points[i]; p.Driver == kind.Name && kind.Device(p) == device {
			points = append(points, *p)
		}
	}
	d, err := kind.Open(cfg.Settings.Name, points)
	if err != nil {
		return err
	}
	now, err := d.Read(ctx)
	if err != nil {
		return err
	}
	dec, err := d.Decode(now)
	if err != nil {
		return err
	}
	if len(dec.Installed) > 0 {
		fmt.Fprintf(a.out, "%s holds rules of ours already: left as it is\n", device)
		return nil
	}
	from := rec.At
	if from.IsZero() {
		from = k.At
	}
	want := kind.Aged(was, a.now().Sub(from))
	ch, err := d.Diff(now, want)
	if err != nil || ch.Empty() {
		return err
	}
	if err := d.Apply(ctx, ch); err != nil {
		return err
	}
	if now, err = d.Read(ctx); err != nil {
		return err
	}
	rest, err := d.Diff(now, want)
	if err != nil {
		return err
	}
	if !rest.Empty() {
		return fmt.Errorf("it was loaded and differs in %d objects, the first is %s", len(rest.Ops), rest.Ops[0].Object)
	}
	fmt.Fprintf(a.out, "%s holds what apply %s of %s confirmed\n", device, k.Apply, k.At.Format("2006-01-02T15:04:05Z07:00"))
	return nil
}
