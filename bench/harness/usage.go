package harness

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// usage is CPU time, of this process and of those that it ran and waited for.
type usage struct {
	user, system time.Duration
	// childPeak is the largest resident set of any process that was waited for, in
	// bytes.
	childPeak int64
}

func usageNow() (usage, error) {
	var self, children unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &self); err != nil {
		return usage{}, fmt.Errorf("ask for this process's CPU time: %w", err)
	}
	if err := unix.Getrusage(unix.RUSAGE_CHILDREN, &children); err != nil {
		return usage{}, fmt.Errorf("ask for the CPU time of child processes: %w", err)
	}
	return usage{
		user:      time.Duration(self.Utime.Nano() + children.Utime.Nano()),
		system:    time.Duration(self.Stime.Nano() + children.Stime.Nano()),
		childPeak: children.Maxrss * 1024,
	}, nil
}

// resetPeak makes the kernel forget the largest resident set of this process so far
// (proc(5), clear_refs).
func resetPeak() error {
	if err := os.WriteFile("/proc/self/clear_refs", []byte("5"), 0); err != nil {
		return fmt.Errorf("reset the peak of this process's memory: %w", err)
	}
	return nil
}

// peak gives the largest resident set since resetPeak, in bytes (VmHWM).
func peak() (int64, error) {
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, fmt.Errorf("ask for the peak of this process's memory: %w", err)
	}
	return statusBytes(b, "VmHWM")
}

// statusBytes reads a size out of /proc/PID/status.
func statusBytes(status []byte, field string) (int64, error) {
	for line := range bytes.Lines(status) {
		name, rest, ok := bytes.Cut(line, []byte(":"))
		if !ok || string(name) != field {
			continue
		}
		f := bytes.Fields(rest)
		if len(f) == 2 && string(f[1]) == "kB" {
			if n, err := strconv.ParseInt(string(f[0]), 10, 64); err == nil {
				return n * 1024, nil
			}
		}
	}
	return 0, fmt.Errorf("/proc/self/status has no size %q", field)
}
