package kernel

import (
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
