package kernel

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"

	"bulkhead/drivers/nftables/ruleset"
)

// From linux/netfilter/nfnetlink_conntrack.h.
const (
	ctMsgNew = 0 // IPCTNL_MSG_CT_NEW
	ctMsgGet = 1 // IPCTNL_MSG_CT_GET
	// ctMsgDelete is IPCTNL_MSG_CT_DELETE.
	ctMsgDelete = 2

	ctaTupleOrig  = 1
	ctaTupleReply = 2
	ctaStatus     = 3
	ctaMark       = 8
	ctaID         = 12
	ctaZone       = 18
	ctaMarkMask   = 21

	ctaTupleIP    = 1
	ctaTupleProto = 2
	ctaTupleZone  = 3

	ctaIPv4Src = 1
	ctaIPv4Dst = 2
	ctaIPv6Src = 3
	ctaIPv6Dst = 4

	ctaProtoNum      = 1
	ctaProtoSrcPort  = 2
	ctaProtoDstPort  = 3
	ctaProtoICMPID   = 4
	ctaProtoICMPType = 5
	ctaProtoICMPCode = 6
	ctaProtoV6ID     = 7
	ctaProtoV6Type   = 8
	ctaProtoV6Code   = 9
)

// Tuple is one direction of a tracked flow. The ports are 0 for protocols
// without; the ICMP fields for all others than ICMP and ICMPv6.
type Tuple struct {
	Src, Dst         netip.Addr
	Proto            uint8
	SrcPort, DstPort uint16
	ICMPType         uint8
	ICMPCode         uint8
	ICMPID           uint16
	Zone             uint16 // of this direction only (CTA_TUPLE_ZONE)
	hasZone          bool
}

// Flow is one entry of the connection tracking table.
type Flow struct {
	Family ruleset.Family // FamilyIPv4 or FamilyIPv6
	Orig   Tuple
	Reply  Tuple
	Mark   uint32
	Status uint32 // IPS_*
	Zone   uint16 // of both directions
	ID     uint32 // CTA_ID: tells a flow from a later one with the same tuple
}

// ListFlows lists the tracked flows whose mark under mask equals mark; mask 0 is
// all. family is FamilyIPv4, FamilyIPv6, or 0 for both. The kernel filters. Flows
// that begin or end meanwhile may or may not be among them. Where nothing is
// tracked the list is empty; a kernel that cannot show its flows is an error
// (ErrUnsupported), for it may have some.
func (c *Conn) ListFlows(ctx context.Context, mark, mask uint32, family ruleset.Family) ([]Flow, error) {
	what := "list tracked flows in " + c.where()
	var req []byte
	if mask != 0 {
		req = appendU32(req, ctaMark, mark&mask)
		req = appendU32(req, ctaMarkMask, mask)
	}
	for range readTries {
		flows, err := c.dumpFlows(ctx, req, family)
		if errors.Is(err, errInterrupted) {
			continue
		}
		if errnoOf(err) == unix.EINVAL { // nfnetlink_rcv_msg() without the subsystem
			return nil, fmt.Errorf("%s: %w: %w (modprobe nf_conntrack_netlink)", what, ErrUnsupported, err)
		}
		if err != nil {
			return nil, explain(what, "nf_conntrack_netlink", err)
		}
		return filterFlows(flows, mark, mask), nil
	}
	return nil, fmt.Errorf("%s: %w", what, ErrUnstable)
}

// filterFlows filters again: a kernel without CONFIG_NF_CONNTRACK_MARK, where all
// marks are 0, ignores the filter.
func filterFlows(flows []Flow, mark, mask uint32) []Flow {
	out := flows[:0]
	for _, f := range flows {
		if f.Mark&mask == mark&mask {
			out = append(out, f)
		}
	}
	return out
}

// dumpFlows is one try. It has a socket of its own, as a dump that was
// interrupted leaves its rest in the queue.
func (c *Conn) dumpFlows(ctx context.Context, req []byte, family ruleset.Family) ([]Flow, error) {
	s, err := c.dial()
	if err != nil {
		return nil, err
	}
	defer s.close()
	var flows []Flow
	err = s.request(ctx, ctType|ctMsgGet, unix.NLM_F_DUMP, uint8(family), 0, req, func(m message) error {
		f, err := decodeFlow(m.payload)
		flows = append(flows, f)
		return err
	})
	return flows, err
}

// decodeFlow decodes IPCTNL_MSG_CT_NEW.
func decodeFlow(payload []byte) (Flow, error) {
	family, _, in, err := genmsg(payload)
	f := Flow{Family: ruleset.Family(family)}
	if err != nil {
		return f, err
	}
	for in.next() {
		switch in.typ {
		case ctaTupleOrig:
			f.Orig = decodeTuple(&in)
		case ctaTupleReply:
			f.Reply = decodeTuple(&in)
		case ctaStatus:
			f.Status = in.u32()
		case ctaMark:
			f.Mark = in.u32()
		case ctaID:
			f.ID = in.u32()
		case ctaZone:
			f.Zone = in.u16()
		}
	}
	if in.err == nil && (!f.Orig.Src.IsValid() || !f.Orig.Dst.IsValid()) {
		in.err = fmt.Errorf("%w: tracked flow without addresses", errMalformed)
	}
	return f, in.err
}

// decodeTuple decodes CTA_TUPLE_ORIG or CTA_TUPLE_REPLY.
func decodeTuple(in *attrs) (t Tuple) {
	in.sub(func(a *attrs) {
		switch a.typ {
		case ctaTupleIP:
			a.sub(func(ip *attrs) {
				switch ip.typ {
				case ctaIPv4Src, ctaIPv6Src:
					t.Src = ip.addr()
				case ctaIPv4Dst, ctaIPv6Dst:
					t.Dst = ip.addr()
				}
			})
		case ctaTupleProto:
			a.sub(func(p *attrs) { decodeProto(p, &t) })
		case ctaTupleZone:
			t.Zone, t.hasZone = a.u16(), true
		}
	})
	return t
}

// decodeProto decodes one attribute of CTA_TUPLE_PROTO.
func decodeProto(p *attrs, t *Tuple) {
	switch p.typ {
	case ctaProtoNum:
		t.Proto = p.u8()
	case ctaProtoSrcPort:
		t.SrcPort = p.u16()
	case ctaProtoDstPort:
		t.DstPort = p.u16()
	case ctaProtoICMPID, ctaProtoV6ID:
		t.ICMPID = p.u16()
	case ctaProtoICMPType, ctaProtoV6Type:
		t.ICMPType = p.u8()
	case ctaProtoICMPCode, ctaProtoV6Code:
		t.ICMPCode = p.u8()
	}
}

// addr reads the current attribute as an address. What is 16 bytes stays IPv6,
// mapped or not, as the kernel tracks it.
func (a *attrs) addr() netip.Addr {
	ip, ok := netip.AddrFromSlice(a.val)
	if !ok {
		a.wrong("4 or 16")
	}
	return ip
}
