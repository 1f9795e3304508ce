package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/user"
	"time"

	"golang.org/x/sys/unix"
)

// Holder is the process that writes to a site's state.
type Holder struct {
	PID     int       `json:"pid"`
	Host    string    `json:"host"`
	User    string    `json:"user"`
	Command string    `json:"command"`
	Since   time.Time `json:"since"`
}

func (h Holder) String() string {
	if h.PID == 0 {
		return "another process, which has not said who it is"
	}
	return fmt.Sprintf("%q (pid %d on %q, user %q, since %s)", h.Command, h.PID, h.Host, h.User, h.Since.UTC().Format(time.RFC3339))
}

// lockSite takes the site's lock. The kernel holds it, so that it ends with the
// process: the pid in the file is for people. The file stays when the lock is
// given back, because a process that waits on a removed file would lock nothing.
func lockSite(path, site, command string, now time.Time) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("cannot lock the state: %w", full(err))
	}
	for range 5 { // a look by Writer holds it for a moment
		if err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); !errors.Is(err, unix.EWOULDBLOCK) {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	if errors.Is(err, unix.EWOULDBLOCK) {
		defer f.Close()
		return nil, &LockedError{Site: site, Holder: readHolder(f)}
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("cannot lock the state: %s: %w", path, err)
	}
	h := Holder{PID: os.Getpid(), Command: command, Since: now}
	h.Host, _ = os.Hostname()
	if u, err := user.Current(); err == nil {
		h.User = u.Username
	}
	// Who holds it is a courtesy: a full disk must not keep a reader of the
	// journal from undoing what a dead controller left.
	if b, err := json.Marshal(h); err == nil && f.Truncate(0) == nil {
		_, _ = f.WriteAt(append(b, '\n'), 0)
	}
	return f, nil
}

// Writer tells who writes to the state of a site now; ok is false if nobody does.
// It is how a reader tells an apply that runs from one whose controller died.
func Writer(dir, site string) (h Holder, ok bool) {
	_, _, path := paths(dir, site)
	f, err := os.Open(path)
	if err != nil {
		return h, false
	}
	defer f.Close() // which gives the lock back
	if err := unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB); errors.Is(err, unix.EWOULDBLOCK) {
		return readHolder(f), true
	}
	return h, false
}

// readHolder waits a moment for a holder that has only just taken the lock.
func readHolder(f *os.File) Holder {
	for range 10 {
		var h Holder
		b, err := io.ReadAll(io.NewSectionReader(f, 0, 1<<16))
		if err == nil && json.Unmarshal(b, &h) == nil {
			return h
		}
		time.Sleep(10 * time.Millisecond)
	}
	return Holder{}
}
