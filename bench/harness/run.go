package harness

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"bulkhead/pkg/lab"
)

// MinRuns is the fewest runs whose figures may be published.
const MinRuns = 5

// Runner takes the measurements of rows.
type Runner struct {
	Runs    int
	Timeout time.Duration // of one measurement
	// Args are given to the program that takes a measurement: this one, again.
	Args []string
	// Full is set if the work is of the size that goals are about. They are not judged
	// otherwise.
	Full bool
	// Scale says in words of what size the work is.
	Scale string
	// Command repeats the measurement; the row's name is put in for %s.
	Command string
	// Progress hears of every measurement.
	Progress io.Writer
	// Start runs a program and waits for it; nil is lab.Sandbox.
	Start func(ctx context.Context, c lab.Command) error
	// Now is the date of the results; nil is time.Now.
	Now func() time.Time
}

// Run takes the measurements of every row, one row after the other.
func (x *Runner) Run(ctx context.Context, rows []Row) (*Report, error) {
	if err := check(rows); err != nil {
		return nil, err
	}
	machine, err := thisMachine()
	if err != nil {
		return nil, err
	}
	now := time.Now
	if x.Now != nil {
		now = x.Now
	}
	out := &Report{FormatVersion: FormatVersion, Rows: []RowResult{}}
	for i := range rows {
		samples, err := x.row(ctx, &rows[i])
		if err != nil {
			return nil, err
		}
		res := summarize(&rows[i], samples, x.Full)
		res.Machine, res.At, res.Scale, res.Runs = machine, now().UTC().Format(time.DateOnly), x.Scale, x.Runs
		res.Command = fmt.Sprintf(x.Command, rows[i].Name)
		out.Rows = append(out.Rows, res)
	}
	return out, nil
}

// row takes the measurements of one row: the variants in turn, and all of them
// again. A variant that failed is not tried again.
func (x *Runner) row(ctx context.Context, r *Row) ([][]Sample, error) {
	samples := make([][]Sample, len(r.Variants))
	failed := make([]bool, len(r.Variants))
	for run := range max(x.Runs, 1) {
		for i, v := range r.Variants {
			if v.NotBuilt != "" || failed[i] {
				continue
			}
			start := time.Now()
			s, err := x.one(ctx, r.Name, v.Name)
			if err != nil {
				return nil, err
			}
			samples[i] = append(samples[i], s)
			failed[i] = len(s.Failed) > 0
			state := "ok"
			if failed[i] {
				state = "FAILED: " + s.Failed[0]
			}
			x.say("%s, %s, run %d of %d: %s (%s)\n", r.Name, v.Name, run+1, max(x.Runs, 1), state, time.Since(start).Round(time.Second/10))
		}
	}
	return samples, nil
}

func (x *Runner) say(format string, args ...any) {
	if x.Progress != nil {
		fmt.Fprintf(x.Progress, format, args...)
	}
}

// one takes one measurement in a process of its own. Only what keeps every
// measurement from being taken is an error.
func (x *Runner) one(ctx context.Context, row, variant string) (Sample, error) {
	self, err := os.Executable()
	if err != nil {
		return Sample{}, fmt.Errorf("find this program to run it again: %w", err)
	}
	inner, cancel := ctx, context.CancelFunc(func() {})
	if x.Timeout > 0 {
		inner, cancel = context.WithTimeout(ctx, x.Timeout)
	}
	defer cancel()
	start := x.Start
	if start == nil {
		start = lab.Sandbox
	}
	var out, errs bytes.Buffer
	err = start(inner, lab.Command{Path: self, Args: x.Args, Env: childEnv(os.Environ(), row, variant), Stdout: &out, Stderr: &errs})
	switch {
	case ctx.Err() != nil:
		return Sample{}, fmt.Errorf("row %q: %w", row, ctx.Err())
	case errors.Is(err, lab.ErrForbidden):
		return Sample{}, err
	case inner.Err() != nil:
		return failedSample(fmt.Sprintf("not done within %s", x.Timeout)), nil
	case err != nil:
		return failedSample(fmt.Sprintf("the measuring process ended: %s%s", err, tail(errs.Bytes()))), nil
	}
	var s Sample
	if err := json.Unmarshal(out.Bytes(), &s); err != nil {
		return failedSample(fmt.Sprintf("the measuring process gave no sample: %s%s", err, tail(errs.Bytes()))), nil
	}
	return s, nil
}

func failedSample(why string) Sample {
	return Sample{Figures: []Figure{}, Checked: []string{}, Failed: []string{why}, Notes: []string{}}
}

// tail gives the first line of what a process said at its end: of a panic, its
// cause.
func tail(b []byte) string {
	line, _, _ := bytes.Cut(bytes.TrimSpace(b), []byte("\n"))
	if len(line) == 0 {
		return ""
	}
	const most = 300
	return ": " + string(line[:min(len(line), most)])
}
