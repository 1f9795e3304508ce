package decode

import (
	"encoding/binary"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// disasm names one expression briefly.
func disasm(o *op) string {
	switch o.code {
	case opImmediate:
		if o.verdict != nil {
			return verdictText(o.verdict)
		}
		return fmt.Sprintf("0x%x", hostValue(o.data))
	case opCmp:
		return cmpSign(o.oper) + " 0x" + fmt.Sprintf("%x", o.data)
	case opRange:
		sign := ""
		if o.oper == unix.NFT_RANGE_NEQ {
			sign = "!= "
		}
		return fmt.Sprintf("%s0x%x-0x%x", sign, o.data, o.data2)
	case opBitwise:
		switch o.oper {
		case bitwiseMaskXor:
			return fmt.Sprintf("& 0x%x ^ 0x%x", o.data, o.data2)
		case bitwiseLshift:
			return fmt.Sprintf("<< %d", hostValue(o.data))
		case bitwiseRshift:
			return fmt.Sprintf(">> %d", hostValue(o.data))
		}
		return []string{"and", "or", "xor"}[o.oper-bitwiseAnd]
	case opPayload:
		return payloadText(o)
	case opMetaLoad:
		return metaText(o.key)
	case opMetaSet:
		return metaText(o.key) + " set"
	case opCtLoad:
		return ctText(o)
	case opCtSet:
		return ctText(o) + " set"
	case opLookup:
		sign := "@"
		if o.invert {
			sign = "!= @"
		}
		return sign + o.set
	case opMaybe, opNop:
		if o.set != "" {
			return o.name + " @" + o.set
		}
	}
	return o.name
}

// disasmRule names a whole rule: what was loaded stands before what uses it.
func disasmRule(r *rule) string {
	var parts []string
	var regs [regBytes]string
	operand := func(at, n int) string {
		var in []string
		for i := at; i < at+n && i < regBytes; i += 4 {
			if s := regs[i]; s != "" {
				in = append(in, s)
			}
		}
		return strings.Join(in, " . ")
	}
	clear := func(at, n int, text string) {
		for i := at; i < at+n && i < regBytes; i++ {
			regs[i] = ""
		}
		regs[at] = text
	}
	for i := range r.ops {
		o := &r.ops[i]
		text := disasm(o)
		switch {
		case o.code == opMetaLoad || o.code == opCtLoad || o.code == opPayload:
			clear(o.dreg, o.n, text)
		case o.code == opImmediate && o.verdict == nil:
			clear(o.dreg, len(o.data), text)
		case o.code == opBitwise:
			clear(o.dreg, o.n, operand(o.sreg, o.n)+" "+text)
		case o.code == opByteorder:
		case o.code == opLookup && o.dreg >= 0:
			// The key may run on as far as anything was loaded.
			clear(o.dreg, 4, "lookup "+operand(o.sreg, regBytes-o.sreg)+" "+text)
		case o.code == opLookup:
			parts = append(parts, "lookup "+operand(o.sreg, regBytes-o.sreg)+" "+text)
		case o.code == opMetaSet || o.code == opCtSet:
			parts = append(parts, text+" "+operand(o.sreg, o.n))
		case o.code == opCmp || o.code == opRange:
			parts = append(parts, operand(o.sreg, o.n)+" "+text)
		default:
			parts = append(parts, text)
		}
	}
	return strings.Join(parts, " ")
}

func hostValue(b []byte) uint64 {
	switch len(b) {
	case 1:
		return uint64(b[0])
	case 2:
		return uint64(binary.NativeEndian.Uint16(b))
	case 4:
		return uint64(binary.NativeEndian.Uint32(b))
	case 8:
		return binary.NativeEndian.Uint64(b)
	}
	return numberOf(b).lo
}

func cmpSign(oper uint32) string {
	switch oper {
	case unix.NFT_CMP_EQ:
		return "=="
	case unix.NFT_CMP_NEQ:
		return "!="
	case unix.NFT_CMP_LT:
		return "<"
	case unix.NFT_CMP_LTE:
		return "<="
	case unix.NFT_CMP_GT:
		return ">"
	}
	return ">="
}

func payloadText(o *op) string {
	switch {
	case o.base == unix.NFT_PAYLOAD_NETWORK_HEADER && o.offset == 12 && o.n == 4:
		return "ip saddr"
	case o.base == unix.NFT_PAYLOAD_NETWORK_HEADER && o.offset == 16 && o.n == 4:
		return "ip daddr"
	case o.base == unix.NFT_PAYLOAD_NETWORK_HEADER && o.offset == 8 && o.n == 16:
		return "ip6 saddr"
	case o.base == unix.NFT_PAYLOAD_NETWORK_HEADER && o.offset == 24 && o.n == 16:
		return "ip6 daddr"
	case o.base == unix.NFT_PAYLOAD_TRANSPORT_HEADER && o.offset == 0 && o.n == 2:
		return "th sport"
	case o.base == unix.NFT_PAYLOAD_TRANSPORT_HEADER && o.offset == 2 && o.n == 2:
		return "th dport"
	}
	base := "ll"
	switch o.base {
	case unix.NFT_PAYLOAD_NETWORK_HEADER:
		base = "nh"
	case unix.NFT_PAYLOAD_TRANSPORT_HEADER:
		base = "th"
	case unix.NFT_PAYLOAD_INNER_HEADER:
		base = "ih"
	}
	return fmt.Sprintf("@%s,%d,%d", base, 8*o.offset, 8*o.n)
}

func metaText(key uint32) string {
	names := map[uint32]string{
		unix.NFT_META_LEN: "length", unix.NFT_META_PROTOCOL: "protocol", unix.NFT_META_PRIORITY: "priority",
		unix.NFT_META_MARK: "mark", unix.NFT_META_IIF: "iif", unix.NFT_META_OIF: "oif",
		unix.NFT_META_IIFNAME: "iifname", unix.NFT_META_OIFNAME: "oifname", unix.NFT_META_NFPROTO: "nfproto",
		unix.NFT_META_L4PROTO: "l4proto", unix.NFT_META_PKTTYPE: "pkttype", unix.NFT_META_NFTRACE: "nftrace",
		unix.NFT_META_SKUID: "skuid", unix.NFT_META_PRANDOM: "random",
	}
	if n := names[key]; n != "" {
		return "meta " + n
	}
	return fmt.Sprintf("meta key %d", key)
}

func ctText(o *op) string {
	names := map[uint32]string{
		unix.NFT_CT_STATE: "state", unix.NFT_CT_DIRECTION: "direction", unix.NFT_CT_STATUS: "status",
		unix.NFT_CT_MARK: "mark", unix.NFT_CT_L3PROTOCOL: "l3proto", unix.NFT_CT_PROTOCOL: "protocol",
		unix.NFT_CT_SRC: "saddr", unix.NFT_CT_DST: "daddr", unix.NFT_CT_SRC_IP: "ip saddr", unix.NFT_CT_DST_IP: "ip daddr",
		unix.NFT_CT_SRC_IP6: "ip6 saddr", unix.NFT_CT_DST_IP6: "ip6 daddr",
		unix.NFT_CT_PROTO_SRC: "proto-src", unix.NFT_CT_PROTO_DST: "proto-dst",
	}
	name := names[o.key]
	if name == "" {
		name = fmt.Sprintf("key %d", o.key)
	}
	switch o.dir {
	case 0:
		return "ct original " + name
	case 1:
		return "ct reply " + name
	}
	return "ct " + name
}
