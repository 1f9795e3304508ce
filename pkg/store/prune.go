package store

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"
)

// Retention bounds the history. What is not bounded is kept whatever it says: the audit
// log, unfinished applies, the last confirmed state of each device and the apply that
// brought it, what sources last reported, settings; and all that these name. The zero
// Retention keeps everything, and only gives back the space of what was replaced.
type Retention struct {
	// Last are the newest applies by a plan that were confirmed: so many at least are kept.
	// Repairs have no plan, and would crowd out what somebody wants to go back to.
	Last int
	// Within keeps whatever is younger.
	Within time.Duration
	// Most bounds what Within keeps: so many of the newest applies; 0: any number.
	Most int
	// Keep names applies that are kept in any case, by their whole IDs.
	Keep []string
}

func (r *Retention) zero() bool { return r.Last == 0 && r.Within == 0 && r.Most == 0 && r.Keep == nil }

// Pruned says what became of a state.
type Pruned struct {
	Applies int   `json:"applies"` // that are gone
	Before  int64 `json:"before"`  // bytes
	After   int64 `json:"after"`
}

// worthIt is how much of a file has to be of no use any more before it is written anew
// for that alone.
const worthIt = 1 << 20

// Prune removes what the retention does not keep, and gives its space back, by one
// rename. Where there is nothing to gain nothing is written. It must not be called
// between the parts of an apply that is about to begin: nothing names them yet.
func (s *Store) Prune(r Retention) (Pruned, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := Pruned{Before: s.m.end, After: s.m.end}
	if s.readOnly {
		return out, ErrReadOnly
	}
	if s.failed != nil {
		return out, fmt.Errorf("%w: %w; open it again", ErrFailed, s.failed)
	}
	keep := func(byte, string) bool { return true }
	if !r.zero() {
		var err error
		if keep, err = s.kept(r); err != nil {
			return out, err
		}
		gone, left := s.weigh(keep)
		out.Applies = gone[bucketApply]
		if len(gone) == 0 && s.m.end < 2*left+worthIt {
			return out, nil
		}
	}
	h := s.m.head()
	if err := s.replace(header{Schema, s.o.Site, h.Generation + 1, h.FrameHash}, s.m, keep); err != nil {
		// Where the new file got its name and no more, ours is no longer the site's.
		if !s.current() {
			s.failed = err
		}
		return out, fmt.Errorf("cannot prune the state: %w", err)
	}
	out.After = s.m.end
	return out, s.writeHead()
}

// weigh counts the records of each kind that go, and the bytes of those that stay.
func (s *Store) weigh(keep func(byte, string) bool) (gone map[byte]int, left int64) {
	gone = map[byte]int{}
	for b, keys := range s.m.index {
		for k, l := range keys {
			if keep(b, k) {
				left += int64(l.n)
			} else {
				gone[b]++
			}
		}
	}
	for _, l := range s.m.entries {
		left += int64(l.n)
	}
	return gone, left
}

// Size is what the state takes.
type Size struct {
	Bytes   int64 // of the file
	Applies int
	Entries int // of the audit log
}

// Size tells what the state takes.
func (s *Store) Size() Size {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return Size{s.m.end, len(s.m.index[bucketApply]), len(s.m.entries)}
}

func (s *Store) current() bool {
	a, err1 := s.fd.Stat()
	b, err2 := os.Stat(s.path)
	return err1 == nil && err2 == nil && os.SameFile(a, b)
}

func (s *Store) kept(r Retention) (func(byte, string) bool, error) {
	after := "~" // behind every time
	if r.Within > 0 {
		after = s.o.Now().Add(-r.Within).UTC().Format(stamp)
	}
	ids := map[string]bool{}
	blobs := map[string]bool{}
	for _, id := range r.Keep {
		ids[id] = true
	}
	all := s.m.keys(bucketApply)
	confirmed := 0
	for i, k := range slices.Backward(all) {
		var a Apply
		if err := s.getJSON(bucketApply, k, &a); err != nil {
			return nil, err
		}
		if a.State == Confirmed && a.Plan != "" {
			confirmed++
			ids[k] = ids[k] || confirmed <= r.Last
		}
		ids[k] = ids[k] || k[1:] >= after && (r.Most <= 0 || len(all)-i <= r.Most)
	}
	for _, b := range []byte{bucketPlan, bucketSnapshot} { // of an apply that never began
		for _, k := range s.m.keys(b) {
			ids[k] = k[1:] >= after && r.Most <= 0
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
