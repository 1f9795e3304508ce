package kernel

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Sizes in bytes.
const (
	// recvBuffer holds one datagram. The kernel makes dumps of at most 32 KiB.
	recvBuffer = 64 << 10
	// recvQueue is what we ask of SO_RCVBUFFORCE: room for the errors of some
	// thousand failing messages.
	recvQueue = 4 << 20
)

// socket is one raw NETLINK_NETFILTER socket. It is not safe for concurrent use.
type socket struct {
	fd   int
	wake int // eventfd that a cancelled context writes to
	seq  uint32
	buf  []byte
	from unix.RawSockaddrNetlink // sender of the datagram in buf

	sendLimit  int // largest datagram in bytes that the send buffer takes; 0: not asked yet
	sendFixed  bool
	begin, end [batchEdge]byte
	ask        [batchEdge]byte // the question for the generation
}

// message is one netlink message; payload aliases a buffer of its datagram.
type message struct {
	typ, flags uint16
	seq        uint32
	payload    []byte
}

// openSocket opens a socket in the calling thread's namespace.
func openSocket() (*socket, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_NETFILTER)
	if err != nil {
		return nil, openError(err)
	}
	wake, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("open eventfd: %w", err)
	}
	// Sequence numbers of requests stay above those of batch messages.
	s := &socket{fd: fd, wake: wake, seq: 1 << 31, buf: make([]byte, recvBuffer)}
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		s.close()
		return nil, fmt.Errorf("bind netlink socket: %w", err)
	}
	// Without NETLINK_CAP_ACK every error carries the whole failing message, 64 KiB
	// of it, and the errors themselves overrun the queue.
	for _, opt := range []int{unix.NETLINK_CAP_ACK, unix.NETLINK_EXT_ACK} {
		if err := unix.SetsockoptInt(fd, unix.SOL_NETLINK, opt, 1); err != nil {
			s.close()
			return nil, fmt.Errorf("set netlink option %d: %w: needs Linux 4.12 or newer", opt, err)
		}
	}
	s.setRecvQueue(recvQueue)
	return s, nil
}

// setRecvQueue asks for a receive queue of n bytes, and takes what it gets:
// without privilege in the first user namespace net.core.rmem_max is the limit.
func (s *socket) setRecvQueue(n int) {
	if unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, n) != nil {
		_ = unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_RCVBUF, n)
	}
}

// close may be called twice: a number that was closed may be another file's.
func (s *socket) close() {
	if s.fd >= 0 {
		unix.Close(s.wake)
		unix.Close(s.fd)
	}
	s.fd, s.wake = -1, -1
}

// send sends bufs as one datagram to the kernel.
func (s *socket) send(bufs ...[]byte) error {
	for {
		_, err := unix.SendmsgBuffers(s.fd, bufs, nil, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}, 0)
		if err != unix.EINTR {
			return err
		}
	}
}

// recvNow reads one datagram without waiting: EAGAIN if there is none, ENOBUFS
// if the kernel had to throw datagrams away. The bytes are valid until the next
// call. It allocates nothing, unlike unix.Recvmsg, which makes an address for each
// datagram: a read by key has one for each element.
func (s *socket) recvNow() ([]byte, error) {
	for {
		size := uint32(unsafe.Sizeof(s.from))
		// MSG_TRUNC makes the kernel return the datagram's whole length (recv(2)).
		n, _, errno := unix.Syscall6(unix.SYS_RECVFROM, uintptr(s.fd), uintptr(unsafe.Pointer(unsafe.SliceData(s.buf))), uintptr(len(s.buf)),
			unix.MSG_DONTWAIT|unix.MSG_TRUNC, uintptr(unsafe.Pointer(&s.from)), uintptr(unsafe.Pointer(&size)))
		switch {
		case errno == unix.EINTR:
			continue
		case errno == unix.EAGAIN: // not boxed anew for each
			return nil, unix.EAGAIN
		case errno != 0:
			return nil, errno
		case int(n) > len(s.buf):
			return nil, fmt.Errorf("%w: datagram of %d bytes, longer than %d", errMalformed, n, len(s.buf))
		}
		// Only the kernel has port 0; another process can send to our port.
		if s.from.Pid != 0 {
			continue
		}
		return s.buf[:n], nil
	}
}

// recv reads one datagram, waiting for it until ctx ends.
func (s *socket) recv(ctx context.Context) ([]byte, error) {
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		b, err := s.recvNow()
		if err != unix.EAGAIN {
			return b, err
		}
		if err := s.wait(ctx); err != nil {
			return nil, err
		}
	}
}

// wait blocks until the socket is readable or ctx ends.
func (s *socket) wait(ctx context.Context) error {
	woken := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(woken)
		_, _ = unix.Write(s.wake, []byte{1, 0, 0, 0, 0, 0, 0, 0})
	})
	defer func() {
		// It ran, or still runs: one that runs after the socket is closed would write
		// into whatever file has got the number since.
		if !stop() {
			<-woken
			var b [8]byte
			_, _ = unix.Read(s.wake, b[:])
		}
	}()
	fds := []unix.PollFd{{Fd: int32(s.fd), Events: unix.POLLIN}, {Fd: int32(s.wake), Events: unix.POLLIN}}
	_, err := unix.Poll(fds, -1)
	if err != nil && err != unix.EINTR {
		return fmt.Errorf("poll netlink socket: %w", err)
	}
	if fds[1].Revents != 0 {
		var b [8]byte
		_, _ = unix.Read(s.wake, b[:])
	}
	return nil
}

// split calls f for each message of a datagram.
func split(b []byte, f func(m message) error) error {
	for len(b) > 0 {
		if len(b) < nlmsgHdrLen {
			return fmt.Errorf("%w: %d bytes after the last message", errMalformed, len(b))
		}
		n := int(binary.NativeEndian.Uint32(b))
		if n < nlmsgHdrLen || n > len(b) {
			return fmt.Errorf("%w: message of %d bytes in %d", errMalformed, n, len(b))
		}
		m := message{
			typ:     binary.NativeEndian.Uint16(b[4:]),
			flags:   binary.NativeEndian.Uint16(b[6:]),
			seq:     binary.NativeEndian.Uint32(b[8:]),
			payload: b[nlmsgHdrLen:n:n],
		}
		if err := f(m); err != nil {
			return err
		}
		b = b[min(align(n), len(b)):]
	}
	return nil
}

// errInterrupted is what a dump gives that the kernel could not finish on one
// state (NLM_F_DUMP_INTR), or of which it had to throw parts away.
var errInterrupted = errors.New("the ruleset changed while it was being read")
