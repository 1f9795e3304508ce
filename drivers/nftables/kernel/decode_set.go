package kernel

import (
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
			s.Count, s.Counted = in.u32(), true
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
