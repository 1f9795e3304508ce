// Package apply carries a plan out: device by device, each change proved again by
// what the device then holds, and undone if it is not what was meant.
package apply

import (
	"context"
	"errors"
	"fmt"

	"bulkhead/pkg/compile"
	"bulkhead/pkg/driver"
	"bulkhead/pkg/prove"
)

// Job is the change of one device.
type Job struct {
	Device string
	Driver driver.Driver
	Change *driver.Change
	Matrix *compile.Matrix
	Points []compile.Point
	// Proofs is what was shown of the device's tables before, when the change was
	// planned; nil for nothing.
	Proofs *prove.Cache
	// Encode writes a state of the device down exactly, for a journal; nil where
	// nothing can.
	Encode func(driver.State) ([]byte, error)
}

// Outcome is what became of a job.
type Outcome struct {
	Device  string   `json:"device"`
	Points  []string `json:"points"`
	Applied bool     `json:"applied"`
	Undone  bool     `json:"undone"`
	// Unknown is set where a change failed and the previous state could not be put
	// back: the device may hold the old state, the new one, or a part of it.
	Unknown bool           `json:"unknown"`
	Proof   []prove.Result `json:"proof"`
	Error   string         `json:"error,omitempty"`
}

// ErrNotProved says that a device did not hold what was meant after an apply.
var ErrNotProved = errors.New("the device does not enforce what policy says")

// Progress hears what is being done, one line at a time.
type Progress func(format string, args ...any)

// Run carries the jobs out one after the other and stops at the first failure.
// The error is that failure; outcomes tell what was done before it.
func Run(ctx context.Context, jobs []Job, say Progress) ([]Outcome, error) {
	return run(ctx, jobs, nil, say)
}

// log hears of each job before its device is written to, and after. An error of
// before leaves the device alone.
type log interface {
	before(*Job) error
	after(*Job, *Outcome)
}

func run(ctx context.Context, jobs []Job, l log, say Progress) ([]Outcome, error) {
	var out []Outcome
	for i := range jobs {
		o, err := one(ctx, &jobs[i], l, say)
		if err != nil {
			o.Error = err.Error()
		}
		out = append(out, o)
		if l != nil {
			l.after(&jobs[i], &o)
		}
		if err != nil {
			return out, fmt.Errorf("device %s: %w", jobs[i].Device, err)
		}
	}
	return out, nil
}

func one(ctx context.Context, j *Job, l log, say Progress) (Outcome, error) {
	o := Outcome{Device: j.Device, Points: []string{}, Proof: []prove.Result{}}
	for _, p := range j.Points {
		o.Points = append(o.Points, p.Name)
	}
	if err := ctx.Err(); err != nil {
		return o, fmt.Errorf("%w before anything was written to it", err)
	}
	if l != nil {
		if err := l.before(j); err != nil {
			return o, err
		}
	}
	say("changing %s, native operations: %d", j.Device, len(j.Change.Ops))
	if err := j.Driver.Apply(ctx, j.Change); err != nil {
		if errors.Is(err, driver.ErrRefused) || errors.Is(err, driver.ErrMoved) {
			return o, err // the contract: nothing was done
		}
		// What the device holds now is not known: put back what it held.
		return o, undo(ctx, j, &o, err, say)
	}
	o.Applied = true
	say("reading %s back and proving it", j.Device)
	proof, err := Verify(ctx, j.Driver, j.Matrix, j.Points, j.Proofs)
	o.Proof = proof
	if err != nil {
		return o, undo(ctx, j, &o, err, say)
	}
	for i := range proof {
		if !proof[i].Proved {
			return o, undo(ctx, j, &o, NotProved(&proof[i]), say)
		}
	}
	return o, nil
}

// NotProved makes an error of a failed proof: the first packet, or the first
// thing in the way.
func NotProved(r *prove.Result) error {
	if len(r.Wrong) > 0 {
		return fmt.Errorf("%w: %s", ErrNotProved, r.Wrong[0].String())
	}
	for _, f := range r.Findings {
		if !f.Harmless {
			return fmt.Errorf("%w: point %q: %s: %s", ErrNotProved, r.Point, f.Object, f.Text)
		}
	}
	return nil
}

// undo puts back what the device held before. The cause stays the error.
func undo(ctx context.Context, j *Job, o *Outcome, cause error, say Progress) error {
	say("putting the previous state of %s back", j.Device)
	// An operator who gives up must not leave half a change behind.
	if err := putBack(context.WithoutCancel(ctx), j); err != nil {
		o.Unknown = true
		return fmt.Errorf("%w; and the previous state could not be put back: %w", cause, err)
	}
	o.Applied, o.Undone = false, true
	return fmt.Errorf("%w; the previous state was put back", cause)
}

func putBack(ctx context.Context, j *Job) error {
	for range 2 {
		now, err := j.Driver.Read(ctx)
		if err != nil {
			return err
		}
		back, err := j.Driver.Diff(now, j.Change.From)
		if err != nil || back.Empty() {
			return err
		}
		if err := j.Driver.Apply(ctx, back); err != nil {
			return err
		}
	}
	// A device that did not take the change as it was meant is not believed when it
	// takes the way back either.
	now, err := j.Driver.Read(ctx)
	if err != nil {
		return err
	}
	rest, err := j.Driver.Diff(now, j.Change.From)
	if err != nil || rest.Empty() {
		return err
	}
	return fmt.Errorf("it still differs in %d objects, the first is %s", len(rest.Ops), rest.Ops[0].Object)
}

// Verify reads a device and proves it; proofs is what was shown of its tables before.
func Verify(ctx context.Context, d driver.Driver, m *compile.Matrix, points []compile.Point, proofs *prove.Cache) ([]prove.Result, error) {
	s, err := d.Read(ctx)
	if err != nil {
		return []prove.Result{}, err
	}
	dec, err := d.Decode(s)
	if err != nil {
		return []prove.Result{}, err
	}
	return proofs.Device(m, points, dec), nil
}
