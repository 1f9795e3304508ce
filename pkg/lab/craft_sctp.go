package lab

import (
	"encoding/binary"
	"hash/crc32"
)

// sctpInit completes an INIT (RFC 9260): the common header's ports are in b. The
// payload rides in a parameter that receivers skip.
func sctpInit(b, payload []byte) []byte {
	const (
		chunk     = 12 // where the INIT chunk begins
		parameter = 32 // where its parameter begins
	)
	put16, put32 := binary.BigEndian.PutUint16, binary.BigEndian.PutUint32
	b[chunk] = 1
	put16(b[chunk+2:], uint16(len(b)-chunk+len(payload)))
	copy(b[chunk+4:chunk+8], payload[4:8]) // initiate tag, which must not be 0
	b[chunk+4] |= 1
	put32(b[chunk+8:], 65536) // window
	put16(b[chunk+12:], 1)    // streams out
	put16(b[chunk+14:], 1)    // and in
	put16(b[parameter:], 0x8b1d)
	put16(b[parameter+2:], uint16(4+len(payload)))
	b = append(b, payload...)
	// The checksum is CRC32c, least significant byte first.
	binary.LittleEndian.PutUint32(b[8:], crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)))
	return b
}
