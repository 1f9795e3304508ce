package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// threadTime is the CPU time of the calling thread. getrusage(2) would tell it to
// the last tick only.
func threadTime() (time.Duration, error) {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t); err != nil {
		return 0, fmt.Errorf("ask for this thread's CPU time: %w", err)
	}
	return time.Duration(t.Nano()), nil
}

// deferred is the CPU time of the threads that the kernel hands packets to when it
// has had too many of them at once (ksoftirqd). What they do for others counts as
// well: on a busy machine packets seem dearer than they are, never cheaper.
type deferred struct{ files []string }

func newDeferred() *deferred {
	d := &deferred{}
	all, _ := filepath.Glob("/proc/[0-9]*/comm") // the pattern is a constant
	for _, f := range all {
		if name, err := os.ReadFile(f); err == nil && strings.HasPrefix(string(name), "ksoftirqd/") {
			d.files = append(d.files, filepath.Join(filepath.Dir(f), "schedstat"))
		}
	}
	return d
}

// seconds tells the time so far.
func (d *deferred) seconds() (sum float64) {
	for _, f := range d.files {
		b, _ := os.ReadFile(f)
		if fields := strings.Fields(string(b)); len(fields) > 0 {
			ns, _ := strconv.ParseFloat(fields[0], 64)
			sum += ns / 1e9
		}
	}
	return sum
}

// middle is the median.
func middle(list []float64) float64 {
	s := slices.Sorted(slices.Values(list))
	n := len(s)
	if n == 0 {
		return 0
	}
	return (s[(n-1)/2] + s[n/2]) / 2
}
