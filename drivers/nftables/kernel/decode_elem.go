package kernel

import (
	"bytes"
	"fmt"

	"golang.org/x/sys/unix"

	"bulkhead/drivers/nftables/ruleset"
)

// Sizes in bytes of the blocks that an elementDecoder copies keys and data into.
// The first is small, so that a set of one element holds on to little.
const (
	firstBlock = 512
	lastBlock  = 64 << 10
)

// elementDecoder decodes the elements of one set (NFT_MSG_NEWSETELEM, the
// attributes NFTA_SET_ELEM_* of linux/netfilter/nf_tables.h). Keys and data are
// copied into shared blocks: the datagrams, eight times as large, are not held,
// and a set of a million elements makes some hundred allocations and not three
// million. The zero value is ready. What it returned stays valid for ever.
type elementDecoder struct {
	block     []byte
	blockSize int
	verdicts  []ruleset.Verdict
	names     map[string]string // chains and objects that elements name
}

// decodeElements decodes one NFT_MSG_NEWSETELEM and appends its elements to out.
func decodeElements(payload []byte, out []ruleset.Element) ([]ruleset.Element, error) {
	var d elementDecoder
	return d.decode(payload, out)
}

// decode decodes one NFT_MSG_NEWSETELEM and appends its elements to out. Payload
// is the caller's again afterwards.
func (d *elementDecoder) decode(payload []byte, out []ruleset.Element) ([]ruleset.Element, error) {
	_, _, in, err := genmsg(payload)
	if err != nil {
		return out, err
	}
	for in.next() {
		if in.typ != unix.NFTA_SET_ELEM_LIST_ELEMENTS {
			continue
		}
		list := walk(in.val)
		for list.next() {
			out = append(out, ruleset.Element{})
			if err := d.element(list.val, &out[len(out)-1]); err != nil {
				return out[:len(out)-1], err
			}
		}
		if list.err != nil {
			return out, list.err
		}
	}
	return out, in.err
}

// keep copies v into a block.
func (d *elementDecoder) keep(v []byte) []byte {
	if len(v) == 0 {
		return nil
	}
	if cap(d.block)-len(d.block) < len(v) {
		d.blockSize = max(min(2*d.blockSize, lastBlock), firstBlock, len(v))
		d.block = make([]byte, 0, d.blockSize)
	}
	at := len(d.block)
	d.block = append(d.block, v...)
	// No room behind it: appending to one key must not write into the next.
	return d.block[at:len(d.block):len(d.block)]
}

// name is v up to its first NUL, as one string for all elements that name it.
func (d *elementDecoder) name(v []byte) string {
	if i := bytes.IndexByte(v, 0); i >= 0 {
		v = v[:i]
	}
	if s, ok := d.names[string(v)]; ok {
		return s
	}
	if d.names == nil {
		d.names = map[string]string{}
	}
	s := string(v)
	d.names[s] = s
	return s
}

// element decodes the attributes NFTA_SET_ELEM_* of one element into e.
func (d *elementDecoder) element(v []byte, e *ruleset.Element) error {
	a := walk(v)
	for a.next() {
		var err error
		switch a.typ {
		case unix.NFTA_SET_ELEM_KEY:
			e.Key, err = d.value(a.val)
		case nftaSetElemKeyEnd:
			e.KeyEnd, err = d.value(a.val)
		case unix.NFTA_SET_ELEM_DATA:
			err = d.data(a.val, e)
		case unix.NFTA_SET_ELEM_FLAGS:
			e.Flags = a.u32()
		case unix.NFTA_SET_ELEM_TIMEOUT:
			e.Timeout = millis(&a)
		case unix.NFTA_SET_ELEM_EXPIRATION:
			e.Expiration = millis(&a)
		case unix.NFTA_SET_ELEM_USERDATA:
			e.UserData = d.keep(a.val)
		case unix.NFTA_SET_ELEM_OBJREF:
			e.Object = d.name(a.val)
		case unix.NFTA_SET_ELEM_EXPR:
			err = decodeStateful(a.val, e)
		case nftaSetElemExpressions:
			list := walk(a.val)
			for err == nil && list.next() {
				err = decodeStateful(list.val, e)
			}
			if err == nil {
				err = list.err
			}
		case unix.NFTA_SET_ELEM_PAD:
		default:
			e.Opaque = true // something newer than this decoder
		}
		if err != nil {
			return err
		}
	}
	if a.err == nil && len(e.Key) == 0 && e.Flags&ruleset.ElemCatchAll == 0 {
		return fmt.Errorf("%w: element without a key", errMalformed)
	}
	return a.err
}

// value decodes NFTA_DATA_VALUE.
func (d *elementDecoder) value(v []byte) (out []byte, err error) {
	a := walk(v)
	for a.next() {
		if a.typ == unix.NFTA_DATA_VALUE {
			out = d.keep(a.val)
		}
	}
	return out, a.err
}

// data decodes NFTA_SET_ELEM_DATA: a value or a verdict.
func (d *elementDecoder) data(v []byte, e *ruleset.Element) error {
	a := walk(v)
	for a.next() {
		switch a.typ {
		case unix.NFTA_DATA_VALUE:
			e.Data = d.keep(a.val)
		case unix.NFTA_DATA_VERDICT:
			if err := d.verdict(a.val, e); err != nil {
				return err
			}
		default:
			e.Opaque = true
		}
	}
	return a.err
}

// verdict decodes NFTA_DATA_VERDICT.
func (d *elementDecoder) verdict(v []byte, e *ruleset.Element) error {
	if len(d.verdicts) == cap(d.verdicts) {
		d.verdicts = make([]ruleset.Verdict, 0, max(1, min(2*cap(d.verdicts), 1024)))
	}
	d.verdicts = append(d.verdicts, ruleset.Verdict{})
	e.Verdict = &d.verdicts[len(d.verdicts)-1]
	a := walk(v)
	for a.next() {
		switch a.typ {
		case unix.NFTA_VERDICT_CODE:
			e.Verdict.Code = int32(a.u32())
		case unix.NFTA_VERDICT_CHAIN:
			e.Verdict.Chain = d.name(a.val)
		}
	}
	return a.err
}

// decodeStateful decodes a stateful expression of an element: a counter, or
// something that makes the element opaque. One without a name is malformed.
func decodeStateful(v []byte, e *ruleset.Element) error {
	var name, data []byte
	a := walk(v)
	for a.next() {
		switch a.typ {
		case unix.NFTA_EXPR_NAME:
			name, _, _ = bytes.Cut(a.val, []byte{0})
		case unix.NFTA_EXPR_DATA:
			data = a.val
		}
	}
	switch {
	case a.err != nil:
		return a.err
	case len(name) == 0:
		return fmt.Errorf("%w: expression without NFTA_EXPR_NAME", errMalformed)
	case string(name) != "counter":
		e.Opaque = true
		return nil
	}
	e.HasCounter = true
	c := walk(data)
	for c.next() {
		switch c.typ {
		case unix.NFTA_COUNTER_BYTES:
			e.Bytes = c.u64()
		case unix.NFTA_COUNTER_PACKETS:
			e.Packets = c.u64()
		}
	}
	return c.err
}
