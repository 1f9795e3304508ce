package lab

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// netnsDir is where ip-netns(8) keeps names of network namespaces.
const netnsDir = "/run/netns"

// Namespace is a named network namespace.
type Namespace struct {
	Name string // as `ip netns` shows it
	Path string // where it can be opened
	file *os.File
	link *netlink.Handle
}

// newNamespace makes a namespace and names it.
func newNamespace(name string) (*Namespace, error) {
	if err := os.MkdirAll(netnsDir, 0o755); err != nil {
		return nil, forbidden("make "+netnsDir, err)
	}
	n := &Namespace{Name: name, Path: filepath.Join(netnsDir, name)}
	f, err := os.OpenFile(n.Path, os.O_CREATE|os.O_EXCL|os.O_RDONLY, 0o444)
	if err != nil {
		return nil, forbidden(fmt.Sprintf("name network namespace %q", name), err)
	}
	f.Close()
	err = onThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return forbidden("make a network namespace", err)
		}
		if err := unix.Mount("/proc/thread-self/ns/net", n.Path, "none", unix.MS_BIND, ""); err != nil {
			return forbidden(fmt.Sprintf("name network namespace %q", name), err)
		}
		return nil
	})
	if err == nil {
		n.file, err = os.Open(n.Path)
	}
	if err == nil {
		n.link, err = netlink.NewHandleAt(netns.NsHandle(n.file.Fd()), unix.NETLINK_ROUTE)
	}
	if err != nil {
		return nil, errors.Join(err, n.remove())
	}
	return n, nil
}

// remove takes the name away; the namespace goes with the last process in it.
func (n *Namespace) remove() error {
	if n.link != nil {
		n.link.Close()
	}
	if n.file != nil {
		n.file.Close()
	}
	return removeName(n.Path)
}

func removeName(path string) error {
	err := unix.Unmount(path, unix.MNT_DETACH)
	if err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("unmount %s: %w", path, err)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove the name of a network namespace: %w", err)
	}
	return nil
}

// Do runs f on a thread that is in the namespace. Sockets that f opens stay there;
// goroutines that f starts do not run there.
func (n *Namespace) Do(f func() error) error {
	return onThread(func() error {
		if err := unix.Setns(int(n.file.Fd()), unix.CLONE_NEWNET); err != nil {
			return forbidden(fmt.Sprintf("enter network namespace %q", n.Name), err)
		}
		return f()
	})
}

// Start starts a command in the namespace. Wait for it as usual.
func (n *Namespace) Start(cmd *exec.Cmd) error { return n.Do(cmd.Start) }

// Run runs a command in the namespace and waits for it.
func (n *Namespace) Run(cmd *exec.Cmd) error {
	if err := n.Start(cmd); err != nil {
		return err
	}
	return cmd.Wait()
}

// onThread runs f on a thread that f may move to another network namespace. If
// the thread cannot be put back, it ends with its goroutine.
func onThread(f func() error) error {
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
		err = f()
		if unix.Setns(int(back.Fd()), unix.CLONE_NEWNET) == nil {
			runtime.UnlockOSThread()
		}
		done <- err
	}()
	return <-done
}
