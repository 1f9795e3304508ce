package config_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"bulkhead/pkg/config"
)

// A site is taken for unchanged by what its files say, and by nothing that a tool can
// keep while it changes them.
func TestUnchanged(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "bulkhead.yaml")
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(filepath.Join(dir, name), at, at); err != nil {
			t.Fatal(err)
		}
	}
	write("bulkhead.yaml", "name: a\n")
	s, diags := config.Load(dir)
	if diags.HasErrors() || !s.Unchanged() {
		t.Fatalf("%+v", diags.All())
	}
	for name, change := range map[string]func(){
		"another text of the same size and time": func() { write("bulkhead.yaml", "name: b\n") },
		"a file more":                            func() { write("more.yaml", "assets: {}\n") },
		"a file that others may write":           func() { _ = os.Chmod(file, 0o666) },
		"the file is gone":                       func() { _ = os.Remove(file) },
	} {
		change()
		if s.Unchanged() {
			t.Errorf("%s: taken for unchanged", name)
		}
		_ = os.Remove(filepath.Join(dir, "more.yaml"))
		write("bulkhead.yaml", "name: a\n")
		_ = os.Chmod(file, 0o600)
		if !s.Unchanged() {
			t.Fatalf("%s: put back, and taken for changed", name)
		}
	}
}
