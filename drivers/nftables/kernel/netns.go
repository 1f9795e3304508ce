package kernel

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// ErrNoNamespace is wrapped where the named network namespace does not exist.
var ErrNoNamespace = errors.New("no such network namespace")

// openNamespace opens the namespace that netns means: "" the calling thread's
// own, a name without a slash one of `ip netns`, anything else a path.
func openNamespace(netns string) (*os.File, error) {
	var paths []string
	switch {
	case netns == "":
		paths = []string{"/proc/thread-self/ns/net"}
	case !strings.Contains(netns, "/"):
		if netns == "." || netns == ".." {
			return nil, fmt.Errorf("open network namespace %q: %w: not a name", netns, ErrNoNamespace)
		}
		paths = []string{filepath.Join("/run/netns", netns), filepath.Join("/var/run/netns", netns)}
	default:
		paths = []string{netns}
	}
	var first error
	for _, p := range paths {
		f, err := os.Open(p)
		if err == nil {
			return f, nil
		}
		if first == nil {
			first = err
		}
	}
	if errors.Is(first, os.ErrNotExist) {
		return nil, fmt.Errorf("open network namespace %q: %w: looked for %s; `ip netns list` shows the names",
			netns, ErrNoNamespace, strings.Join(paths, " and "))
	}
	return nil, fmt.Errorf("open network namespace %q: %w", netns, first)
}

// within runs f on a thread that is in the namespace ns, and waits for it. Where
// the caller's thread is there already it runs there: setns(2) needs
// CAP_SYS_ADMIN, which a service on the gateway itself need not have. Else it
// uses a goroutine of its own, so that the caller never runs on in the wrong
// namespace: if the thread cannot be put back, the goroutine ends without
// unlocking it and the runtime destroys the thread.
func within(ns *os.File, f func() error) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if isHere(ns) {
		return f()
	}
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		back, err := os.Open("/proc/thread-self/ns/net")
		if err != nil {
			runtime.UnlockOSThread()
			done <- fmt.Errorf("open this thread's network namespace: %w", err)
			return
		}
		defer back.Close()
		if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
			runtime.UnlockOSThread()
			done <- setnsError(ns.Name(), err)
			return
		}
		err = f()
		if unix.Setns(int(back.Fd()), unix.CLONE_NEWNET) == nil {
			runtime.UnlockOSThread()
		}
		done <- err
	}()
	return <-done
}

// isHere reports whether ns is the namespace of the calling thread.
func isHere(ns *os.File) bool {
	a, err := ns.Stat()
	if err != nil {
		return false
	}
	b, err := os.Stat("/proc/thread-self/ns/net")
	return err == nil && os.SameFile(a, b)
}

// setnsError explains why a namespace could not be entered.
func setnsError(name string, err error) error {
	switch {
	case errors.Is(err, unix.EPERM):
		return fmt.Errorf("enter network namespace %s: %w: %w: needs CAP_SYS_ADMIN as well as CAP_NET_ADMIN", name, ErrPrivilege, err)
	case errors.Is(err, unix.EINVAL):
		return fmt.Errorf("enter network namespace %s: %w: the file is no network namespace", name, ErrNoNamespace)
	}
	return fmt.Errorf("enter network namespace %s: %w", name, err)
}
