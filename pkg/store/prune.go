package store

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"
)

// Retention bounds the history. What a kept record names is kept, and so are the
// audit log, unfinished applies and the last confirmed state of each device.
type Retention struct {
	Records int           // newest of each kind to keep; 0: any number
	Age     time.Duration // younger ones are kept; 0: of any age
}

// Prune removes what the retention does not keep, and gives its space back.
func (s *Store) Prune(r Retention) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.readOnly {
		return ErrReadOnly
	}
	if s.failed != nil {
		return fmt.Errorf("%w: %w; open it again", ErrFailed, s.failed)
	}
	keep, err := s.kept(r)
	if err != nil {
		return err
	}
	h := s.m.head()
	if err := s.replace(header{Schema, s.o.Site, h.Generation + 1, h.FrameHash}, s.m, keep); err != nil {
		// Where the new file got its name and no more, ours is no longer the site's.
		if !s.current() {
			s.failed = err
		}
		return fmt.Errorf("cannot prune the state: %w", err)
	}
	return s.writeHead()
}

func (s *Store) current() bool {
	a, err1 := s.fd.Stat()
	b, err2 := os.Stat(s.path)
	return err1 == nil && err2 == nil && os.SameFile(a, b)
}

func (s *Store) kept(r Retention) (func(byte, string) bool, error) {
	after := ""
	if r.Age > 0 {
		after = s.o.Now().Add(-r.Age).UTC().Format(stamp)
	}
	ids := map[string]bool{}
	blobs := map[string]bool{}
	for _, b := range []byte{bucketApply, bucketPlan, bucketSnapshot} {
		keys := s.m.keys(b)
		for i, k := range keys {
			if (r.Records <= 0 || len(keys)-i <= r.Records) && k[1:] >= after {
				ids[k] = true
			}
		}
	}
	for _, k := range s.m.keys(bucketConfirmed) {
		var x Known
		if err := s.getJSON(bucketConfirmed, k, &x); err != nil {
			return nil, err
		}
		blobs[x.Hash], ids[x.Apply] = true, true
	}
	for _, k := range s.m.keys(bucketApply) {
		var a Apply
		if err := s.getJSON(bucketApply, k, &a); err != nil {
			return nil, err
		}
		if a.State != Running && !ids[k] {
			continue
		}
		ids[k], ids[a.Plan], ids[a.Snapshot] = true, true, true
		if a.Inputs != "" {
			blobs[a.Inputs] = true
		}
		var points []journaled
		if err := s.getJSON(bucketJournal, k, &points); err != nil {
			return nil, err
		}
		for _, p := range points {
			blobs[p.Previous], blobs[p.Intended] = true, true
		}
	}
	for _, b := range []byte{bucketPlan, bucketSnapshot, bucketSource} {
		for _, k := range s.m.keys(b) {
			v, err := s.get(b, k)
			var x struct{ Hash, Snapshot string }
			if err == nil {
				err = json.Unmarshal(v, &x)
			}
			if err != nil {
				return nil, err
			}
			if ids[k] || b == bucketSource {
				blobs[x.Hash], blobs[x.Snapshot] = true, true
			}
		}
	}
	return func(b byte, k string) bool {
		switch b {
		case bucketBlob:
			return blobs[k]
		case bucketApply, bucketPlan, bucketSnapshot, bucketJournal:
			return ids[k]
		case bucketStep:
			id, _, _ := strings.Cut(k, "/")
			return ids[id]
		}
		return slices.Contains([]byte{bucketSetting, bucketConfirmed, bucketSource, bucketAudit}, b)
	}, nil
}
