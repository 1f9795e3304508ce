package decode

import (
	"fmt"

	"bulkhead/drivers/nftables/ruleset"
)

// opcode says what an expression does, as far as this package tells apart.
type opcode uint8

const (
	opUnknown   opcode = iota // not modelled: reaching it is a finding
	opNop                     // no effect on any packet's way (counter, log)
	opImmediate               // data to a register, or a verdict
	opCmp
	opRange
	opBitwise
	opByteorder
	opPayload
	opMetaLoad
	opMetaSet
	opCtLoad
	opCtSet
	opLookup
	opDynset
	opMaybe   // goes on or stops the rule; which, cannot be known (limit, quota)
	opLoadAny // loads something outside the model, or stops the rule
	opNotrack
	opReject // a drop, with an answer
)

// op is one parsed expression. Which fields mean something depends on the code.
type op struct {
	code         opcode
	name         string // the kernel's name
	note         string // why it is opUnknown, or what an opaque load loads
	sreg, sreg2  int    // first byte in the register file; -1 if there is none
	dreg         int
	n            int // bytes
	key          uint32
	oper         uint32
	dir          int // 0 original, 1 reply, -1 none
	base, offset uint32
	data, data2  []byte
	verdict      *ruleset.Verdict
	set          string
	invert       bool
}

// regBytes is the size of the register file without the verdict register.
const regBytes = 64

// reg gives the first byte of a register: NFT_REG_1 to NFT_REG_4 are 16 bytes
// each, NFT_REG32_00 to NFT_REG32_15 are the same memory in words of four.
func reg(n uint32) (int, error) {
	switch {
	case n >= 1 && n <= 4:
		return int(n-1) * 16, nil
	case n >= 8 && n <= 23:
		return int(n-8) * 4, nil
	}
	return 0, fmt.Errorf("no such register: %d", n)
}

// span checks that n bytes fit behind a register, as nft_validate_register_*
// does.
func span(r, n int) error {
	if n <= 0 || r < 0 || r+n > regBytes {
		return fmt.Errorf("registers overrun: %d bytes at %d", n, r)
	}
	return nil
}

// unknown makes the op for an expression that cannot be modelled.
func unknown(e ruleset.Expr, why string) op {
	return op{code: opUnknown, name: e.Name, note: why, sreg: -1, sreg2: -1, dreg: -1, dir: -1}
}
