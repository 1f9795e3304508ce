package render

import (
	"encoding/hex"
	"time"

	"bulkhead/drivers/nftables/ruleset"
)

// kind is how a set's keys or values are declared: for people in nft's words, for
// the kernel in bytes, and for `nft list` in the numbers and the user data that
// nft itself would write.
type kind struct {
	text    string
	keyType uint32
	keyLen  uint32
	fields  []uint32
	data    bool // a map to 4-byte numbers
	integer bool // whose values are plain integers, fit for mark and priority alike
	ud      string
}

// The user data of each kind, as nft 1.0.6 writes it (libnftnl's udata: byte
// order of key and data, and for `typeof` the expressions that they are named by).
const (
	udHost       = "000401000000"
	udHostMap    = "000401000000010401000000060400000000"
	udNet        = "000402000000"
	udConcat     = "000400000000030800040d0000000100"
	udConcatMap  = "000400000000010401000000030800040d0000000100060400000000"
	udPlain      = "000400000000"
	udAddr4Int   = "0004020000000104010000000314000407000000010c00040c00000001040b000000040e0004090000000106000400000000060400000000"
	udAddr6Int   = "0004020000000104010000000314000407000000010c00040d000000010408000000040e0004090000000106000400000000060400000000"
	udPairMap    = "000400000000010401000000032800040d0000000120000e0004090000000106000403000000010e0004090000000106000402000000040e0004090000000106000403000000060400000000"
	udPairSet    = "000400000000032800040d0000000120000e0004090000000106000403000000010e0004090000000106000402000000"
	typeInteger  = 4
	typeMark     = 19
	typeIPv4     = 7
	typeIPv6     = 8
	typeProto    = 12
	typeNfproto  = 2
	typeIfname   = 41
	typeMarkPrio = 0x4d7
)

var (
	kindAddr4Word = kind{text: "typeof ip saddr : meta length", keyType: typeIPv4, keyLen: 4, data: true, integer: true, ud: udAddr4Int}
	kindAddr6Word = kind{text: "typeof ip6 saddr : meta length", keyType: typeIPv6, keyLen: 16, data: true, integer: true, ud: udAddr6Int}
	kindPair      = kind{text: "typeof meta mark . meta priority : meta mark", keyType: typeMarkPrio, keyLen: 8, data: true, ud: udPairMap}
	kindPairSet   = kind{text: "typeof meta mark . meta priority", keyType: typeMarkPrio, keyLen: 8, ud: udPairSet}
	kindService   = kind{text: "type mark . inet_proto . inet_service : mark", keyType: 0x1330d, keyLen: 12, fields: []uint32{4, 1, 2}, data: true, ud: udConcatMap}
	kindProto     = kind{text: "type mark . inet_proto : mark", keyType: 0x4cc, keyLen: 8, data: true, ud: udConcatMap}
	kindMarkMap   = kind{text: "type mark : mark", keyType: typeMark, keyLen: 4, data: true, ud: udHostMap}
	kindMarks     = kind{text: "type mark", keyType: typeMark, keyLen: 4, ud: udHost}
	kindNfproto   = kind{text: "type nf_proto", keyType: typeNfproto, keyLen: 1, ud: udPlain}
	kindProtocols = kind{text: "type inet_proto", keyType: typeProto, keyLen: 1, ud: udPlain}
	kindIfname    = kind{text: "type ifname : mark", keyType: typeIfname, keyLen: 16, data: true, ud: udHostMap}
	kindAddr4     = kind{text: "type ipv4_addr", keyType: typeIPv4, keyLen: 4, ud: udNet}
	kindAddr6     = kind{text: "type ipv6_addr", keyType: typeIPv6, keyLen: 16, ud: udNet}
	kindFlow4     = kind{text: "type ipv4_addr . ipv4_addr . inet_proto . inet_service", keyType: 0x1c730d, keyLen: 16, fields: []uint32{4, 4, 1, 2}, ud: udConcat}
	kindFlow6     = kind{text: "type ipv6_addr . ipv6_addr . inet_proto . inet_service", keyType: 0x20830d, keyLen: 40, fields: []uint32{16, 16, 1, 2}, ud: udConcat}
	kindEnds4     = kind{text: "type ipv4_addr . ipv4_addr . inet_proto", keyType: 0x71cc, keyLen: 12, fields: []uint32{4, 4, 1}, ud: udConcat}
	kindEnds6     = kind{text: "type ipv6_addr . ipv6_addr . inet_proto", keyType: 0x820c, keyLen: 36, fields: []uint32{16, 16, 1}, ud: udConcat}
	kindDrop4     = kind{text: "type ipv4_addr . ipv4_addr . inet_proto . inet_service . mark", keyType: 0x71cc353, keyLen: 20, ud: udConcat}
	kindDrop6     = kind{text: "type ipv6_addr . ipv6_addr . inet_proto . inet_service . mark", keyType: 0x820c353, keyLen: 44, ud: udConcat}
	kindDropX4    = kind{text: "type ipv4_addr . ipv4_addr . inet_proto . mark", keyType: 0x1c7313, keyLen: 16, ud: udConcat}
	kindDropX6    = kind{text: "type ipv6_addr . ipv6_addr . inet_proto . mark", keyType: 0x208313, keyLen: 40, ud: udConcat}
)

// dropsKept bounds the flows that a table remembers as dropped, and how long.
const (
	dropsKept = 16384
	dropsFor  = 24 * time.Hour
)

func newSet(name string, k kind, flags uint32) ruleset.Set {
	ud, err := hex.DecodeString(k.ud)
	if err != nil {
		panic("render: user data of " + name + " is not hexadecimal") // a constant of this file
	}
	s := ruleset.Set{Name: name, KeyType: k.keyType, KeyLen: k.keyLen, Flags: flags, UserData: ud, TypeText: k.text}
	if k.data {
		s.Flags |= ruleset.SetMap
		s.DataType, s.DataLen = typeMark, 4
		if k.integer {
			s.DataType = typeInteger
		}
	}
	if flags&ruleset.SetInterval != 0 && k.fields != nil {
		s.Flags |= ruleset.SetConcat
		s.Fields = k.fields
	}
	return s
}

// hashSet has a bound, without which the kernel takes a slower kind of table. It
// leaves room to grow, so that most changes need no new set.
func hashSet(name string, k kind, flags uint32, elements []ruleset.Element) ruleset.Set {
	s := newSet(name, k, flags)
	s.Elements = elements
	s.Size = hashSize(len(elements))
	return s
}

// switchSet is of packet families: empty it is off. The kernel keeps such a small
// one as bits, so that every packet can afford to ask.
func switchSet(name string) ruleset.Set {
	s := newSet(name, kindNfproto, 0)
	s.Size = 16
	return s
}

// MovedAtMost is how many addresses of a family a table can hold flows of.
const MovedAtMost = 4096

func movedSet(name string, k kind) ruleset.Set {
	s := newSet(name, k, 0)
	s.Size = 2 * MovedAtMost
	return s
}

func hashSize(elements int) uint32 {
	size := uint32(1024)
	for size < uint32(elements)*3/2 {
		size *= 2
	}
	return size
}

func intervalSet(name string, k kind, elements []ruleset.Element) ruleset.Set {
	s := newSet(name, k, ruleset.SetInterval)
	s.Elements = elements
	return s
}

func countedSet(name string, k kind, flags uint32, elements []ruleset.Element) ruleset.Set {
	s := hashSet(name, k, flags, elements)
	s.Exprs = []ruleset.Expr{counterExpr()}
	return s
}

// dropSet is written by rules: which flows were dropped, and how often.
func dropSet(name string, k kind) ruleset.Set {
	s := newSet(name, k, ruleset.SetEval|ruleset.SetTimeout)
	s.Size, s.Timeout = dropsKept, dropsFor
	s.Exprs = []ruleset.Expr{counterExpr()}
	return s
}

func counterExpr() ruleset.Expr {
	r, err := rule("", counted())
	if err != nil {
		panic("render: the counter expression cannot be encoded: " + err.Error())
	}
	return r.Exprs[0]
}
