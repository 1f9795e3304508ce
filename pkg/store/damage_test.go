package store

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"
)

func copyState(t *testing.T, from, to string, db []byte) {
	t.Helper()
	head, err := os.ReadFile(filepath.Join(from, "plant.head"))
	must(t, err)
	must(t, os.WriteFile(filepath.Join(to, "plant.head"), head, 0o600))
	must(t, os.WriteFile(filepath.Join(to, "plant.db"), db, 0o600))
}

// A file of confirmed state that is cut at any byte (every third is tried), or has one bit changed,
// is refused for writing and for reading. It is never opened with other data.
func TestConfirmedStateIsDamaged(t *testing.T) {
	from := t.TempDir()
	s := open(t, from)
	fill(t, s)
	must(t, s.Close())
	db, err := os.ReadFile(filepath.Join(from, "plant.db"))
	must(t, err)
	to := t.TempDir()
	for i := 0; i < len(db); i += 3 {
		bad := bytes.Clone(db)
		bad[i] ^= 1 << (i / 3 % 8)
		for _, x := range [][]byte{bad, db[:i]} {
			copyState(t, from, to, x)
			if r, err := OpenReadOnly(to, "plant"); err == nil {
				t.Fatalf("byte %d of %d: opened %v", i, len(db), r.m.seq)
			} else if !isLoss(err) {
				t.Fatalf("byte %d: %v", i, err)
			}
			if i%33 == 0 {
				if _, err := Open(to, "plant", clock); !isLoss(err) {
					t.Fatalf("byte %d: %v", i, err)
				}
			}
		}
	}
}

// A write that was torn by a crash, after any number of bytes, and was never confirmed, leaves
// the state before it; one that was whole is kept.
func TestTornWrites(t *testing.T) {
	from := t.TempDir()
	s := open(t, from)
	fill(t, s)
	head, err := os.ReadFile(filepath.Join(from, "plant.head"))
	must(t, err)
	end := s.m.end
	_, err = s.AppendAudit(Entry{Who: "x", Action: "y"})
	must(t, err)
	must(t, s.Close())
	db, err := os.ReadFile(filepath.Join(from, "plant.db"))
	must(t, err)
	must(t, os.WriteFile(filepath.Join(from, "plant.head"), head, 0o600))
	for i := int(end); i <= len(db); i += 1 + (len(db)-i)/20 {
		to := t.TempDir()
		copyState(t, from, to, db[:i])
		s := open(t, to)
		checkFilled(t, s)
		want := uint64(2)
		if i == len(db) {
			want = 3
		}
		if r := s.Verify(""); r.Entries != want {
			t.Fatalf("cut at %d of %d: %d entries", i, len(db), r.Entries)
		}
		must(t, s.PutSetting("goes", "on"))
		must(t, s.Close())
		checkFilled(t, open(t, to))
	}
}

// Lost last writes: a file from before the last confirmed ones, a head or a file
// that is gone. It is refused, and opened where the operator accepts the loss,
// which the audit log then says; what was there is kept.
func TestLostWrites(t *testing.T) {
	from := t.TempDir()
	s := open(t, from)
	fill(t, s)
	end := s.m.end
	_, err := s.AppendAudit(Entry{Who: "x", Action: "y"})
	must(t, err)
	hash := s.Verify("").Hash
	must(t, s.Close())
	db, err := os.ReadFile(filepath.Join(from, "plant.db"))
	must(t, err)
	for name, damage := range map[string]func(dir string){
		"tail cut":   func(dir string) { must(t, os.Truncate(filepath.Join(dir, "plant.db"), end)) },
		"tail torn":  func(dir string) { must(t, os.Truncate(filepath.Join(dir, "plant.db"), end+9)) },
		"head gone":  func(dir string) { must(t, os.Remove(filepath.Join(dir, "plant.head"))) },
		"head empty": func(dir string) { must(t, os.Truncate(filepath.Join(dir, "plant.head"), 0)) },
		"file gone":  func(dir string) { must(t, os.Remove(filepath.Join(dir, "plant.db"))) },
	} {
		to := t.TempDir()
		copyState(t, from, to, db)
		damage(to)
		var lost *LostError
		if _, err := Open(to, "plant", clock); !errors.As(err, &lost) {
			t.Errorf("%s: %v", name, err)
			continue
		}
		s, err := OpenWith(Options{Dir: to, Site: "plant", Now: clock, AcceptLost: true})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		e, err := s.Audit(0, 0)
		if err != nil || e[len(e)-1].Action != "accept-loss" {
			t.Errorf("%s: %v %v", name, e, err)
		}
		if r := s.Verify(hash); !r.OK() != (name != "head gone" && name != "head empty") {
			t.Errorf("%s: against a hash that was kept: %+v", name, r)
		}
		if name != "file gone" {
			checkFilled(t, s)
		}
		must(t, s.Close())
		must(t, open(t, to).Close())
	}
}

// A torn write of one slot of the head leaves the other, which is behind: the
// frames that it does not know of are whole, and are kept.
func TestTornHead(t *testing.T) {
	for slot := range 2 {
		dir := t.TempDir()
		s := open(t, dir)
		fill(t, s)
		must(t, s.Close())
		f, err := os.OpenFile(filepath.Join(dir, "plant.head"), os.O_RDWR, 0)
		must(t, err)
		_, err = f.WriteAt([]byte("torn"), int64(slot*headSlot+40))
		must(t, err)
		must(t, f.Close())
		checkFilled(t, open(t, dir))
	}
}

// A crash between the rename of a pruned file and the writing of its head is no
// loss; an older file under a newer head is.
func TestCrashWhilePruning(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	fill(t, s)
	head, err := os.ReadFile(filepath.Join(dir, "plant.head"))
	must(t, err)
	db, err := os.ReadFile(filepath.Join(dir, "plant.db"))
	must(t, err)
	_, err = s.Prune(Retention{})
	must(t, err)
	must(t, s.Close())
	must(t, os.WriteFile(filepath.Join(dir, "plant.head"), head, 0o600))
	s = open(t, dir)
	checkFilled(t, s)
	must(t, s.Close())
	must(t, os.WriteFile(filepath.Join(dir, "plant.db"), db, 0o600))
	if _, err := Open(dir, "plant", clock); !isLoss(err) {
		t.Errorf("an older file: %v", err)
	}
}
