package store_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"bulkhead/pkg/store"
)

// What was written is read again, site by site; a site that never enforced has
// nothing, which is no error.
func TestEnforced(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "made", "when-needed")
	if e, err := store.Enforced(dir, "plant"); err != nil || e == nil || len(e) != 0 {
		t.Fatalf("before anything was written: %v %v", e, err)
	}
	for _, want := range []map[string]bool{{"gw": true}, {"gw": true, "web-1": true}, {}} {
		if err := store.SetEnforced(dir, "plant", want); err != nil {
			t.Fatal(err)
		}
		got, err := store.Enforced(dir, "plant")
		if err != nil || len(got) != len(want) || got["gw"] != want["gw"] {
			t.Errorf("wrote %v, read %v %v", want, got, err)
		}
	}
	if other, err := store.Enforced(dir, "other"); err != nil || len(other) != 0 {
		t.Errorf("another site has %v %v", other, err)
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 1 {
		t.Errorf("files are left over: %v %v", left, err)
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("others can look into the state directory: %v %v", info.Mode(), err)
	}
}

// A file that cannot be read is an error, never "nothing has enforced before":
// taken for empty, a point that lost its rules would observe instead of enforce.
func TestEnforcedThatCannotBeRead(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "plant.enforced.json")
	for _, text := range []string{"", "{", "[]", `{"enforced": ["gw"]}`, "null garbage"} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if e, err := store.Enforced(dir, "plant"); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("%q: %v %v", text, e, err)
		}
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(path, 0o700); err != nil {
		t.Fatal(err)
	}
	if e, err := store.Enforced(dir, "plant"); err == nil {
		t.Errorf("a directory in the file's place: %v", e)
	}
	if err := store.SetEnforced(dir, "plant", map[string]bool{"gw": true}); err == nil {
		t.Error("a directory in the file's place was written over")
	}
	if err := store.SetEnforced(filepath.Join(path, "\x00"), "plant", nil); err == nil {
		t.Error("a state directory that cannot be made is no error")
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
