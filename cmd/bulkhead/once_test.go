package main

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"bulkhead/drivers"
)

// A command that looks for a daemon and then works the site out reads the directory
// once; one that works it out again reads it again.
func TestSiteIsReadOnce(t *testing.T) {
	dir := t.TempDir()
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, "bulkhead.yaml"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("name: t\npoints: {}\n")
	a := &app{stdio: stdio{err: io.Discard, out: io.Discard}, site: dir, state: filepath.Join(t.TempDir(), "state"), now: time.Now, kinds: drivers.Kinds()}
	if d, err := a.daemon(); d != nil || err != nil {
		t.Fatal(d, err)
	}
	before, _ := a.config()
	write("name: t\npoints: {}\nobserve_learn: 0s\n")
	s, err := a.load(context.Background(), nil)
	if err != nil || s.Config.Hash != before.Hash {
		t.Errorf("the directory was read a second time, %v", err)
	}
	s, err = a.load(context.Background(), nil)
	if err != nil || s.Config.Hash == before.Hash {
		t.Errorf("the directory was not read again, %v", err)
	}
}

// One of something is not several.
func TestValidateCounts(t *testing.T) {
	dir := t.TempDir()
	text := "points:\n  gw: {driver: nftables, zones: {a: {interfaces: [eth1], prefixes: [10.0.1.0/24]}}}\nassets:\n  web: {kind: vm, addresses: [10.0.1.20]}\n  db: {kind: vm, addresses: [10.0.1.30]}\n"
	if err := os.WriteFile(filepath.Join(dir, "bulkhead.yaml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	var out, said strings.Builder
	if code := run(context.Background(), []string{"--site", dir, "--state", filepath.Join(t.TempDir(), "state"), "validate"}, stdio{strings.NewReader(""), &out, &said}); code != 0 {
		t.Fatalf("%d: %s", code, said.String())
	}
	if want := dir + ": 1 file, 2 assets, 3 groups, 0 policies, 0 tests, 1 point: valid\n"; out.String() != want {
		t.Errorf("got %q, want %q", out.String(), want)
	}
}
