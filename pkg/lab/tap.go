package lab

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The ring that a tap reads packets from. A frame holds the kernel's header and
// the first bytes of a packet, which is enough to tell whose it is.
const (
	ringFrame  = 256
	ringBlock  = 1 << 16
	ringBlocks = 16
	ringFrames = ringBlock / ringFrame * ringBlocks
)

// tap shows every packet that comes in on a namespace's interfaces. It stands
// before the namespace's own firewall.
type tap struct {
	host   string
	fd     int
	ring   []byte
	next   int
	fences []fence // that came in and nobody has looked at
}

// newTap opens a tap in the calling thread's namespace.
func newTap(host string) (_ *tap, err error) {
	t := &tap{host: host, fd: -1}
	defer func() {
		if err != nil {
			t.close()
			err = fmt.Errorf("watch the interface of %q: %w", host, err)
		}
	}()
	t.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	if err := unix.SetsockoptInt(t.fd, unix.SOL_PACKET, unix.PACKET_VERSION, unix.TPACKET_V2); err != nil {
		return nil, err
	}
	// What the host itself sends is no arrival.
	if err := unix.SetsockoptInt(t.fd, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1); err != nil {
		return nil, err
	}
	req := unix.TpacketReq{Block_size: ringBlock, Block_nr: ringBlocks, Frame_size: ringFrame, Frame_nr: ringFrames}
	if err := unix.SetsockoptTpacketReq(t.fd, unix.SOL_PACKET, unix.PACKET_RX_RING, &req); err != nil {
		return nil, err
	}
	t.ring, err = unix.Mmap(t.fd, 0, ringBlock*ringBlocks, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, err
	}
	all := &unix.SockaddrLinklayer{Protocol: networkOrder(unix.ETH_P_ALL)}
	return t, unix.Bind(t.fd, all)
}

func networkOrder(v uint16) uint16 {
	return binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, v))
}

func (t *tap) close() error {
	var errs []error
	if t.ring != nil {
		errs = append(errs, unix.Munmap(t.ring))
	}
	if t.fd >= 0 {
		errs = append(errs, unix.Close(t.fd))
	}
	t.ring, t.fd = nil, -1
	return errors.Join(errs...)
}

// drain calls f for each packet that has come in since the last call.
func (t *tap) drain(f func(packet []byte)) {
	// The kernel's frame begins with struct tpacket2_hdr; struct sockaddr_ll follows.
	const (
		snapOff   = 8
		netOff    = 14
		vlanOff   = 24
		protoOff  = unix.SizeofTpacket2Hdr + 2
		packetOff = unix.SizeofTpacket2Hdr + 10
	)
	for {
		frame := t.ring[t.next*ringFrame:][:ringFrame]
		status := (*uint32)(unsafe.Pointer(&frame[0]))
		if atomic.LoadUint32(status)&unix.TP_STATUS_USER == 0 {
			return
		}
		tagged := *status&unix.TP_STATUS_VLAN_VALID != 0 && binary.NativeEndian.Uint16(frame[vlanOff:])&0xfff != 0
		snap, at := binary.NativeEndian.Uint32(frame[snapOff:]), binary.NativeEndian.Uint16(frame[netOff:])
		// What a bridge floods to others is no arrival either, and what has the tag of a VLAN
		// is for an interface that a host does not have.
		if kind := frame[packetOff]; !tagged && (kind == unix.PACKET_HOST || kind == unix.PACKET_BROADCAST || kind == unix.PACKET_MULTICAST) {
			packet := frame[at:min(int(at)+int(snap), ringFrame)]
			if binary.BigEndian.Uint16(frame[protoOff:]) == FenceType {
				t.fences = append(t.fences, readFence(packet))
			} else {
				f(packet)
			}
		}
		atomic.StoreUint32(status, unix.TP_STATUS_KERNEL)
		t.next = (t.next + 1) % ringFrames
	}
}

// lost tells how many packets found no room since the last call.
func (t *tap) lost() (int, error) {
	st, err := unix.GetsockoptTpacketStats(t.fd, unix.SOL_PACKET, unix.PACKET_STATISTICS)
	if err != nil {
		return 0, fmt.Errorf("ask whether the tap of %q lost packets: %w", t.host, err)
	}
	return int(st.Drops), nil
}
