package store

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"bulkhead/pkg/lab"
)

const childVar = "BULKHEAD_STORE_CHILD"

// TestMain lets tests run this program again as a process that can be killed,
// limited, or given a disk of its own.
func TestMain(m *testing.M) {
	do, dir, _ := strings.Cut(os.Getenv(childVar), ":")
	var err error
	switch do {
	case "":
		goleak.VerifyTestMain(m)
	case "append":
		err = childAppend(dir, false)
	case "prune":
		err = childAppend(dir, true)
	case "fsize":
		if err = unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: 3 << 20, Max: 3 << 20}); err == nil {
			err = childFull(dir)
		}
	case "tmpfs":
		if err = lab.EnterSandbox(); err != nil { // or the mount would be seen outside
			break
		}
		if err = unix.Mount("bulkhead", dir, "tmpfs", 0, "size=3m,mode=0700"); err == nil {
			err = childFull(dir)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// childAppend says each entry that it was told is stored. Between them it prunes, if it
// is told to.
func childAppend(dir string, prune bool) error {
	s, err := Open(dir, "plant", nil)
	if err != nil {
		return err
	}
	for {
		e, err := s.AppendAudit(Entry{Who: "x", Action: "y"})
		if err != nil {
			return err
		}
		fmt.Println(e.Seq)
		if prune {
			if _, err := s.Prune(Retention{}); err != nil {
				return err
			}
		}
	}
}

// A controller that is killed with SIGKILL again and again loses nothing that it
// was told is stored, and leaves no lock; also where it writes the whole file anew
// all the time.
func TestKill(t *testing.T) {
	for _, how := range []string{"append", "prune"} {
		t.Run(how, func(t *testing.T) { kill(t, how) })
	}
}

func kill(t *testing.T, how string) {
	dir := t.TempDir()
	for round := range 15 {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), childVar+"="+how+":"+dir)
		out, err := cmd.StdoutPipe()
		must(t, err)
		must(t, cmd.Start())
		last, lines := uint64(0), 0
		for sc := bufio.NewScanner(out); sc.Scan(); {
			last, err = strconv.ParseUint(sc.Text(), 10, 64)
			must(t, err)
			if lines++; lines == round+1 {
				must(t, cmd.Process.Signal(syscall.SIGKILL))
			}
		}
		_ = cmd.Wait()
		s := open(t, dir)
		if r := s.Verify(""); !r.OK() || last == 0 || r.Entries < last {
			t.Fatalf("round %d: told of %d, has %+v", round, last, r)
		}
		must(t, s.Close())
	}
}

// childFull fills the disk in the middle of an apply, and ends the apply.
func childFull(dir string) error {
	s, err := Open(dir, "plant", clock)
	if err != nil {
		return err
	}
	a, err := s.BeginApply(Apply{Who: "eva"}, []Change{{"gw", []byte("before"), []byte("after")}})
	if err != nil {
		return err
	}
	var told uint64
	for size := 4000; size >= 0; { // smaller and smaller, until nothing fits
		e, err := s.AppendAudit(Entry{Who: "x", Action: "y", Reason: strings.Repeat("reason", size)})
		if err == nil {
			told = e.Seq
			continue
		}
		if !errors.Is(err, ErrFull) {
			return fmt.Errorf("not said to be full: %w", err)
		}
		if size == 0 {
			break
		}
		size /= 10
	}
	if _, err := s.BeginApply(Apply{Who: "eva"}, nil); !errors.Is(err, ErrFull) {
		return fmt.Errorf("an apply began on a full disk: %w", err)
	}
	// What was begun can be ended: there is a reserve.
	if err := errors.Join(s.Step(a.ID, "gw", 1, "load", Running), s.Step(a.ID, "gw", 1, "load", Confirmed),
		s.FinishApply(a.ID, Confirmed, []PointResult{{"gw", Confirmed, ""}})); err != nil {
		return fmt.Errorf("on a full disk the apply could not be ended: %w", err)
	}
	// And what was done without an apply can be told: more than a page of it, lest there be room
	// by chance.
	if _, err := s.AppendAudit(Entry{Who: "eva", Action: "refused", Reason: strings.Repeat("x", 5000)}); !errors.Is(err, ErrFull) {
		return fmt.Errorf("an entry of what was not done took the reserve: %w", err)
	}
	for range 3 {
		if _, err := s.AppendDone(Entry{Who: "eva", Action: "release", Object: "web", Reason: strings.Repeat("x", 5000)}); err != nil {
			return fmt.Errorf("on a full disk a release could not be told: %w", err)
		}
		told++
	}
	// Not even the reserve is left: the store says so, and still reads.
	for i := 0; ; i++ {
		if a, err = s.BeginApply(Apply{Who: "x"}, nil); err == nil {
			return errors.New("an apply began on a full disk")
		}
		if err = s.update(true, func(t *tx) error { t.put(bucketSetting, "fill", make([]byte, 100_000)); return nil }); err != nil {
			break
		}
	}
	if !errors.Is(err, ErrFull) {
		return fmt.Errorf("not said to be full: %w", err)
	}
	// There is no room for a second file, or there is: either way all is there afterwards.
	if _, err := s.Prune(Retention{}); err != nil && !errors.Is(err, ErrFull) {
		return fmt.Errorf("pruned on a full disk: %w", err)
	}
	check := func(s *Store) error {
		h, err := s.History(0)
		if r := s.Verify(""); err != nil || len(h) != 1 || h[0].State != Confirmed || !r.OK() || r.Entries != told+1 {
			return fmt.Errorf("told of %d: %+v %+v %w", told, h, r, err)
		}
		return nil
	}
	if err := errors.Join(check(s), s.Close()); err != nil {
		return err
	}
	if s, err = Open(dir, "plant", clock); err != nil {
		return fmt.Errorf("opened again on a full disk: %w", err)
	}
	return errors.Join(check(s), s.Close())
}

// A full disk, and a limit on the size of files: nothing that was confirmed is
// lost, an apply that was begun can be ended, and no other begins.
func TestFullDisk(t *testing.T) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childVar+"=fsize:"+t.TempDir())
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("file size limit: %v\n%s", err, out)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var out strings.Builder
	err := lab.Sandbox(ctx, lab.Command{Path: os.Args[0], Env: append(os.Environ(), childVar+"=tmpfs:"+t.TempDir()), Stdout: &out, Stderr: &out})
	if err != nil {
		t.Errorf("tmpfs: %v\n%s", err, out.String())
	}
}

// broken fails the n-th call after it was armed, and a write half-way.
type broken struct {
	storage
	left *int
	err  error
}

func (b broken) fail() bool { *b.left--; return *b.left == 0 }

func (b broken) WriteAt(p []byte, off int64) (int, error) {
	if b.fail() {
		n, _ := b.storage.WriteAt(p[:len(p)/2], off)
		return n, b.err
	}
	return b.storage.WriteAt(p, off)
}

func (b broken) Sync() error {
	if b.fail() {
		return b.err
	}
	return b.storage.Sync()
}

// Each write and each sync of a whole apply fails in its turn, by a full disk and
// by a broken one. What was confirmed before is there after the next opening, and
// the apply is unfinished or was never begun.
func TestEachWriteFails(t *testing.T) {
	for _, kind := range []error{syscall.ENOSPC, syscall.EIO} {
		for n := 1; ; n++ {
			dir, left := t.TempDir(), 0
			s, err := OpenWith(Options{Dir: dir, Site: "plant", Now: clock, wrap: func(f storage) storage { return broken{f, &left, kind} }})
			must(t, err)
			left = n
			told := uint64(0)
			a, err := s.BeginApply(Apply{Who: "eva"}, []Change{{"gw", []byte("b"), []byte("a")}})
			if err == nil {
				told = 1
				if err = s.Step(a.ID, "gw", 1, "load", Running); err == nil {
					if err = s.FinishApply(a.ID, Confirmed, []PointResult{{"gw", Confirmed, ""}}); err == nil {
						told = 2
					}
				}
			}
			if err != nil && !errors.Is(err, kind) || errors.Is(err, ErrFull) != (err != nil && kind == syscall.ENOSPC) {
				t.Fatalf("call %d: %v", n, err)
			}
			must(t, s.Close())
			again := open(t, dir)
			if r := again.Verify(""); !r.OK() || r.Entries < told || r.Entries > told+1 {
				t.Fatalf("call %d, %v: told of %d, has %+v", n, kind, told, r)
			}
			must(t, again.Close())
			if left > 0 {
				break // no call was left to fail
			}
		}
	}
}
