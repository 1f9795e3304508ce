package kernel

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"bulkhead/drivers/nftables/ruleset"
)

// decodeSet decodes NFT_MSG_NEWSET.
func decodeSet(payload []byte) (owner, ruleset.Set, error) {
	family, _, in, err := genmsg(payload)
	o, s := owner{family: ruleset.Family(family)}, ruleset.Set{}
	if err != nil {
		return o, s, err
	}
	for in.next() {
		switch in.typ {
		case unix.NFTA_SET_TABLE:
			o.table = in.str()
		case unix.NFTA_SET_NAME:
			s.Name = in.str()
		case nftaSetHandle:
			s.Handle = in.u64()
		case unix.NFTA_SET_FLAGS:
			s.Flags = in.u32()
		case unix.NFTA_SET_POLICY:
			s.Policy = in.u32()
		case unix.NFTA_SET_USERDATA:
			s.UserData = in.val
		case unix.NFTA_SET_TIMEOUT:
			s.Timeout = millis(&in)
		case unix.NFTA_SET_GC_INTERVAL:
			s.GCInt = in.u32()
		case nftaSetCount:
			s.Count = in.u32()
		case nftaSetExpr:
			s.Exprs = []ruleset.Expr{decodeExpr(&in)}
		case nftaSetExpressions:
			s.Exprs = decodeExprs(&in)
		default:
			decodeSetTypes(&in, &s)
		}
	}
	return o, s, in.err
}

// decodeSetTypes decodes what NFT_MSG_NEWSET says of keys, data and room.
func decodeSetTypes(in *attrs, s *ruleset.Set) {
	switch in.typ {
	case unix.NFTA_SET_KEY_TYPE:
		s.KeyType = in.u32()
	case unix.NFTA_SET_KEY_LEN:
		s.KeyLen = in.u32()
	case unix.NFTA_SET_DATA_TYPE:
		s.DataType = in.u32()
	case unix.NFTA_SET_DATA_LEN:
		s.DataLen = in.u32()
	case unix.NFTA_SET_OBJ_TYPE:
		s.ObjType = in.u32()
	case unix.NFTA_SET_DESC:
		in.sub(func(d *attrs) {
			switch d.typ {
			case unix.NFTA_SET_DESC_SIZE:
				s.Size = d.u32()
			case nftaSetDescConcat:
				d.sub(func(field *attrs) { // NFTA_LIST_ELEM
					field.sub(func(l *attrs) {
						if l.typ == nftaSetFieldLen {
							s.Fields = append(s.Fields, l.u32())
						}
					})
				})
			}
		})
	}
}

// millis reads the current attribute as a span in milliseconds. What is more than
// a time.Duration holds (292 years) is the longest that it holds.
func millis(in *attrs) time.Duration {
	const most = uint64(1<<63-1) / uint64(time.Millisecond)
	return time.Duration(min(in.u64(), most)) * time.Millisecond
}

// decodeElements decodes NFT_MSG_NEWSETELEM and appends its elements to out.
func decodeElements(payload []byte, out []ruleset.Element) ([]ruleset.Element, error) {
	_, _, in, err := genmsg(payload)
	if err != nil {
		return out, err
	}
	for in.next() {
		if in.typ == unix.NFTA_SET_ELEM_LIST_ELEMENTS {
			in.sub(func(a *attrs) {
				var e ruleset.Element
				decodeElement(a, &e)
				out = append(out, e)
			})
		}
	}
	return out, in.err
}

// decodeElement decodes the attributes NFTA_SET_ELEM_*.
func decodeElement(in *attrs, e *ruleset.Element) {
	in.sub(func(a *attrs) {
		switch a.typ {
		case unix.NFTA_SET_ELEM_KEY:
			e.Key = decodeValue(a)
		case nftaSetElemKeyEnd:
			e.KeyEnd = decodeValue(a)
		case unix.NFTA_SET_ELEM_DATA:
			decodeData(a, e)
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
			decodeStateful(decodeExpr(a), a, e)
		case nftaSetElemExpressions:
			for _, x := range decodeExprs(a) {
				decodeStateful(x, a, e)
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

// decodeValue decodes NFTA_DATA_VALUE.
func decodeValue(in *attrs) (v []byte) {
	in.sub(func(a *attrs) {
		if a.typ == unix.NFTA_DATA_VALUE {
			v = a.val
		}
	})
	return v
}

// decodeData decodes NFTA_SET_ELEM_DATA: a value or a verdict.
func decodeData(in *attrs, e *ruleset.Element) {
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

// decodeStateful decodes a stateful expression of an element: a counter, or
// something that makes the element opaque.
func decodeStateful(x ruleset.Expr, in *attrs, e *ruleset.Element) {
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
