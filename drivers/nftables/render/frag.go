package render

import (
	"fmt"

	"github.com/google/nftables/expr"
	"github.com/google/nftables/userdata"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"bulkhead/drivers/nftables/ruleset"
)

// frag is a piece of a rule, as nft writes it and as the kernel takes it. The
// two are built side by side from the same arguments, and a test loads the text
// with nft and compares what the kernel then holds.
type frag struct {
	text  string
	exprs []expr.Any
}

const famInet = unix.NFPROTO_INET

// register gives the number by which the kernel knows a 4-byte place of the
// register file; the first of each 16 bytes has a name of its own.
func register(word uint32) uint32 {
	if word%4 == 0 {
		return 1 + word/4
	}
	return 8 + word
}

// load is a value that can be put into a register.
type load struct {
	text  string
	words uint32
	guard uint8 // NFPROTO_IPV4 or NFPROTO_IPV6 if the value exists in one family only
	make  func(reg uint32) []expr.Any
	// swap is set for numbers in host order, which interval sets hold big-endian.
	swap bool
}

func network(text string, guard uint8, offset, length uint32) load {
	return load{text: text, words: length / 4, guard: guard, make: func(reg uint32) []expr.Any {
		return []expr.Any{&expr.Payload{DestRegister: reg, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: length}}
	}}
}

func transport(text string, offset, length uint32) load {
	return load{text: text, words: 1, make: func(reg uint32) []expr.Any {
		return []expr.Any{&expr.Payload{DestRegister: reg, Base: expr.PayloadBaseTransportHeader, Offset: offset, Len: length}}
	}}
}

func meta(text string, key expr.MetaKey, words uint32, swap bool) load {
	return load{text: text, words: words, swap: swap, make: func(reg uint32) []expr.Any {
		return []expr.Any{&expr.Meta{Key: key, Register: reg}}
	}}
}

func ctLoad(text string, key expr.CtKey, direction uint32) load {
	return load{text: text, words: 1, make: func(reg uint32) []expr.Any {
		return []expr.Any{&expr.Ct{Key: key, Direction: direction, Register: reg}}
	}}
}

var (
	saddr4  = network("ip saddr", unix.NFPROTO_IPV4, 12, 4)
	daddr4  = network("ip daddr", unix.NFPROTO_IPV4, 16, 4)
	saddr6  = network("ip6 saddr", unix.NFPROTO_IPV6, 8, 16)
	daddr6  = network("ip6 daddr", unix.NFPROTO_IPV6, 24, 16)
	thSport = transport("th sport", 0, 2)
	thDport = transport("th dport", 2, 2)
	// nft names the ports of a rule that names the protocol by that.
	udpSport     = load{text: "udp sport", words: 1, make: thSport.make}
	udpDport     = load{text: "udp dport", words: 1, make: thDport.make}
	metaMark     = meta("meta mark", expr.MetaKeyMARK, 1, true)
	metaPriority = meta("meta priority", expr.MetaKeyPRIORITY, 1, true)
	metaL4       = meta("meta l4proto", expr.MetaKeyL4PROTO, 1, false)
	metaNfproto  = meta("meta nfproto", expr.MetaKeyNFPROTO, 1, false)
	metaIifname  = meta("iifname", expr.MetaKeyIIFNAME, 4, false)
	ctMark       = ctLoad("ct mark", expr.CtKeyMARK, 0)
	ctOrigDst    = ctLoad("ct original proto-dst", expr.CtKeyPROTODST, 0)
)

func immediate(reg uint32, data []byte) expr.Any {
	return &expr.Immediate{Register: reg, Data: data}
}

// key loads values one after the other, as the parts of one lookup key. Guards
// go first, as nft puts them.
func key(interval bool, parts ...load) (string, []expr.Any) {
	var text string
	var guards, loads []expr.Any
	guarded := uint8(0)
	word := uint32(0)
	for i, p := range parts {
		if i > 0 {
			text += " . "
		}
		text += p.text
		if p.guard != 0 && p.guard != guarded {
			guards = append(guards, family(p.guard)...)
			guarded = p.guard
		}
		reg := register(word)
		loads = append(loads, p.make(reg)...)
		if interval && p.swap {
			loads = append(loads, &expr.Byteorder{SourceRegister: reg, DestRegister: reg, Op: expr.ByteorderHton, Len: 4, Size: 4})
		}
		word += p.words
	}
	return text, append(guards, loads...)
}

func family(f uint8) []expr.Any {
	return []expr.Any{&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: 1}, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{f}}}
}

// ipv4 and ipv6 match the packet's family.
func ofFamily(f uint8) frag {
	name := "ipv4"
	if f == unix.NFPROTO_IPV6 {
		name = "ipv6"
	}
	return frag{"meta nfproto " + name, family(f)}
}

// in matches where the set holds the key.
func in(set string, interval bool, parts ...load) frag {
	text, loads := key(interval, parts...)
	return frag{text + " @" + set, append(loads, &expr.Lookup{SourceRegister: 1, SetName: set})}
}

// notIn matches where the set does not hold the key.
func notIn(set string, parts ...load) frag {
	text, loads := key(false, parts...)
	return frag{text + " != @" + set, append(loads, &expr.Lookup{SourceRegister: 1, SetName: set, Invert: true})}
}

// mapped puts what the map holds for the key into the packet's mark. A key that
// the map does not hold ends the rule and leaves the mark alone.
func markFrom(name string, interval bool, parts ...load) frag {
	text, loads := key(interval, parts...)
	return frag{"meta mark set " + text + " map @" + name, append(loads,
		&expr.Lookup{SourceRegister: 1, SetName: name, DestRegister: 1, IsDestRegSet: true},
		&expr.Meta{Key: expr.MetaKeyMARK, SourceRegister: true, Register: 1})}
}

// markFromParts is markFrom with some bits of the packet's mark and priority for a
// key.
func markFromParts(name string, mark, priority uint32) frag {
	return frag{fmt.Sprintf("meta mark set (meta mark & 0x%08x) . (meta priority & 0x%08x) map @%s", mark, priority, name), []expr.Any{
		&expr.Meta{Key: expr.MetaKeyMARK, Register: register(0)},
		&expr.Bitwise{SourceRegister: register(0), DestRegister: register(0), Len: 4, Mask: native(mark), Xor: native(0)},
		&expr.Meta{Key: expr.MetaKeyPRIORITY, Register: register(1)},
		&expr.Bitwise{SourceRegister: register(1), DestRegister: register(1), Len: 4, Mask: native(priority), Xor: native(0)},
		&expr.Lookup{SourceRegister: 1, SetName: name, DestRegister: 1, IsDestRegSet: true},
		&expr.Meta{Key: expr.MetaKeyMARK, SourceRegister: true, Register: 1}}}
}

// priorityFrom is markFrom for the packet's priority.
func priorityFrom(name string, parts ...load) frag {
	text, loads := key(false, parts...)
	return frag{"meta priority set " + text + " map @" + name, append(loads,
		&expr.Lookup{SourceRegister: 1, SetName: name, DestRegister: 1, IsDestRegSet: true},
		&expr.Meta{Key: expr.MetaKeyPRIORITY, SourceRegister: true, Register: 1})}
}

func setMark(v uint32) frag {
	return frag{fmt.Sprintf("meta mark set 0x%08x", v), []expr.Any{immediate(1, native(v)),
		&expr.Meta{Key: expr.MetaKeyMARK, SourceRegister: true, Register: 1}}}
}

func clearPriority() frag {
	return frag{"meta priority set none", []expr.Any{immediate(1, native(0)),
		&expr.Meta{Key: expr.MetaKeyPRIORITY, SourceRegister: true, Register: 1}}}
}

// orMark sets bits of the packet's mark.
func orMark(bits uint32) frag {
	return frag{fmt.Sprintf("meta mark set meta mark | 0x%08x", bits), []expr.Any{
		&expr.Meta{Key: expr.MetaKeyMARK, Register: 1},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: native(^bits), Xor: native(bits)},
		&expr.Meta{Key: expr.MetaKeyMARK, SourceRegister: true, Register: 1}}}
}

// flowMark writes the packet's mark to its flow.
func flowMark() frag {
	return frag{"ct mark set meta mark", []expr.Any{&expr.Meta{Key: expr.MetaKeyMARK, Register: 1},
		&expr.Ct{Key: expr.CtKeyMARK, Register: 1, SourceRegister: true}}}
}

// masked compares some bits of a 4-byte host-order value with another value.
func masked(l load, mask uint32, op expr.CmpOp, v uint32) frag {
	sign, show := "==", func(x uint32) string { return fmt.Sprintf("0x%08x", x) }
	if op == expr.CmpOpNeq {
		sign = "!="
	}
	if l.text == metaPriority.text {
		show = classid
	}
	return frag{fmt.Sprintf("%s & %s %s %s", l.text, show(mask), sign, show(v)), append(l.make(1),
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: native(mask), Xor: native(0)},
		&expr.Cmp{Op: op, Register: 1, Data: native(v)})}
}

// classid writes a number as nft writes traffic control classes.
func classid(v uint32) string {
	if v == 0 {
		return "none"
	}
	return fmt.Sprintf("%x:%x", v>>16, v&0xffff)
}

// Bits of `ct state` (NF_CT_STATE_BIT).
const (
	stateInvalid     = 1
	stateEstablished = 2
	stateRelated     = 4
	stateNew         = 8
)

func ctState(name string, bit uint32) frag {
	return frag{"ct state " + name, []expr.Any{&expr.Ct{Key: expr.CtKeySTATE, Register: 1},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: native(bit), Xor: native(0)},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: native(0)}}}
}

func ctReply() frag {
	return frag{"ct direction reply", []expr.Any{&expr.Ct{Key: expr.CtKeyDIRECTION, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{1}}}}
}

func l4(name string, proto uint8) frag {
	return frag{"meta l4proto " + name, []expr.Any{&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{proto}}}}
}

func port(l load, v uint16) frag {
	return frag{fmt.Sprintf("%s %d", l.text, v), append(l.make(1), &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: big16(v)[:2]})}
}

// icmp6Type matches a run of ICMPv6 types.
func icmp6Type(lo, hi uint8) frag {
	out := l4("ipv6-icmp", unix.IPPROTO_ICMPV6)
	out.text = fmt.Sprintf("icmpv6 type %d", lo)
	out.exprs = append(out.exprs, transport("", 0, 1).make(1)...)
	if lo == hi {
		out.exprs = append(out.exprs, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{lo}})
		return out
	}
	out.text += fmt.Sprintf("-%d", hi)
	out.exprs = append(out.exprs, &expr.Cmp{Op: expr.CmpOpGte, Register: 1, Data: []byte{lo}},
		&expr.Cmp{Op: expr.CmpOpLte, Register: 1, Data: []byte{hi}})
	return out
}

// notSYN matches TCP segments that do not open a connection.
func notSYN() frag {
	return frag{"tcp flags & syn == 0x0", append(l4("tcp", unix.IPPROTO_TCP).exprs,
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 13, Len: 1},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 1, Mask: []byte{2}, Xor: []byte{0}},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{0}})}
}

func ifname(l string, k expr.MetaKey, name string) frag {
	data := make([]byte, 16)
	copy(data, name)
	return frag{fmt.Sprintf("%s %q", l, name), []expr.Any{&expr.Meta{Key: k, Register: 1}, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: data}}}
}

func verdict(text string, kind expr.VerdictKind, chain string) frag {
	if chain != "" {
		text += " " + chain
	}
	return frag{text, []expr.Any{&expr.Verdict{Kind: kind, Chain: chain}}}
}

func accept() frag           { return verdict("accept", expr.VerdictAccept, "") }
func drop() frag             { return verdict("drop", expr.VerdictDrop, "") }
func ret() frag              { return verdict("return", expr.VerdictReturn, "") }
func goTo(chain string) frag { return verdict("goto", expr.VerdictGoto, chain) }
func jump(chain string) frag { return verdict("jump", expr.VerdictJump, chain) }
func notrack() frag          { return frag{"notrack", []expr.Any{&expr.Notrack{}}} }
func counted() frag          { return frag{"counter", []expr.Any{&expr.Counter{}}} }

// limited passes on at most rate packets a second.
func limited() frag {
	return frag{fmt.Sprintf("limit rate %d/second burst %d packets", logRate, logBurst), []expr.Any{
		&expr.Limit{Type: expr.LimitTypePkts, Rate: logRate, Unit: expr.LimitTimeSecond, Burst: logBurst}}}
}

// logged sends the head of the packet, with its mark, to whoever listens to our
// group; nobody listening costs nothing but the call.
func logged(prefix string) frag {
	return frag{fmt.Sprintf("log prefix %q group %d snaplen 96 queue-threshold 1", prefix, LogGroup), []expr.Any{&expr.Log{
		Key:   1<<unix.NFTA_LOG_GROUP | 1<<unix.NFTA_LOG_PREFIX | 1<<unix.NFTA_LOG_SNAPLEN | 1<<unix.NFTA_LOG_QTHRESHOLD,
		Group: LogGroup, Snaplen: 96, QThreshold: 1, Data: []byte(prefix)}}}
}

// noted counts the packet in a set that rules write.
func noted(set string, parts ...load) frag {
	text, loads := key(false, parts...)
	return frag{fmt.Sprintf("add @%s { %s }", set, text), append(loads, &expr.Dynset{SrcRegKey: 1, SetName: set, Operation: unix.NFT_DYNSET_OP_ADD})}
}

// rule joins fragments to a rule.
func rule(comment string, frags ...frag) (ruleset.Rule, error) {
	var r ruleset.Rule
	for _, f := range frags {
		if r.Text != "" {
			r.Text += " "
		}
		r.Text += f.text
		for _, e := range f.exprs {
			raw, err := rawExpr(e)
			if err != nil {
				return r, fmt.Errorf("cannot encode %q: %w", f.text, err)
			}
			r.Exprs = append(r.Exprs, raw)
		}
	}
	if comment != "" {
		r.Text += fmt.Sprintf(" comment %q", comment)
		r.UserData = userdata.AppendString(nil, userdata.TypeComment, comment)
	}
	return r, nil
}

// rawExpr encodes an expression by the library and takes it apart again into
// name and data.
func rawExpr(e expr.Any) (ruleset.Expr, error) {
	b, err := expr.Marshal(famInet, e)
	if err != nil {
		return ruleset.Expr{}, err
	}
	attrs, err := netlink.UnmarshalAttributes(b)
	if err != nil {
		return ruleset.Expr{}, err
	}
	var out ruleset.Expr
	for _, a := range attrs {
		switch a.Type &^ (unix.NLA_F_NESTED | unix.NLA_F_NET_BYTEORDER) {
		case unix.NFTA_EXPR_NAME:
			out.Name = string(a.Data[:len(a.Data)-1])
		case unix.NFTA_EXPR_DATA:
			out.Data = a.Data
		}
	}
	return out, nil
}
