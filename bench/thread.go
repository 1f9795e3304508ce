package main

import (
	"fmt"
	"slices"
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

// middle is the median.
func middle(list []float64) float64 {
	s := slices.Sorted(slices.Values(list))
	n := len(s)
	if n == 0 {
		return 0
	}
	return (s[(n-1)/2] + s[n/2]) / 2
}
