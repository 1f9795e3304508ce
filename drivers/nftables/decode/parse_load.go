package decode

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Operations and attributes of nft_bitwise.c that x/sys/unix has no name for.
const (
	bitwiseMaskXor = 0
	bitwiseLshift  = 1
	bitwiseRshift  = 2
	bitwiseAnd     = 3
	bitwiseOr      = 4
	bitwiseXor     = 5

	attrBitwiseOp    = 6
	attrBitwiseData  = 7
	attrBitwiseSreg2 = 8
)

func parseBitwise(o *op, a attrs) error {
	o.code = opBitwise
	n, err := a.u32(unix.NFTA_BITWISE_LEN)
	if err != nil {
		return err
	}
	if n > regBytes {
		return fmt.Errorf("bitwise over %d bytes", n)
	}
	o.n = int(n)
	if o.sreg, err = regAttr(a, unix.NFTA_BITWISE_SREG, o.n); err != nil {
		return err
	}
	if o.dreg, err = regAttr(a, unix.NFTA_BITWISE_DREG, o.n); err != nil {
		return err
	}
	if o.oper, err = a.u32(attrBitwiseOp); err != nil {
		return err
	}
	switch o.oper {
	case bitwiseMaskXor:
		if o.data, err = a.value(unix.NFTA_BITWISE_MASK); err != nil {
			return err
		}
		if o.data2, err = a.value(unix.NFTA_BITWISE_XOR); err != nil {
			return err
		}
		if len(o.data) != o.n || len(o.data2) != o.n {
			return fmt.Errorf("bitwise mask of a wrong length")
		}
	case bitwiseLshift, bitwiseRshift:
		if o.data, err = a.value(attrBitwiseData); err != nil {
			return err
		}
		if len(o.data) != 4 {
			return fmt.Errorf("shift of a wrong length")
		}
	case bitwiseAnd, bitwiseOr, bitwiseXor:
		return parseBitwiseRegs(o, a)
	default:
		return fmt.Errorf("unknown bitwise operation %d", o.oper)
	}
	return nil
}

// parseBitwiseRegs reads the second operand: a register or a value.
func parseBitwiseRegs(o *op, a attrs) error {
	var err error
	if _, ok := a[attrBitwiseSreg2]; ok {
		o.sreg2, err = regAttr(a, attrBitwiseSreg2, o.n)
		return err
	}
	if o.data, err = a.value(attrBitwiseData); err == nil && len(o.data) != o.n {
		err = fmt.Errorf("bitwise operand of a wrong length")
	}
	return err
}

func parseByteorder(o *op, a attrs) error {
	o.code = opByteorder
	n, err := a.u32(unix.NFTA_BYTEORDER_LEN)
	if err != nil {
		return err
	}
	if n > regBytes {
		return fmt.Errorf("byteorder over %d bytes", n)
	}
	o.n = int(n)
	if o.sreg, err = regAttr(a, unix.NFTA_BYTEORDER_SREG, o.n); err != nil {
		return err
	}
	if o.dreg, err = regAttr(a, unix.NFTA_BYTEORDER_DREG, o.n); err != nil {
		return err
	}
	// The size of the units goes to key; both directions swap alike.
	if o.key, err = a.u32(unix.NFTA_BYTEORDER_SIZE); err == nil && o.key != 2 && o.key != 4 && o.key != 8 {
		err = fmt.Errorf("byteorder of %d bytes", o.key)
	}
	return err
}

func parsePayload(o *op, a attrs) error {
	if _, write := a[unix.NFTA_PAYLOAD_SREG]; write {
		return fmt.Errorf("writes the packet")
	}
	o.code = opPayload
	n, err := a.u32(unix.NFTA_PAYLOAD_LEN)
	if err != nil {
		return err
	}
	if n > regBytes {
		return fmt.Errorf("payload of %d bytes", n)
	}
	o.n = int(n)
	if o.base, err = a.u32(unix.NFTA_PAYLOAD_BASE); err != nil {
		return err
	}
	if o.offset, err = a.u32(unix.NFTA_PAYLOAD_OFFSET); err != nil {
		return err
	}
	if o.offset > 0xffff {
		return fmt.Errorf("payload offset %d", o.offset)
	}
	o.dreg, err = regAttr(a, unix.NFTA_PAYLOAD_DREG, o.n)
	return err
}

func parseMeta(o *op, a attrs) error {
	var err error
	if o.key, err = a.u32(unix.NFTA_META_KEY); err != nil {
		return err
	}
	if _, set := a[unix.NFTA_META_SREG]; set {
		o.code = opMetaSet
		switch o.key {
		case unix.NFT_META_MARK, unix.NFT_META_PRIORITY:
			o.n = 4
		case unix.NFT_META_NFTRACE, unix.NFT_META_PKTTYPE:
			o.n = 1
		case unix.NFT_META_SECMARK:
			o.n = 4
		default:
			return fmt.Errorf("sets meta key %d", o.key)
		}
		o.sreg, err = regAttr(a, unix.NFTA_META_SREG, o.n)
		return err
	}
	o.code, o.n = opMetaLoad, metaLen(o.key)
	o.dreg, err = regAttr(a, unix.NFTA_META_DREG, o.n)
	return err
}

// Keys of nft_meta.c that x/sys/unix has no name for.
const (
	metaIifkind  = 26
	metaOifkind  = 27
	metaTimeNs   = 30
	metaSdifname = 34
)

// metaLen gives how many bytes a meta load writes, padding included.
func metaLen(key uint32) int {
	switch key {
	case unix.NFT_META_IIFNAME, unix.NFT_META_OIFNAME, unix.NFT_META_BRI_IIFNAME,
		unix.NFT_META_BRI_OIFNAME, metaIifkind, metaOifkind, metaSdifname:
		return 16
	case metaTimeNs:
		return 8
	}
	return 4
}

func parseCt(o *op, a attrs) error {
	var err error
	if o.key, err = a.u32(unix.NFTA_CT_KEY); err != nil {
		return err
	}
	if _, ok := a[unix.NFTA_CT_DIRECTION]; ok {
		d, err := a.u8(unix.NFTA_CT_DIRECTION)
		if err != nil {
			return err
		}
		if d > 1 {
			return fmt.Errorf("ct direction %d", d)
		}
		o.dir = int(d)
	}
	if _, set := a[unix.NFTA_CT_SREG]; set {
		o.code, o.n = opCtSet, 4
		switch o.key {
		case unix.NFT_CT_MARK, unix.NFT_CT_SECMARK, unix.NFT_CT_EVENTMASK:
		case unix.NFT_CT_LABELS:
			o.n = 16
		default:
			return fmt.Errorf("sets ct key %d", o.key)
		}
		o.sreg, err = regAttr(a, unix.NFTA_CT_SREG, o.n)
		return err
	}
	o.code, o.n = opCtLoad, ctLen(o.key)
	if directional(o.key) && o.dir < 0 {
		return fmt.Errorf("ct key %d without a direction", o.key)
	}
	o.dreg, err = regAttr(a, unix.NFTA_CT_DREG, o.n)
	return err
}

// directional reports whether a key reads one of the two tuples.
func directional(key uint32) bool {
	switch key {
	case unix.NFT_CT_SRC, unix.NFT_CT_DST, unix.NFT_CT_PROTO_SRC, unix.NFT_CT_PROTO_DST,
		unix.NFT_CT_SRC_IP, unix.NFT_CT_DST_IP, unix.NFT_CT_SRC_IP6, unix.NFT_CT_DST_IP6:
		return true
	}
	return false
}

// ctLen gives how many bytes a ct load may write, padding included.
func ctLen(key uint32) int {
	switch key {
	case unix.NFT_CT_SRC, unix.NFT_CT_DST, unix.NFT_CT_SRC_IP6, unix.NFT_CT_DST_IP6,
		unix.NFT_CT_LABELS, unix.NFT_CT_HELPER:
		return 16
	case unix.NFT_CT_PKTS, unix.NFT_CT_BYTES, unix.NFT_CT_AVGPKT:
		return 8
	}
	return 4
}
