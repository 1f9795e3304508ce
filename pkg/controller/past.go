package controller

import (
	"encoding/json"
	"time"

	"bulkhead/pkg/apply"
	"bulkhead/pkg/store"
)

// Past is an apply as it is shown. Unfinished is one whose controller died.
type Past struct {
	store.Apply
	Unfinished bool     `json:"unfinished"`
	Waits      bool     `json:"onTrial"` // to be confirmed
	Points     []string `json:"points"`
}

// PastWhole is an apply with all that the state has of it.
type PastWhole struct {
	Past
	Changes []PastChange    `json:"changes"`
	Steps   []store.Step    `json:"steps"`
	PlanAs  json.RawMessage `json:"planAsMade,omitempty"`
}

// PastChange names the states of a point's device before and after. Exact says that
// the state can be made again from the journal.
type PastChange struct {
	Point       string `json:"point"`
	Device      string `json:"device"`
	Previous    string `json:"previousFingerprint"`
	Intended    string `json:"intendedFingerprint"`
	PreviousIs  bool   `json:"previousExact"`
	IntendedIs  bool   `json:"intendedExact"`
	PreviousLen int    `json:"previousBytes"`
}

// Stands says in a word how the apply stands.
func (p *Past) Stands() string {
	switch {
	case p.Waits:
		return "on trial"
	case p.Unfinished:
		return "unfinished"
	}
	return string(p.Apply.State)
}

// History lists what was applied, newest first, at most limit of them (0: all). busy
// says that a controller is at work: then what is running is not unfinished.
func History(st *store.Store, limit int, busy bool, now time.Time) ([]Past, error) {
	list, err := st.History(limit)
	if err != nil {
		return nil, err
	}
	out := []Past{}
	for _, x := range list {
		points, err := st.PointsOf(x.ID)
		if err != nil {
			return nil, err
		}
		out = append(out, asPast(x, points, busy, now))
	}
	return out, nil
}

func asPast(a store.Apply, points []string, busy bool, now time.Time) Past {
	p := Past{Apply: a, Points: append([]string{}, points...)}
	p.Waits = a.State == store.Running && now.Before(a.Deadline)
	p.Unfinished = a.State == store.Running && !busy && !p.Waits
	p.Accepted, p.Results = append([]store.Accepted{}, a.Accepted...), append([]store.PointResult{}, a.Results...)
	return p
}

// HistoryOf gives one apply in full, by its ID or the beginning of one.
func HistoryOf(st *store.Store, id string, busy bool, now time.Time) (*PastWhole, error) {
	j, err := st.Journal(id)
	if err != nil {
		return nil, err
	}
	out := &PastWhole{Changes: []PastChange{}, Steps: append([]store.Step{}, j.Steps...)}
	var points []string
	for _, c := range j.Changes {
		points = append(points, c.Point)
		prev, err := apply.ReadRecord(c.Previous)
		if err != nil {
			return nil, err
		}
		next, err := apply.ReadRecord(c.Intended)
		if err != nil {
			return nil, err
		}
		out.Changes = append(out.Changes, PastChange{c.Point, prev.Device, prev.Fingerprint, next.Fingerprint, prev.State != nil, next.State != nil, len(c.Previous)})
	}
	out.Past = asPast(j.Apply, points, busy, now)
	if j.Apply.Plan != "" {
		p, err := st.Plan(j.Apply.Plan)
		if err != nil {
			return nil, err
		}
		if out.PlanAs, err = st.Blob(p.Hash); err != nil {
			return nil, err
		}
	}
	return out, nil
}
