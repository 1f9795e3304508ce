package kernel

import (
	"encoding/binary"
	"slices"

	"golang.org/x/sys/unix"

	"bulkhead/drivers/nftables/ruleset"
)

// maxData is the most bytes of a key or a data value (NFT_DATA_VALUE_MAXLEN).
const maxData = 64

// appendElement appends one element (NFTA_LIST_ELEM); only what names it unless
// full. It allocates nothing beyond the buffer.
func (b *Batch) appendElement(buf []byte, op *batchOp, e *ruleset.Element, full bool) []byte {
	if !b.elementOK(op, e) {
		return buf
	}
	if isPlain(e) {
		data := e.Data
		if !full {
			data = nil
		}
		return appendPlain(buf, e.Key, data)
	}
	buf, at := openNest(buf, nftaListElem)
	buf = appendKey(buf, e)
	if full {
		buf = appendElementData(buf, e)
	}
	closeNest(buf, at) // cannot fail: elementOK bounds every part
	return buf
}

// elementOK keeps the mistakes that the kernel would answer with a bare EINVAL,
// or not at all.
func (b *Batch) elementOK(op *batchOp, e *ruleset.Element) bool {
	switch {
	case len(e.Key) == 0 && e.Flags&ruleset.ElemCatchAll == 0:
		b.fail(*op, "an element without a key that is no catch-all")
	case len(e.Key) > maxData || len(e.KeyEnd) > maxData || len(e.Data) > maxData:
		b.fail(*op, "a key or data value exceeds 64 bytes")
	case e.Opaque:
		b.fail(*op, "an element holds what this driver does not model")
	case len(e.UserData) > 256: // NFT_USERDATA_MAXLEN
		b.fail(*op, "an element's user data exceeds 256 bytes")
	case len(e.Object) > maxName || (e.Verdict != nil && len(e.Verdict.Chain) > maxName):
		b.fail(*op, "an element names something with more than 255 bytes")
	default:
		return true
	}
	return false
}

// isPlain reports whether an element is a key and perhaps data: all but some
// hundred elements of an estate's tables are.
func isPlain(e *ruleset.Element) bool {
	return e.Flags == 0 && len(e.Key) > 0 && len(e.KeyEnd) == 0 && e.Verdict == nil && e.Object == "" && e.Timeout == 0 &&
		e.Expiration == 0 && len(e.UserData) == 0 && !e.HasCounter
}

// appendPlain appends an element of a key, and of data unless there are none. It
// writes what the general way does, with one check for room instead of thirty.
func appendPlain(buf []byte, key, data []byte) []byte {
	const valueHead = 2 * nlaHdrLen // NFTA_SET_ELEM_KEY or _DATA, and NFTA_DATA_VALUE in it
	n := nlaHdrLen + valueHead + align(len(key))
	if len(data) > 0 {
		n += valueHead + align(len(data))
	}
	at := len(buf)
	buf = slices.Grow(buf, n)[:at+n]
	p := buf[at:]
	putAttr(p, nftaListElem|nested, n)
	p = putValue(p[nlaHdrLen:], unix.NFTA_SET_ELEM_KEY, key)
	if len(data) > 0 {
		putValue(p, unix.NFTA_SET_ELEM_DATA, data)
	}
	return buf
}

// putAttr writes the head of an attribute of n bytes with its head.
func putAttr(p []byte, typ uint16, n int) {
	binary.NativeEndian.PutUint16(p, uint16(n))
	binary.NativeEndian.PutUint16(p[2:], typ)
}

// putValue writes NFTA_DATA_VALUE under the attribute typ, and returns what is
// behind it.
func putValue(p []byte, typ uint16, v []byte) (rest []byte) {
	padded := align(len(v))
	putAttr(p, typ|nested, 2*nlaHdrLen+padded)
	putAttr(p[nlaHdrLen:], unix.NFTA_DATA_VALUE, nlaHdrLen+len(v))
	p = p[2*nlaHdrLen:]
	copy(p, v)
	clear(p[len(v):padded]) // a buffer that was used before holds other bytes
	return p[padded:]
}

// appendKey appends what names an element.
func appendKey(buf []byte, e *ruleset.Element) []byte {
	if e.Flags != 0 {
		buf = appendU32(buf, unix.NFTA_SET_ELEM_FLAGS, e.Flags)
	}
	if len(e.Key) > 0 {
		buf = appendValue(buf, unix.NFTA_SET_ELEM_KEY, e.Key)
	}
	if len(e.KeyEnd) > 0 {
		buf = appendValue(buf, nftaSetElemKeyEnd, e.KeyEnd)
	}
	return buf
}

// appendValue appends NFTA_DATA_VALUE under the attribute typ.
func appendValue(buf []byte, typ uint16, v []byte) []byte {
	buf, at := openNest(buf, typ)
	buf = appendAttr(buf, unix.NFTA_DATA_VALUE, v)
	closeNest(buf, at)
	return buf
}

// appendElementData appends all that is not an element's name.
func appendElementData(buf []byte, e *ruleset.Element) []byte {
	switch {
	case e.Verdict != nil:
		var data, verdict int
		buf, data = openNest(buf, unix.NFTA_SET_ELEM_DATA)
		buf, verdict = openNest(buf, unix.NFTA_DATA_VERDICT)
		buf = appendU32(buf, unix.NFTA_VERDICT_CODE, uint32(e.Verdict.Code))
		if e.Verdict.Chain != "" {
			buf = appendString(buf, unix.NFTA_VERDICT_CHAIN, e.Verdict.Chain)
		}
		closeNest(buf, verdict)
		closeNest(buf, data)
	case len(e.Data) > 0:
		buf = appendValue(buf, unix.NFTA_SET_ELEM_DATA, e.Data)
	}
	if e.Object != "" {
		buf = appendString(buf, unix.NFTA_SET_ELEM_OBJREF, e.Object)
	}
	if e.Timeout > 0 {
		buf = appendU64(buf, unix.NFTA_SET_ELEM_TIMEOUT, toMillis(e.Timeout))
	}
	if e.Expiration > 0 {
		buf = appendU64(buf, unix.NFTA_SET_ELEM_EXPIRATION, toMillis(e.Expiration))
	}
	if len(e.UserData) > 0 {
		buf = appendAttr(buf, unix.NFTA_SET_ELEM_USERDATA, e.UserData)
	}
	if e.HasCounter && (e.Packets != 0 || e.Bytes != 0) {
		// A counter at zero need not be sent: the kernel makes it from the set's.
		var x, data int
		buf, x = openNest(buf, unix.NFTA_SET_ELEM_EXPR)
		buf = appendString(buf, unix.NFTA_EXPR_NAME, "counter")
		buf, data = openNest(buf, unix.NFTA_EXPR_DATA)
		buf = appendU64(buf, unix.NFTA_COUNTER_BYTES, e.Bytes)
		buf = appendU64(buf, unix.NFTA_COUNTER_PACKETS, e.Packets)
		closeNest(buf, data)
		closeNest(buf, x)
	}
	return buf
}
