package kernel

import (
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"bulkhead/drivers/nftables/ruleset"
)

// Batch builds one atomic transaction: all of it happens or nothing. Operations
// take effect in the order in which they are added, each seeing those before it.
// The zero value is an empty batch. A mistake (a name that is too long, an
// element that cannot be encoded) is kept and reported by Commit. A batch may be
// committed again, with another generation. It is not safe for concurrent use.
type Batch struct {
	buf []byte
	ops []batchOp
	err error
	ids uint32 // last NFTA_SET_ID given out
}

// batchOp describes one message of a batch, for errors.
type batchOp struct {
	at     int    // where the message begins in buf
	verb   string // "add elements to set"
	name   string // "X"
	family ruleset.Family
	table  string
	n      int // elements in the message
}

// maxName is the longest name of tables, chains and sets (NFT_NAME_MAXLEN less
// the NUL).
const maxName = 255

// Len returns the size in bytes of what Commit will send.
func (b *Batch) Len() int { return len(b.buf) + 2*batchEdge }

// Messages returns the number of operations.
func (b *Batch) Messages() int { return len(b.ops) }

// Reset empties the batch and keeps its memory for the next.
func (b *Batch) Reset() { *b = Batch{buf: b.buf[:0], ops: b.ops[:0]} }

// begin starts the message of the next operation and returns where.
func (b *Batch) begin(op batchOp, msg, flags uint16) int {
	b.check(op)
	op.at = len(b.buf)
	b.ops = append(b.ops, op)
	if len(b.ops) == 1 && echoed(msg) {
		flags |= unix.NLM_F_ECHO
	}
	var at int
	b.buf, at = appendHeader(b.buf, nftType|msg, unix.NLM_F_REQUEST|flags, uint32(len(b.ops)), uint8(op.family), 0)
	return at
}

// echoed reports whether NLM_F_ECHO on a batch's first operation makes the kernel
// send the generation that the batch made (NFT_MSG_NEWGEN) and little else: it
// echoes each thing that the operation changes, too. A deletion of a table or a
// flush echoes everything in it and would overrun the queue.
func echoed(msg uint16) bool {
	switch msg {
	case unix.NFT_MSG_NEWTABLE, unix.NFT_MSG_NEWCHAIN, unix.NFT_MSG_NEWRULE, unix.NFT_MSG_NEWSET, unix.NFT_MSG_NEWOBJ:
		return true
	}
	return false
}

// echoElements is how many elements the first message of a batch may have, so
// that it can be echoed too: the echo of each fits the queue of a socket without
// privilege.
const echoElements = 32

// echoes reports whether the kernel tells of the generation that the batch makes.
func (b *Batch) echoes() bool {
	return len(b.ops) > 0 && binary.NativeEndian.Uint16(b.buf[6:])&unix.NLM_F_ECHO != 0
}

// check keeps the first mistake.
func (b *Batch) check(op batchOp) {
	switch {
	case b.err != nil:
	case op.table == "" || len(op.table) > maxName || len(op.name) > maxName:
		b.err = fmt.Errorf("%s: names have 1 to %d bytes", op, maxName)
	}
}

// fail keeps the first mistake.
func (b *Batch) fail(op batchOp, text string) {
	if b.err == nil {
		b.err = fmt.Errorf("%s: %w", op, errors.New(text))
	}
}

// String says what the operation does: "add 512 elements to set x of table inet t".
func (o batchOp) String() string {
	s := o.verb
	if o.n > 0 {
		s = fmt.Sprintf(o.verb, o.n)
	}
	if o.name != "" {
		s += " " + o.name + " of table"
	}
	return s + " " + o.family.String() + " " + o.table
}

// AddRule appends a rule to a chain. Its expressions are sent as the bytes that
// they are: google/nftables cannot carry an expression that it has no type for
// (the methods of expr.Any are unexported), so rules do not go through it.
// Handle and Text are not looked at.
func (b *Batch) AddRule(family ruleset.Family, table, chain string, r *ruleset.Rule) {
	b.rule(batchOp{verb: "add a rule to chain", name: chain, family: family, table: table}, unix.NLM_F_APPEND, r)
}

// InsertRule puts a rule in front of all others of a chain.
func (b *Batch) InsertRule(family ruleset.Family, table, chain string, r *ruleset.Rule) {
	b.rule(batchOp{verb: "insert a rule into chain", name: chain, family: family, table: table}, 0, r)
}

func (b *Batch) rule(op batchOp, flags uint16, r *ruleset.Rule) {
	table, chain := op.table, op.name
	at := b.begin(op, unix.NFT_MSG_NEWRULE, unix.NLM_F_CREATE|flags)
	b.buf = appendString(b.buf, unix.NFTA_RULE_TABLE, table)
	b.buf = appendString(b.buf, unix.NFTA_RULE_CHAIN, chain)
	var list int
	b.buf, list = openNest(b.buf, unix.NFTA_RULE_EXPRESSIONS)
	for _, x := range r.Exprs {
		b.buf = b.appendExpr(b.buf, op, nftaListElem, x)
	}
	if !closeNest(b.buf, list) {
		b.fail(op, "the rule's expressions exceed 65,535 bytes")
	}
	if len(r.UserData) > 0 {
		if len(r.UserData) > 256 { // NFT_USERDATA_MAXLEN
			b.fail(op, "the rule's user data exceeds 256 bytes")
		}
		b.buf = appendAttr(b.buf, unix.NFTA_RULE_USERDATA, r.UserData)
	}
	closeMessage(b.buf, at)
}

// appendExpr appends one expression under the attribute typ.
func (b *Batch) appendExpr(buf []byte, op batchOp, typ uint16, x ruleset.Expr) []byte {
	buf, at := openNest(buf, typ)
	buf = appendString(buf, unix.NFTA_EXPR_NAME, x.Name)
	if len(x.Data) > 0 { // `notrack` has none
		if len(x.Data) > 0xf000 {
			b.fail(op, "expression "+x.Name+" exceeds 61,440 bytes")
			return buf
		}
		buf = appendAttr(buf, unix.NFTA_EXPR_DATA|nested, x.Data)
	}
	if !closeNest(buf, at) {
		b.fail(op, "expression "+x.Name+" exceeds 65,535 bytes")
	}
	return buf
}

// DelRule removes one rule.
func (b *Batch) DelRule(family ruleset.Family, table, chain string, handle uint64) {
	op := batchOp{verb: fmt.Sprintf("delete rule %d of chain", handle), name: chain, family: family, table: table}
	if handle == 0 { // the kernel would flush the chain
		b.fail(op, "a rule's handle is not 0")
	}
	at := b.begin(op, unix.NFT_MSG_DELRULE, 0)
	b.buf = appendString(b.buf, unix.NFTA_RULE_TABLE, table)
	b.buf = appendString(b.buf, unix.NFTA_RULE_CHAIN, chain)
	b.buf = appendU64(b.buf, unix.NFTA_RULE_HANDLE, handle)
	closeMessage(b.buf, at)
}

// AddObject adds a stateful object (counter, quota, ...). Its data go as they are.
func (b *Batch) AddObject(family ruleset.Family, table string, o *ruleset.Object) {
	op := batchOp{verb: "add object", name: o.Name, family: family, table: table}
	if len(o.Data) > 0xf000 {
		b.fail(op, "the object's data exceed 61,440 bytes")
		return
	}
	at := b.begin(op, unix.NFT_MSG_NEWOBJ, unix.NLM_F_CREATE)
	b.buf = appendString(b.buf, unix.NFTA_OBJ_TABLE, table)
	b.buf = appendString(b.buf, unix.NFTA_OBJ_NAME, o.Name)
	b.buf = appendU32(b.buf, unix.NFTA_OBJ_TYPE, o.Type)
	b.buf = appendAttr(b.buf, unix.NFTA_OBJ_DATA|nested, o.Data)
	closeMessage(b.buf, at)
}

// DelObject deletes a stateful object of the given type (NFT_OBJECT_*). The
// kernel refuses (EBUSY) while something refers to it.
func (b *Batch) DelObject(family ruleset.Family, table, name string, typ uint32) {
	op := batchOp{verb: "delete object", name: name, family: family, table: table}
	at := b.begin(op, unix.NFT_MSG_DELOBJ, 0)
	b.buf = appendString(b.buf, unix.NFTA_OBJ_TABLE, table)
	b.buf = appendString(b.buf, unix.NFTA_OBJ_NAME, name)
	b.buf = appendU32(b.buf, unix.NFTA_OBJ_TYPE, typ)
	closeMessage(b.buf, at)
}
