package apply

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"bulkhead/pkg/driver"
	"bulkhead/pkg/store"
)

// Record is a device's native state as a journal keeps it.
type Record struct {
	FormatVersion string `json:"formatVersion"`
	Device        string `json:"device"`
	// Fingerprint is the state's: what the device reads as while it holds it.
	Fingerprint string `json:"fingerprint"`
	// State is the exact state, in the form of the driver's kind, which makes it
	// again. It is absent where the kind cannot write states down: then Text, the
	// configuration in the device's own language, is for people alone.
	State []byte `json:"state,omitempty"`
	// At is the time that what is timed in the state counts from; zero: not known.
	At   time.Time `json:"at,omitzero"`
	Text string    `json:"text,omitempty"`
	// Held is set for a device that cannot go back by itself: while its change is on trial,
	// a controller has to put it back when the time is over.
	Held bool `json:"held,omitempty"`
}

const recordFormat = "1.0"

func (j *Job) record(s driver.State) ([]byte, error) {
	r := Record{FormatVersion: recordFormat, Device: j.Device, Fingerprint: s.Fingerprint(), At: j.Now, Held: !j.tries()}
	if j.Encode != nil {
		var err error
		if r.State, err = j.Encode(s); err != nil {
			return nil, fmt.Errorf("device %s: %w", j.Device, err)
		}
	} else if t, ok := s.(interface{ Text() string }); ok {
		r.Text = t.Text()
	}
	return json.Marshal(r)
}

// ReadRecord gives back what a journal keeps of a state.
func ReadRecord(b []byte) (Record, error) {
	var r Record
	if err := json.Unmarshal(b, &r); err != nil || r.FormatVersion != recordFormat {
		return r, errors.New("the journal keeps a state that this program does not know")
	}
	return r, nil
}

// Journaled is what became of an apply that the store keeps.
type Journaled struct {
	Apply    store.Apply
	Outcomes []Outcome
	// Store says what could not be written down once devices were being changed:
	// that undoes nothing.
	Store error
}

// Begin writes down, before anything is done, what each device holds and what it
// is meant to hold. Where that fails nothing may be written to a device.
func Begin(st *store.Store, a store.Apply, jobs []Job) (store.Apply, error) {
	var changes []store.Change
	for i := range jobs {
		prev, err := jobs[i].record(jobs[i].Change.From)
		if err != nil {
			return a, fmt.Errorf("%w; nothing was written to any device", err)
		}
		next, err := jobs[i].record(jobs[i].Change.To)
		if err != nil {
			return a, fmt.Errorf("%w; nothing was written to any device", err)
		}
		for _, p := range jobs[i].Points {
			changes = append(changes, store.Change{Point: p.Name, Previous: prev, Intended: next})
		}
	}
	a, err := st.BeginApply(a, changes)
	if err != nil {
		return a, fmt.Errorf("%w; nothing was written to any device", err)
	}
	return a, nil
}

// RunJournaled is Run with a journal in the store: what every device held is
// durable before the first write to any of them. Where that fails, or the first
// step cannot be recorded, nothing is written to a device. Where devices hold the
// change on trial the apply stays unfinished, with a deadline, until it is
// confirmed: at once if confirm is set, else by FinishTrial.
func (e *Executor) RunJournaled(ctx context.Context, st *store.Store, a store.Apply, jobs []Job, confirm bool) (Journaled, error) {
	a.ByHand = !confirm && e.Timeout > 0
	a, err := Begin(st, a, jobs)
	if err != nil {
		return Journaled{}, err
	}
	l := &steps{st: st, apply: a.ID}
	x := Executor{Timeout: e.Timeout, AtOnce: e.AtOnce, Check: e.Check, Say: e.Say, Now: e.Now, Forward: e.Forward, log: l}
	if e.Timeout > 0 && len(jobs) > 0 {
		// Before the first write: who finds the apply unfinished knows what it waits for.
		if err := st.Arm(a.ID, x.now().Add(e.Timeout)); err != nil {
			_, results := results(jobs, nil)
			return Journaled{}, errors.Join(fmt.Errorf("%w; nothing was written to any device", err), st.FinishApply(a.ID, store.Failed, results))
		}
	}
	out, runErr := x.Run(ctx, jobs)
	until := soonest(out)
	if runErr == nil && !until.IsZero() {
		if err := st.Arm(a.ID, until); err != nil {
			l.errs = append(l.errs, err)
		}
		if !confirm {
			a.Deadline = until.UTC()
			return Journaled{a, out, errors.Join(l.errs...)}, nil
		}
		runErr = x.Confirm(ctx, jobs, out)
		for i := range out {
			l.after(&jobs[i], &out[i])
		}
	}
	state, results := results(jobs, out)
	if err := st.FinishApply(a.ID, state, results); err != nil {
		l.errs = append(l.errs, err)
	} else if done, err := st.Apply(a.ID); err == nil {
		a = done
	}
	return Journaled{a, out, errors.Join(l.errs...)}, runErr
}

// soonest is when the first device goes back; zero if none does.
func soonest(out []Outcome) (at time.Time) {
	for i := range out {
		if u := out[i].Until; !u.IsZero() && (at.IsZero() || u.Before(at)) {
			at = u
		}
	}
	return at
}

// steps writes down where an apply stands, one step for each point of a device.
type steps struct {
	mu      sync.Mutex
	st      *store.Store
	apply   string
	touched bool
	errs    []error
}

func (l *steps) before(j *Job) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, p := range j.Points {
		err := l.st.Step(l.apply, p.Name, 1, "change "+j.Device, store.Running)
		if err != nil && !l.touched {
			return fmt.Errorf("%w; nothing was written to any device", err)
		}
		if err != nil { // what each device held is in the journal already
			l.errs = append(l.errs, err)
		}
	}
	l.touched = true
	return nil
}

func (l *steps) after(j *Job, o *Outcome) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.touched {
		return
	}
	for _, p := range j.Points {
		if err := l.st.Step(l.apply, p.Name, 1, "change "+j.Device, outcomeState(o)); err != nil {
			l.errs = append(l.errs, err)
		}
	}
}

func outcomeState(o *Outcome) store.State {
	switch {
	case o.Undone:
		return store.Undone
	case o.Applied && o.Error == "" && !o.Until.IsZero():
		return store.OnTrial
	case o.Applied && o.Error == "":
		return store.Confirmed
	}
	return store.Failed
}

// results says how each point ended, and the apply as a whole. It is partial
// where a device is changed, or may be, and another one, or a part of it, is not.
func results(jobs []Job, out []Outcome) (store.State, []store.PointResult) {
	var list []store.PointResult
	n := map[store.State]int{}
	changed := false
	for i := range jobs {
		state, why := store.Failed, "it was not touched, because another device failed"
		if k := slices.IndexFunc(out, func(o Outcome) bool { return o.Device == jobs[i].Device }); k >= 0 {
			state, why = outcomeState(&out[k]), out[k].Error
			changed = changed || state == store.Confirmed || out[k].Unknown
		}
		n[state]++
		for _, p := range jobs[i].Points {
			list = append(list, store.PointResult{Point: p.Name, State: state, Error: why})
		}
	}
	switch {
	case n[store.Confirmed] == len(jobs):
		return store.Confirmed, list
	case changed:
		return store.Partial, list
	case n[store.Undone] > 0:
		return store.Undone, list
	}
	return store.Failed, list
}

// Found is what a point turned out to hold after the controller of an apply died.
type Found struct {
	Fingerprint string // of the device's state as it reads now
	Proved      bool   // it enforces exactly what policy says now
}

// Settle ends an apply whose controller died before it could, by what its points
// hold now. A point that found does not name is taken for one that is no more.
func Settle(st *store.Store, j store.Journal, found map[string]Found) (store.Apply, error) {
	var list []store.PointResult
	n := map[store.State]int{}
	for _, c := range j.Changes {
		r := store.PointResult{Point: c.Point, State: store.Failed}
		now, known := found[c.Point]
		prev, err1 := ReadRecord(c.Previous)
		next, err2 := ReadRecord(c.Intended)
		switch {
		case !known:
			r.Error = "the controller ended before it could tell, and the point is no longer one of the site's"
		case err1 == nil && now.Fingerprint == prev.Fingerprint:
			r.State, r.Error = store.Undone, "the controller ended before the change; the device holds what it held before"
			if !j.Apply.Deadline.IsZero() {
				r.Error = "it was not confirmed in time; the device holds what it held before"
			}
		case err2 == nil && now.Fingerprint == next.Fingerprint && now.Proved:
			r.State = store.Confirmed
		case err2 == nil && now.Fingerprint == next.Fingerprint:
			r.Error = "the controller ended after the change; the device holds what was meant, which is not proved"
		default:
			r.Error = "the controller ended before it could tell; the device holds neither what it held before nor what was meant, or others changed it since"
		}
		n[r.State]++
		list = append(list, r)
	}
	state := store.Failed
	switch len(list) {
	case n[store.Confirmed]:
		state = store.Confirmed
	case n[store.Undone]:
		state = store.Undone
	default:
		if n[store.Confirmed] > 0 {
			state = store.Partial
		}
	}
	if err := st.FinishApply(j.Apply.ID, state, list); err != nil {
		return j.Apply, err
	}
	return st.Apply(j.Apply.ID)
}
