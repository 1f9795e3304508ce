package kernel

import (
	"context"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"

	"bulkhead/drivers/nftables/ruleset"
)

// markBurst is how many flows one send updates. Their errors, at worst one each,
// must fit the receive queue even where it is small (net.core.rmem_max).
const markBurst = 128

// SetMark sets the mark of tracked flows (IPCTNL_MSG_CT_NEW of an existing flow)
// and returns how many there still were: a flow that ended is no error. Flows
// are named by their original tuple and zone, so that a flow that ended and began
// again since it was listed gets the mark too.
func (c *Conn) SetMark(ctx context.Context, flows []Flow, mark uint32) (int, error) {
	return c.setMark(ctx, flows, mark, 0xffffffff)
}

// setMark sets the bits of mask.
func (c *Conn) setMark(ctx context.Context, flows []Flow, mark, mask uint32) (int, error) {
	if len(flows) == 0 {
		return 0, nil
	}
	what := fmt.Sprintf("mark %d tracked flows in %s", len(flows), c.where())
	return c.eachBurst(ctx, what, flows, func(buf []byte, some []Flow) []byte { return appendMarks(buf, some, mark, mask) })
}

// eachBurst sends one message for each flow, some at a time, and returns how many
// of the flows there still were.
func (c *Conn) eachBurst(ctx context.Context, what string, flows []Flow, messages func(buf []byte, some []Flow) []byte) (int, error) {
	s, err := c.dial()
	if err != nil {
		return 0, err
	}
	defer s.close()
	done := 0
	var first error
	var buf []byte
	for at := 0; at < len(flows); at += markBurst {
		if err := ctx.Err(); err != nil {
			return done, fmt.Errorf("%s: %w (after %d)", what, err, done)
		}
		some := flows[at:min(at+markBurst, len(flows))]
		buf = messages(buf[:0], some)
		if err := s.send(buf); err != nil {
			return done, explain(what, "nf_conntrack_netlink", err)
		}
		gone, err := s.markErrors(len(some))
		done += len(some) - gone
		if err != nil && first == nil {
			first = err // the others are done all the same
		}
	}
	if first != nil {
		return done, explain(fmt.Sprintf("%s: %d done", what, done), "nf_conntrack_netlink", first)
	}
	return done, nil
}

// markErrors empties the queue after a burst and returns how many of its flows
// had ended. The kernel works inside the send, so that all errors are there.
func (s *socket) markErrors(n int) (gone int, err error) {
	for {
		data, rerr := s.recvNow()
		if rerr == unix.EAGAIN {
			return min(gone, n), err
		}
		if rerr != nil {
			return n, rerr // ENOBUFS too: which flows failed is lost
		}
		serr := split(data, func(m message) error {
			if m.typ != unix.NLMSG_ERROR {
				return nil
			}
			e, perr := parseError(m)
			if perr != nil || e.errno == 0 {
				return perr
			}
			gone++
			if e.errno == unix.ENOENT {
				return nil
			}
			return e.err()
		})
		if err == nil {
			err = serr
		}
	}
}

// appendMarks appends one message for each flow.
func appendMarks(buf []byte, flows []Flow, mark, mask uint32) []byte {
	for i := range flows {
		f := &flows[i]
		var at int
		// Without NLM_F_CREATE: an entry that is gone must not come back.
		buf, at = appendHeader(buf, ctType|ctMsgNew, unix.NLM_F_REQUEST, uint32(i+1), uint8(f.Family), 0)
		buf = appendTuple(buf, &f.Orig)
		if f.Zone != 0 {
			buf = appendU16(buf, ctaZone, f.Zone)
		}
		buf = appendU32(buf, ctaMark, mark&mask)
		buf = appendU32(buf, ctaMarkMask, mask)
		closeMessage(buf, at)
	}
	return buf
}

// appendTuple appends CTA_TUPLE_ORIG.
func appendTuple(buf []byte, t *Tuple) []byte {
	buf, tuple := openNest(buf, ctaTupleOrig)
	buf, ip := openNest(buf, ctaTupleIP)
	src, dst := uint16(ctaIPv4Src), uint16(ctaIPv4Dst)
	if !t.Src.Is4() {
		src, dst = ctaIPv6Src, ctaIPv6Dst
	}
	buf = appendAddr(buf, src, t.Src)
	buf = appendAddr(buf, dst, t.Dst)
	closeNest(buf, ip)
	buf, proto := openNest(buf, ctaTupleProto)
	buf = appendAttr(buf, ctaProtoNum, []byte{t.Proto})
	switch t.Proto {
	case unix.IPPROTO_ICMP:
		buf = appendU16(buf, ctaProtoICMPID, t.ICMPID)
		buf = appendAttr(buf, ctaProtoICMPType, []byte{t.ICMPType})
		buf = appendAttr(buf, ctaProtoICMPCode, []byte{t.ICMPCode})
	case unix.IPPROTO_ICMPV6:
		buf = appendU16(buf, ctaProtoV6ID, t.ICMPID)
		buf = appendAttr(buf, ctaProtoV6Type, []byte{t.ICMPType})
		buf = appendAttr(buf, ctaProtoV6Code, []byte{t.ICMPCode})
	default:
		// The kernel asks for ports where the protocol has them and ignores them else.
		buf = appendU16(buf, ctaProtoSrcPort, t.SrcPort)
		buf = appendU16(buf, ctaProtoDstPort, t.DstPort)
	}
	closeNest(buf, proto)
	if t.hasZone {
		buf = appendU16(buf, ctaTupleZone, t.Zone)
	}
	closeNest(buf, tuple)
	return buf
}

// appendAddr appends an address of either family without a heap copy.
func appendAddr(buf []byte, typ uint16, a netip.Addr) []byte {
	if a.Is4() {
		v := a.As4()
		return appendAttr(buf, typ, v[:])
	}
	v := a.As16()
	return appendAttr(buf, typ, v[:])
}

// ClearMarks sets the bits of mask to 0 in the mark of every tracked flow, of
// both families, whose mark under mask equals value, and returns how many.
// A flow that gets such a mark meanwhile keeps it: take away first what gives it.
func (c *Conn) ClearMarks(ctx context.Context, value, mask uint32) (int, error) {
	flows, err := c.ListFlows(ctx, value, mask, 0)
	if err != nil {
		return 0, err
	}
	some := flows[:0]
	for _, f := range flows {
		if f.Family == ruleset.FamilyIPv4 || f.Family == ruleset.FamilyIPv6 {
			some = append(some, f)
		}
	}
	return c.setMark(ctx, some, 0, mask)
}

// DeleteFlows ends the tracking of flows (IPCTNL_MSG_CT_DELETE) and returns how
// many there still were. The next packet of either end begins a flow of its own.
// Do not use it on TCP flows that are to end: the kernel takes a segment from the
// middle of one for the beginning of another, from whichever side it comes.
func (c *Conn) DeleteFlows(ctx context.Context, flows []Flow) (int, error) {
	if len(flows) == 0 {
		return 0, nil
	}
	what := fmt.Sprintf("forget %d tracked flows in %s", len(flows), c.where())
	return c.eachBurst(ctx, what, flows, func(buf []byte, some []Flow) []byte {
		for i := range some {
			f := &some[i]
			var at int
			buf, at = appendHeader(buf, ctType|ctMsgDelete, unix.NLM_F_REQUEST, uint32(i+1), uint8(f.Family), 0)
			buf = appendTuple(buf, &f.Orig)
			if f.Zone != 0 {
				buf = appendU16(buf, ctaZone, f.Zone)
			}
			closeMessage(buf, at)
		}
		return buf
	})
}
