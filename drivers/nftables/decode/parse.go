package decode

import (
	"fmt"

	"golang.org/x/sys/unix"

	"bulkhead/drivers/nftables/ruleset"
)

// parseExpr turns one expression into an op. It never fails: what it cannot
// make out becomes opUnknown with the reason, so that a packet that reaches it
// makes the proof incomplete.
func parseExpr(e ruleset.Expr) op {
	a, err := parseAttrs(e.Data)
	if err != nil {
		return unknown(e, err.Error())
	}
	o := op{name: e.Name, sreg: -1, sreg2: -1, dreg: -1, dir: -1}
	switch e.Name {
	case "immediate":
		err = parseImmediate(&o, a)
	case "cmp":
		err = parseCmp(&o, a)
	case "range":
		err = parseRange(&o, a)
	case "bitwise":
		err = parseBitwise(&o, a)
	case "byteorder":
		err = parseByteorder(&o, a)
	case "payload":
		err = parsePayload(&o, a)
	case "meta":
		err = parseMeta(&o, a)
	case "ct":
		err = parseCt(&o, a)
	case "lookup":
		err = parseLookup(&o, a)
	case "dynset":
		err = parseDynset(&o, a)
	case "objref":
		err = parseObjref(&o, a)
	default:
		return parseOther(e, a, o)
	}
	if err != nil {
		return unknown(e, err.Error())
	}
	return o
}

// parseOther sorts the expressions that need no attributes.
func parseOther(e ruleset.Expr, a attrs, o op) op {
	switch e.Name {
	case "counter", "log", "last":
		o.code = opNop
	case "limit", "quota", "connlimit":
		o.code = opMaybe
	case "notrack":
		o.code = opNotrack
	case "reject":
		o.code = opReject
	case "fib":
		// Only the first word is written for a type or an index; a name takes 16 bytes.
		o.code, o.n, o.note = opLoadAny, 4, "a fib result"
		if r, err := a.u32(unix.NFTA_FIB_RESULT); err != nil || r == unix.NFT_FIB_RESULT_OIFNAME {
			o.n = 16
		}
		r, err := a.u32(unix.NFTA_FIB_DREG)
		if err == nil {
			o.dreg, err = reg(r)
		}
		if err == nil {
			err = span(o.dreg, o.n)
		}
		if err != nil {
			return unknown(e, err.Error())
		}
	case "exthdr":
		if _, write := a[unix.NFTA_EXTHDR_SREG]; write {
			return unknown(e, "writes a header")
		}
		o.code, o.note = opLoadAny, "an extension header"
	case "hash", "numgen", "socket", "osf", "rt", "xfrm", "tunnel", "inner":
		o.code, o.note = opLoadAny, "a "+e.Name+" value"
	default:
		return unknown(e, "not modelled")
	}
	return o
}

// regAttr reads a register attribute and checks the room behind it.
func regAttr(a attrs, typ uint16, n int) (int, error) {
	v, err := a.u32(typ)
	if err != nil {
		return -1, err
	}
	r, err := reg(v)
	if err != nil {
		return -1, err
	}
	return r, span(r, n)
}

func parseImmediate(o *op, a attrs) error {
	o.code = opImmediate
	r, err := a.u32(unix.NFTA_IMMEDIATE_DREG)
	if err != nil {
		return err
	}
	if r == 0 {
		o.verdict, err = parseVerdict(a[unix.NFTA_IMMEDIATE_DATA])
		return err
	}
	if o.data, err = a.value(unix.NFTA_IMMEDIATE_DATA); err != nil {
		return err
	}
	if o.dreg, err = reg(r); err != nil {
		return err
	}
	return span(o.dreg, len(o.data))
}

func parseVerdict(data []byte) (*ruleset.Verdict, error) {
	in, err := parseAttrs(data)
	if err != nil {
		return nil, err
	}
	raw, ok := in[unix.NFTA_DATA_VERDICT]
	if !ok {
		return nil, fmt.Errorf("immediate holds no verdict")
	}
	v, err := parseAttrs(raw)
	if err != nil {
		return nil, err
	}
	if _, ok := v[unix.NFTA_VERDICT_CODE]; !ok {
		return nil, fmt.Errorf("verdict without a code")
	}
	code, err := v.u32(unix.NFTA_VERDICT_CODE)
	if err != nil {
		return nil, err
	}
	return &ruleset.Verdict{Code: int32(code), Chain: v.text(unix.NFTA_VERDICT_CHAIN)}, nil
}

func parseCmp(o *op, a attrs) error {
	o.code = opCmp
	var err error
	if o.data, err = a.value(unix.NFTA_CMP_DATA); err != nil {
		return err
	}
	o.n = len(o.data)
	if o.sreg, err = regAttr(a, unix.NFTA_CMP_SREG, o.n); err != nil {
		return err
	}
	if o.oper, err = a.u32(unix.NFTA_CMP_OP); err == nil && o.oper > unix.NFT_CMP_GTE {
		err = fmt.Errorf("unknown comparison %d", o.oper)
	}
	return err
}

func parseRange(o *op, a attrs) error {
	o.code = opRange
	var err error
	if o.data, err = a.value(unix.NFTA_RANGE_FROM_DATA); err != nil {
		return err
	}
	if o.data2, err = a.value(unix.NFTA_RANGE_TO_DATA); err != nil {
		return err
	}
	if o.n = len(o.data); len(o.data2) != o.n {
		return fmt.Errorf("range of unequal lengths")
	}
	if o.sreg, err = regAttr(a, unix.NFTA_RANGE_SREG, o.n); err != nil {
		return err
	}
	if o.oper, err = a.u32(unix.NFTA_RANGE_OP); err == nil && o.oper > unix.NFT_RANGE_NEQ {
		err = fmt.Errorf("unknown range operation %d", o.oper)
	}
	return err
}

func parseLookup(o *op, a attrs) error {
	o.code = opLookup
	o.set = a.text(unix.NFTA_LOOKUP_SET)
	r, err := a.u32(unix.NFTA_LOOKUP_SREG)
	if err != nil {
		return err
	}
	if o.sreg, err = reg(r); err != nil {
		return err
	}
	if _, ok := a[unix.NFTA_LOOKUP_DREG]; ok {
		// Register 0 is the verdict register: a verdict map.
		d, err := a.u32(unix.NFTA_LOOKUP_DREG)
		if err != nil {
			return err
		}
		if d != 0 {
			if o.dreg, err = reg(d); err != nil {
				return err
			}
		} else {
			o.oper = lookupVerdict
		}
	}
	flags, err := a.u32(unix.NFTA_LOOKUP_FLAGS)
	o.invert = flags&unix.NFT_LOOKUP_F_INV != 0
	return err
}

// lookupVerdict marks a lookup whose data goes to the verdict register.
const lookupVerdict = 1

func parseDynset(o *op, a attrs) error {
	// Whatever it writes, the only effect on this packet is that the rule may stop:
	// a full set refuses, an inverted add stops on a known key, and a limit inside
	// the element stops the rule too (nft_dynset_eval).
	o.code = opMaybe
	o.set = a.text(unix.NFTA_DYNSET_SET_NAME)
	oper, err := a.u32(unix.NFTA_DYNSET_OP)
	if err != nil {
		return err
	}
	if o.oper = oper; oper > 2 {
		return fmt.Errorf("unknown set operation %d", oper)
	}
	if oper == 2 { // delete: never stops the rule
		o.code = opNop
	}
	return nil
}

func parseObjref(o *op, a attrs) error {
	o.set = a.text(unix.NFTA_OBJREF_IMM_NAME)
	if _, ok := a[unix.NFTA_OBJREF_SET_NAME]; ok {
		// An object map: no element stops the rule, and the object may do so too.
		o.set, o.code = a.text(unix.NFTA_OBJREF_SET_NAME), opMaybe
		return nil
	}
	typ, err := a.u32(unix.NFTA_OBJREF_IMM_TYPE)
	if err != nil {
		return err
	}
	switch typ {
	case unix.NFT_OBJECT_COUNTER, unix.NFT_OBJECT_CT_HELPER, unix.NFT_OBJECT_CT_TIMEOUT,
		unix.NFT_OBJECT_CT_EXPECT, unix.NFT_OBJECT_SECMARK:
		o.code = opNop
	case unix.NFT_OBJECT_QUOTA, unix.NFT_OBJECT_LIMIT, unix.NFT_OBJECT_CONNLIMIT:
		o.code = opMaybe
	default:
		return fmt.Errorf("object of type %d is not modelled", typ)
	}
	return nil
}
