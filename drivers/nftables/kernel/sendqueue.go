package kernel

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Sizes in bytes of netlink datagrams.
const (
	// mostSend is the largest datagram that any socket sends: setsockopt(2) takes
	// half of 2 GiB for SO_SNDBUFFORCE and the kernel doubles what it takes.
	mostSend = 1 << 30
	// sendSlack is what we ask for beyond the datagram.
	sendSlack = 4096
	// sendOverhead is what netlink_sendmsg() wants free of the send buffer.
	sendOverhead = 32
)

// growSendQueue makes room for a datagram of n bytes, and returns the largest
// that the socket can send. Without privilege in the first user namespace
// net.core.wmem_max is the limit. The buffer never shrinks: what fitted once
// needs no system call.
func (s *socket) growSendQueue(n int) (limit int, err error) {
	if n <= s.sendLimit {
		return s.sendLimit, nil
	}
	if n > mostSend-sendSlack {
		return mostSend, fmt.Errorf("%w: %d bytes, and no socket sends more than 1 GiB", ErrTooLarge, n)
	}
	ask := n/2 + sendSlack // the kernel doubles it
	if unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, ask) != nil {
		_ = unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_SNDBUF, ask)
	}
	limit, err = unix.GetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_SNDBUF)
	if err != nil {
		return 0, fmt.Errorf("ask for the socket's send buffer: %w", err)
	}
	s.sendLimit = limit - sendOverhead
	if n > s.sendLimit {
		return s.sendLimit, fmt.Errorf("%w: %d bytes, and this process may send %d: raise net.core.wmem_max to %d, run with "+
			"CAP_NET_ADMIN in the first user namespace, or fill new sets in several batches first (LoadChunked)", ErrTooLarge, n, s.sendLimit, ask)
	}
	return s.sendLimit, nil
}
