package store

import (
	"bytes"
	"compress/flate"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
)

// Snapshot is the inventory as it was merged at one time. Its content is stored
// once, however many snapshots are equal.
type Snapshot struct {
	ID   string    `json:"id"`
	At   time.Time `json:"at"`
	Hash string    `json:"hash"` // SHA-256 of the content
	Size int       `json:"size"`
}

// Plan is a plan as it was computed: the value itself, and a line about it.
type Plan struct {
	ID      string    `json:"id"`
	At      time.Time `json:"at"`
	Who     string    `json:"who"`
	Summary string    `json:"summary"`
	Hash    string    `json:"hash"`
	Size    int       `json:"size"`
}

// Source is what is known of a source of assets between two runs.
type Source struct {
	Name     string     `json:"name"`
	LastGood time.Time  `json:"lastGood"`
	Snapshot string     `json:"snapshot,omitempty"` // hash of what it last reported, see PutBlob
	Frozen   *time.Time `json:"frozen,omitempty"`   // since when its last good report stands in for it
	Error    string     `json:"error,omitempty"`
}

// id makes the next identifier of a kind: letter, UTC second, counter. They sort
// in the order in which they were made, also where the clock was set back.
func (t *tx) id(letter string, bucket byte) string {
	last := ""
	for k := range t.s.m.index[bucket] {
		last = max(last, k)
	}
	at := t.s.o.Now().UTC().Truncate(time.Second)
	n := 1
	if parts := strings.SplitN(strings.TrimPrefix(last, letter), "-", 3); len(parts) == 3 {
		then, err := time.Parse(stamp, parts[0]+"-"+parts[1])
		if err == nil && !at.After(then) {
			at = then
			_, _ = fmt.Sscanf(parts[2], "%d", &n)
			if n++; n > 999 {
				at, n = at.Add(time.Second), 1
			}
		}
	}
	return fmt.Sprintf("%s%s-%03d", letter, at.Format(stamp), n)
}

// find gives the one key of a bucket that is, or begins with, what was typed.
func (s *Store) find(bucket byte, what, prefix string) (string, error) {
	if _, ok := s.m.index[bucket][prefix]; ok {
		return prefix, nil
	}
	var found []string
	for _, k := range s.m.keys(bucket) {
		if prefix != "" && strings.HasPrefix(k, prefix) {
			found = append(found, k)
		}
	}
	switch len(found) {
	case 0:
		return "", fmt.Errorf("%s %q: %w; the history lists them", what, prefix, ErrNotFound)
	case 1:
		return found[0], nil
	}
	return "", fmt.Errorf("%s %q is ambiguous: %q, %q and %d more", what, prefix, found[0], found[1], len(found)-2)
}

// blob puts content by its hash, compressed, unless it is there.
func (t *tx) blob(content []byte) (string, error) {
	s := sha256.Sum256(content)
	hash := hex.EncodeToString(s[:])
	if t.has(bucketBlob, hash) {
		return hash, nil
	}
	var b bytes.Buffer
	w, err := flate.NewWriter(&b, flate.BestSpeed)
	if err != nil {
		return "", err
	}
	if _, err := w.Write(content); err != nil {
		return "", err
	}
	if err := w.Close(); err != nil {
		return "", err
	}
	t.put(bucketBlob, hash, b.Bytes())
	return hash, nil
}

// PutBlob stores bytes by their SHA-256 (hex). Prune removes what no record names.
func (s *Store) PutBlob(content []byte) (hash string, err error) {
	err = s.update(false, func(t *tx) error {
		hash, err = t.blob(content)
		return err
	})
	return hash, err
}

// Blob gives the content that has a hash.
func (s *Store) Blob(hash string) ([]byte, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	b, err := s.get(bucketBlob, hash)
	if err != nil {
		return nil, fmt.Errorf("content %q: %w", hash, err)
	}
	out, err := io.ReadAll(flate.NewReader(bytes.NewReader(b)))
	if err != nil {
		return nil, fmt.Errorf("content %q: %w", hash, err)
	}
	if s := sha256.Sum256(out); hex.EncodeToString(s[:]) != hash {
		return nil, fmt.Errorf("content %q has another hash", hash)
	}
	return out, nil
}

// PutSnapshot stores the inventory.
func (s *Store) PutSnapshot(content []byte) (n Snapshot, err error) {
	err = s.update(false, func(t *tx) error {
		hash, err := t.blob(content)
		n = Snapshot{ID: t.id("s", bucketSnapshot), At: s.o.Now().UTC(), Hash: hash, Size: len(content)}
		return errors.Join(err, t.putJSON(bucketSnapshot, n.ID, n))
	})
	return n, err
}

// Snapshot finds a snapshot by ID or unambiguous beginning of it.
func (s *Store) Snapshot(id string) (n Snapshot, err error) {
	err = s.lookup(bucketSnapshot, "snapshot", id, &n)
	return n, err
}

// Snapshots lists all, oldest first.
func (s *Store) Snapshots() ([]Snapshot, error) { return list[Snapshot](s, bucketSnapshot) }

// PutPlan stores a plan; ID, At, Hash and Size are filled in.
func (s *Store) PutPlan(p Plan, body []byte) (Plan, error) {
	err := s.update(false, func(t *tx) (err error) {
		p.Hash, err = t.blob(body)
		p.ID, p.At, p.Size = t.id("p", bucketPlan), s.o.Now().UTC(), len(body)
		return errors.Join(err, t.putJSON(bucketPlan, p.ID, p))
	})
	return p, err
}

// Plan finds a plan by ID or unambiguous beginning of it. Blob(Hash) is its body.
func (s *Store) Plan(id string) (p Plan, err error) {
	err = s.lookup(bucketPlan, "plan", id, &p)
	return p, err
}

// Plans lists all, oldest first.
func (s *Store) Plans() ([]Plan, error) { return list[Plan](s, bucketPlan) }

// PutSource replaces what is known of a source.
func (s *Store) PutSource(f Source) error {
	if f.Name == "" {
		return errors.New("a source without a name")
	}
	return s.update(false, func(t *tx) error { return t.putJSON(bucketSource, f.Name, f) })
}

// Sources lists what is known, by name.
func (s *Store) Sources() ([]Source, error) { return list[Source](s, bucketSource) }

// PutSetting stores a small value of the controller's own. It may use the reserve: who
// is in quarantine is among them, and a full disk must not keep anybody connected.
func (s *Store) PutSetting(key, value string) error {
	return s.update(true, func(t *tx) error { return t.putJSON(bucketSetting, key, value) })
}

// Setting gives it back, or ErrNotFound.
func (s *Store) Setting(key string) (v string, err error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	err = s.getJSON(bucketSetting, key, &v)
	return v, err
}

func (s *Store) lookup(bucket byte, what, id string, v any) error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	key, err := s.find(bucket, what, id)
	if err != nil {
		return err
	}
	return s.getJSON(bucket, key, v)
}

func list[T any](s *Store, bucket byte) ([]T, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	out := []T{}
	for _, k := range s.m.keys(bucket) {
		b, err := s.get(bucket, k)
		if err != nil {
			return nil, err
		}
		var v T
		if err := json.Unmarshal(b, &v); err != nil {
			return nil, fmt.Errorf("%q: %w", k, err)
		}
		out = append(out, v)
	}
	return out, nil
}
