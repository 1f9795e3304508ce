package store

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// A backup that is taken while others write restores elsewhere to what was
// confirmed when it began.
func TestBackupAndRestore(t *testing.T) {
	s := open(t, t.TempDir())
	fill(t, s)
	done := make(chan error)
	go func() {
		for range 50 {
			if _, err := s.AppendAudit(Entry{Who: "x", Action: "y"}); err != nil {
				done <- err
				return
			}
		}
		_, err := s.Prune(Retention{})
		done <- err
	}()
	var b bytes.Buffer
	must(t, s.Backup(&b))
	must(t, <-done)
	dir := filepath.Join(t.TempDir(), "new")
	r, err := Restore(bytes.NewReader(b.Bytes()), Options{Dir: dir, Now: clock}, false)
	if err != nil || r.Site != "plant" {
		t.Fatalf("%+v %v", r, err)
	}
	back := open(t, dir)
	checkFilled(t, back)
	if rep := back.Verify(r.Backup); !rep.OK() || rep.Entries != r.Entries {
		t.Errorf("%+v %+v", rep, r)
	}
	if _, err := Restore(bytes.NewReader(b.Bytes()), Options{Dir: dir, Now: clock}, true); err == nil {
		t.Error("a restore while a controller runs")
	}
	must(t, back.Close())
	if _, err := Restore(bytes.NewReader(b.Bytes()), Options{Dir: dir, Now: clock}, false); !errors.Is(err, ErrNewer) {
		t.Errorf("over a newer state: %v", err)
	}
	if _, err := Restore(bytes.NewReader(b.Bytes()), Options{Dir: dir, Site: "office"}, true); err == nil {
		t.Error("the backup of another site")
	}
	_, err = Restore(bytes.NewReader(b.Bytes()), Options{Dir: dir, Now: clock}, true)
	must(t, err)
	checkFilled(t, open(t, dir))
	if kept, _ := filepath.Glob(filepath.Join(dir, "*.before-restore-*")); len(kept) == 0 {
		t.Error("what was replaced is gone")
	}
}

// A backup with one changed bit, or cut anywhere, replaces nothing.
func TestDamagedBackup(t *testing.T) {
	s := open(t, t.TempDir())
	fill(t, s)
	var b bytes.Buffer
	must(t, s.Backup(&b))
	dir := t.TempDir()
	for i := 0; i < b.Len(); i += 7 {
		bad := bytes.Clone(b.Bytes())
		bad[i] ^= 1 << (i % 8)
		for _, x := range [][]byte{bad, b.Bytes()[:i]} {
			if _, err := Restore(bytes.NewReader(x), Options{Dir: dir, Now: clock}, true); err == nil {
				t.Fatalf("byte %d: restored", i)
			}
		}
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("left over: %v %v", left, err)
	}
}
