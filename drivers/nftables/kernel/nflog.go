package kernel

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// From linux/netfilter/nfnetlink_log.h.
const (
	logMsgPacket = 0 // NFULNL_MSG_PACKET
	logMsgConfig = 1 // NFULNL_MSG_CONFIG

	logPacketHdr = 1
	logMark      = 2
	logTimestamp = 3
	logInDev     = 4
	logOutDev    = 5
	logPayload   = 9
	logPrefix    = 10
	logSeq       = 12

	logCfgCmd     = 1
	logCfgMode    = 2
	logCfgTimeout = 4
	logCfgFlags   = 6

	logCmdBind    = 1 // NFULNL_CFG_CMD_BIND
	logCopyPacket = 2 // NFULNL_COPY_PACKET
	logFlagSeq    = 1 // NFULNL_CFG_F_SEQ
)

// Sizes in bytes.
const (
	logQueue  = 8 << 20   // receive queue of a log reader
	logBuffer = 256 << 10 // one datagram: packets queued by the kernel, 128 KiB at most
)

// Packet is one logged packet.
type Packet struct {
	Family  uint8 // NFPROTO_* of the hook
	Hook    uint8 // NF_INET_*
	Proto   uint16
	Prefix  string // of the log statement: escape before showing
	Mark    uint32
	In, Out uint32 // interface indexes; 0: none
	// Payload is the packet from its network header, at most the snap length of it.
	Payload []byte
	// Time is when the kernel received it; zero where it does not say (packets that
	// this host sends).
	Time time.Time
	seq  uint32
	has  bool
}

// LogReader receives the packets of one NFLOG group of one namespace. It is not
// safe for concurrent use.
type LogReader struct {
	s       *socket
	what    string
	pending []Packet
	lost    uint64
	next    uint32 // sequence number that the next packet should have
	started bool
}

// Subscribe binds the NFLOG group in the namespace netns (as for Open) and asks
// for the first snap bytes of each packet. A group has one reader: EBUSY if
// another program has it. Close ends the subscription.
func Subscribe(ctx context.Context, netns string, group uint16, snap uint32) (*LogReader, error) {
	if netns == "" {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
	}
	ns, err := openNamespace(netns)
	if err != nil {
		return nil, err
	}
	defer ns.Close()
	where := "this network namespace"
	var s *socket
	if netns != "" {
		where = "network namespace " + netns
	}
	err = within(ns, func() (err error) {
		s, err = openSocket()
		return err
	})
	if err != nil {
		return nil, err
	}
	r := &LogReader{s: s, what: fmt.Sprintf("NFLOG group %d in %s", group, where)}
	if err := r.bind(ctx, group, snap); err != nil {
		s.close()
		return nil, err
	}
	return r, nil
}

// bind configures the group.
func (r *LogReader) bind(ctx context.Context, group uint16, snap uint32) error {
	r.s.setRecvQueue(logQueue)
	r.s.buf = make([]byte, logBuffer)
	mode := append(binary.BigEndian.AppendUint32(nil, snap), logCopyPacket, 0) // struct nfulnl_msg_config_mode
	for _, attr := range [][]byte{
		appendAttr(nil, logCfgCmd, []byte{logCmdBind}),
		appendAttr(nil, logCfgMode, mode),
		// What waits in a queue-threshold is sent after a tenth of a second at most.
		appendU32(nil, logCfgTimeout, 10),
		appendU16(nil, logCfgFlags, logFlagSeq),
	} {
		err := r.s.request(ctx, logType|logMsgConfig, 0, unix.AF_UNSPEC, group, attr, r.keep)
		switch errnoOf(err) {
		case unix.EBUSY, unix.EEXIST, unix.EPERM:
			// EPERM stands for a missing privilege, and for a group that another has.
			if _, gen := r.s.generation(ctx); errnoOf(gen) == unix.EPERM {
				return explain("bind "+r.what, "nfnetlink_log", err)
			}
			return fmt.Errorf("bind %s: %w: another program reads it; choose another group", r.what, unix.EBUSY)
		case unix.EINVAL:
			return fmt.Errorf("bind %s: %w: %w (modprobe nfnetlink_log)", r.what, ErrUnsupported, err)
		}
		if err != nil {
			return explain("bind "+r.what, "nfnetlink_log", err)
		}
	}
	return nil
}

// Close ends the subscription. A Next that waits is ended by its context.
func (r *LogReader) Close() error {
	r.s.close()
	return nil
}

// Lost returns how many packets the kernel logged and could not deliver, as far
// as the sequence numbers of those that followed tell.
func (r *LogReader) Lost() uint64 { return r.lost }

// Next waits for a packet until ctx ends. Its slices are the caller's to keep.
func (r *LogReader) Next(ctx context.Context) (Packet, error) {
	for len(r.pending) == 0 {
		data, err := r.s.recv(ctx)
		if err == unix.ENOBUFS {
			continue // the gap in the sequence says how many
		}
		if err == nil {
			err = split(append([]byte(nil), data...), r.keep)
		}
		if err != nil {
			if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
				return Packet{}, err
			}
			return Packet{}, fmt.Errorf("read %s: %w", r.what, err)
		}
	}
	p := r.pending[0]
	r.pending = r.pending[1:]
	return p, nil
}

// keep takes one message; others than packets are of no interest.
func (r *LogReader) keep(m message) error {
	if m.typ != logType|logMsgPacket {
		return nil
	}
	p, err := decodePacket(m.payload)
	if err != nil {
		return err
	}
	if p.has {
		if gap := p.seq - r.next; r.started && gap < 1<<31 {
			r.lost += uint64(gap)
		}
		r.next, r.started = p.seq+1, true
	}
	r.pending = append(r.pending, p)
	return nil
}

// decodePacket decodes NFULNL_MSG_PACKET.
func decodePacket(payload []byte) (Packet, error) {
	family, _, in, err := genmsg(payload)
	p := Packet{Family: family}
	if err != nil {
		return p, err
	}
	for in.next() {
		switch in.typ {
		case logPacketHdr: // struct nfulnl_msg_packet_hdr
			if len(in.val) < 3 {
				in.wrong("4")
				break
			}
			p.Proto, p.Hook = binary.BigEndian.Uint16(in.val), in.val[2]
		case logMark:
			p.Mark = in.u32()
		case logTimestamp: // struct nfulnl_msg_packet_timestamp
			if len(in.val) != 16 {
				in.wrong("16")
				break
			}
			sec, usec := binary.BigEndian.Uint64(in.val), binary.BigEndian.Uint64(in.val[8:])
			p.Time = time.Unix(int64(sec&(1<<62-1)), int64(usec%1e6)*1000)
		case logInDev:
			p.In = in.u32()
		case logOutDev:
			p.Out = in.u32()
		case logPayload:
			p.Payload = in.val
		case logPrefix:
			p.Prefix = in.str()
		case logSeq:
			p.seq, p.has = in.u32(), true
		}
	}
	return p, in.err
}
