package probe

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

const (
	echoRequest4 = 8   // RFC 792
	echoReply4   = 0   // RFC 792
	echoRequest6 = 128 // RFC 4443
	echoReply6   = 129 // RFC 4443
	echoHeader   = 8

	// echoes are sent over the time of one try: one lost packet is no cut flow.
	echoes = 3
)

// pinger is a socket that sends echo requests to one address.
type pinger struct {
	f     *os.File
	four  bool
	raw   bool // ours must be told from other programs' answers, and IPv4 comes with its header
	id    uint16
	token [16]byte // in every packet: an answer to somebody else's ping is none to ours
}

// ping sends echo requests until one is answered.
func ping(ctx context.Context, to netip.Addr, timeout time.Duration) error {
	p, err := newPinger(to)
	if err != nil {
		return err
	}
	defer p.f.Close()
	stop := context.AfterFunc(ctx, func() { _ = p.f.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	every := timeout / echoes
	for seq := uint16(1); ; seq++ {
		if _, err := p.f.Write(p.request(seq)); err != nil && ctx.Err() == nil {
			return p.explain(err)
		}
		if err := p.f.SetReadDeadline(time.Now().Add(every)); err != nil {
			return err
		}
		// The deadline just set must not outlive the end of ctx, which set one before.
		if ctx.Err() != nil {
			break
		}
		err := p.await()
		if err == nil {
			return nil
		}
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			return p.explain(err)
		}
		if ctx.Err() != nil {
			break
		}
	}
	if errors.Is(ctx.Err(), context.Canceled) {
		return fmt.Errorf("interrupted: %w", ctx.Err())
	}
	return fmt.Errorf("no answer within %s: nobody is there, or something on the way drops it", timeout)
}

// newPinger opens a ping socket, which an ordinary user may have where the
// system's net.ipv4.ping_group_range says so, and else a raw one.
func newPinger(to netip.Addr) (*pinger, error) {
	p := &pinger{four: to.Is4()}
	family, proto := unix.AF_INET6, unix.IPPROTO_ICMPV6
	var sa unix.Sockaddr = &unix.SockaddrInet6{Addr: to.As16()}
	if p.four {
		family, proto = unix.AF_INET, unix.IPPROTO_ICMP
		sa = &unix.SockaddrInet4{Addr: to.As4()}
	}
	const flags = unix.SOCK_CLOEXEC | unix.SOCK_NONBLOCK
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|flags, proto)
	if errors.Is(err, unix.EACCES) || errors.Is(err, unix.EPERM) {
		p.raw = true
		if fd, err = unix.Socket(family, unix.SOCK_RAW|flags, proto); err != nil {
			return nil, fmt.Errorf("may not ping: %w: let this user (sysctl net.ipv4.ping_group_range), or give the program CAP_NET_RAW", err)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("cannot open a socket to ping: %w", err)
	}
	p.f = os.NewFile(uintptr(fd), "ping")
	// Connected: the kernel gives us answers from there alone, and errors about it.
	if err := unix.Connect(fd, sa); err != nil {
		p.f.Close()
		return nil, p.explain(err)
	}
	var random [18]byte
	if _, err := rand.Read(random[:]); err != nil {
		p.f.Close()
		return nil, err
	}
	p.id = binary.BigEndian.Uint16(random[16:])
	copy(p.token[:], random[:])
	return p, nil
}

// request is an echo request. The kernel puts its own id on a ping socket, and the
// checksum of ICMPv6.
func (p *pinger) request(seq uint16) []byte {
	b := make([]byte, echoHeader, echoHeader+len(p.token))
	b[0] = echoRequest6
	if p.four {
		b[0] = echoRequest4
	}
	binary.BigEndian.PutUint16(b[4:], p.id)
	binary.BigEndian.PutUint16(b[6:], seq)
	b = append(b, p.token[:]...)
	if p.four {
		binary.BigEndian.PutUint16(b[2:], checksum(b))
	}
	return b
}

// await reads until an answer to one of ours comes, or the deadline.
func (p *pinger) await() error {
	buf := make([]byte, 1500)
	for {
		n, err := p.f.Read(buf)
		if err != nil {
			return err
		}
		if p.answers(buf[:n]) {
			return nil
		}
	}
}

// answers reports whether a packet is the reply to one of ours.
func (p *pinger) answers(b []byte) bool {
	want := byte(echoReply6)
	if p.four {
		want = echoReply4
		if p.raw { // it begins with the IP header
			if len(b) < 20 || int(b[0]&15)*4 > len(b) {
				return false
			}
			b = b[int(b[0]&15)*4:]
		}
	}
	return len(b) == echoHeader+len(p.token) && b[0] == want && [16]byte(b[echoHeader:]) == p.token
}

// explain says what a device on the way answered instead.
func (p *pinger) explain(err error) error {
	var path *os.PathError
	if errors.As(err, &path) {
		err = path.Err
	}
	switch {
	case errors.Is(err, unix.EPERM):
		return fmt.Errorf("this machine's own firewall drops it: %w", err)
	case errors.Is(err, unix.ENETUNREACH), errors.Is(err, unix.EADDRNOTAVAIL):
		return fmt.Errorf("there is no route: %w", err)
	case errors.Is(err, unix.EHOSTUNREACH), errors.Is(err, unix.ECONNREFUSED), errors.Is(err, unix.EACCES), errors.Is(err, unix.ENOPROTOOPT):
		return fmt.Errorf("refused on the way: %w", err)
	}
	return err
}

// checksum is the internet checksum (RFC 1071).
func checksum(b []byte) uint16 {
	sum := uint32(0)
	for i := 0; i+1 < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}
