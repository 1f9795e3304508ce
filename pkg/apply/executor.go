package apply

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"bulkhead/pkg/driver"
	"bulkhead/pkg/prove"
)

// Executor carries jobs out. The first job is a canary: the others begin only when
// it is done and proved. What fails on any device takes back the change on all.
type Executor struct {
	// Timeout is how long a change stays on trial on devices that can hold one; 0 makes
	// changes for good as soon as they are proved.
	Timeout time.Duration
	// AtOnce is how many devices are changed at the same time, after the canary; 0
	// stands for DefaultAtOnce.
	AtOnce int
	// Check is asked when the canary is changed and again when all devices are: an error
	// takes everything back. nil asks nobody.
	Check func(ctx context.Context) error
	// Say hears what is being done. It is called by one goroutine at a time.
	Say Progress
	// Now is the clock; nil stands for time.Now.
	Now func() time.Time
	// Forward takes nothing back that fails once it is written: where the change puts
	// right what others did, the state before it is the damage.
	Forward bool

	log   log
	began time.Time
	mu    sync.Mutex
}

// DefaultAtOnce bounds how many devices are changed at once: as many as an operator
// can still watch.
const DefaultAtOnce = 4

// stepTime bounds what a device may take for one step: being changed, read back and
// proved, confirmed, or put back. One that hangs fails, as one that is gone does, and
// holds nobody else up for longer.
const stepTime = 2 * time.Minute

// ErrCheck says that a check failed after a change.
var ErrCheck = errors.New("a check failed after the change")

func (e *Executor) say(format string, args ...any) {
	if e.Say == nil {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.Say(format, args...)
}

func (e *Executor) now() time.Time {
	if e.Now == nil {
		return time.Now()
	}
	return e.Now()
}

// Run carries the jobs out for good, one device after the other.
func Run(ctx context.Context, jobs []Job, say Progress) ([]Outcome, error) {
	return (&Executor{Say: say, AtOnce: 1}).Run(ctx, jobs)
}

// Run changes all devices, or leaves all as they were: it stops at the first failure
// and takes back what it has changed. The error is that failure. There is an
// outcome for every job that was begun, in the order of the jobs; where the error is
// nil those with Until wait for Confirm.
func (e *Executor) Run(ctx context.Context, jobs []Job) ([]Outcome, error) {
	if len(jobs) == 0 {
		return nil, nil
	}
	out := make([]*Outcome, len(jobs))
	e.began = e.now()
	err := e.each(ctx, jobs, out, 0, 1)
	if err == nil && len(jobs) > 1 {
		if err = e.check(ctx); err == nil {
			err = e.each(ctx, jobs, out, 1, len(jobs))
		}
	}
	if err == nil {
		err = e.check(ctx)
	}
	if err != nil && !e.Forward {
		err = e.takeBack(ctx, jobs, out, err)
	}
	var list []Outcome
	for _, o := range out {
		if o == nil {
			continue
		}
		list = append(list, *o)
	}
	return list, err
}

func (e *Executor) check(ctx context.Context) error {
	if e.Check == nil {
		return nil
	}
	if err := e.Check(ctx); err != nil {
		return fmt.Errorf("%w: %w", ErrCheck, err)
	}
	return nil
}

// each carries jobs number from to to out, some at once, and begins none once one
// has failed. The error is that of the first job that failed, in their order.
func (e *Executor) each(ctx context.Context, jobs []Job, out []*Outcome, from, to int) error {
	atOnce := e.AtOnce
	if atOnce <= 0 {
		atOnce = DefaultAtOnce
	}
	var (
		wg     sync.WaitGroup
		mu     sync.Mutex
		failed bool
		errs   = make([]error, to)
		slots  = make(chan struct{}, atOnce)
	)
	for i := from; i < to; i++ {
		slots <- struct{}{}
		mu.Lock()
		stop := failed
		mu.Unlock()
		if stop {
			break
		}
		carry := func() {
			defer func() { <-slots }()
			o, err := e.one(ctx, &jobs[i])
			if err != nil {
				o.Error = err.Error()
				mu.Lock()
				failed = true
				mu.Unlock()
			}
			out[i], errs[i] = &o, err
			e.after(&jobs[i], &o)
		}
		if atOnce == 1 || to-from == 1 {
			// By the caller itself: a driver that works where it runs goes by the network
			// namespace of its thread, and another goroutine's thread may be in another.
			carry()
		} else {
			wg.Go(carry)
		}
	}
	wg.Wait()
	for i := from; i < to; i++ {
		if errs[i] != nil {
			return fmt.Errorf("device %s: %w", jobs[i].Device, errs[i])
		}
	}
	return nil
}

// one changes one device and proves it. Where that fails after something may have
// been written, Applied or Unknown is set, and takeBack sees to it.
func (e *Executor) one(ctx context.Context, j *Job) (Outcome, error) {
	o := Outcome{Device: j.Device, Points: []string{}, Proof: []prove.Result{}}
	for _, p := range j.Points {
		o.Points = append(o.Points, p.Name)
	}
	if err := ctx.Err(); err != nil {
		return o, fmt.Errorf("%w before anything was written to it", err)
	}
	if e.log != nil {
		if err := e.log.before(j); err != nil {
			return o, err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, stepTime)
	defer cancel()
	if err := e.write(ctx, j, &o); err != nil {
		// The contract of drivers: after these two nothing was done.
		o.Unknown = !errors.Is(err, driver.ErrRefused) && !errors.Is(err, driver.ErrMoved)
		return o, err
	}
	o.Applied = true
	e.say("reading %s back and proving it", j.Device)
	proof, err := Verify(ctx, j)
	o.Proof = proof
	if err != nil {
		return o, err
	}
	for i := range proof {
		if !proof[i].Proved {
			return o, NotProved(&proof[i])
		}
	}
	return o, nil
}

func (e *Executor) write(ctx context.Context, j *Job, o *Outcome) error {
	if !j.Now.IsZero() {
		// By a clock that was set back, nothing gets more time.
		j.Change.Age = max(0, e.now().Sub(j.Now))
	}
	if e.Timeout <= 0 {
		e.say("changing %s, native operations: %d", j.Device, len(j.Change.Ops))
		return j.Driver.Apply(ctx, j.Change)
	}
	// All go back at one time, whenever each was changed.
	left := e.Timeout - e.now().Sub(e.began)
	if left <= 0 {
		return fmt.Errorf("%w: the time to confirm the change (%s) is over before all devices have it", driver.ErrRefused, e.Timeout)
	}
	// What the device counts down began no earlier than this.
	o.Until = e.now().Add(left)
	if t, ok := driver.TrierOf(j.Driver); ok {
		e.say("putting a change on %s on trial for %s, native operations: %d", j.Device, left.Round(time.Second), len(j.Change.Ops))
		return t.Try(ctx, j.Change, left)
	}
	e.say("putting a change on %s on trial for %s, native operations: %d; it cannot go back by itself: a controller has to be there then", j.Device, left.Round(time.Second), len(j.Change.Ops))
	return j.Driver.Apply(ctx, j.Change)
}

// takeBack puts back what every changed device held before. The cause stays the
// error.
func (e *Executor) takeBack(ctx context.Context, jobs []Job, out []*Outcome, cause error) error {
	// An operator who gives up must not leave half a change behind.
	ctx = context.WithoutCancel(ctx)
	undone := false
	for i := len(jobs) - 1; i >= 0; i-- {
		o := out[i]
		if o == nil || !o.Applied && !o.Unknown {
			continue
		}
		e.say("putting the previous state of %s back", jobs[i].Device)
		timed, cancel := context.WithTimeout(ctx, stepTime)
		err := putBack(timed, &jobs[i], !o.Until.IsZero())
		cancel()
		if err != nil {
			o.Unknown = true
			err = fmt.Errorf("the previous state of %s could not be put back: %w", jobs[i].Device, err)
			o.Error = joined(o.Error, err.Error())
			cause = fmt.Errorf("%w; and %w", cause, err)
		} else {
			undone = true
			o.Applied, o.Undone, o.Unknown, o.Until = false, true, false, time.Time{}
			o.Error = joined(o.Error, "the previous state was put back")
		}
		e.after(&jobs[i], o)
	}
	if undone {
		cause = fmt.Errorf("%w; the previous state was put back", cause)
	}
	return cause
}

func (e *Executor) after(j *Job, o *Outcome) {
	if e.log != nil {
		e.log.after(j, o)
	}
}

func joined(a, b string) string {
	if a == "" {
		return b
	}
	return a + "; " + b
}

// Confirm makes for good what is on trial on the devices. It first looks whether all
// of them still hold it: where one has gone back already, so do the others. After
// that a device can still be too late; those after it go back, and the outcomes tell.
func (e *Executor) Confirm(ctx context.Context, jobs []Job, out []Outcome) error {
	err := e.allOnTrial(ctx, jobs, out)
	for i := range out {
		if err != nil || out[i].Until.IsZero() {
			continue
		}
		e.say("confirming the change of %s", jobs[i].Device)
		timed, cancel := context.WithTimeout(ctx, stepTime)
		err = ConfirmOne(timed, jobs[i].Driver, jobs[i].Change.To)
		cancel()
		if err != nil {
			err = fmt.Errorf("device %s: %w", jobs[i].Device, err)
			out[i].Unknown = !errors.Is(err, driver.ErrTooLate)
			out[i].Error = err.Error()
		} else {
			out[i].Until = time.Time{}
		}
		e.after(&jobs[i], &out[i])
	}
	if err == nil {
		return nil
	}
	left := make([]*Outcome, len(out))
	for i := range out {
		if !out[i].Until.IsZero() {
			left[i] = &out[i]
		}
	}
	return e.takeBack(ctx, jobs, left, err)
}

func (e *Executor) allOnTrial(ctx context.Context, jobs []Job, out []Outcome) error {
	for i := range out {
		if out[i].Until.IsZero() {
			continue
		}
		timed, cancel := context.WithTimeout(ctx, stepTime)
		now, err := jobs[i].Driver.Read(timed)
		cancel()
		if err != nil {
			return fmt.Errorf("device %s: %w", jobs[i].Device, err)
		}
		if err := e.stillOnTrial(&jobs[i], &out[i], now); err != nil {
			return fmt.Errorf("device %s: %w", jobs[i].Device, err)
		}
	}
	return nil
}

// stillOnTrial fails where a device has gone back, or would have been put back by now.
func (e *Executor) stillOnTrial(j *Job, o *Outcome, now driver.State) error {
	if t, ok := driver.TrierOf(j.Driver); ok {
		if x := t.Trial(now); x == nil || x.Left <= 0 {
			return driver.ErrTooLate
		}
		return nil
	}
	if !e.now().Before(o.Until) {
		return driver.ErrTooLate
	}
	other, err := j.Driver.Diff(now, j.Change.To)
	if err == nil && !other.Empty() {
		err = fmt.Errorf("%w: it no longer holds what is on trial, the first of %d objects is %s", driver.ErrMoved, len(other.Ops), other.Ops[0].Object)
	}
	return err
}

// ConfirmOne confirms what is on trial on a device, and looks whether it holds that.
func ConfirmOne(ctx context.Context, d driver.Driver, meant driver.State) error {
	if t, ok := driver.TrierOf(d); ok {
		if err := t.Confirm(ctx, meant); err != nil {
			return err
		}
	}
	now, err := d.Read(ctx)
	if err != nil {
		return err
	}
	rest, err := d.Diff(now, meant)
	if err != nil || rest.Empty() {
		return err
	}
	return fmt.Errorf("it was confirmed and differs in %d objects, the first is %s", len(rest.Ops), rest.Ops[0].Object)
}
