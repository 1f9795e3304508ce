package lab

import (
	"errors"
	"fmt"
	"runtime"

	"golang.org/x/sys/unix"
)

// OnOneCPU runs f on a thread that stays on one processor; a process that f starts
// stays on it too. Each processor has a queue of its own for packets that veth devices
// hand over, and only what goes through one queue keeps its order on a busy machine.
func OnOneCPU(f func() error) (err error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var before, one unix.CPUSet
	if err := unix.SchedGetaffinity(0, &before); err != nil {
		return fmt.Errorf("find this thread's processors: %w", err)
	}
	for cpu := 0; one.Count() == 0 && cpu < 64*len(before); cpu++ {
		if before.IsSet(cpu) {
			one.Set(cpu)
		}
	}
	if err := unix.SchedSetaffinity(0, &one); err != nil {
		return fmt.Errorf("keep this thread on one processor: %w", err)
	}
	defer func() {
		if back := unix.SchedSetaffinity(0, &before); back != nil {
			err = errors.Join(err, fmt.Errorf("let this thread go to all processors: %w", back))
		}
	}()
	return f()
}
