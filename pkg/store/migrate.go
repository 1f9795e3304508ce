package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
)

// migrations[n] turns a value of schema version n into one of version n+1.
var migrations = map[int]func(o op) (op, error){
	1: pointResults,
}

// pointResults: version 1 said of each point of an apply only whether it was
// done ("points": {"gw": true}), and called the reason "why".
func pointResults(o op) (op, error) {
	if o.bucket != bucketApply {
		return o, nil
	}
	var old struct {
		Apply
		Why    string          `json:"why"`
		Points map[string]bool `json:"points"`
	}
	if err := json.Unmarshal(o.value, &old); err != nil {
		return o, fmt.Errorf("apply %q: %w", o.key, err)
	}
	a := old.Apply
	a.Reason = old.Why
	for p, ok := range old.Points {
		state := Failed
		if ok {
			state = a.State
		}
		a.Results = append(a.Results, PointResult{Point: p, State: state})
	}
	slices.SortFunc(a.Results, func(x, y PointResult) int { return strings.Compare(x.Point, y.Point) })
	var err error
	o.value, err = json.Marshal(a)
	return o, err
}

// migrate brings the open file to this program's schema. The file as it was stays
// beside it, under a name that says its version.
func (s *Store) migrate() error {
	if s.m.Schema == Schema {
		return nil
	}
	from := s.m
	if err := s.keepBackup(fmt.Sprintf("%s.schema%d.backup", trimDB(s.path), from.Schema)); err != nil {
		return fmt.Errorf("cannot back the state up before migrating it: %w", err)
	}
	h := from.head()
	m, err := writeImage(s.path, header{Schema, s.o.Site, h.Generation + 1, h.FrameHash}, func(put func(op) error) error {
		return copyValues(from, s.fd, nil, func(o op) (err error) {
			for v := from.Schema; v < Schema && err == nil; v++ {
				o, err = migrations[v](o)
			}
			return errors.Join(err, put(o))
		})
	})
	if err != nil {
		return fmt.Errorf("cannot migrate the state from schema version %d: %w", from.Schema, err)
	}
	f, err := os.OpenFile(s.path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	s.setFile(f)
	s.m = m
	return s.writeHead()
}
