package reconcile

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"bulkhead/pkg/apply"
	"bulkhead/pkg/compile"
	"bulkhead/pkg/config"
	"bulkhead/pkg/driver"
	"bulkhead/pkg/policy"
	"bulkhead/pkg/store"
)

// desired is what the points of a device must enforce together.
func (s *Site) desired(d *Device, points []compile.Point, enforced map[string]bool) driver.Desired {
	want := driver.Desired{Site: s.Config.Settings.Name, Points: points, Now: s.Now, Enforced: enforced, Budget: budget(d), Inexact: map[string]driver.Inexact{}, Asked: s.asked()}
	for _, c := range d.Config {
		switch c.OnInexact {
		case config.Narrow:
			want.Inexact[c.Name] = driver.Narrow
		case config.Widen:
			want.Inexact[c.Name] = driver.Widen
		}
	}
	if len(points) > 0 {
		want.View = compile.NewView(s.Matrix, points)
	}
	return want
}

// asked is how often a daemon asks the slowest of the sources in a cloud.
func (s *Site) asked() (most time.Duration) {
	for i := range s.Config.Settings.Sources {
		if src := &s.Config.Settings.Sources[i]; src.Type == config.SourceEC2 {
			most = max(most, cmp.Or(src.Duration("every"), defaultEvery))
		}
	}
	return most
}

// render renders what points of a device must enforce.
func (s *Site) render(d *Device, points []compile.Point, enforced map[string]bool, have driver.State) (r *driver.Rendered, err error) {
	s.Matrix.Exclusive(func() { r, err = d.Driver.Render(s.desired(d, points, enforced), have) })
	return r, err
}

// encoder gives what writes down states of a kind; nil if nothing can.
func (s *Site) encoder(kind string) func(driver.State) ([]byte, error) {
	i := slices.IndexFunc(s.kinds, func(k driver.Kind) bool { return k.Name == kind })
	if i < 0 {
		return nil
	}
	return s.kinds[i].Encode
}

// OnTrial finds the devices of an apply that waits to be confirmed, with the states
// that its journal keeps.
func (s *Site) OnTrial(devices []*Device, j store.Journal) ([]apply.OnTrial, error) {
	var out []apply.OnTrial
	for _, c := range j.Changes {
		prev, err := apply.ReadRecord(c.Previous)
		if err != nil {
			return nil, err
		}
		next, err := apply.ReadRecord(c.Intended)
		if err != nil {
			return nil, err
		}
		i := slices.IndexFunc(devices, func(d *Device) bool { return d.Name == next.Device })
		if i < 0 || slices.ContainsFunc(out, func(x apply.OnTrial) bool { return x.Name == next.Device }) {
			continue // EndTrial says it of a device that is missing
		}
		d := devices[i]
		if d.Err != nil {
			return nil, fmt.Errorf("device %s: %w", d.Name, d.Err)
		}
		k := slices.IndexFunc(s.kinds, func(k driver.Kind) bool { return k.Name == d.Kind })
		if k < 0 || s.kinds[k].Decode == nil {
			return nil, fmt.Errorf("device %s: what it held before cannot be read back: %s devices have no written form", d.Name, d.Kind)
		}
		x := apply.OnTrial{Name: d.Name, Driver: d.Driver}
		if x.Previous, err = s.kinds[k].Decode(prev.State); err != nil {
			return nil, fmt.Errorf("device %s: %w", d.Name, err)
		}
		if x.Meant, err = s.kinds[k].Decode(next.State); err != nil {
			return nil, fmt.Errorf("device %s: %w", d.Name, err)
		}
		out = append(out, x)
	}
	return out, nil
}

// ObserveJob is the change of a device by which one of its points drops nothing, and
// the others what they have to.
func (s *Site) ObserveJob(ctx context.Context, d *Device, point string) (*apply.Job, error) {
	points := slices.Clone(d.Points)
	enforced := map[string]bool{}
	for i := range points {
		enforced[points[i].Name] = true // nobody has to learn anything for this
		if points[i].Name == point {
			points[i].Mode = policy.Observe
		}
	}
	have, err := d.Read(ctx)
	if err != nil {
		return nil, err
	}
	r, err := s.render(d, points, enforced, have)
	if err != nil {
		return nil, err
	}
	ch, err := d.Driver.Diff(have, r.State)
	if err != nil {
		return nil, err
	}
	var residue []driver.Residue
	for i := range d.Config {
		for _, res := range r.Residue {
			if res.Point == d.Config[i].Name && accepts(&d.Config[i], &res) {
				residue = append(residue, res)
			}
		}
	}
	return &apply.Job{Device: d.Name, Driver: d.Driver, Change: ch, Matrix: s.Matrix, Points: points, Now: s.Now, Residue: residue, Encode: s.encoder(d.Kind)}, nil
}

// RepairJob is a change that leads back to what a device held while it was in sync,
// as it was read then.
func (s *Site) RepairJob(d *Device, ch *driver.Change, read time.Time) apply.Job {
	return apply.Job{Now: read, Device: d.Name, Driver: d.Driver, Change: ch, Matrix: s.Matrix, Points: d.Points, Proofs: d.proofs, Residue: d.residue, Encode: s.encoder(d.Kind)}
}

// RemovalJob is a Removal as a job that can be journaled. Nothing is proved by it:
// its point is that nothing is enforced any more.
func (s *Site) RemovalJob(d *Device, point string, ch *driver.Change) apply.Job {
	job := apply.Job{Device: d.Name, Driver: d.Driver, Change: ch, Matrix: s.Matrix, Encode: s.encoder(d.Kind)}
	for _, p := range d.Points {
		if p.Name == point {
			job.Points = append(job.Points, p)
		}
	}
	return job
}

// RenderText gives the native configuration of a device in its own language. It
// reads nothing from the device.
func (s *Site) RenderText(d *Device) (string, error) {
	r, err := s.render(d, d.Points, nil, nil)
	if err != nil {
		return "", err
	}
	t, ok := r.State.(interface{ Text() string })
	if !ok {
		return "", fmt.Errorf("the %s driver has no text form", d.Kind)
	}
	return t.Text(), nil
}

// Removal gives the change that takes one point's objects off its device. Other
// points of ours on the device stay as they are installed.
func (s *Site) Removal(ctx context.Context, d *Device, point string) (*driver.Change, error) {
	have, err := d.Read(ctx)
	if err != nil {
		return nil, err
	}
	dec, err := d.Driver.Decode(have)
	if err != nil {
		return nil, err
	}
	if !slices.Contains(dec.Installed, point) {
		return &driver.Change{From: have, To: have}, nil
	}
	var stay []compile.Point
	for _, p := range d.Points {
		if p.Name != point && slices.Contains(dec.Installed, p.Name) {
			stay = append(stay, p)
		}
	}
	r, err := s.render(d, stay, nil, have)
	if err != nil {
		return nil, err
	}
	return d.Driver.Diff(have, r.State)
}
