// Package ruleset holds the state of a kernel's nf_tables as a value: tables,
// chains, rules, sets and elements, in the kernel's own encoding.
//
// It is the common tongue of the driver's parts and nothing else: the renderer
// makes one, the kernel reader makes one, the differ compares two, the decoder
// gives one its meaning. It holds bytes as the kernel holds them and interprets
// none of them, so that the decoder and the renderer cannot share a mistake.
package ruleset

import (
	"time"
)

// Family is an nf_tables family (NFPROTO_*).
type Family uint8

// The families that matter here.
const (
	FamilyInet   Family = 1
	FamilyIPv4   Family = 2
	FamilyARP    Family = 3
	FamilyNetdev Family = 5
	FamilyBridge Family = 7
	FamilyIPv6   Family = 10
)

// Ruleset is everything that one network namespace holds.
type Ruleset struct {
	Generation uint32 // NFTA_GEN_ID when the read began and ended
	Tables     []Table
}

// Table is one table. Tables of others are read with chains and rules, and with
// sets, but without the elements of sets that no rule of theirs looks up.
type Table struct {
	Family   Family
	Name     string
	Flags    uint32 // NFT_TABLE_F_*
	Handle   uint64
	Owner    uint32 // netlink port of the process that holds it (NFTA_TABLE_OWNER); 0: nobody
	UserData []byte
	Chains   []Chain
	Sets     []Set
	Objects  []Object
	Flows    []string // names of flowtables
}

// Hook is where a base chain is attached.
type Hook struct {
	Num      uint32 // NF_INET_* or the family's own
	Priority int32
	Devices  []string
}

// Chain is one chain. Hook is nil for a regular chain.
type Chain struct {
	Name   string
	Handle uint64
	Type   string // "filter", "nat", "route"; "" for a regular chain
	Hook   *Hook
	Policy uint32 // NF_ACCEPT or NF_DROP; base chains only
	Flags  uint32
	// UserData is as nft writes it: holds the comment.
	UserData []byte
	Rules    []Rule
}

// Rule is one rule.
type Rule struct {
	Handle   uint64
	Exprs    []Expr
	UserData []byte // as nft writes it: holds the comment
	// Text is the rule as nft prints it. Only rendered rules have it: it is for
	// people, and takes no part in comparing or decoding.
	Text string
}

// Expr is one expression of a rule: its kernel name and the bytes of its
// NFTA_EXPR_DATA attribute (nested netlink attributes, big-endian), which only
// the decoder looks into.
type Expr struct {
	Name string
	Data []byte
}

// Object is a stateful object (counter, quota, limit, ct helper, ...).
type Object struct {
	Name string
	Type uint32
	Data []byte
}

// Set flags (NFT_SET_*), from linux/netfilter/nf_tables.h.
const (
	SetAnonymous uint32 = 0x1
	SetConstant  uint32 = 0x2
	SetInterval  uint32 = 0x4
	SetMap       uint32 = 0x8
	SetTimeout   uint32 = 0x10
	SetEval      uint32 = 0x20 // dynamic: written by rules
	SetObject    uint32 = 0x40
	SetConcat    uint32 = 0x80
	SetExpr      uint32 = 0x100
)

// Set is a set or a map.
type Set struct {
	Name     string
	Handle   uint64
	Flags    uint32
	KeyType  uint32 // nft's datatype number: for display, no meaning in the kernel
	KeyLen   uint32 // bytes
	DataType uint32 // 0xffffff00 for verdicts
	DataLen  uint32 // bytes
	ObjType  uint32
	Size     uint32        // 0: no bound
	Timeout  time.Duration // default of elements; 0: none
	GCInt    uint32        // milliseconds
	Policy   uint32
	Fields   []uint32 // lengths in bytes of the parts of a concatenation (NFTA_SET_DESC_CONCAT)
	Exprs    []Expr   // stateful expressions that each element carries (counter)
	UserData []byte
	Elements []Element
	// Count is how many elements the kernel says the set has (NFTA_SET_COUNT, Linux
	// 6.16), without the catch-all. Counted says whether it says so: without, Count
	// means nothing. Observations: they take no part in comparing.
	Count   uint32
	Counted bool
	// TypeText is the set's type as nft's grammar has it: `typeof ip saddr : meta
	// mark` or `type mark . inet_proto . inet_service : mark`. Only rendered sets
	// have it; it decides how Table.Text prints elements.
	TypeText string
	// NotRead is set where elements were left out on purpose (sets of others that
	// nothing needs, sets that rules write).
	NotRead bool
}

// Dynamic reports whether rules write the set's elements, so that they are
// observations and no part of the configuration.
func (s *Set) Dynamic() bool { return s.Flags&SetEval != 0 }

// IsMap reports whether elements carry data.
func (s *Set) IsMap() bool { return s.Flags&SetMap != 0 }

// Element flags (NFT_SET_ELEM_*).
const (
	ElemIntervalEnd uint32 = 0x1
	ElemCatchAll    uint32 = 0x2
)

// Verdict is the data of a verdict map's element or of an immediate.
type Verdict struct {
	Code  int32 // NF_DROP 0, NF_ACCEPT 1, NFT_CONTINUE -1, NFT_BREAK -2, NFT_JUMP -3, NFT_GOTO -4, NFT_RETURN -5
	Chain string
}

// Element is one element. Key, KeyEnd and Data are as the kernel holds them:
// each part of a concatenation is padded to four bytes; marks are in host order
// in hash sets and, by nft's convention, big-endian in interval sets. KeyEnd is
// set for ranges of concatenations; a set of plain intervals has a second
// element with ElemIntervalEnd instead, whose key is one past the range, and
// none where the range reaches the last key.
type Element struct {
	Key        []byte
	KeyEnd     []byte
	Data       []byte
	Verdict    *Verdict
	Object     string
	Flags      uint32
	Timeout    time.Duration // 0: permanent, or the set's default
	Expiration time.Duration // what is left when read; 0: permanent. Not set by the renderer
	Packets    uint64        // of the element's counter, if it has one
	Bytes      uint64
	HasCounter bool
	// Opaque is set if the element carries what this package does not model (other
	// stateful expressions).
	Opaque   bool
	UserData []byte
}

// Table finds a table; nil if there is none.
func (r *Ruleset) Table(f Family, name string) *Table {
	for i := range r.Tables {
		if r.Tables[i].Family == f && r.Tables[i].Name == name {
			return &r.Tables[i]
		}
	}
	return nil
}

// Chain finds a chain; nil if there is none.
func (t *Table) Chain(name string) *Chain {
	for i := range t.Chains {
		if t.Chains[i].Name == name {
			return &t.Chains[i]
		}
	}
	return nil
}

// Set finds a set; nil if there is none.
func (t *Table) Set(name string) *Set {
	for i := range t.Sets {
		if t.Sets[i].Name == name {
			return &t.Sets[i]
		}
	}
	return nil
}
