package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// ErrForbidden is wrapped where the system lets us make no namespaces.
var ErrForbidden = errors.New("this system lets an ordinary user make no network namespaces")

// forbiddenHint says what to do about ErrForbidden.
const forbiddenHint = "run it with sudo, or allow user namespaces " +
	"(sysctl kernel.unprivileged_userns_clone=1; on Ubuntu kernel.apparmor_restrict_unprivileged_userns=0)"

// sandboxVar tells a program that it runs in a sandbox. Its value is the mount
// namespace outside, so that nobody can fool a program that runs as root into
// hiding the machine's own /run.
const sandboxVar = "BULKHEAD_LAB_OUTSIDE"

// Command is a program to run in a sandbox.
type Command struct {
	Path   string
	Args   []string // without the program's name
	Env    []string // nil: this process's own
	Stdin  io.Reader
	Stdout io.Writer
	Stderr io.Writer
}

// Inside reports whether this process was started by Sandbox.
func Inside() bool { return os.Getenv(sandboxVar) != "" }

// Sandbox runs a program in network and mount namespaces of its own, and in a
// user namespace too unless this process is root, and waits for it. The program
// must call EnterSandbox before anything else. All that it builds vanishes with
// it, also when it is killed.
func Sandbox(ctx context.Context, c Command) error {
	outside, err := os.Readlink("/proc/self/ns/mnt")
	if err != nil {
		return fmt.Errorf("find this process's mount namespace: %w", err)
	}
	// The kernel sends the child its signal when the thread that made it ends, so
	// the thread must not end first.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	start := func(flags uintptr) (*exec.Cmd, error) {
		cmd := exec.CommandContext(ctx, c.Path, c.Args...)
		cmd.Stdin, cmd.Stdout, cmd.Stderr = c.Stdin, c.Stdout, c.Stderr
		if cmd.Env = c.Env; cmd.Env == nil {
			cmd.Env = os.Environ()
		}
		cmd.Env = append(cmd.Env, sandboxVar+"="+outside)
		cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
		cmd.WaitDelay = 10 * time.Second
		cmd.SysProcAttr = attributes(flags)
		return cmd, cmd.Start()
	}
	var cmd *exec.Cmd
	err = unix.EPERM
	if os.Geteuid() == 0 {
		cmd, err = start(unix.CLONE_NEWNS | unix.CLONE_NEWNET)
	}
	if errors.Is(err, unix.EPERM) { // an ordinary user, or root of a container
		cmd, err = start(unix.CLONE_NEWUSER | unix.CLONE_NEWNS | unix.CLONE_NEWNET)
	}
	if err != nil {
		return forbidden("make a user and a network namespace", err)
	}
	return cmd.Wait()
}

func attributes(flags uintptr) *syscall.SysProcAttr {
	a := &syscall.SysProcAttr{Cloneflags: flags, Pdeathsig: syscall.SIGKILL}
	if flags&unix.CLONE_NEWUSER != 0 {
		a.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}}
		a.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}}
	}
	return a
}

// forbidden explains an error of which the system's settings are the cause.
func forbidden(what string, err error) error {
	for _, e := range []error{unix.EPERM, unix.EACCES, unix.ENOSPC, unix.EUSERS, unix.EINVAL} {
		if errors.Is(err, e) {
			return fmt.Errorf("%s: %w (%w): %s", what, ErrForbidden, err, forbiddenHint)
		}
	}
	return fmt.Errorf("%s: %w", what, err)
}

// EnterSandbox finishes the sandbox from inside: mounts of its own, and an empty
// /run for the names of network namespaces.
func EnterSandbox() error {
	outside := os.Getenv(sandboxVar)
	here, err := os.Readlink("/proc/self/ns/mnt")
	if err != nil {
		return fmt.Errorf("find this process's mount namespace: %w", err)
	}
	if outside == "" || outside == here {
		return fmt.Errorf("this process is in no sandbox: start it with lab.Sandbox")
	}
	if err := unix.Mount("none", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return forbidden("keep mounts to ourselves", err)
	}
	if err := unix.Mount("bulkhead-lab", "/run", "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=755"); err != nil {
		return forbidden("mount an empty /run", err)
	}
	if err := os.Mkdir(netnsDir, 0o755); err != nil {
		return fmt.Errorf("make a place for network namespaces: %w", err)
	}
	return nil
}
