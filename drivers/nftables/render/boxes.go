package render

import (
	"bytes"
	"slices"

	"bulkhead/drivers/nftables/ruleset"
)

// A box is an element of a concatenation with ranges: one run in each field.
type box []boxField

type boxField struct{ lo, hi []byte }

// disjoint cuts elements with ranges so that no two share a key and the same keys
// are covered. The fields are those of the sets in this file's package: two
// addresses, a protocol, and perhaps a number.
func disjoint(es []ruleset.Element) []ruleset.Element {
	var done []box
	for _, e := range es {
		rest := []box{boxOf(e)}
		for _, d := range done {
			var next []box
			for _, r := range rest {
				next = append(next, r.less(d)...)
			}
			rest = next
		}
		done = append(done, rest...)
	}
	var out []ruleset.Element
	for _, b := range done {
		var e ruleset.Element
		for _, f := range b {
			e.Key, e.KeyEnd = append(e.Key, f.lo...), append(e.KeyEnd, f.hi...)
		}
		out = append(out, e)
	}
	slices.SortFunc(out, func(a, b ruleset.Element) int { return bytes.Compare(a.Key, b.Key) })
	return out
}

func boxOf(e ruleset.Element) box {
	addr := 4
	if len(e.Key) >= 32 {
		addr = 16
	}
	var b box
	for at, n := 0, addr; at < len(e.Key); at += n {
		if at == 2*addr {
			n = 4
		}
		b = append(b, boxField{e.Key[at : at+n], e.KeyEnd[at : at+n]})
	}
	return b
}

// less returns what b covers and d does not.
func (b box) less(d box) []box {
	for i := range b {
		if bytes.Compare(b[i].hi, d[i].lo) < 0 || bytes.Compare(d[i].hi, b[i].lo) < 0 {
			return []box{b}
		}
	}
	var out []box
	b = slices.Clone(b)
	for i := range b {
		if bytes.Compare(b[i].lo, d[i].lo) < 0 {
			below := slices.Clone(b)
			below[i].hi = step(d[i].lo, -1, i)
			out = append(out, below)
			b[i].lo = d[i].lo
		}
		if bytes.Compare(d[i].hi, b[i].hi) < 0 {
			above := slices.Clone(b)
			above[i].lo = step(d[i].hi, 1, i)
			out = append(out, above)
			b[i].hi = d[i].hi
		}
	}
	return out
}

// step gives the next or the previous value of a field. A protocol (field 2) is
// one byte and a number (field 3) two, both padded to four.
func step(v []byte, by int, field int) []byte {
	out := slices.Clone(v)
	n := len(out)
	switch field {
	case 2:
		n = 1
	case 3:
		n = 2
	}
	for i := n - 1; i >= 0; i-- {
		was := out[i]
		out[i] = byte(int(was) + by)
		if by > 0 && was != 255 || by < 0 && was != 0 {
			break
		}
	}
	return out
}
