package main

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"unsafe"

	"golang.org/x/sys/unix"

	"bulkhead/bench/estate"
)

// sender puts frames on a wire. The kernel carries a frame to its end, through the
// gateway and to the receiver, within the system call that sends it, on the
// caller's own time, or, if there are too many at once, in a thread of its own.
type sender struct {
	fd   int
	msgs []mmsghdr
	iovs []unix.Iovec
}

// mmsghdr is struct mmsghdr of sendmmsg(2).
type mmsghdr struct {
	hdr unix.Msghdr
	len uint32
	_   [4]byte
}

// atOnce is how many frames go with one system call: enough to make its own cost
// small.
const atOnce = 64

// newSender opens a sender on an interface of the calling thread's namespace.
func newSender(iface string) (*sender, error) {
	i, err := net.InterfaceByName(iface)
	if err != nil {
		return nil, fmt.Errorf("find the interface %q: %w", iface, err)
	}
	// Protocol 0: it receives nothing.
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open a packet socket: %w", err)
	}
	s := &sender{fd: fd, msgs: make([]mmsghdr, atOnce), iovs: make([]unix.Iovec, atOnce)}
	err = unix.Bind(fd, &unix.SockaddrLinklayer{Ifindex: i.Index})
	if err == nil {
		err = unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_QDISC_BYPASS, 1)
	}
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("send by interface %q: %w", iface, err)
	}
	for k := range s.msgs {
		s.msgs[k].hdr.Iov = &s.iovs[k]
		s.msgs[k].hdr.SetIovlen(1)
	}
	return s, nil
}

func (s *sender) close() { unix.Close(s.fd) }

// send sends all frames.
func (s *sender) send(frames [][]byte) error {
	for len(frames) > 0 {
		n := min(len(frames), atOnce)
		for k := range n {
			s.iovs[k].Base = &frames[k][0]
			s.iovs[k].SetLen(len(frames[k]))
		}
		sent, _, errno := unix.Syscall6(unix.SYS_SENDMMSG, uintptr(s.fd), uintptr(unsafe.Pointer(&s.msgs[0])), uintptr(n), 0, 0, 0)
		switch errno {
		case 0:
			frames = frames[sent:]
		case unix.EINTR, unix.ENOBUFS:
		default:
			return fmt.Errorf("send packets: %w", errno)
		}
	}
	return nil
}

// frame is a UDP packet of a flow from a port. The payload repeats the port's
// complement, so that the checksum stays right when both are changed (setPort).
func frame(from, to net.HardwareAddr, f estate.Flow, port uint16) []byte {
	const payload = 22
	udp := binary.BigEndian.AppendUint16(nil, port)
	udp = binary.BigEndian.AppendUint16(udp, f.Port)
	udp = binary.BigEndian.AppendUint16(udp, 8+payload)
	udp = append(udp, 0, 0)
	udp = binary.BigEndian.AppendUint16(udp, ^port)
	udp = append(udp, make([]byte, payload-2)...)
	pseudo := slices.Concat(f.Src.AsSlice(), f.Dst.AsSlice(), []byte{0, unix.IPPROTO_UDP, 0, 8 + payload})
	binary.BigEndian.PutUint16(udp[6:], checksum(append(pseudo, udp...)))
	out := slices.Concat(to, from)
	if f.Src.Is4() {
		ip := []byte{0x45, 0, 0, byte(20 + len(udp)), 0, 0, 0x40, 0, 64, unix.IPPROTO_UDP, 0, 0}
		ip = slices.Concat(ip, f.Src.AsSlice(), f.Dst.AsSlice())
		binary.BigEndian.PutUint16(ip[10:], checksum(ip))
		return slices.Concat(out, []byte{0x08, 0x00}, ip, udp)
	}
	ip := []byte{0x60, 0, 0, 0, 0, byte(len(udp)), unix.IPPROTO_UDP, 64}
	return slices.Concat(out, []byte{0x86, 0xdd}, ip, f.Src.AsSlice(), f.Dst.AsSlice(), udp)
}

// setPort changes the source port of a frame.
func setPort(b []byte, port uint16) {
	at := 14 + 20
	if b[12] == 0x86 {
		at = 14 + 40
	}
	binary.BigEndian.PutUint16(b[at:], port)
	binary.BigEndian.PutUint16(b[at+8:], ^port)
}

// answer is the flow of the packets that come back, from its own port to the
// first one's.
func answer(f estate.Flow, port uint16) (estate.Flow, uint16) {
	return estate.Flow{Src: f.Dst, Dst: f.Src, Port: port}, f.Port
}

// checksum is the Internet's (RFC 1071), and never 0, which UDP takes for none.
func checksum(b []byte) uint16 {
	var sum uint32
	for ; len(b) > 1; b = b[2:] {
		sum += uint32(binary.BigEndian.Uint16(b))
	}
	if len(b) == 1 {
		sum += uint32(b[0]) << 8
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	if sum == 0xffff {
		return 0xffff
	}
	return ^uint16(sum)
}

// left tells whether an address is below the middle of its family.
func (t *traffic) left(a netip.Addr) bool {
	if a.Is4() {
		return a.Less(t.middle4)
	}
	return a.Less(t.middle6)
}
