package kernel

import (
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"bulkhead/drivers/nftables/ruleset"
)

// elementBytes bounds the list of elements in one message. nlattr.nla_len has 16
// bits: a longer list is cut off by the kernel without an error.
const elementBytes = 65000

// AddSet adds a set or map without its elements. Handle, Elements, Count and
// TypeText are not looked at. Anonymous sets are refused.
func (b *Batch) AddSet(family ruleset.Family, table string, s *ruleset.Set) {
	op := batchOp{verb: "add set", name: s.Name, family: family, table: table}
	if s.Flags&ruleset.SetAnonymous != 0 || s.Name == "" {
		b.fail(op, "anonymous sets are not supported")
	}
	if s.KeyLen == 0 {
		b.fail(op, "keys of 0 bytes")
	}
	if len(s.UserData) > 256 { // NFT_USERDATA_MAXLEN
		b.fail(op, "the set's user data exceeds 256 bytes")
	}
	at := b.begin(op, unix.NFT_MSG_NEWSET, unix.NLM_F_CREATE)
	b.ids++
	buf := appendString(b.buf, unix.NFTA_SET_TABLE, table)
	buf = appendString(buf, unix.NFTA_SET_NAME, s.Name)
	buf = appendU32(buf, unix.NFTA_SET_FLAGS, s.Flags)
	buf = appendU32(buf, unix.NFTA_SET_KEY_TYPE, s.KeyType)
	buf = appendU32(buf, unix.NFTA_SET_KEY_LEN, s.KeyLen)
	if s.IsMap() {
		buf = appendU32(buf, unix.NFTA_SET_DATA_TYPE, s.DataType)
		if s.DataType != nftDataVerdictType { // the kernel knows how long a verdict is
			buf = appendU32(buf, unix.NFTA_SET_DATA_LEN, s.DataLen)
		}
	}
	if s.Flags&ruleset.SetObject != 0 {
		buf = appendU32(buf, unix.NFTA_SET_OBJ_TYPE, s.ObjType)
	}
	buf = appendU32(buf, unix.NFTA_SET_ID, b.ids)
	if s.Policy != 0 {
		buf = appendU32(buf, unix.NFTA_SET_POLICY, s.Policy)
	}
	buf = appendSetDesc(buf, s)
	if s.Timeout > 0 {
		buf = appendU64(buf, unix.NFTA_SET_TIMEOUT, toMillis(s.Timeout))
	}
	if s.GCInt > 0 {
		buf = appendU32(buf, unix.NFTA_SET_GC_INTERVAL, s.GCInt)
	}
	if len(s.UserData) > 0 {
		buf = appendAttr(buf, unix.NFTA_SET_USERDATA, s.UserData)
	}
	b.buf = b.appendSetExprs(buf, op, s)
	closeMessage(b.buf, at)
}

// appendSetDesc appends NFTA_SET_DESC: room, and the parts of a concatenation.
func appendSetDesc(buf []byte, s *ruleset.Set) []byte {
	if s.Size == 0 && len(s.Fields) == 0 {
		return buf
	}
	buf, desc := openNest(buf, unix.NFTA_SET_DESC)
	if s.Size > 0 {
		buf = appendU32(buf, unix.NFTA_SET_DESC_SIZE, s.Size)
	}
	if len(s.Fields) > 0 {
		var concat, field int
		buf, concat = openNest(buf, nftaSetDescConcat)
		for _, l := range s.Fields {
			buf, field = openNest(buf, nftaListElem)
			buf = appendU32(buf, nftaSetFieldLen, l)
			closeNest(buf, field)
		}
		closeNest(buf, concat)
	}
	closeNest(buf, desc)
	return buf
}

// appendSetExprs appends the stateful expressions that each element gets.
func (b *Batch) appendSetExprs(buf []byte, op batchOp, s *ruleset.Set) []byte {
	switch len(s.Exprs) {
	case 0:
		return buf
	case 1:
		return b.appendExpr(buf, op, nftaSetExpr, s.Exprs[0])
	}
	buf, list := openNest(buf, nftaSetExpressions)
	for _, x := range s.Exprs {
		buf = b.appendExpr(buf, op, nftaListElem, x)
	}
	if !closeNest(buf, list) {
		b.fail(op, "the set's expressions exceed 65,535 bytes")
	}
	return buf
}

// AddElements adds elements to a set, in as many messages as they need. An
// element that is there already with the same data is no error: it keeps its
// counter, and takes a new timeout from Linux 6.12 on, where older ones keep the
// old. One with other data is an error (EEXIST).
func (b *Batch) AddElements(family ruleset.Family, table, set string, elements []ruleset.Element) {
	b.elementMessages(batchOp{verb: "add %d elements to set", name: set, family: family, table: table},
		unix.NFT_MSG_NEWSETELEM, unix.NLM_F_CREATE, elements, true)
}

// AddElementsWithin adds elements while the batch has at most n bytes (Len), one at
// least where the batch is empty, and returns those that are left for another one.
func (b *Batch) AddElementsWithin(n int, family ruleset.Family, table, set string, elements []ruleset.Element) (left []ruleset.Element) {
	op := batchOp{verb: "add %d elements to set", name: set, family: family, table: table}
	for len(elements) > 0 {
		// The largest element, and what a message has around its elements.
		const element, around = 1024, 128
		room := n - b.Len() - around - len(table) - len(set)
		if room < element && len(b.ops) > 0 {
			break
		}
		some := elements
		if len(b.ops) == 0 {
			some = elements[:min(len(elements), echoElements)]
		}
		elements = elements[b.elementMessage(op, unix.NFT_MSG_NEWSETELEM, unix.NLM_F_CREATE, some, true, min(room, elementBytes)):]
	}
	return elements
}

// DelElements deletes elements by key; data, timeouts and counters are not
// looked at. An element that is absent, or whose timeout has run out, makes the
// whole batch fail (ENOENT).
func (b *Batch) DelElements(family ruleset.Family, table, set string, elements []ruleset.Element) {
	b.elementMessages(batchOp{verb: "delete %d elements from set", name: set, family: family, table: table},
		unix.NFT_MSG_DELSETELEM, 0, elements, false)
}

// elementMessages writes elements into messages of at most elementBytes each.
func (b *Batch) elementMessages(op batchOp, msg, flags uint16, elements []ruleset.Element, full bool) {
	if len(elements) > 0 {
		b.buf = slices.Grow(b.buf, elementsRoom(elements, full))
	}
	for len(elements) > 0 {
		some := elements
		if len(b.ops) == 0 {
			some = elements[:min(len(elements), echoElements)]
		}
		n := b.elementMessage(op, msg, flags, some, full, elementBytes)
		elements = elements[n:]
	}
}

// Reserve makes room for the elements of some sets, so that a batch of a million
// is not copied each time that it grows.
func (b *Batch) Reserve(sets []ruleset.Set) {
	room := 0
	for i := range sets {
		if es := sets[i].Elements; len(es) > 0 {
			room += elementsRoom(es, true)
		}
	}
	b.buf = slices.Grow(b.buf, room)
}

// elementsRoom guesses how many bytes elements take. Element lists are uniform:
// one growth of the buffer serves them all.
func elementsRoom(elements []ruleset.Element, full bool) int {
	e := &elements[0]
	one := nlaHdrLen + 2*nlaHdrLen + align(len(e.Key))
	if full && len(e.Data) > 0 {
		one += 2*nlaHdrLen + align(len(e.Data))
	}
	if !isPlain(e) {
		one += 48 + align(len(e.KeyEnd))
	}
	return len(elements)*one + 512*(1+len(elements)*one/elementBytes)
}

// elementMessage writes one message with the first of elements, as many as room
// bytes of their list hold and at least one. It returns how many.
func (b *Batch) elementMessage(op batchOp, msg, flags uint16, elements []ruleset.Element, full bool, room int) int {
	op.n = len(elements)
	if len(b.ops) == 0 && len(elements) <= echoElements {
		flags |= unix.NLM_F_ECHO
	}
	at := b.begin(op, msg, flags)
	b.buf = appendString(b.buf, unix.NFTA_SET_ELEM_LIST_TABLE, op.table)
	b.buf = appendString(b.buf, unix.NFTA_SET_ELEM_LIST_SET, op.name)
	var list int
	b.buf, list = openNest(b.buf, unix.NFTA_SET_ELEM_LIST_ELEMENTS)
	buf, n := b.buf, 0
	for n < len(elements) {
		before := len(buf)
		buf = b.appendElement(buf, &op, &elements[n], full)
		if len(buf)-list > room && n > 0 {
			buf = buf[:before] // begins the next message
			break
		}
		n++
	}
	b.buf = buf
	if !closeNest(b.buf, list) {
		b.fail(op, "an element exceeds 65,000 bytes")
	}
	closeMessage(b.buf, at)
	b.ops[len(b.ops)-1].n = n
	return n
}

// toMillis rounds a span up to milliseconds, so that a short one is not 0, which
// the kernel reads as none.
func toMillis(d time.Duration) uint64 {
	return uint64((d + time.Millisecond - 1) / time.Millisecond)
}
