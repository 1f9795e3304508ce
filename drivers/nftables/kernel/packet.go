package kernel

import (
	"encoding/binary"
	"errors"
	"net/netip"

	"golang.org/x/sys/unix"
)

// ErrShortPacket is what ParsePacket gives for what is no IP packet, or too
// little of one to have addresses and a protocol.
var ErrShortPacket = errors.New("no complete IP header")

// Header is what ParsePacket finds in a packet.
type Header struct {
	Src, Dst netip.Addr
	Proto    uint8 // of the transport header, behind all extension headers
	// Service is the destination port of TCP, UDP, SCTP, DCCP and UDP-Lite, and
	// type<<8|code of ICMP and ICMPv6. It means nothing unless HasService.
	Service uint16
	SrcPort uint16
	// HasService is false for other protocols, for fragments but the first, and
	// where the bytes end before the transport header does.
	HasService bool
	Fragment   bool // a fragment that is not the first
}

// ParsePacket reads the headers of an IPv4 or IPv6 packet that may be cut off
// anywhere. It never panics and never reads beyond p. An IPv6 header chain that
// is cut off, or does not end within 16 headers, gives ErrShortPacket.
func ParsePacket(p []byte) (Header, error) {
	if len(p) == 0 {
		return Header{}, ErrShortPacket
	}
	switch p[0] >> 4 {
	case 4:
		return parseIPv4(p)
	case 6:
		return parseIPv6(p)
	}
	return Header{}, ErrShortPacket
}

func parseIPv4(p []byte) (Header, error) {
	if len(p) < 20 {
		return Header{}, ErrShortPacket
	}
	n := int(p[0]&0xf) * 4
	if n < 20 {
		return Header{}, ErrShortPacket
	}
	h := Header{Src: netip.AddrFrom4([4]byte(p[12:16])), Dst: netip.AddrFrom4([4]byte(p[16:20])), Proto: p[9]}
	h.Fragment = binary.BigEndian.Uint16(p[6:])&0x1fff != 0
	if n <= len(p) {
		h.transport(p[n:])
	}
	return h, nil
}

// maxExtensions bounds the walk over extension headers.
const maxExtensions = 16

func parseIPv6(p []byte) (Header, error) {
	if len(p) < 40 {
		return Header{}, ErrShortPacket
	}
	h := Header{Src: netip.AddrFrom16([16]byte(p[8:24])), Dst: netip.AddrFrom16([16]byte(p[24:40]))}
	next, rest := p[6], p[40:]
	for range maxExtensions {
		n := 0
		switch next {
		case unix.IPPROTO_HOPOPTS, unix.IPPROTO_ROUTING, unix.IPPROTO_DSTOPTS, 135: // 135: mobility
			if len(rest) < 8 {
				return Header{}, ErrShortPacket
			}
			n = (int(rest[1]) + 1) * 8
		case unix.IPPROTO_AH:
			if len(rest) < 8 {
				return Header{}, ErrShortPacket
			}
			n = (int(rest[1]) + 2) * 4
		case unix.IPPROTO_FRAGMENT:
			if len(rest) < 8 {
				return Header{}, ErrShortPacket
			}
			n = 8
			if binary.BigEndian.Uint16(rest[2:])&^7 != 0 {
				// What follows is the middle of a packet.
				h.Proto, h.Fragment = rest[0], true
				return h, nil
			}
		default:
			h.Proto = next
			h.transport(rest)
			return h, nil
		}
		if n > len(rest) {
			return Header{}, ErrShortPacket
		}
		next, rest = rest[0], rest[n:]
	}
	return Header{}, ErrShortPacket
}

// transport reads ports, or type and code.
func (h *Header) transport(b []byte) {
	if h.Fragment {
		return
	}
	v6 := h.Src.Is6()
	switch h.Proto {
	case unix.IPPROTO_TCP, unix.IPPROTO_UDP, unix.IPPROTO_SCTP, unix.IPPROTO_DCCP, unix.IPPROTO_UDPLITE:
		if len(b) < 4 {
			return
		}
		h.SrcPort, h.Service, h.HasService = binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:]), true
	case unix.IPPROTO_ICMP, unix.IPPROTO_ICMPV6:
		if len(b) < 2 || v6 != (h.Proto == unix.IPPROTO_ICMPV6) {
			return
		}
		h.Service, h.HasService = binary.BigEndian.Uint16(b), true
	}
}
