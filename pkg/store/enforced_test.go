package store_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"bulkhead/pkg/store"
)

// What was written is read again, site by site, with and without the lock; a site
// that never enforced has nothing, which is no error.
func TestEnforced(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "made", "when-needed")
	if e, err := store.Enforced(dir, "plant"); err != nil || e == nil || len(e) != 0 {
		t.Fatalf("before anything was written: %v %v", e, err)
	}
	s, err := store.Open(dir, "plant", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for _, want := range []map[string]bool{{}, {"gw": true}, {"gw": true, "web-1": true}, {}} {
		if err := s.SetEnforced(want); err != nil {
			t.Fatal(err)
		}
		for _, read := range []func() (map[string]bool, error){s.Enforced, func() (map[string]bool, error) { return store.Enforced(dir, "plant") }} {
			got, err := read()
			if err != nil || len(got) != len(want) || got["gw"] != want["gw"] {
				t.Errorf("wrote %v, read %v %v", want, got, err)
			}
		}
	}
	if other, err := store.Enforced(dir, "other"); err != nil || len(other) != 0 {
		t.Errorf("another site has %v %v", other, err)
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("others can look into the state directory: %v %v", info.Mode(), err)
	}
}

// The file of an older program is taken over once, and is gone then: left behind,
// it would speak again on the day when the state is lost.
func TestEnforcedIsTakenOver(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "plant.enforced.json")
	write := func(text string) {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(`{"formatVersion": "1.0", "enforced": {"gw": true}}`)
	if e, err := store.Enforced(dir, "plant"); err != nil || !e["gw"] {
		t.Fatalf("before the state is made: %v %v", e, err)
	}
	for _, again := range []string{"", `{"formatVersion": "1.0", "enforced": {"web-1": true}}`} {
		if again != "" {
			write(again) // as a crash between the two leaves it
		}
		s, err := store.Open(dir, "plant", nil)
		if err != nil {
			t.Fatal(err)
		}
		if e, err := s.Enforced(); err != nil || !e["gw"] || len(e) != 1 {
			t.Errorf("taken over: %v %v", e, err)
		}
		if _, err := os.Stat(path); !os.IsNotExist(err) {
			t.Errorf("the file is still there: %v", err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// A file that cannot be read is an error, never "nothing has enforced before", and
// it stays as it is.
func TestEnforcedThatCannotBeRead(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "plant.enforced.json")
	refused := func(what string) {
		t.Helper()
		if e, err := store.Enforced(dir, "plant"); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v %v", what, e, err)
		}
		if s, err := store.Open(dir, "plant", nil); err == nil {
			s.Close()
			t.Errorf("%s: the state opens", what)
		}
		if _, err := os.Stat(path); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	for _, text := range []string{"", "{", "[]", `{"enforced": ["gw"]}`, "null garbage"} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		refused(text)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(path, 0o700); err != nil {
		t.Fatal(err)
	}
	refused("a directory")
}

// Somebody who looks whether there is a writer sees one exactly while there is one,
// and keeps none out.
func TestWriter(t *testing.T) {
	dir := t.TempDir()
	for range 20 {
		if h, ok := store.Writer(dir, "plant"); ok {
			t.Fatalf("nobody writes, and yet %v", h)
		}
		s, err := store.Open(dir, "plant", nil)
		if err != nil {
			t.Fatal(err)
		}
		if h, ok := store.Writer(dir, "plant"); !ok || h.PID != os.Getpid() {
			t.Fatalf("%v %v", h, ok)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// The state directory is the argument, or XDG's, or below the home.
func TestDir(t *testing.T) {
	t.Setenv("XDG_STATE_HOME", "/var/state")
	t.Setenv("HOME", "/home/op")
	for arg, want := range map[string]string{"/given": "/given", "": "/var/state/bulkhead"} {
		if got, err := store.Dir(arg); err != nil || got != want {
			t.Errorf("%q: %s %v", arg, got, err)
		}
	}
	t.Setenv("XDG_STATE_HOME", "")
	if got, err := store.Dir(""); err != nil || got != "/home/op/.local/state/bulkhead" {
		t.Errorf("%s %v", got, err)
	}
	t.Setenv("HOME", "")
	if _, err := store.Dir(""); err == nil || !strings.Contains(err.Error(), "--state") {
		t.Errorf("without a home: %v", err)
	}
}
