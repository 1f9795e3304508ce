// Package apply carries a plan out: device by device, each change proved again by
// what the device then holds, and undone if it is not what was meant.
package apply

import (
	"context"
	"errors"
	"fmt"
	"time"

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
	// Now is the time that the change was rendered for, by the executor's clock; zero if
	// nothing in it is timed.
	Now time.Time
	// Proofs is what was shown of the device's tables before, when the change was
	// planned; nil for nothing.
	Proofs *prove.Cache
	// Residue is what of the change the device cannot express, and the site accepts.
	Residue []driver.Residue
	// Encode writes a state of the device down exactly, for a journal; nil where
	// nothing can.
	Encode func(driver.State) ([]byte, error)
}

// tries reports whether the device can go back by itself.
func (j *Job) tries() bool {
	_, ok := driver.TrierOf(j.Driver)
	return ok
}

// Outcome is what became of a job.
type Outcome struct {
	Device  string   `json:"device"`
	Points  []string `json:"points"`
	Applied bool     `json:"applied"`
	Undone  bool     `json:"undone"`
	// Unknown is set where a change failed and the previous state could not be put
	// back: the device may hold the old state, the new one, or a part of it.
	Unknown bool `json:"unknown"`
	// Until is when the device goes back unless the change is confirmed: by itself, or put
	// back by a controller where it cannot; zero where it is not on trial, or confirmed.
	Until time.Time      `json:"until,omitzero"`
	Proof []prove.Result `json:"proof"`
	Error string         `json:"error,omitempty"`
}

// ErrNotProved says that a device did not hold what was meant after an apply.
var ErrNotProved = errors.New("the device does not enforce what policy says")

// Progress hears what is being done, one line at a time.
type Progress func(format string, args ...any)

// log hears of each job before its device is written to, and after. An error of
// before leaves the device alone. It may be called by several goroutines.
type log interface {
	before(*Job) error
	after(*Job, *Outcome)
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

// putBack makes a device hold what it held before the job.
func putBack(ctx context.Context, j *Job, trial bool) error {
	if t, ok := driver.TrierOf(j.Driver); ok && trial {
		if err := t.Undo(ctx); err != nil {
			return err
		}
	}
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

// Verify reads the device of a job and proves it.
func Verify(ctx context.Context, j *Job) ([]prove.Result, error) {
	s, err := j.Driver.Read(ctx)
	if err != nil {
		return []prove.Result{}, err
	}
	dec, err := j.Driver.Decode(s)
	if err != nil {
		return []prove.Result{}, err
	}
	var out []prove.Result
	j.Matrix.Exclusive(func() { out = j.Proofs.Device(j.Matrix, j.Points, dec, j.Residue...) })
	return out, nil
}
