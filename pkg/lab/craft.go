package lab

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

// Protocol numbers that package unix does not name alike.
const (
	protoICMP    = unix.IPPROTO_ICMP
	protoTCP     = unix.IPPROTO_TCP
	protoUDP     = unix.IPPROTO_UDP
	protoDCCP    = unix.IPPROTO_DCCP
	protoGRE     = unix.IPPROTO_GRE
	protoICMPv6  = unix.IPPROTO_ICMPV6
	protoSCTP    = unix.IPPROTO_SCTP
	protoUDPLite = unix.IPPROTO_UDPLITE
)

// fragmentSize is what a fragment carries. With it an IPv6 fragment has 1280
// bytes, the least that every network must carry (RFC 8200, section 5).
const fragmentSize = 1232

// hopLimit is what hosts usually send with.
const hopLimit = 64

// craft writes the packets of a probe: one, or its fragments.
func craft(p *Probe, tok token) ([][]byte, error) {
	if err := p.check(); err != nil {
		return nil, err
	}
	blocks := 4
	if p.Fragments > 1 {
		blocks = (fragmentSize*p.Fragments - p.headerLen()) / tokenLen
	}
	var payload []byte
	for range blocks {
		payload = append(payload, tok[:]...)
	}
	body := transport(p, payload)
	if p.Fragments <= 1 {
		return [][]byte{ipPacket(p, body, 0, false, 0)}, nil
	}
	var out [][]byte
	id := binary.BigEndian.Uint32(tok[4:])<<8 | uint32(tok[3])
	for at := 0; at < len(body); at += fragmentSize {
		if p.Only > 0 && p.Only != at/fragmentSize+1 {
			continue
		}
		end := min(at+fragmentSize, len(body))
		out = append(out, ipPacket(p, body[at:end], at, end < len(body), id|1))
	}
	return out, nil
}

// extension reports whether IPv6 takes a protocol number for a header of its own
// and looks on behind it (RFC 8200, section 4).
func extension(proto uint8) bool {
	switch proto {
	case unix.IPPROTO_HOPOPTS, unix.IPPROTO_ROUTING, unix.IPPROTO_FRAGMENT, unix.IPPROTO_DSTOPTS, unix.IPPROTO_AH, 135, 139, 140:
		return true
	}
	return false
}

func (p *Probe) check() error {
	switch {
	case p.Src.Is4() != p.Dst.Is4() || !p.Src.IsValid() || !p.Dst.IsValid():
		return fmt.Errorf("probe from %s to %s: the ends need addresses of one family", p.Src, p.Dst)
	case p.Dst.Is6() && extension(p.Proto):
		return fmt.Errorf("probe with protocol %d: over IPv6 that is an extension header and no protocol", p.Proto)
	case p.Fragments > 1 && !(p.Proto == protoUDP || p.Proto == protoTCP || p.Proto == protoICMP || p.Proto == protoICMPv6):
		return fmt.Errorf("probe with protocol %d: only UDP, TCP and ICMP are cut into fragments", p.Proto)
	case p.Flags != 0 && p.Proto != protoTCP:
		return fmt.Errorf("probe with protocol %d: only TCP has control bits", p.Proto)
	case p.Only < 0 || p.Only > 0 && (p.Fragments < 2 || p.Only > p.Fragments):
		return fmt.Errorf("probe of fragment %d of %d: there is none", p.Only, p.Fragments)
	case p.Fragments > 40:
		return fmt.Errorf("probe in %d fragments: a datagram has 65535 bytes at most", p.Fragments)
	}
	return nil
}

// headerLen is how many bytes lie before the payload of what transport writes.
func headerLen(proto uint8) int {
	switch proto {
	case protoTCP, protoDCCP:
		return 20
	case protoUDP, protoUDPLite, protoICMP, protoICMPv6:
		return 8
	case protoGRE:
		return 4
	case protoSCTP:
		return 36
	}
	return 0
}

// headerLen is how many bytes lie before the payload of a probe. A TCP segment that is
// cut has an option more, so that its fragments begin where a token begins.
func (p *Probe) headerLen() int {
	if p.Proto == protoTCP && p.Fragments > 1 {
		return 24
	}
	return headerLen(p.Proto)
}

// transport writes the transport header with a right checksum: connection
// tracking takes no notice of packets with a wrong one.
func transport(p *Probe, payload []byte) []byte {
	b := make([]byte, p.headerLen(), p.headerLen()+len(payload))
	ports := func() {
		binary.BigEndian.PutUint16(b, p.SrcPort)
		binary.BigEndian.PutUint16(b[2:], p.Num)
	}
	put := binary.BigEndian.PutUint16
	whole := func() []byte { return append(b, payload...) }
	switch p.Proto {
	case protoTCP: // RFC 9293
		ports()
		copy(b[4:8], payload[4:8])
		b[12], b[13] = uint8(len(b)/4)<<4, cmp.Or(p.Flags, SYN)
		put(b[14:], 64240)
		b = whole()
		put(b[16:], pseudoSum(p, b))
	case protoUDP:
		ports()
		put(b[4:], uint16(8+len(payload)))
		b = whole()
		put(b[6:], nonZero(pseudoSum(p, b)))
	case protoUDPLite: // coverage 0 is all of it (RFC 3828)
		ports()
		b = whole()
		put(b[6:], nonZero(pseudoSum(p, b)))
	case protoDCCP: // a Request (RFC 4340)
		ports()
		b[4], b[8] = 5, 0x01
		copy(b[12:16], payload[4:8])
		b = whole()
		put(b[6:], pseudoSum(p, b))
	case protoICMP, protoICMPv6:
		put(b, p.Num)
		put(b[4:], p.SrcPort) // the identifier of echo, in the same place for other queries
		b = whole()
		if p.Proto == protoICMP {
			put(b[2:], fold(sum(b)))
		} else {
			put(b[2:], pseudoSum(p, b))
		}
	case protoGRE: // version 0, nothing optional (RFC 2784)
		put(b[2:], 0x0800)
		b = whole()
	case protoSCTP:
		ports()
		b = sctpInit(b, payload)
	default:
		b = whole()
	}
	return b
}

func nonZero(sum uint16) uint16 {
	if sum == 0 {
		return 0xffff
	}
	return sum
}

// ipPacket writes one packet, or one fragment if there are more or at is not 0.
func ipPacket(p *Probe, body []byte, at int, more bool, id uint32) []byte {
	cut := more || at > 0
	src, dst := p.Src.AsSlice(), p.Dst.AsSlice()
	put := binary.BigEndian.PutUint16
	if p.Dst.Is4() {
		h := make([]byte, 20, 20+len(body))
		h[0], h[8], h[9] = 0x45, hopLimit, p.Proto
		put(h[2:], uint16(20+len(body)))
		put(h[4:], uint16(id))
		off := uint16(at / 8)
		if more {
			off |= 0x2000
		} else if !cut {
			off = 0x4000 // don't fragment
		}
		put(h[6:], off)
		copy(h[12:], src)
		copy(h[16:], dst)
		put(h[10:], fold(sum(h)))
		return append(h, body...)
	}
	h := make([]byte, 40, 48+len(body))
	h[0], h[6], h[7] = 0x60, p.Proto, hopLimit
	copy(h[8:], src)
	copy(h[24:], dst)
	if cut {
		f := make([]byte, 8)
		f[0], h[6] = p.Proto, unix.IPPROTO_FRAGMENT
		off := uint16(at)
		if more {
			off |= 1
		}
		put(f[2:], off)
		binary.BigEndian.PutUint32(f[4:], id)
		h = append(h, f...)
	}
	put(h[4:], uint16(len(h)-40+len(body)))
	return append(h, body...)
}

// sum adds 16-bit words as the Internet checksum does (RFC 1071).
func sum(b []byte) uint32 {
	var s uint32
	for ; len(b) > 1; b = b[2:] {
		s += uint32(binary.BigEndian.Uint16(b))
	}
	if len(b) == 1 {
		s += uint32(b[0]) << 8
	}
	return s
}

func fold(s uint32) uint16 {
	for s > 0xffff {
		s = s>>16 + s&0xffff
	}
	return ^uint16(s)
}

// pseudoSum is the checksum over body and its pseudo-header. Both families' have
// the same sum.
func pseudoSum(p *Probe, body []byte) uint16 {
	return fold(addrSum(p.Src) + addrSum(p.Dst) + uint32(p.Proto) + uint32(len(body)) + sum(body))
}

func addrSum(a netip.Addr) uint32 { return sum(a.AsSlice()) }
