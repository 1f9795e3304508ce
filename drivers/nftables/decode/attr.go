package decode

import (
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

var errAttr = errors.New("malformed netlink attribute")

// attrs holds the attributes of one nesting level by type. The kernel's policy
// arrays keep the last of several with one type, and so does this.
type attrs map[uint16][]byte

// parseAttrs cuts a run of netlink attributes: a length and a type in host
// order, the value, and padding to four bytes.
func parseAttrs(b []byte) (attrs, error) {
	out := attrs{}
	for len(b) > 0 {
		if len(b) < 4 {
			return nil, errAttr
		}
		n := int(binary.NativeEndian.Uint16(b))
		typ := binary.NativeEndian.Uint16(b[2:]) &^ (unix.NLA_F_NESTED | unix.NLA_F_NET_BYTEORDER)
		if n < 4 || n > len(b) {
			return nil, errAttr
		}
		out[typ] = b[4:n:n]
		n = (n + 3) &^ 3
		if n >= len(b) {
			break
		}
		b = b[n:]
	}
	return out, nil
}

// u32 reads a big-endian number; absent is zero, as the kernel initialises it.
func (a attrs) u32(typ uint16) (uint32, error) {
	v, ok := a[typ]
	if !ok {
		return 0, nil
	}
	if len(v) != 4 {
		return 0, fmt.Errorf("attribute %d has %d bytes, want 4", typ, len(v))
	}
	return binary.BigEndian.Uint32(v), nil
}

// u8 reads a byte. The kernel takes the first of a longer attribute
// (nla_get_u8; nf_tables parses leniently), and so a 32-bit 1 in network order
// is zero.
func (a attrs) u8(typ uint16) (uint8, error) {
	v, ok := a[typ]
	if !ok {
		return 0, nil
	}
	if len(v) == 0 {
		return 0, fmt.Errorf("attribute %d is empty", typ)
	}
	return v[0], nil
}

// text reads a string, which the kernel ends with a zero byte.
func (a attrs) text(typ uint16) string {
	v := a[typ]
	for i, c := range v {
		if c == 0 {
			return string(v[:i])
		}
	}
	return string(v)
}

// value unpacks NFTA_DATA_VALUE.
func (a attrs) value(typ uint16) ([]byte, error) {
	raw, ok := a[typ]
	if !ok {
		return nil, fmt.Errorf("attribute %d is missing", typ)
	}
	in, err := parseAttrs(raw)
	if err != nil {
		return nil, err
	}
	v, ok := in[unix.NFTA_DATA_VALUE]
	if !ok {
		return nil, fmt.Errorf("attribute %d holds no value", typ)
	}
	return v, nil
}
