package apply

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"bulkhead/pkg/compile"
	"bulkhead/pkg/driver"
	"bulkhead/pkg/store"
)

// OnTrial is a device of an apply that waits to be confirmed, perhaps by another
// process than the one that made it.
type OnTrial struct {
	Name   string
	Driver driver.Driver
	// Previous and Meant are the states that the journal keeps.
	Previous, Meant driver.State
}

// ErrNothingOnTrial says that no apply waits to be confirmed.
var ErrNothingOnTrial = errors.New("no change is on trial")

// Waiting gives the apply that waits to be confirmed, of those that are unfinished.
func Waiting(st *store.Store) (store.Journal, error) {
	open, err := st.Unfinished()
	if err != nil {
		return store.Journal{}, err
	}
	for _, j := range open {
		if !j.Apply.Deadline.IsZero() {
			return j, nil
		}
	}
	return store.Journal{}, ErrNothingOnTrial
}

// Held names the devices of an apply that cannot go back by themselves, by its journal.
func Held(j store.Journal) (names []string, err error) {
	for _, c := range j.Changes {
		r, err := ReadRecord(c.Intended)
		if err != nil {
			return nil, err
		}
		if r.Held && !slices.Contains(names, r.Device) {
			names = append(names, r.Device)
		}
	}
	return names, nil
}

// HoldsOn reports whether a point of a device that cannot go back by itself still holds
// what nobody confirmed: that is not settled by looking at it, somebody has to put it back.
func HoldsOn(j store.Journal, found map[string]Found) bool {
	if j.Apply.Deadline.IsZero() {
		return false
	}
	return slices.ContainsFunc(j.Changes, func(c store.Change) bool {
		r, err := ReadRecord(c.Intended)
		now, known := found[c.Point]
		return err == nil && r.Held && known && now.Fingerprint == r.Fingerprint
	})
}

// EndTrial confirms an apply that waits for it, or takes it back, and writes down
// what became of it. Only what was proved when it was put on trial is confirmed.
func (e *Executor) EndTrial(ctx context.Context, st *store.Store, j store.Journal, devices []OnTrial, confirm bool) (store.Apply, error) {
	jobs, out, err := trialJobs(j, devices)
	if err != nil {
		return j.Apply, err
	}
	l := &steps{st: st, apply: j.Apply.ID, touched: true}
	x := Executor{Say: e.Say, Now: e.Now, log: l}
	var runErr error
	if confirm {
		for i := range out {
			if out[i].Unknown {
				return j.Apply, fmt.Errorf("apply %s was not proved on %s before its controller ended: it cannot be confirmed, and goes back at %s",
					j.Apply.ID, out[i].Device, j.Apply.Deadline.Format(time.RFC3339))
			}
		}
		runErr = x.Confirm(ctx, jobs, out)
	} else {
		ptr := make([]*Outcome, len(out))
		for i := range out {
			ptr[i] = &out[i]
		}
		const asked = "it was taken back before it was confirmed"
		if err := x.takeBack(ctx, jobs, ptr, errors.New(asked)); slices.ContainsFunc(out, func(o Outcome) bool { return o.Unknown }) {
			runErr = err
		}
	}
	state, results := results(jobs, out)
	if err := st.FinishApply(j.Apply.ID, state, results); err != nil {
		return j.Apply, errors.Join(runErr, err)
	}
	a, err := st.Apply(j.Apply.ID)
	return a, errors.Join(runErr, errors.Join(l.errs...), err)
}

// trialJobs makes the jobs of an apply again, and where each stands.
func trialJobs(j store.Journal, devices []OnTrial) ([]Job, []Outcome, error) {
	var jobs []Job
	var out []Outcome
	for _, c := range j.Changes {
		r, err := ReadRecord(c.Intended)
		if err != nil {
			return nil, nil, err
		}
		i := slices.IndexFunc(devices, func(d OnTrial) bool { return d.Name == r.Device })
		if i < 0 {
			return nil, nil, fmt.Errorf("apply %s changed %s, which is no device of the site any more", j.Apply.ID, r.Device)
		}
		k := slices.IndexFunc(jobs, func(j Job) bool { return j.Device == r.Device })
		if k < 0 {
			k = len(jobs)
			jobs = append(jobs, Job{Device: r.Device, Driver: devices[i].Driver, Change: &driver.Change{From: devices[i].Previous, To: devices[i].Meant}})
			out = append(out, Outcome{Device: r.Device})
		}
		jobs[k].Points = append(jobs[k].Points, compile.Point{Name: c.Point})
		switch lastState(j, c.Point) {
		case store.OnTrial:
			out[k].Applied, out[k].Until = true, j.Apply.Deadline
		case store.Confirmed:
			out[k].Applied = true
		default: // its controller ended before it could tell
			out[k].Unknown, out[k].Until = true, j.Apply.Deadline
		}
	}
	return jobs, out, nil
}

// lastState is where the journal says that a point stands.
func lastState(j store.Journal, point string) (state store.State) {
	for _, s := range j.Steps {
		if s.Point == point {
			state = s.State
		}
	}
	return state
}
