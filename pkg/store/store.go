package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	bucketSetting   = 'S'
	bucketBlob      = 'b'
	bucketSnapshot  = 'n'
	bucketPlan      = 'p'
	bucketApply     = 'a'
	bucketJournal   = 'j'
	bucketStep      = 't'
	bucketConfirmed = 'c'
	bucketSource    = 'f'
	bucketAudit     = 'l'
)

// reserve is allocated behind the end of the file before each ordinary write, so
// that a disk which fills up in the middle of an apply still takes its end.
const reserve = 1 << 20

// scant is less than what an apply of any size writes.
const scant = 64 << 10

// Options say which state to open, and for whom.
type Options struct {
	Dir  string
	Site string
	Now  func() time.Time // nil: the wall clock
	// Command is what the lock and the audit log say of this process.
	Command string
	// AcceptLost opens what is left where confirmed state is missing. The audit
	// log says so, and the damaged file is kept beside.
	AcceptLost bool

	wrap func(storage) storage // tests put failures here
}

// Store is the state of one site. Its methods may be called concurrently.
type Store struct {
	mu       sync.RWMutex
	o        Options
	path     string
	lock     *os.File
	f, hf    storage
	fd       *os.File
	m        *image
	slot     int
	failed   error
	wants    int64 // what the last write that found no room would have allocated
	readOnly bool
}

// Open opens the state of a site for writing, and makes it where there is none.
// A second Open of the same site fails with *LockedError.
func Open(dir, site string, now func() time.Time) (*Store, error) {
	return OpenWith(Options{Dir: dir, Site: site, Now: now})
}

// OpenWith is Open with everything that can be said.
func OpenWith(o Options) (_ *Store, err error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Command == "" {
		o.Command = "bulkhead"
	}
	if err := checkSite(o.Site); err != nil {
		return nil, err
	}
	if err := makeDir(o.Dir); err != nil {
		return nil, err
	}
	db, head, lock := paths(o.Dir, o.Site)
	s := &Store{o: o, path: db}
	if s.lock, err = lockSite(lock, o.Site, o.Command, o.Now()); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			_ = s.Close()
		}
	}()
	h, slot, found, headErr := readHead(head)
	if headErr != nil && !(o.AcceptLost && isLoss(headErr)) {
		return nil, headErr
	}
	s.slot = slot
	lost, err := s.load(h, found)
	if err != nil {
		return nil, err
	}
	if lost == nil {
		lost = headErr
	}
	if err := s.openHead(head); err != nil {
		return nil, err
	}
	if err := s.migrate(); err != nil { // behind the head, which the new file refers to
		return nil, err
	}
	if lost != nil {
		err := s.update(true, func(t *tx) error {
			return t.audit(Entry{Who: "bulkhead", From: o.Command, Action: "accept-loss", Object: o.Site, Reason: lost.Error(), Result: "done"})
		})
		if err != nil {
			return nil, err
		}
	}
	if err := s.importEnforced(); err != nil {
		return nil, err
	}
	return s, nil
}

// Exists tells whether a site has state, be it damaged. State that cannot be looked
// at is state: taken for none, a history would seem empty.
func Exists(dir, site string) bool {
	db, head, _ := paths(dir, site)
	for _, path := range []string{db, head} {
		if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
			return true
		}
	}
	return false
}

func isLoss(err error) bool {
	var l *LostError
	var c *CorruptError
	return errors.As(err, &l) || errors.As(err, &c)
}

func makeDir(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("cannot make the state directory: %w", full(err))
	}
	info, err := os.Stat(dir)
	if err == nil && info.Mode().Perm()&0o022 != 0 {
		err = fmt.Errorf("state directory %q can be written by others (mode %04o); chmod 0700 it", dir, info.Mode().Perm())
	}
	return err
}

// load opens the file that is there, or makes one. lost is the loss that the
// caller accepted.
func (s *Store) load(h Head, found bool) (lost, err error) {
	f, err := os.OpenFile(s.path, os.O_RDWR, 0)
	if errors.Is(err, os.ErrNotExist) {
		if found {
			if lost = (&LostError{s.path, fmt.Sprintf("the file is not there, and was confirmed to audit entry %d", h.Entries)}); !s.o.AcceptLost {
				return nil, lost
			}
		}
		return lost, s.replace(header{Schema, s.o.Site, h.Generation + 1, h.FrameHash}, nil, nil)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot open the state: %w", err)
	}
	s.setFile(f)
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	m, err := scanFile(f, s.path, h.Frame)
	if err == nil {
		if m.Site != s.o.Site {
			return nil, &CorruptError{s.path, 0, fmt.Sprintf("it is the state of site %q", m.Site)}
		}
		s.m = m
		err = m.check(s.path, info.Size(), h, found)
	}
	if err == nil {
		if m.bad != nil { // torn: nobody was told that it is there
			err = errors.Join(f.Truncate(m.end), f.Sync())
		}
		return nil, full(err)
	}
	if !s.o.AcceptLost || !isLoss(err) {
		return nil, err
	}
	lost = err
	if err := keepBeside(s.path, "damaged", s.o.Now()); err != nil {
		return nil, fmt.Errorf("cannot keep the damaged state: %w", full(err))
	}
	next := header{Schema, s.o.Site, h.Generation + 1, h.FrameHash}
	if m != nil {
		next.Schema = m.Schema
	}
	return lost, s.replace(next, m, nil)
}

func (s *Store) setFile(f *os.File) {
	if s.fd != nil {
		_ = s.fd.Close()
	}
	s.fd, s.f = f, f
	if s.o.wrap != nil {
		s.f = s.o.wrap(f)
	}
}

// replace writes what keep chooses of an image (nil: everything) into a new file,
// and makes that the store's.
func (s *Store) replace(h header, from *image, keep func(bucket byte, key string) bool) error {
	m, err := writeImage(s.path, h, func(put func(op) error) error { return copyValues(from, s.fd, keep, put) })
	if err != nil {
		return err
	}
	f, err := os.OpenFile(s.path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	s.setFile(f)
	s.m = m
	return nil
}

func copyValues(from *image, f *os.File, keep func(byte, string) bool, put func(op) error) error {
	if from == nil {
		return nil
	}
	for _, b := range []byte{bucketSetting, bucketBlob, bucketSnapshot, bucketPlan, bucketApply, bucketJournal, bucketStep, bucketConfirmed, bucketSource, bucketAudit} {
		for _, k := range from.keys(b) {
			if keep != nil && !keep(b, k) {
				continue
			}
			v, err := from.value(f, b, k)
			if err != nil {
				return err
			}
			if err := put(op{bucket: b, key: k, value: v}); err != nil {
				return err
			}
		}
	}
	return nil
}

// openHead makes the head say what the file says.
func (s *Store) openHead(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("cannot open the head of the state: %w", full(err))
	}
	s.hf = f
	if s.o.wrap != nil {
		s.hf = s.o.wrap(f)
	}
	if err := s.writeHead(); err != nil {
		return err
	}
	// Both slots are there from the beginning: a full disk has none left for one.
	if info, err := f.Stat(); err != nil || info.Size() < 2*headSlot {
		if err := errors.Join(err, s.writeHead()); err != nil {
			return err
		}
	}
	return syncDir(s.o.Dir)
}

func (s *Store) writeHead() error {
	if err := writeHead(s.hf, s.slot, s.m.head()); err != nil {
		s.failed = err
		return fmt.Errorf("cannot write the head of the state: %w", full(err))
	}
	s.slot = 1 - s.slot
	return nil
}

// OpenReadOnly gives the state as it is now, for reading, without a lock: it may
// be called while a controller writes, and does not see what is written later.
func OpenReadOnly(dir, site string) (*Store, error) {
	if err := checkSite(site); err != nil {
		return nil, err
	}
	db, head, _ := paths(dir, site)
	var err error
	for range 5 { // pruning may replace the two files between our looks at them
		var h Head
		var found bool
		if h, _, found, err = readHead(head); err != nil {
			return nil, err
		}
		var f *os.File
		if f, err = os.Open(db); err != nil {
			return nil, fmt.Errorf("cannot open the state: %w", err)
		}
		m := (*image)(nil)
		var info os.FileInfo
		if info, err = f.Stat(); err == nil {
			if m, err = scanFile(f, db, h.Frame); err == nil {
				if err = m.check(db, info.Size(), h, found); err == nil && m.Schema < Schema {
					err = fmt.Errorf("%s has schema version %d, this program reads %d; any command that writes migrates it", db, m.Schema, Schema)
				}
			}
		}
		if err == nil {
			return &Store{o: Options{Dir: dir, Site: site, Now: time.Now}, path: db, f: f, fd: f, m: m, readOnly: true}, nil
		}
		f.Close()
		if again, _, _, _ := readHead(head); again == h && m != nil && m.Generation == h.Generation {
			return nil, err // nobody moved anything
		}
		time.Sleep(time.Millisecond)
	}
	return nil, err
}

// Close gives the lock back.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	if s.fd != nil {
		errs = append(errs, s.fd.Close())
	}
	if s.hf != nil {
		errs = append(errs, s.hf.Close())
	}
	if s.lock != nil {
		errs = append(errs, s.lock.Close())
	}
	s.fd, s.hf, s.lock, s.failed = nil, nil, nil, errors.New("the state is closed")
	return errors.Join(errs...)
}

// tx is one transaction: what it puts is seen by its own gets.
type tx struct {
	s        *Store
	ops      []op
	auditSeq uint64
	auditSum sum
}

func (t *tx) put(bucket byte, key string, value []byte) {
	t.ops = append(t.ops, op{bucket: bucket, key: key, value: value})
}

func (t *tx) putJSON(bucket byte, key string, v any) error {
	b, err := json.Marshal(v)
	if err == nil {
		t.put(bucket, key, b)
	}
	return err
}

// update runs fn and makes what it put durable, all of it or nothing. An urgent
// one may use the reserve: it ends something that was begun.
func (s *Store) update(urgent bool, fn func(*tx) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.readOnly {
		return ErrReadOnly
	}
	if s.failed != nil {
		return fmt.Errorf("%w: %w; open it again", ErrFailed, s.failed)
	}
	t := &tx{s: s, auditSeq: s.m.auditSeq, auditSum: s.m.auditSum}
	if err := fn(t); err != nil {
		return err
	}
	if len(t.ops) == 0 {
		return nil
	}
	return s.commit(t, urgent)
}

func (s *Store) commit(t *tx, urgent bool) error {
	payload := encodeOps(t.ops)
	b, last, err := encodeFrame(s.m.seq+1, s.m.last, payload)
	if err != nil {
		return err
	}
	err = s.allocate(int64(len(b)) + reserve)
	if err = full(err); errors.Is(err, ErrFull) && !urgent {
		s.wants = int64(len(b)) + reserve
		return fmt.Errorf("cannot write to the state: %w", err)
	}
	if _, err := s.f.WriteAt(b, s.m.end); err != nil {
		// The rest of a torn frame must not stand where the next one begins.
		if terr := s.f.Truncate(s.m.end); terr != nil {
			s.failed = terr
		}
		return fmt.Errorf("cannot write to the state: %w", full(err))
	}
	if err := s.f.Sync(); err != nil {
		// After a failed sync the kernel may call lost pages clean: a second one
		// that succeeds would prove nothing.
		s.failed = err
		return fmt.Errorf("cannot sync the state: %w", full(err))
	}
	if err := s.m.add(t.ops, int64(len(payload)), last); err != nil {
		s.failed = err
		return err
	}
	return s.writeHead()
}

// allocate takes space behind the end of the file. Where a file system cannot,
// there is no reserve; the limit on file sizes counts only what is written.
func (s *Store) allocate(n int64) error {
	var l unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_FSIZE, &l) == nil && uint64(s.m.end+n) > l.Cur {
		return unix.EFBIG
	}
	return unix.Fallocate(int(s.fd.Fd()), unix.FALLOC_FL_KEEP_SIZE, s.m.end, n)
}

// Writable says why what is new cannot be written now: ErrFull, ErrFailed; nil where
// nothing speaks against it.
func (s *Store) Writable() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failed != nil {
		return fmt.Errorf("%w: %w; open it again", ErrFailed, s.failed)
	}
	if s.wants > 0 { // a quota shows in nothing but that a write fails
		if err := full(s.allocate(s.wants)); errors.Is(err, ErrFull) {
			return err
		}
		s.wants = 0
	}
	var fs unix.Statfs_t
	if err := unix.Fstatfs(int(s.fd.Fd()), &fs); err != nil {
		return nil // who cannot tell raises no alarm
	}
	if free := fs.Bavail * uint64(fs.Bsize); free < scant {
		return fmt.Errorf("%w: %d bytes are left on its file system; free some, or move the state directory", ErrFull, free)
	}
	return nil
}

func (s *Store) get(bucket byte, key string) ([]byte, error) {
	if s.fd == nil {
		return nil, s.failed
	}
	return s.m.value(s.f, bucket, key)
}

func (s *Store) getJSON(bucket byte, key string, v any) error {
	b, err := s.get(bucket, key)
	if err == nil {
		err = json.Unmarshal(b, v)
	}
	if err != nil {
		return fmt.Errorf("%q: %w", key, err)
	}
	return nil
}

// has sees what the transaction itself has put.
func (t *tx) has(bucket byte, key string) bool {
	for _, o := range t.ops {
		if o.bucket == bucket && o.key == key {
			return !o.remove
		}
	}
	_, ok := t.s.m.find(bucket, key)
	return ok
}
