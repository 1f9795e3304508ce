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

type enforcedFile struct {
	FormatVersion string          `json:"formatVersion"`
	Enforced      map[string]bool `json:"enforced"`
}

func enforcedPath(dir, site string) string { return filepath.Join(dir, site+".enforced.json") }

// Enforced tells which points of a site have enforced before. A site that never
// did has no file; a file that cannot be read is an error.
func Enforced(dir, site string) (map[string]bool, error) {
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

// SetEnforced replaces that list. The file is written beside and renamed, so
// that a crash leaves the old one or the new one.
func SetEnforced(dir, site string, enforced map[string]bool) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("cannot make the state directory: %w", err)
	}
	b, err := json.MarshalIndent(enforcedFile{"1.0", enforced}, "", "  ")
	if err != nil {
		return err
	}
	tmp, err := os.CreateTemp(dir, ".enforced-*")
	if err != nil {
		return fmt.Errorf("cannot write to the state directory: %w", err)
	}
	defer os.Remove(tmp.Name())
	if _, err = tmp.Write(append(b, '\n')); err == nil {
		err = tmp.Sync()
	}
	if cerr := tmp.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(tmp.Name(), enforcedPath(dir, site))
	}
	if err != nil {
		return fmt.Errorf("cannot write to the state directory: %w", err)
	}
	return nil
}
