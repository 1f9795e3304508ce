package kernel

import (
	"time"

	"golang.org/x/sys/unix"
)

// membarrierGlobal is MEMBARRIER_CMD_GLOBAL of linux/membarrier.h.
const membarrierGlobal = 1 << 0

// awaitWithout is how long AwaitPackets waits where it cannot ask. A packet is judged
// in microseconds; a processor of a virtual machine may be taken away meanwhile.
const awaitWithout = 100 * time.Millisecond

// AwaitPackets returns when every packet that was being judged when it was called has
// its verdict: rules and sets that no other packet comes to can be deleted then without
// one of them noticing.
//
// The kernel judges a packet in a read-side section of RCU, and lets nobody wait for
// those directly. membarrier(2) with MEMBARRIER_CMD_GLOBAL waits for a grace period,
// some 10 ms. Kernels with full dynticks do not have it, and a filter of system calls
// may refuse it; then some time goes by instead.
func AwaitPackets() {
	if _, _, errno := unix.Syscall(unix.SYS_MEMBARRIER, membarrierGlobal, 0, 0); errno != 0 {
		time.Sleep(awaitWithout)
	}
}
