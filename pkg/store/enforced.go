package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Dir gives the state directory: the argument if it is not empty, or
// $XDG_STATE_HOME/bulkhead, or ~/.local/state/bulkhead.
func Dir(arg string) (string, error) {
	if arg != "" {
		return arg, nil
	}
	if x := os.Getenv("XDG_STATE_HOME"); x != "" {
		return filepath.Join(x, "bulkhead"), nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", fmt.Errorf("no state directory: set --state or XDG_STATE_HOME: %w", err)
	}
	return filepath.Join(home, ".local", "state", "bulkhead"), nil
}

// settingEnforced holds which points have enforced before.
const settingEnforced = "enforced"

// enforcedFile is how it was kept before there was a store. The file is taken over
// by the first opening for writing, and removed once the store has it.
type enforcedFile struct {
	FormatVersion string          `json:"formatVersion"`
	Enforced      map[string]bool `json:"enforced"`
}

func enforcedPath(dir, site string) string { return filepath.Join(dir, site+".enforced.json") }

// Enforced tells which points of the site have enforced before.
func (s *Store) Enforced() (map[string]bool, error) {
	text, err := s.Setting(settingEnforced)
	if errors.Is(err, ErrNotFound) {
		return readEnforced(s.o.Dir, s.o.Site) // opened for reading, before anybody wrote
	}
	out := map[string]bool{}
	if err == nil {
		err = json.Unmarshal([]byte(text), &out)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read which points have enforced before: %w", err)
	}
	return out, nil
}

// SetEnforced replaces that list. It may use the reserve: it says what an apply
// has done already.
func (s *Store) SetEnforced(enforced map[string]bool) error {
	b, err := json.Marshal(enforced)
	if err != nil {
		return err
	}
	return s.update(true, func(t *tx) error { return t.putJSON(bucketSetting, settingEnforced, string(b)) })
}

// importEnforced takes the file of an older program over. What the store says
// already wins: then the file is what a crash left behind.
func (s *Store) importEnforced() error {
	path := enforcedPath(s.o.Dir, s.o.Site)
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if _, err := s.Setting(settingEnforced); errors.Is(err, ErrNotFound) {
		old, err := readEnforced(s.o.Dir, s.o.Site)
		if err != nil {
			return err
		}
		if err := s.SetEnforced(old); err != nil {
			return err
		}
	} else if err != nil {
		return err
	}
	if err := os.Remove(path); err != nil {
		return fmt.Errorf("cannot remove what the state has taken over: %w", err)
	}
	return nil
}

// Enforced tells which points of a site have enforced before, without a lock. A
// site that never did has no state, which is no error.
func Enforced(dir, site string) (map[string]bool, error) {
	if !Exists(dir, site) {
		return readEnforced(dir, site)
	}
	s, err := OpenReadOnly(dir, site)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	return s.Enforced()
}

// A file that cannot be read is an error, never "nothing has enforced before":
// taken for empty, a point that lost its rules would observe instead of enforce.
func readEnforced(dir, site string) (map[string]bool, error) {
	b, err := os.ReadFile(enforcedPath(dir, site))
	if errors.Is(err, fs.ErrNotExist) {
		return map[string]bool{}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read which points have enforced before: %w", err)
	}
	var f enforcedFile
	if err := json.Unmarshal(b, &f); err != nil {
		return nil, fmt.Errorf("cannot read which points have enforced before: %s: %w", enforcedPath(dir, site), err)
	}
	if f.Enforced == nil {
		f.Enforced = map[string]bool{}
	}
	return f.Enforced, nil
}
