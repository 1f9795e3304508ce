package reconcile

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"bulkhead/pkg/apply"
	"bulkhead/pkg/compile"
	"bulkhead/pkg/driver"
	"bulkhead/pkg/plan"
	"bulkhead/pkg/policy"
)

// ReadTimeout bounds how long one device may take to be read: one that hangs fails
// for itself, and holds the others up no longer than this.
const ReadTimeout = time.Minute

// readsAtOnce bounds how many devices are read at the same time, which is waiting for
// the network most of the time. What is worked out of it has the matrix for itself.
const readsAtOnce = 16

// part is what one device adds to a plan.
type part struct {
	points  []plan.Point
	jobs    []apply.Job
	held    []apply.Job // see Result.Held
	flows   []plan.FlowChange
	omitted string // why flows are left out
}

// planAll plans every device by itself. The same devices give the same parts in the
// same order, however long each takes.
func (s *Site) planAll(ctx context.Context, devices []*Device, opt Options) ([]part, error) {
	out, errs := make([]part, len(devices)), make([]error, len(devices))
	eachDevice(devices, func(i int) { out[i], errs[i] = s.planDevice(ctx, devices[i], opt) })
	return out, errors.Join(errs...)
}

// eachDevice calls f for every device, for several at once. Devices that are this host
// itself are done by the caller's own goroutine: their drivers go by the network
// namespace of the thread, and another goroutine's thread may be in another.
func eachDevice(devices []*Device, f func(i int)) {
	var wg sync.WaitGroup
	wg.Go(func() {
		slots := make(chan struct{}, readsAtOnce)
		for i, d := range devices {
			if d.here {
				continue
			}
			slots <- struct{}{}
			wg.Go(func() {
				defer func() { <-slots }()
				f(i)
			})
		}
	})
	for i, d := range devices {
		if d.here {
			f(i)
		}
	}
	wg.Wait()
}

// Local reports whether the device is this host itself.
func (d *Device) Local() bool { return d.here }

// Read gives what the device holds, or fails in time.
func (d *Device) Read(ctx context.Context) (driver.State, error) {
	timed, cancel := context.WithTimeout(ctx, ReadTimeout)
	defer cancel()
	s, err := d.Driver.Read(timed)
	if err != nil && timed.Err() != nil && ctx.Err() == nil {
		return nil, fmt.Errorf("%w: it was not read within %s", driver.ErrUnreachable, ReadTimeout)
	}
	return s, err
}

// planDevice plans one device. A device that cannot be read or cannot take the change
// fails for itself only.
func (s *Site) planDevice(ctx context.Context, d *Device, opt Options) (part, error) {
	var r part
	if len(opt.Only) > 0 && !slices.ContainsFunc(d.Points, func(p compile.Point) bool { return slices.Contains(opt.Only, p.Name) }) {
		return r, nil
	}
	rows := make([]plan.Point, len(d.Points))
	for i := range d.Points {
		rows[i] = s.newRow(d, i)
	}
	fail := func(status plan.Status, err error) {
		for i := range rows {
			rows[i].Status, rows[i].Error = status, err.Error()
		}
		r.points = append(r.points, rows...)
	}
	if d.Err != nil {
		fail(plan.Unreachable, d.Err)
		return r, nil
	}
	have, err := d.Read(ctx)
	if err != nil {
		fail(plan.Unreachable, err)
		return r, nil
	}
	s.Matrix.Exclusive(func() { err = s.work(d, have, rows, opt, &r, fail) })
	return r, err
}

// work plans a device that holds have.
func (s *Site) work(d *Device, have driver.State, rows []plan.Point, opt Options, r *part, fail func(plan.Status, error)) error {
	if t, ok := driver.TrierOf(d.Driver); ok && opt.Lasting {
		if x := t.Trial(have); x != nil && x.Left > 0 {
			fail(plan.Refused, fmt.Errorf("a change is on trial there that nobody waits for; the device goes back in %s", x.Left.Round(time.Second)))
			return nil
		}
	}
	want := s.desired(d, d.Points, opt.Enforced)
	rendered, err := d.Driver.Render(want, have)
	if errors.Is(err, driver.ErrRefused) {
		fail(plan.Refused, err)
		return nil
	}
	if err != nil {
		return err
	}
	change, err := d.Driver.Diff(have, rendered.State)
	if err != nil {
		return err
	}
	r.flows, r.omitted, err = s.fillRows(d, rows, have, rendered, change, opt)
	if err != nil {
		return err
	}
	r.points = append(r.points, rows...)
	job := apply.Job{Device: d.Name, Driver: d.Driver, Change: change, Matrix: s.Matrix, Points: d.Points, Now: s.Now, Proofs: d.proofs, Residue: d.residue, Encode: s.encoder(d.Kind)}
	switch {
	case change.Empty() && slices.Contains(opt.Moved, d.Name):
		job.Change = &driver.Change{From: have, To: have}
		r.held = append(r.held, job)
	case !change.Empty() && rows[0].Status == plan.Changes:
		r.jobs = append(r.jobs, job)
	}
	return nil
}

func (s *Site) newRow(d *Device, i int) plan.Point {
	p := &d.Points[i]
	row := plan.Point{Name: p.Name, Driver: d.Kind, Device: d.Name, Mode: string(p.Mode), Status: plan.InSync,
		Ops: []driver.Op{}, Usage: []driver.Usage{}, Residue: []driver.Residue{}, Essential: []string{}, Failsafe: []string{}, KeepsFlows: d.Driver != nil && !d.Driver.Capabilities().EndsFlows}
	if i < len(d.notes) {
		row.Notes = slices.Clone(d.notes[i])
	}
	for _, f := range p.Failsafe {
		row.Failsafe = append(row.Failsafe, fmt.Sprintf("%s from %s, both ways (%s), to %s", f.Services, f.From, f.Cause, f.To))
	}
	return row
}

func (s *Site) fillRows(d *Device, rows []plan.Point, have driver.State, rendered *driver.Rendered, change *driver.Change, opt Options) (flows []plan.FlowChange, omitted string, err error) {
	now, err := d.Driver.Decode(have)
	if err != nil {
		return nil, "", err
	}
	for i := range rows {
		for _, res := range rendered.Residue {
			if res.Point == rows[i].Name {
				rows[i].Residue = append(rows[i].Residue, res)
			}
		}
	}
	refused, residue := s.inexact(d, rows)
	d.residue = residue
	before := d.proofs.Device(s.Matrix, d.Points, now, residue...)
	after := before
	var beside *driver.Decoded // what will be in force, where that is not what policy says
	if !change.Empty() {
		then, err := d.Driver.Decode(rendered.State)
		if err != nil {
			return nil, "", err
		}
		after = d.proofs.Device(s.Matrix, d.Points, then, residue...)
		if len(residue) > 0 {
			beside = then
		}
	}
	for i := range rows {
		rows[i].State = have.Fingerprint()
		rows[i].Usage = append(rows[i].Usage, rendered.Usage...)
		rows[i].Essential = append(rows[i].Essential, rendered.Essential...)
		rows[i].Before, rows[i].After = &before[i], &after[i]
		rows[i].First = d.Points[i].Mode == policy.Enforce && !opt.Enforced[rows[i].Name] &&
			!(slices.Contains(now.Installed, rows[i].Name) && drops(now, d.Points[i].Hooks()))
		if !change.Empty() && !refused {
			rows[i].Status = plan.Changes
		}
	}
	rows[0].Ops, rows[0].Notes = append(rows[0].Ops, change.Ops...), append(rows[0].Notes, rendered.Notes...)
	if refused || change.Empty() {
		return nil, "", nil
	}
	installedPoints := []compile.Point{}
	for _, p := range d.Points {
		if slices.Contains(now.Installed, p.Name) {
			installedPoints = append(installedPoints, p)
		}
	}
	if len(installedPoints) == 0 {
		now = nil // nothing of ours judges anything yet
	}
	base, err := s.shareBase(d, have, now, opt)
	if err != nil {
		return nil, "", err
	}
	var named []netip.Addr
	// A first enforcement has a brake of its own.
	if base != nil && !slices.ContainsFunc(rows, func(r plan.Point) bool { return r.First }) {
		named = s.namedAddrs()
	}
	if base != now && named != nil {
		rows[0].NewlyDenied, named = plan.DeniedShare(s.Matrix, d.Points, base, beside, named), nil
	}
	flows, omitted, share := plan.DiffFlowsShare(s.Matrix, d.Points, now, beside, named)
	if share != nil {
		rows[0].NewlyDenied = share
	}
	return flows, omitted, nil
}
