package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// State is how an apply, or one point of it, stands.
type State string

// The states of an apply and of its points.
const (
	Running   State = "running"
	OnTrial   State = "on trial" // of a point: in force, and not confirmed yet
	Confirmed State = "confirmed"
	Undone    State = "undone"
	Failed    State = "failed"
	Partial   State = "partial"
)

// Accepted is a brake that somebody released, and why.
type Accepted struct {
	Brake  string `json:"brake"`
	Reason string `json:"reason"`
}

// PointResult is how one point of an apply ended.
type PointResult struct {
	Point string `json:"point"`
	State State  `json:"state"`
	Error string `json:"error,omitempty"`
}

// Apply is one change of devices: who, why, and what came of it.
type Apply struct {
	ID       string        `json:"id"`
	Plan     string        `json:"plan,omitempty"`
	Snapshot string        `json:"snapshot,omitempty"`
	Inputs   string        `json:"inputs,omitempty"`  // hash of the site and the reports that it was made from, see Blob
	RollsTo  string        `json:"rollsTo,omitempty"` // the apply whose result a rollback restores
	Who      string        `json:"who"`
	From     string        `json:"from,omitempty"`
	Reason   string        `json:"reason,omitempty"`
	Accepted []Accepted    `json:"accepted,omitempty"`
	Started  time.Time     `json:"started"`
	Deadline time.Time     `json:"deadline,omitzero"` // of the confirmation; zero: none
	ByHand   bool          `json:"byHand,omitempty"`  // somebody has to confirm it: it does not happen by itself
	Finished time.Time     `json:"finished,omitzero"`
	State    State         `json:"state"`
	Results  []PointResult `json:"results,omitempty"`
}

// Change is what an apply is about to do to one device, in its native form.
type Change struct {
	Point    string
	Previous []byte // as read back before
	Intended []byte
}

// Step is one write to one device. Its state goes from running to confirmed,
// failed or undone, perhaps by way of on trial.
type Step struct {
	Point  string    `json:"point"`
	Number int       `json:"number"`
	What   string    `json:"what"`
	State  State     `json:"state"`
	At     time.Time `json:"at"`
}

// Journal is what is needed to finish or undo an apply whose controller died.
type Journal struct {
	Apply   Apply
	Changes []Change
	Steps   []Step // by point, then number
}

type journaled struct {
	Point    string `json:"point"`
	Previous string `json:"previous"`
	Intended string `json:"intended"`
}

// Known is the last confirmed state of a device.
type Known struct {
	Point string    `json:"point"`
	Apply string    `json:"apply"`
	At    time.Time `json:"at"`
	Hash  string    `json:"hash"` // Blob(Hash) is the native state
}

// BeginApply writes the journal of an apply, and must return before the first
// write to a device. ID, Started and State are filled in.
func (s *Store) BeginApply(a Apply, changes []Change) (Apply, error) {
	err := s.update(false, func(t *tx) error {
		a.ID, a.Started, a.State = t.id("a", bucketApply), s.o.Now().UTC(), Running
		points := []journaled{}
		for _, c := range changes {
			if slices.ContainsFunc(points, func(j journaled) bool { return j.Point == c.Point }) || c.Point == "" || strings.Contains(c.Point, "/") {
				return fmt.Errorf("an apply changes point %q twice, or it cannot be journaled", c.Point)
			}
			prev, err := t.blob(c.Previous)
			if err != nil {
				return err
			}
			next, err := t.blob(c.Intended)
			if err != nil {
				return err
			}
			points = append(points, journaled{c.Point, prev, next})
		}
		return errors.Join(t.putJSON(bucketApply, a.ID, a), t.putJSON(bucketJournal, a.ID, points),
			t.audit(Entry{Who: a.Who, From: a.From, Action: "apply", Object: a.ID, Reason: reasons(a), Result: string(Running)}))
	})
	return a, err
}

func reasons(a Apply) string {
	r := a.Reason
	for _, x := range a.Accepted {
		r += fmt.Sprintf(" [accepted %s: %s]", x.Brake, x.Reason)
	}
	return strings.TrimSpace(r)
}

// Step records one numbered write to a device: running before it, confirmed,
// failed or undone after it.
func (s *Store) Step(apply, point string, number int, what string, state State) error {
	return s.update(true, func(t *tx) error {
		if _, err := t.running(apply); err != nil {
			return err
		}
		key := fmt.Sprintf("%s/%s/%06d", apply, point, number)
		return t.putJSON(bucketStep, key, Step{point, number, what, state, s.o.Now().UTC()})
	})
}

// Arm sets the time at which an apply that nobody confirmed is undone.
func (s *Store) Arm(apply string, deadline time.Time) error {
	return s.update(true, func(t *tx) error {
		a, err := t.running(apply)
		if err != nil {
			return err
		}
		a.Deadline = deadline.UTC()
		return t.putJSON(bucketApply, a.ID, a)
	})
}

// FinishApply ends an apply. For each point whose result is confirmed the intended
// state becomes its last confirmed one, in the same transaction.
func (s *Store) FinishApply(apply string, state State, results []PointResult) error {
	return s.update(true, func(t *tx) error {
		a, err := t.running(apply)
		if err != nil {
			return err
		}
		if state == Running || state == OnTrial {
			return fmt.Errorf("apply %q cannot finish as %s", apply, state)
		}
		a.State, a.Results, a.Finished = state, results, s.o.Now().UTC()
		var points []journaled
		if err := s.getJSON(bucketJournal, a.ID, &points); err != nil {
			return err
		}
		for _, r := range results {
			i := slices.IndexFunc(points, func(j journaled) bool { return j.Point == r.Point })
			if i < 0 {
				return fmt.Errorf("apply %q has no point %q in its journal", apply, r.Point)
			}
			if r.State != Confirmed {
				continue
			}
			if err := t.putJSON(bucketConfirmed, r.Point, Known{r.Point, a.ID, a.Finished, points[i].Intended}); err != nil {
				return err
			}
		}
		return errors.Join(t.putJSON(bucketApply, a.ID, a),
			t.audit(Entry{Who: a.Who, From: a.From, Action: "apply", Object: a.ID, Reason: reasons(a), Result: string(state)}))
	})
}

func (t *tx) running(apply string) (a Apply, err error) {
	if err = t.s.getJSON(bucketApply, apply, &a); err == nil && a.State != Running {
		err = fmt.Errorf("apply %q is over (%s)", apply, a.State)
	}
	return a, err
}

// Apply finds an apply by ID or unambiguous beginning of it.
func (s *Store) Apply(id string) (a Apply, err error) {
	err = s.lookup(bucketApply, "apply", id, &a)
	return a, err
}

// History lists applies, newest first, at most limit of them (0: all).
func (s *Store) History(limit int) ([]Apply, error) {
	all, err := list[Apply](s, bucketApply)
	slices.Reverse(all)
	if limit > 0 && len(all) > limit {
		all = all[:limit]
	}
	return all, err
}

// Running lists the IDs of applies that were never finished, oldest first.
func (s *Store) Running() []string {
	s.mu.RLock()
	defer s.mu.RUnlock()
	ids := make([]string, 0, len(s.m.open))
	for id := range s.m.open {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

// Unfinished gives the journals of applies that were never finished, oldest
// first: what a controller must look at before it writes anything else.
func (s *Store) Unfinished() ([]Journal, error) {
	out := []Journal{}
	for _, id := range s.Running() {
		j, err := s.Journal(id)
		if err != nil {
			return nil, err
		}
		if j.Apply.State == Running {
			out = append(out, j)
		}
	}
	return out, nil
}

// Newest gives the newest apply that match is content with, or ErrNotFound. It reads no
// more of the history than that takes.
func (s *Store) Newest(match func(Apply) bool) (a Apply, err error) {
	s.mu.RLock()
	ids := s.m.keys(bucketApply)
	s.mu.RUnlock()
	for _, id := range slices.Backward(ids) {
		x, err := s.Apply(id)
		if errors.Is(err, ErrNotFound) {
			continue // pruned meanwhile
		}
		if err != nil {
			return a, err
		}
		if match(x) { // without our lock: it may ask us for more
			return x, nil
		}
	}
	return a, ErrNotFound
}

// Journal gives the journal of an apply: for a rollback, what each point had
// before.
func (s *Store) Journal(id string) (Journal, error) {
	a, err := s.Apply(id)
	if err != nil {
		return Journal{}, err
	}
	j := Journal{Apply: a}
	points, err := s.journaled(a.ID, &j)
	if err != nil {
		return j, err
	}
	for _, p := range points {
		c := Change{Point: p.Point}
		if c.Previous, err = s.Blob(p.Previous); err != nil {
			return j, err
		}
		if c.Intended, err = s.Blob(p.Intended); err != nil {
			return j, err
		}
		j.Changes = append(j.Changes, c)
	}
	return j, nil
}

// PointsOf names the points of an apply, by its whole ID, in the order of its journal.
func (s *Store) PointsOf(id string) ([]string, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var points []journaled
	if err := s.getJSON(bucketJournal, id, &points); err != nil {
		return nil, err
	}
	out := make([]string, 0, len(points))
	for _, p := range points {
		out = append(out, p.Point)
	}
	return out, nil
}

func (s *Store) journaled(id string, j *Journal) (points []journaled, err error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, k := range s.m.keys(bucketStep) {
		if !strings.HasPrefix(k, id+"/") {
			continue
		}
		b, err := s.get(bucketStep, k)
		if err != nil {
			return nil, err
		}
		var x Step
		if err := json.Unmarshal(b, &x); err != nil {
			return nil, err
		}
		j.Steps = append(j.Steps, x)
	}
	err = s.getJSON(bucketJournal, id, &points)
	return points, err
}

// LastConfirmed gives the last confirmed state of every device, by point.
func (s *Store) LastConfirmed() ([]Known, error) { return list[Known](s, bucketConfirmed) }
