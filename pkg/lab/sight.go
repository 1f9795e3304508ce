package lab

import (
	"encoding/binary"
	"net/netip"

	"golang.org/x/sys/unix"
)

// token marks the packets of one probe. Every aligned eight bytes of the payload
// are the token, so that each fragment bears it.
type token [tokenLen]byte

const tokenLen = 8

// newToken is a batch's random number and the probe's number in it.
func newToken(batch uint32, probe int) (t token) {
	binary.BigEndian.PutUint32(t[:], batch)
	binary.BigEndian.PutUint32(t[4:], uint32(probe))
	return t
}

// sight is a packet that a receiver's interface showed.
type sight struct {
	src, dst netip.Addr
	proto    uint8
	head     uint16 // ICMP's type and code; 0 for others and for later fragments
	from, to int    // which bytes of the datagram it carries
	whole    bool   // no fragment
	last     bool   // nothing comes after it
	token    token
}

// look reads a captured packet. Of a packet that is none of ours it says so, or
// returns a token that nobody gave out.
func look(b []byte) (s sight, ok bool) {
	if len(b) < 20 {
		return s, false
	}
	if b[0]>>4 == 4 {
		return lookIPv4(b)
	}
	return lookIPv6(b)
}

func lookIPv4(b []byte) (s sight, ok bool) {
	hl := int(b[0]&15) * 4
	total := int(binary.BigEndian.Uint16(b[2:]))
	off := binary.BigEndian.Uint16(b[6:])
	if hl < 20 || total < hl {
		return s, false
	}
	s.src, s.dst = netip.AddrFrom4([4]byte(b[12:16])), netip.AddrFrom4([4]byte(b[16:20]))
	s.proto, s.from = b[9], int(off&0x1fff)*8
	s.last = off&0x2000 == 0
	s.whole = s.last && s.from == 0
	s.to = s.from + total - hl
	return s.body(b[min(hl, len(b)):])
}

func lookIPv6(b []byte) (s sight, ok bool) {
	if len(b) < 40 {
		return s, false
	}
	s.src, s.dst = netip.AddrFrom16([16]byte(b[8:24])), netip.AddrFrom16([16]byte(b[24:40]))
	s.proto, s.whole, s.last = b[6], true, true
	size := int(binary.BigEndian.Uint16(b[4:]))
	b = b[40:]
	if s.proto == unix.IPPROTO_FRAGMENT && len(b) >= 8 {
		off := binary.BigEndian.Uint16(b[2:])
		s.proto, s.from, s.last = b[0], int(off&^7), off&1 == 0
		s.whole = s.last && s.from == 0
		b, size = b[8:], size-8
	}
	s.to = s.from + size
	return s.body(b)
}

// body takes what is behind the network header.
func (s sight) body(b []byte) (sight, bool) {
	if s.from == 0 {
		if (s.proto == protoICMP || s.proto == protoICMPv6) && len(b) >= 2 {
			s.head = binary.BigEndian.Uint16(b)
		}
		skip := headerLen(s.proto)
		if s.proto == protoTCP && len(b) >= skip {
			skip = int(b[12]>>4) * 4
		}
		b = b[min(skip, len(b)):]
	}
	if len(b) < tokenLen {
		return s, false
	}
	s.token = token(b[:tokenLen])
	return s, true
}
