package store

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// A backup is this line, a state file up to its last whole frame, and a last line
// with its length and the hash of everything before that line.
const (
	backupMagic = "bulkhead-backup 1\n"
	trailerLen  = 64 + 1 + 16 + 1
)

// Backup writes everything that is confirmed now. Writing may go on meanwhile.
func (s *Store) Backup(w io.Writer) error {
	s.mu.RLock()
	if s.fd == nil {
		s.mu.RUnlock()
		return s.failed
	}
	end := s.m.end
	// A handle of our own: pruning closes the store's.
	f, err := os.Open(fmt.Sprintf("/proc/self/fd/%d", s.fd.Fd()))
	s.mu.RUnlock()
	if err != nil {
		return fmt.Errorf("cannot back up: %w", err)
	}
	defer f.Close()
	h := sha256.New()
	out := io.MultiWriter(w, h)
	if _, err := io.WriteString(out, backupMagic); err != nil {
		return fmt.Errorf("cannot back up: %w", full(err))
	}
	if _, err := io.CopyN(out, io.NewSectionReader(f, 0, end), end); err != nil {
		return fmt.Errorf("cannot back up: %w", full(err))
	}
	if _, err := fmt.Fprintf(w, "%x %016x\n", h.Sum(nil), end); err != nil {
		return fmt.Errorf("cannot back up: %w", full(err))
	}
	return nil
}

// keepBackup makes a backup file beside the state.
func (s *Store) keepBackup(path string) error {
	tmp, err := os.CreateTemp(filepath.Dir(path), ".backup-*")
	if err != nil {
		return full(err)
	}
	defer os.Remove(tmp.Name())
	defer tmp.Close()
	if err := errors.Join(s.Backup(tmp), full(tmp.Sync())); err != nil {
		return err
	}
	return errors.Join(os.Rename(tmp.Name(), path), syncDir(filepath.Dir(path)))
}

// Restored says what a restore put in place.
type Restored struct {
	Site    string
	Entries uint64 // of the audit log, with the one that names the restore
	Backup  string // audit hash of the backup
}

// Restore reads a backup whole, checks it, and only then replaces the state of
// the site that it is of. What was there stays beside it. State that has audit
// entries the backup lacks is replaced only with force. o.Site may be empty, or
// must be the backup's.
func Restore(r io.Reader, o Options, force bool) (done Restored, err error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if err := makeDir(o.Dir); err != nil {
		return done, err
	}
	tmp, err := os.CreateTemp(o.Dir, ".restore-*")
	if err != nil {
		return done, full(err)
	}
	defer os.Remove(tmp.Name())
	defer tmp.Close()
	m, err := readBackup(r, tmp)
	if err != nil {
		return done, fmt.Errorf("cannot restore: %w", err)
	}
	if o.Site != "" && o.Site != m.Site {
		return done, fmt.Errorf("cannot restore: the backup is of site %q, not %q", m.Site, o.Site)
	}
	o.Site = m.Site
	db, head, lockPath := paths(o.Dir, o.Site)
	lock, err := lockSite(lockPath, o.Site, "bulkhead restore", o.Now())
	if err != nil {
		return done, err
	}
	defer lock.Close()
	h, slot, err := replaceable(db, head, m, tmp, force)
	if err != nil {
		return done, fmt.Errorf("cannot restore: %w", err)
	}
	if _, err := os.Stat(db); err == nil {
		if err := keepBeside(db, "before-restore", o.Now()); err != nil {
			return done, fmt.Errorf("cannot keep the state that is there: %w", full(err))
		}
	}
	s := &Store{o: o, path: db, fd: tmp, f: tmp, m: m, slot: slot}
	entry, _ := encodeEntry(Entry{Seq: m.auditSeq + 1, When: o.Now(), Who: "bulkhead", From: o.Command, Action: "restore", Object: o.Site,
		Reason: fmt.Sprintf("in place of a log of %d entries, last hash %s", h.Entries, h.AuditHash), Result: "done"}, m.auditSum)
	out, err := writeImage(db, header{m.Schema, m.Site, h.Generation + 1, h.FrameHash}, func(put func(op) error) error {
		if err := copyValues(m, tmp, nil, put); err != nil {
			return err
		}
		return put(op{bucket: bucketAudit, key: auditKey(m.auditSeq + 1), value: entry})
	})
	if err != nil {
		return done, fmt.Errorf("cannot restore: %w", err)
	}
	s.m = out
	if err := s.openHead(head); err != nil {
		return done, err
	}
	done = Restored{o.Site, out.auditSeq, hex.EncodeToString(m.auditSum[:])}
	return done, s.hf.Close()
}

// keepBeside gives a state file a second name. Two within one second are two.
func keepBeside(db, why string, now time.Time) error {
	base := trimDB(db) + "." + why + "-" + now.UTC().Format(stamp)
	err := os.Link(db, base+".db")
	for n := 2; errors.Is(err, os.ErrExist) && n < 1000; n++ {
		err = os.Link(db, fmt.Sprintf("%s-%d.db", base, n))
	}
	return err
}

// replaceable tells whether the state that is there may be replaced.
func replaceable(db, head string, m *image, from io.ReaderAt, force bool) (Head, int, error) {
	h, slot, found, err := readHead(head)
	if err != nil && !(force && isLoss(err)) {
		return h, slot, err
	}
	if force {
		return h, slot, nil
	}
	if _, err := os.Stat(db); err == nil && !found {
		return h, slot, fmt.Errorf("%w: %q has no head file to compare with; force it to replace it", ErrNewer, db)
	}
	if !found || h.Entries == 0 && h.Frame <= 1 {
		return h, slot, nil
	}
	// Nothing is lost only where the log that is there is the beginning of the backup's.
	same := hex.EncodeToString(m.auditSum[:]) == h.AuditHash && h.Generation == m.Generation && h.Frame <= m.seq
	if h.Entries < m.auditSeq {
		var b []byte
		if b, err = m.value(from, bucketAudit, auditKey(max(h.Entries, 1))); err == nil {
			_, s, derr := decodeEntry(b)
			same, err = h.Entries == 0 || hex.EncodeToString(s[:]) == h.AuditHash, derr
		}
	}
	if err == nil && !same {
		err = fmt.Errorf("%w than the backup, or differs from it: it has %d audit entries, the backup %d; force it to replace it", ErrNewer, h.Entries, m.auditSeq)
	}
	return h, slot, err
}

// readBackup copies the state file out of a backup, and checks all of it.
func readBackup(r io.Reader, to *os.File) (*image, error) {
	magic := make([]byte, len(backupMagic))
	if _, err := io.ReadFull(r, magic); err != nil || string(magic) != backupMagic {
		return nil, errors.New("this is not a backup of bulkhead")
	}
	n, err := io.Copy(to, r)
	if err != nil {
		return nil, full(err)
	}
	end := n - trailerLen
	if end < 0 {
		return nil, errors.New("the backup is cut off")
	}
	trailer := make([]byte, trailerLen)
	if _, err := to.ReadAt(trailer, end); err != nil {
		return nil, err
	}
	h := sha256.New()
	h.Write(magic)
	if _, err := io.Copy(h, io.NewSectionReader(to, 0, end)); err != nil {
		return nil, err
	}
	if want := fmt.Sprintf("%x %016x\n", h.Sum(nil), end); !bytes.Equal(trailer, []byte(want)) {
		return nil, errors.New("the backup is cut off or damaged: its last line is not the hash of the rest")
	}
	m, err := scan(io.NewSectionReader(to, 0, end), end, "the backup", 0)
	if err != nil {
		return nil, err
	}
	if m.bad != nil {
		return nil, &CorruptError{"the backup", m.end, m.bad.Error()}
	}
	rep := verifyChain(m, func(seq uint64) ([]byte, error) { return m.value(to, bucketAudit, auditKey(seq)) }, "")
	if !rep.OK() {
		return nil, fmt.Errorf("the audit log of the backup is broken: %s", strings.TrimSpace(rep.Why))
	}
	return m, nil
}
