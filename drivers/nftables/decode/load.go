package decode

import (
	"golang.org/x/sys/unix"

	"bulkhead/pkg/packet"
)

// metaLoad executes `meta load`.
func (r *run) metaLoad(t *track, o *op) bool {
	switch o.key {
	case unix.NFT_META_MARK:
		r.putWord(t, o.dreg, t.env.mark)
	case unix.NFT_META_PRIORITY:
		r.putWord(t, o.dreg, t.env.prio)
	case unix.NFT_META_NFPROTO:
		t.regs.putBytes(o.dreg, []byte{r.nfproto()})
	case unix.NFT_META_PROTOCOL:
		t.regs.putBytes(o.dreg, r.ethertype())
	case unix.NFT_META_L4PROTO:
		t.regs.put(o.dreg, []sym{from(symProto, 0)})
	case unix.NFT_META_IIFNAME:
		if !r.incoming() {
			t.regs.putBytes(o.dreg, make([]byte, nameLen))
			break
		}
		r.putName(t, o.dreg, symIif)
	case unix.NFT_META_OIFNAME:
		if !r.outgoing() {
			t.regs.putBytes(o.dreg, make([]byte, nameLen))
			break
		}
		r.putName(t, o.dreg, symOif)
	case unix.NFT_META_IIF, unix.NFT_META_OIF:
		// Without a device the index reads zero (nft_meta_store_ifindex).
		if o.key == unix.NFT_META_IIF && !r.incoming() || o.key == unix.NFT_META_OIF && !r.outgoing() {
			t.regs.putHost(o.dreg, 0)
			break
		}
		for i := range 4 {
			t.regs[o.dreg+i] = from(symIfidx, i)
		}
	case unix.NFT_META_LEN, unix.NFT_META_PKTTYPE, unix.NFT_META_CPU, unix.NFT_META_PRANDOM, unix.NFT_META_SECMARK:
		t.regs.putOpaque(o.dreg, o.n)
	default:
		// Some of these stop the rule where there is no socket or no device.
		r.maybe(t)
		t.regs.putOpaque(o.dreg, o.n)
	}
	r.keep(t)
	return true
}

func (r *run) putName(t *track, at int, k kind) {
	for i := range nameLen {
		t.regs[at+i] = from(k, i)
	}
}

// incoming reports whether the hook knows an incoming interface; outgoing, an
// outgoing one. The names of others read as empty (nft_meta_store_ifname).
func (r *run) incoming() bool {
	h := r.here().hook
	return h != unix.NF_INET_LOCAL_OUT && !(h == unix.NF_INET_POST_ROUTING && r.fromHere())
}

func (r *run) outgoing() bool {
	h := r.here().hook
	return h != unix.NF_INET_PRE_ROUTING && h != unix.NF_INET_LOCAL_IN
}

// fromHere reports whether the path of the packet began on this machine.
func (r *run) fromHere() bool {
	s := r.m.frames.list[r.st.stack].step
	for s > 0 && !r.m.prog.steps[s-1].last {
		s--
	}
	for ; !r.m.prog.steps[s].last; s++ {
		if r.m.prog.steps[s].hook == unix.NF_INET_LOCAL_OUT {
			return true
		}
	}
	return r.m.prog.steps[s].hook == unix.NF_INET_LOCAL_OUT
}

func (r *run) nfproto() byte {
	if r.st.dom == dom4 {
		return unix.NFPROTO_IPV4
	}
	return unix.NFPROTO_IPV6
}

func (r *run) ethertype() []byte {
	if r.st.dom == dom4 {
		return []byte{0x08, 0x00}
	}
	return []byte{0x86, 0xdd}
}

// sides gives the flow's ends in the order of the packet's header.
func (r *run) sides() (src, dst kind) {
	if r.st.swap {
		return symDst, symSrc
	}
	return symSrc, symDst
}

// payload executes `payload load`.
func (r *run) payload(t *track, o *op) {
	switch o.base {
	case unix.NFT_PAYLOAD_NETWORK_HEADER:
		var buf [regBytes]sym
		b := buf[:o.n]
		for i := range b {
			b[i] = r.networkByte(int(o.offset) + i)
		}
		if int(o.offset)+o.n > r.networkLen() {
			r.maybe(t)
		}
		t.regs.put(o.dreg, b)
		r.keep(t)
	case unix.NFT_PAYLOAD_TRANSPORT_HEADER:
		r.transport(t, o)
	default:
		r.maybe(t)
		t.regs.putOpaque(o.dreg, (o.n+3)&^3)
		r.keep(t)
	}
}

func (r *run) networkLen() int {
	if r.st.dom == dom4 {
		return 20
	}
	return 40
}

// networkByte is one byte of the IP header.
func (r *run) networkByte(off int) sym {
	src, dst := r.sides()
	if r.st.dom == dom4 {
		switch {
		case off == 0:
			return sym{kind: symOpaque, and: 0x0f, xor: 0x40}
		case off == 9:
			return from(symProto, 0)
		case off >= 12 && off < 16:
			return from(src, off-12)
		case off >= 16 && off < 20:
			return from(dst, off-16)
		}
		return opaque()
	}
	switch {
	case off == 0:
		return sym{kind: symOpaque, and: 0x0f, xor: 0x60}
	case off >= 8 && off < 24:
		return from(src, off-8)
	case off >= 24 && off < 40:
		return from(dst, off-24)
	}
	return opaque()
}

// transport loads from the transport header, whose layout depends on the
// protocol: ports, ICMP type and code, or bytes that mean nothing here.
func (r *run) transport(t *track, o *op) {
	ports, icmp := t.svc.Intersect(portServices()), t.svc.Intersect(icmpServices())
	rest := t.svc.Intersect(otherServices())
	for _, part := range [...]struct {
		svc   packet.Services
		at    func(r *run, off int) sym
		sized int // bytes that surely are there
	}{{ports, (*run).portByte, 8}, {icmp, (*run).icmpByte, 4}, {rest, func(*run, int) sym { return opaque() }, 0}} {
		if len(part.svc) == 0 {
			continue
		}
		u := *t
		u.svc = part.svc
		var buf [regBytes]sym
		b := buf[:o.n]
		for i := range b {
			b[i] = part.at(r, int(o.offset)+i)
		}
		if end := int(o.offset) + o.n; end > part.sized {
			r.maybe(&u)
		}
		u.regs.put(o.dreg, b)
		r.keep(&u)
	}
}

func (r *run) portByte(off int) sym {
	first, second := symSport, symNum
	if r.st.swap {
		first, second = symNum, symSport
	}
	switch {
	case off < 2:
		return from(first, off)
	case off < 4:
		return from(second, off-2)
	}
	return opaque()
}

// icmpByte is type or code; of an answer, the type that answers the flow's.
func (r *run) icmpByte(off int) sym {
	switch {
	case off == 0 && r.st.swap:
		return from(symNum, 2)
	case off < 2:
		return from(symNum, off)
	}
	return opaque()
}

// ctLoad executes `ct load` (nft_ct_get_eval).
func (r *run) ctLoad(t *track, o *op) {
	if o.key == unix.NFT_CT_STATE {
		st := t.env.ct
		if r.here().before && st != ctUntracked {
			st = ctInvalid
		}
		t.regs.putHost(o.dreg, st.bits())
		r.keep(t)
		return
	}
	if !r.entry(t) {
		r.breaks(t, t.svc)
		return
	}
	switch o.key {
	case unix.NFT_CT_DIRECTION:
		dir := byte(0)
		if t.env.ct == ctReply {
			dir = 1
		}
		t.regs.putBytes(o.dreg, []byte{dir})
	case unix.NFT_CT_MARK:
		r.putWord(t, o.dreg, t.env.ctmark)
	case unix.NFT_CT_L3PROTOCOL:
		t.regs.putBytes(o.dreg, []byte{r.nfproto()})
	case unix.NFT_CT_PROTOCOL:
		t.regs.put(o.dreg, []sym{from(symProto, 0)})
	case unix.NFT_CT_SRC, unix.NFT_CT_DST, unix.NFT_CT_SRC_IP, unix.NFT_CT_DST_IP,
		unix.NFT_CT_SRC_IP6, unix.NFT_CT_DST_IP6:
		if !r.tupleAddress(t, o) {
			return
		}
	case unix.NFT_CT_PROTO_SRC, unix.NFT_CT_PROTO_DST:
		r.tuplePort(t, o)
		return
	case unix.NFT_CT_STATUS, unix.NFT_CT_SECMARK, unix.NFT_CT_EXPIRATION, unix.NFT_CT_ID,
		unix.NFT_CT_PKTS, unix.NFT_CT_BYTES, unix.NFT_CT_AVGPKT, unix.NFT_CT_ZONE:
		t.regs.putOpaque(o.dreg, o.n)
	default:
		r.maybe(t)
		t.regs.putOpaque(o.dreg, o.n)
	}
	r.keep(t)
}

// tupleAddress loads an address of a tuple. The sources of both directions are
// the flow's ends as the forward hook sees them; the destinations are what
// address translation may have changed. It returns false if the rule stopped.
func (r *run) tupleAddress(t *track, o *op) bool {
	v4 := o.key == unix.NFT_CT_SRC_IP || o.key == unix.NFT_CT_DST_IP
	v6 := o.key == unix.NFT_CT_SRC_IP6 || o.key == unix.NFT_CT_DST_IP6
	if v4 && r.st.dom != dom4 || v6 && r.st.dom != dom6 {
		r.breaks(t, t.svc)
		return false
	}
	n := addrLen(r.st.dom)
	side := symSrc
	if (o.dir == 1) != r.st.turned {
		side = symDst
	}
	source := o.key == unix.NFT_CT_SRC || o.key == unix.NFT_CT_SRC_IP || o.key == unix.NFT_CT_SRC_IP6
	for i := range n {
		if source {
			t.regs[o.dreg+i] = from(side, i)
		} else {
			t.regs[o.dreg+i] = opaque()
		}
	}
	return true
}

// tuplePort loads a tuple's protocol part: ports; type and code in the
// destination part of ICMP; nothing (zero) of the protocols that have no tracker
// of their own, except GRE, which has keys.
func (r *run) tuplePort(t *track, o *op) {
	gre := protoServices(47)
	dst := o.key == unix.NFT_CT_PROTO_DST
	ports, icmp := [2]sym{opaque(), opaque()}, [2]sym{opaque(), opaque()}
	switch near := (o.dir == 0) != r.st.turned; {
	case !dst && near:
		ports = [2]sym{from(symSport, 0), from(symSport, 1)}
	case !dst:
		ports = [2]sym{from(symNum, 0), from(symNum, 1)}
	case r.st.turned: // ICMP is never picked up from its far end
	case o.dir == 0:
		icmp = [2]sym{from(symNum, 0), from(symNum, 1)}
	default:
		icmp = [2]sym{from(symNum, 2), from(symNum, 1)}
	}
	rest := t.svc.Subtract(portServices()).Subtract(icmpServices()).Subtract(gre)
	for _, part := range []struct {
		svc packet.Services
		b   [2]sym
	}{
		{t.svc.Intersect(portServices()), ports},
		{t.svc.Intersect(icmpServices()), icmp},
		{t.svc.Intersect(gre), [2]sym{opaque(), opaque()}},
		{rest, [2]sym{konst(0), konst(0)}},
	} {
		if len(part.svc) > 0 {
			u := *t
			u.svc = part.svc
			u.regs.put(o.dreg, part.b[:])
			r.keep(&u)
		}
	}
}
