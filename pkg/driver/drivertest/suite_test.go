package drivertest_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"strings"
	"testing"

	"bulkhead/pkg/compile"
	"bulkhead/pkg/driver"
	"bulkhead/pkg/driver/drivertest"
	"bulkhead/pkg/driver/drivertest/rows"
	"bulkhead/pkg/driver/drivertest/sim"
	"bulkhead/pkg/policy/policytest"
)

// A suite that passes everything proves nothing: each check must fail a driver
// that breaks what it guards.
func TestBadDriversAreFound(t *testing.T) {
	for _, bad := range []struct {
		check string
		does  string
		wrap  func(*rows.Driver, *rows.Device) driver.Driver
	}{
		{"FailedReadIsNotEmpty", "takes a failed read for an empty device", func(d *rows.Driver, _ *rows.Device) driver.Driver { return &forgetful{d} }},
		{"UnreachableIsNotEmpty", "takes a failed read for an empty device", func(d *rows.Driver, _ *rows.Device) driver.Driver { return &forgetful{d} }},
		{"FailedWriteShowsTheTruth", "says that everything went well", func(d *rows.Driver, _ *rows.Device) driver.Driver { return &cheerful{d} }},
		{"FailedWriteShowsTheTruth", "says that nothing was done", func(d *rows.Driver, _ *rows.Device) driver.Driver { return &innocent{d} }},
		{"MovedDeviceIsLeftAlone", "applies to whatever is there", func(d *rows.Driver, _ *rows.Device) driver.Driver { return &headlong{d} }},
		{"Story", "drops the IPv6 half", func(d *rows.Driver, _ *rows.Device) driver.Driver { return &broken{d, "drop the IPv6 half"} }},
		{"Story", "allows by default", func(d *rows.Driver, _ *rows.Device) driver.Driver { return &broken{d, "default allow"} }},
		{"EmptyGroupIsNotAny", "takes empty for any", func(d *rows.Driver, _ *rows.Device) driver.Driver { return &broken{d, "empty is any"} }},
		{"Story", "decodes as if everything were right", func(d *rows.Driver, _ *rows.Device) driver.Driver { return &silent{d} }},
		{"OverBudgetWritesNothing", "knows no budget", func(d *rows.Driver, _ *rows.Device) driver.Driver { return &lavish{d} }},
		{"RemovalLeavesNothing", "leaves its rows", func(d *rows.Driver, _ *rows.Device) driver.Driver { return &clinging{d} }},
		{"ForeignObjectsStay", "clears the table first", func(d *rows.Driver, dev *rows.Device) driver.Driver { return &greedy{d, dev} }},
		{"Story", "revokes first and adds then", func(d *rows.Driver, _ *rows.Device) driver.Driver { return &hasty{d} }},
		{"DriftIsFoundAndRepaired", "sees no difference the second time", func(d *rows.Driver, _ *rows.Device) driver.Driver { return &blind{d} }},
	} {
		t.Run(bad.check+"/"+bad.does, func(t *testing.T) {
			if says := failure(t, bad.check, bad.wrap); says == "" {
				t.Fatalf("a driver that %s passes", bad.does)
			} else {
				t.Log(strings.SplitN(says, "\n", 2)[0])
			}
		})
	}
}

// recorder takes the place of a test that is to fail.
type recorder struct {
	testing.TB
	says string
}

func (r *recorder) Helper()             {}
func (r *recorder) Logf(string, ...any) {}
func (r *recorder) Fatalf(format string, args ...any) {
	r.says = fmt.Sprintf(format, args...)
	runtime.Goexit()
}

// failure runs one check and gives what it fails with.
func failure(t *testing.T, name string, wrap func(*rows.Driver, *rows.Device) driver.Driver) string {
	f := drivertest.Factory{Name: "bad driver", Placements: []drivertest.Placement{drivertest.Quiet()}, Random: 1,
		World: policytest.Options{MaxAssets: 3, MaxGroups: 2, MaxPolicies: 3}, Budget: map[string]int{"rows": 3},
		New: func(testing.TB) *drivertest.Subject { return subject(wrap) }}
	for _, c := range drivertest.Checks() {
		if !strings.HasPrefix(c.Name, name) {
			continue
		}
		if hooks := c.Needs(f.New(t)); hooks != "" {
			t.Fatalf("the check needs %s", hooks)
		}
		r := &recorder{TB: t}
		done := make(chan struct{})
		go func() {
			defer close(done)
			c.Run(r, &f)
		}()
		<-done
		return r.says
	}
	t.Fatalf("no check is called %q", name)
	return ""
}

func subject(wrap func(*rows.Driver, *rows.Device) driver.Driver) *drivertest.Subject {
	dev := rows.NewDevice(3000, "p1", "p2")
	plain := rows.New(dev, drivertest.Site, "p1")
	foreign := func() []byte {
		var out strings.Builder
		for _, r := range dev.Peek().Rows {
			if r.Owner == "" {
				fmt.Fprintln(&out, r.String(), r.Active)
			}
		}
		return []byte(out.String())
	}
	return &drivertest.Subject{
		Driver: func() driver.Driver { return wrap(rows.New(dev, drivertest.Site, "p1"), dev) },
		Unreachable: func() driver.Driver {
			gone := rows.NewDevice(1, "p1")
			gone.Arm(sim.Vanish, 0)
			_ = gone.Write(func(*rows.Config) error { return nil })
			return wrap(rows.New(gone, drivertest.Site, "p1"), gone)
		},
		AddForeign: func() {
			dev.Poke(func(c *rows.Config) {
				r := rows.Row{Key: rows.Key{Direction: rows.In, Index: 5}, Port: "p2", Active: true}
				r.SrcLo, r.SrcHi, r.DstLo, r.DstHi = netip.IPv4Unspecified(), netip.IPv4Unspecified(), netip.IPv4Unspecified(), netip.IPv4Unspecified()
				c.Rows = append(c.Rows, r)
				rows.Sort(c.Rows)
			})
		},
		Foreign: foreign,
		Tamper: func(n int) string {
			s, _ := plain.Read(context.Background())
			all := plain.Mutations(s, 13)
			m := all[n*7%len(all)]
			dev.Poke(func(c *rows.Config) { c.Rows = m.State.Rows })
			return m.Kind
		},
		Fail: dev.Arm, Heal: dev.Heal, Faults: sim.Faults(), Steps: dev.Watch,
	}
}

type forgetful struct{ *rows.Driver }

func (d *forgetful) Read(ctx context.Context) (driver.State, error) {
	s, err := d.Driver.Read(ctx)
	if err != nil {
		return rows.New(rows.NewDevice(3000, "p1"), drivertest.Site, "p1").Read(ctx)
	}
	return s, nil
}

type cheerful struct{ *rows.Driver }

func (d *cheerful) Apply(ctx context.Context, c *driver.Change) error {
	_ = d.Driver.Apply(ctx, c)
	return nil
}

type innocent struct{ *rows.Driver }

func (d *innocent) Apply(ctx context.Context, c *driver.Change) error {
	if err := d.Driver.Apply(ctx, c); err != nil {
		return errors.Join(driver.ErrRefused, err)
	}
	return nil
}

type headlong struct{ *rows.Driver }

func (d *headlong) Apply(ctx context.Context, c *driver.Change) error {
	now, err := d.Read(ctx)
	if err != nil {
		return err
	}
	return d.Driver.Apply(ctx, &driver.Change{From: now, To: c.To})
}

// broken renders one of the nine mistakes.
type broken struct {
	*rows.Driver
	kind string
}

func (d *broken) Render(w driver.Desired, have driver.State) (*driver.Rendered, error) {
	r, err := d.Driver.Render(w, have)
	if err != nil {
		return nil, err
	}
	for _, m := range d.Mutations(r.State, 1) {
		if m.Kind == d.kind {
			r.State = m.State
			break
		}
	}
	return r, nil
}

// silent says nothing of output.
type silent struct{ *rows.Driver }

func (d *silent) Decode(s driver.State) (*driver.Decoded, error) {
	out, err := d.Driver.Decode(s)
	if err != nil {
		return nil, err
	}
	var keep []driver.Relation
	for _, r := range out.Relations {
		if r.Situation.Hook != compile.HookOutput {
			keep = append(keep, r)
		}
	}
	out.Relations = keep
	return out, nil
}

type lavish struct{ *rows.Driver }

func (d *lavish) Render(w driver.Desired, have driver.State) (*driver.Rendered, error) {
	w.Budget = nil
	return d.Driver.Render(w, have)
}

type clinging struct{ *rows.Driver }

func (d *clinging) Render(w driver.Desired, have driver.State) (*driver.Rendered, error) {
	if len(w.Points) == 0 {
		return &driver.Rendered{State: have}, nil
	}
	return d.Driver.Render(w, have)
}

// greedy takes what others have for its own to clear.
type greedy struct {
	*rows.Driver
	device *rows.Device
}

func (d *greedy) Apply(ctx context.Context, c *driver.Change) error {
	if err := d.Driver.Apply(ctx, c); err != nil {
		return err
	}
	d.device.Poke(func(c *rows.Config) {
		for i := range c.Rows {
			if c.Rows[i].Owner == "" {
				c.Rows[i].Active = false
			}
		}
	})
	return nil
}

// blind never finds anything to do on a device that has rows of ours.
type blind struct{ *rows.Driver }

func (d *blind) Diff(have, want driver.State) (*driver.Change, error) {
	c, err := d.Driver.Diff(have, want)
	if err == nil && !c.First {
		c.Ops = nil
	}
	return c, err
}

// hasty takes everything off before it puts the new state on.
type hasty struct{ *rows.Driver }

func (d *hasty) Apply(ctx context.Context, c *driver.Change) error {
	none, err := d.Render(driver.Desired{Site: drivertest.Site}, c.From)
	if err != nil {
		return err
	}
	if err := d.Driver.Apply(ctx, &driver.Change{From: c.From, To: none.State}); err != nil {
		return err
	}
	return d.Driver.Apply(ctx, &driver.Change{From: none.State, To: c.To})
}
