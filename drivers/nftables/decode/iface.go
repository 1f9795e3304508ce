package decode

import (
	"bytes"
	"strings"
)

// nameLen is IFNAMSIZ.
const nameLen = 16

// iface is a class of incoming interfaces: one name, or all names that begin
// with a prefix and belong to no other class. The empty prefix is every
// interface that nothing tells apart.
type iface struct {
	name   string
	prefix bool
}

func (f iface) String() string {
	if f.prefix && f.name != "" {
		return f.name + "*"
	}
	return f.name
}

// ifaceID numbers a class.
func (m *machine) ifaceID(f iface) int32 {
	if id, ok := m.ifaceKey[f]; ok {
		return id
	}
	id := int32(len(m.ifaces))
	m.ifaces = append(m.ifaces, f)
	m.ifaceKey[f] = id
	return id
}

// mention makes a class of its own for what a rule or an element names. Loopback
// is part of no relation.
func (m *machine) mention(f iface) {
	if f.name != "lo" || f.prefix {
		m.ifaceID(f)
	}
}

// bytesOf is the content of the register that holds an interface's name.
func (f iface) bytesOf() [nameLen]byte {
	var b [nameLen]byte
	copy(b[:nameLen-1], f.name)
	return b
}

// patternOf reads the first bytes of a name: with a zero byte it is a whole
// name, without one a prefix.
func patternOf(b []byte) iface {
	if i := bytes.IndexByte(b, 0); i >= 0 {
		return iface{name: string(b[:i])}
	}
	return iface{name: string(b), prefix: true}
}

// begins reports whether the names of a class begin with bytes (which hold a
// zero byte if they are a whole name). What tells a class apart further becomes
// a class of its own.
func (m *machine) begins(f iface, want []byte) bool {
	if !f.prefix {
		b := f.bytesOf()
		return bytes.HasPrefix(b[:], want)
	}
	w := patternOf(want)
	if w.prefix && strings.HasPrefix(f.name, w.name) {
		return true
	}
	if strings.HasPrefix(w.name, f.name) {
		m.mention(w)
	}
	return false
}

// between reports whether the names of a class lie in an element's range.
func (m *machine) between(f iface, lo, hi []byte) bool {
	if bytes.Equal(lo, hi) {
		return m.begins(f, lo)
	}
	n := 0
	for n < len(lo) && lo[n] == hi[n] {
		n++
	}
	low := f.bytesOf()
	high := low
	if f.prefix {
		for i := len(f.name); i < nameLen; i++ {
			high[i] = 0xff
		}
	}
	if bytes.Compare(low[:], lo) >= 0 && bytes.Compare(high[:], hi) <= 0 {
		return true
	}
	if f.prefix && bytes.Compare(high[:], lo) >= 0 && bytes.Compare(low[:], hi) <= 0 {
		m.mention(iface{name: string(lo[:n]), prefix: true})
	}
	return false
}
