package decode

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"

	"bulkhead/drivers/nftables/ruleset"
	"bulkhead/pkg/packet"
)

// This is the kernel's interpreter once more, for one concrete packet at a time:
// slow and obvious. The symbolic executor is held against it.

// flowPacket is a packet of a flow. The tuple is the flow's; the header is the
// flow's or, in a reply, the flow's turned round.
type flowPacket struct {
	src, dst netip.Addr
	svc      uint32
	sport    uint16
	in       string
	reply    bool
	ct       tracked
	ctmark   uint32
}

type brute struct {
	tb       testing.TB
	t        *ruleset.Table
	p        flowPacket
	regs     [regBytes]byte
	mark     uint32
	prio     uint32
	ctmark   uint32
	assigned map[uint32]bool
	ct       tracked
	before   bool
	hook     uint32
	expired  bool
	parsed   map[*ruleset.Rule][]op // shared between packets
}

func (b *brute) header() (src, dst []byte, sport, dport uint16, typ, code byte) {
	s, d := b.p.src.AsSlice(), b.p.dst.AsSlice()
	num := uint16(b.p.svc)
	if b.p.reply {
		// Echo, timestamp, information, address mask; echo and node information.
		typ := map[uint32]byte{1<<8 | 8: 0, 1<<8 | 13: 14, 1<<8 | 15: 16, 1<<8 | 17: 18, 58<<8 | 128: 129, 58<<8 | 139: 140}[b.p.svc>>8]
		return d, s, num, b.p.sport, typ, byte(num)
	}
	return s, d, b.p.sport, num, byte(num >> 8), byte(num)
}

func (b *brute) proto() byte { return byte(b.p.svc >> 16) }

// network builds the packet's network header.
func (b *brute) network() []byte {
	src, dst, _, _, _, _ := b.header()
	if b.p.src.Is4() {
		h := make([]byte, 20)
		h[0], h[9] = 0x45, b.proto()
		copy(h[12:], src)
		copy(h[16:], dst)
		return h
	}
	h := make([]byte, 40)
	h[0], h[6] = 0x60, b.proto()
	copy(h[8:], src)
	copy(h[24:], dst)
	return h
}

func (b *brute) transport() []byte {
	_, _, sport, dport, typ, code := b.header()
	h := make([]byte, 32)
	switch {
	case packet.HasPorts(b.proto()):
		binary.BigEndian.PutUint16(h, sport)
		binary.BigEndian.PutUint16(h[2:], dport)
	case packet.IsICMP(b.proto()):
		h[0], h[1] = typ, code
	}
	return h
}

func (b *brute) put(at int, v []byte) {
	copy(b.regs[at:], v)
	for i := at + len(v); i%4 != 0; i++ {
		b.regs[i] = 0
	}
}

func (b *brute) putHost(at int, v uint32) {
	binary.NativeEndian.PutUint32(b.regs[at:], v)
}

func (b *brute) entry() bool { return !b.before && b.ct.entry() }

// run passes all base chains of a hook path.
func (b *brute) run(hook string) bool {
	var steps []*ruleset.Chain
	for _, h := range hookPaths()[hook] {
		var at []*ruleset.Chain
		for i := range b.t.Chains {
			if c := &b.t.Chains[i]; c.Hook != nil && c.Hook.Num == h {
				at = append(at, c)
			}
		}
		for i := range at {
			for k := i + 1; k < len(at); k++ {
				if at[k].Hook.Priority < at[i].Hook.Priority {
					at[i], at[k] = at[k], at[i]
				}
			}
		}
		steps = append(steps, at...)
	}
	b.ct, b.ctmark, b.assigned = b.p.ct, b.p.ctmark, map[uint32]bool{}
	for _, c := range steps {
		b.hook = c.Hook.Num
		b.before = c.Hook.Priority < -200 && (b.hook == unix.NF_INET_PRE_ROUTING || b.hook == unix.NF_INET_LOCAL_OUT)
		v := b.chain(c)
		if v == codeContinue || v == codeReturn {
			v = int32(c.Policy)
		}
		if v == codeDrop {
			return false
		}
	}
	return true
}

// chain runs a chain: accept, drop, or return (also at its end).
func (b *brute) chain(c *ruleset.Chain) int32 {
	for i := range c.Rules {
		v := b.rule(&c.Rules[i])
		switch v.Code {
		case codeContinue, codeBreak:
		case codeJump:
			if r := b.chain(b.t.Chain(v.Chain)); r != codeReturn {
				return r
			}
		case codeGoto:
			return b.chain(b.t.Chain(v.Chain))
		default:
			return v.Code
		}
	}
	return codeReturn
}

func (b *brute) rule(r *ruleset.Rule) ruleset.Verdict {
	ops, ok := b.parsed[r]
	if !ok {
		for _, e := range r.Exprs {
			ops = append(ops, parseExpr(e))
		}
		b.parsed[r] = ops
	}
	for i := range ops {
		if v := b.expr(&ops[i]); v.Code != codeContinue {
			return v
		}
	}
	return ruleset.Verdict{Code: codeContinue}
}

func (b *brute) expr(o *op) ruleset.Verdict {
	on, stop := ruleset.Verdict{Code: codeContinue}, ruleset.Verdict{Code: codeBreak}
	check := func(ok bool) ruleset.Verdict {
		if ok {
			return on
		}
		return stop
	}
	switch o.code {
	case opNop:
		return on
	case opImmediate:
		if o.verdict != nil {
			return *o.verdict
		}
		b.put(o.dreg, o.data)
	case opCmp:
		c := bytes.Compare(b.regs[o.sreg:o.sreg+o.n], o.data)
		return check([]bool{c == 0, c != 0, c < 0, c <= 0, c > 0, c >= 0}[o.oper])
	case opRange:
		v := b.regs[o.sreg : o.sreg+o.n]
		return check((bytes.Compare(v, o.data) >= 0 && bytes.Compare(v, o.data2) <= 0) == (o.oper == unix.NFT_RANGE_EQ))
	case opBitwise:
		for i := range o.n {
			b.regs[o.dreg+i] = b.regs[o.sreg+i]&o.data[i] ^ o.data2[i]
		}
	case opByteorder:
		for at := 0; at+int(o.key) <= o.n; at += int(o.key) {
			var unit [8]byte
			copy(unit[:o.key], b.regs[o.sreg+at:])
			for i := range int(o.key) {
				b.regs[o.dreg+at+i] = unit[int(o.key)-1-i]
			}
		}
	case opPayload:
		h := b.transport()
		if o.base == unix.NFT_PAYLOAD_NETWORK_HEADER {
			h = b.network()
		}
		b.put(o.dreg, h[o.offset:int(o.offset)+o.n])
	case opMetaLoad:
		b.metaLoad(o)
	case opMetaSet:
		v := binary.NativeEndian.Uint32(b.regs[o.sreg:])
		if o.key == unix.NFT_META_MARK {
			b.mark = v
		} else {
			b.prio = v
		}
	case opCtLoad:
		return check(b.ctLoad(o))
	case opCtSet:
		if b.entry() {
			b.ctmark = binary.NativeEndian.Uint32(b.regs[o.sreg:])
			b.assigned[b.ctmark] = true
		}
	case opLookup:
		return b.lookup(o)
	case opNotrack:
		if b.before {
			b.ct = ctUntracked
		}
	default:
		b.tb.Fatalf("the interpreter does not know %s", o.name)
	}
	return on
}

func (b *brute) metaLoad(o *op) {
	v4 := b.p.src.Is4()
	switch o.key {
	case unix.NFT_META_MARK:
		b.putHost(o.dreg, b.mark)
	case unix.NFT_META_PRIORITY:
		b.putHost(o.dreg, b.prio)
	case unix.NFT_META_L4PROTO:
		b.put(o.dreg, []byte{b.proto()})
	case unix.NFT_META_NFPROTO:
		b.put(o.dreg, []byte{map[bool]byte{true: 2, false: 10}[v4]})
	case unix.NFT_META_IIFNAME:
		var name [16]byte
		copy(name[:], b.p.in)
		b.put(o.dreg, name[:])
	default:
		b.tb.Fatalf("the interpreter does not know meta key %d", o.key)
	}
}

func (b *brute) ctLoad(o *op) bool {
	if o.key == unix.NFT_CT_STATE {
		st := b.ct
		if b.before && st != ctUntracked {
			st = ctInvalid
		}
		b.putHost(o.dreg, st.bits())
		return true
	}
	if !b.entry() {
		return false
	}
	var num [2]byte
	binary.BigEndian.PutUint16(num[:], uint16(b.p.svc))
	switch {
	case o.key == unix.NFT_CT_DIRECTION:
		b.put(o.dreg, []byte{map[bool]byte{true: 1}[b.ct == ctReply]})
	case o.key == unix.NFT_CT_MARK:
		b.putHost(o.dreg, b.ctmark)
	case o.key == unix.NFT_CT_SRC_IP && b.p.src.Is4() || o.key == unix.NFT_CT_SRC_IP6 && b.p.src.Is6():
		a := b.p.src
		if o.dir == 1 {
			a = b.p.dst
		}
		b.put(o.dreg, a.AsSlice())
	case o.key == unix.NFT_CT_SRC_IP || o.key == unix.NFT_CT_SRC_IP6:
		return false
	case o.key == unix.NFT_CT_PROTO_SRC && o.dir == 1 && packet.HasPorts(b.proto()),
		o.key == unix.NFT_CT_PROTO_DST && o.dir == 0 && packet.IsICMP(b.proto()):
		b.put(o.dreg, num[:])
	default:
		b.put(o.dreg, []byte{0, 0})
	}
	return true
}

func (b *brute) lookup(o *op) ruleset.Verdict {
	s := b.t.Set(o.set)
	key := b.regs[o.sreg : o.sreg+int(s.KeyLen)]
	e := b.search(s, key)
	if (e != nil) == o.invert {
		return ruleset.Verdict{Code: codeBreak}
	}
	if e != nil && o.oper == lookupVerdict {
		return *e.Verdict
	}
	if e != nil && o.dreg >= 0 {
		b.put(o.dreg, e.Data)
	}
	return ruleset.Verdict{Code: codeContinue}
}

// search scans all elements.
func (b *brute) search(s *ruleset.Set, key []byte) *ruleset.Element {
	var floor, any *ruleset.Element
	for i := range s.Elements {
		e := &s.Elements[i]
		if e.Flags&ruleset.ElemCatchAll != 0 {
			any = e
			continue
		}
		gone := e.Timeout > 0 && b.expired
		switch {
		case s.Flags&ruleset.SetInterval != 0 && len(s.Fields) > 1:
			in, at := true, 0
			for _, n := range s.Fields {
				f := key[at : at+int(n)]
				hi := e.KeyEnd
				if hi == nil {
					hi = e.Key
				}
				in = in && bytes.Compare(f, e.Key[at:at+int(n)]) >= 0 && bytes.Compare(f, hi[at:at+int(n)]) <= 0
				at += (int(n) + 3) &^ 3
			}
			if in && !gone {
				return e
			}
		case s.Flags&ruleset.SetInterval != 0:
			if bytes.Compare(e.Key, key) <= 0 && (floor == nil || bytes.Compare(e.Key, floor.Key) > 0 ||
				bytes.Equal(e.Key, floor.Key) && floor.Flags&ruleset.ElemIntervalEnd != 0) {
				floor = e
			}
		case bytes.Equal(e.Key, key) && !gone:
			return e
		}
	}
	if floor != nil && floor.Flags&ruleset.ElemIntervalEnd == 0 && !(floor.Timeout > 0 && b.expired) {
		return floor
	}
	return any
}

func (p flowPacket) String() string {
	return fmt.Sprintf("%s > %s %s sport %d in %q reply %v ct %d mark %x", p.src, p.dst, packet.Services{{Lo: p.svc, Hi: p.svc}}, p.sport, p.in, p.reply, p.ct, p.ctmark)
}
