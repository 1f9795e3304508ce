package kernel

import (
	"fmt"

	"golang.org/x/sys/unix"

	"bulkhead/drivers/nftables/ruleset"
)

// The plain decoder of elements, one closure an attribute: what the decoder that
// does not allocate is held against, on arbitrary bytes.

// referenceElements decodes NFT_MSG_NEWSETELEM and appends its elements to out.
func referenceElements(payload []byte, out []ruleset.Element) ([]ruleset.Element, error) {
	_, _, in, err := genmsg(payload)
	if err != nil {
		return out, err
	}
	for in.next() {
		if in.typ == unix.NFTA_SET_ELEM_LIST_ELEMENTS {
			in.sub(func(a *attrs) {
				var e ruleset.Element
				referenceElement(a, &e)
				out = append(out, e)
			})
		}
	}
	return out, in.err
}

// referenceElement decodes the attributes NFTA_SET_ELEM_*.
func referenceElement(in *attrs, e *ruleset.Element) {
	in.sub(func(a *attrs) {
		switch a.typ {
		case unix.NFTA_SET_ELEM_KEY:
			e.Key = referenceValue(a)
		case nftaSetElemKeyEnd:
			e.KeyEnd = referenceValue(a)
		case unix.NFTA_SET_ELEM_DATA:
			referenceData(a, e)
		case unix.NFTA_SET_ELEM_FLAGS:
			e.Flags = a.u32()
		case unix.NFTA_SET_ELEM_TIMEOUT:
			e.Timeout = millis(a)
		case unix.NFTA_SET_ELEM_EXPIRATION:
			e.Expiration = millis(a)
		case unix.NFTA_SET_ELEM_USERDATA:
			e.UserData = a.val
		case unix.NFTA_SET_ELEM_OBJREF:
			e.Object = a.str()
		case unix.NFTA_SET_ELEM_EXPR:
			referenceStateful(decodeExpr(a), a, e)
		case nftaSetElemExpressions:
			for _, x := range decodeExprs(a) {
				referenceStateful(x, a, e)
			}
		case unix.NFTA_SET_ELEM_PAD:
		default:
			e.Opaque = true // something newer than this decoder
		}
	})
	if in.err == nil && len(e.Key) == 0 && e.Flags&ruleset.ElemCatchAll == 0 {
		in.err = fmt.Errorf("%w: element without a key", errMalformed)
	}
}

// referenceValue decodes NFTA_DATA_VALUE.
func referenceValue(in *attrs) (v []byte) {
	in.sub(func(a *attrs) {
		if a.typ == unix.NFTA_DATA_VALUE {
			v = a.val
		}
	})
	return v
}

// referenceData decodes NFTA_SET_ELEM_DATA: a value or a verdict.
func referenceData(in *attrs, e *ruleset.Element) {
	in.sub(func(a *attrs) {
		switch a.typ {
		case unix.NFTA_DATA_VALUE:
			e.Data = a.val
		case unix.NFTA_DATA_VERDICT:
			v := &ruleset.Verdict{}
			a.sub(func(d *attrs) {
				switch d.typ {
				case unix.NFTA_VERDICT_CODE:
					v.Code = int32(d.u32())
				case unix.NFTA_VERDICT_CHAIN:
					v.Chain = d.str()
				}
			})
			e.Verdict = v
		default:
			e.Opaque = true
		}
	})
}

// referenceStateful decodes a stateful expression of an element: a counter, or
// something that makes the element opaque.
func referenceStateful(x ruleset.Expr, in *attrs, e *ruleset.Element) {
	if x.Name != "counter" {
		e.Opaque = true
		return
	}
	e.HasCounter = true
	c := walk(x.Data)
	for c.next() {
		switch c.typ {
		case unix.NFTA_COUNTER_BYTES:
			e.Bytes = c.u64()
		case unix.NFTA_COUNTER_PACKETS:
			e.Packets = c.u64()
		}
	}
	if in.err == nil {
		in.err = c.err
	}
}
