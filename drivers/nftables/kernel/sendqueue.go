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
	if s.sendFixed {
		return s.sendLimit, TooLarge(n, s.sendLimit)
	}
	if n > mostSend-sendSlack {
		return mostSend, fmt.Errorf("%w: %d bytes, and no socket sends more than 1 GiB", ErrTooLarge, n)
	}
	ask := askFor(n)
	if unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, ask) != nil {
		_ = unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_SNDBUF, ask)
	}
	limit, err = unix.GetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_SNDBUF)
	if err != nil {
		return 0, fmt.Errorf("ask for the socket's send buffer: %w", err)
	}
	s.sendLimit = limit - sendOverhead
	if n > s.sendLimit {
		return s.sendLimit, TooLarge(n, s.sendLimit)
	}
	return s.sendLimit, nil
}

// askFor is what to ask of the socket, or of net.core.wmem_max, for a datagram of n
// bytes: the kernel doubles it.
func askFor(n int) int { return n/2 + sendSlack }

// TooLarge is the error of a batch of n bytes where limit can be sent.
func TooLarge(n, limit int) error {
	return fmt.Errorf("%w: %d bytes, and this process may send %d: raise net.core.wmem_max to %d, or run with "+
		"CAP_NET_ADMIN in the first user namespace", ErrTooLarge, n, limit, askFor(n))
}

// Room returns how many bytes a batch may have (Batch.Len) to be committed, having
// asked for room for n.
func (c *Conn) Room(n int) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cmd == nil {
		return n // Commit says what is wrong
	}
	limit, _ := c.cmd.growSendQueue(n)
	return limit
}

// LimitSend makes batches of more than about n bytes fail as they do for a process
// whose buffers net.core.wmem_max bounds.
func (c *Conn) LimitSend(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cmd == nil {
		return
	}
	_ = unix.SetsockoptInt(c.cmd.fd, unix.SOL_SOCKET, unix.SO_SNDBUF, n/2) // the kernel doubles it
	if limit, err := unix.GetsockoptInt(c.cmd.fd, unix.SOL_SOCKET, unix.SO_SNDBUF); err == nil {
		c.cmd.sendLimit, c.cmd.sendFixed = limit-sendOverhead, true
	}
}
