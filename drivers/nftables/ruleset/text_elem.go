package ruleset

import (
	"bytes"
	"fmt"
	"math/bits"
	"slices"
	"strconv"
	"strings"
	"time"
)

// elementTexts writes the elements of a set as nft's grammar has them.
func (s *Set) elementTexts() []string {
	key, data := typeOf(s.TypeText)
	interval := s.Flags&SetInterval != 0
	p := elementPrinter{key: key, data: data, interval: interval}
	var out []string
	if interval && s.Flags&SetConcat == 0 && len(key) == 1 {
		for _, r := range intervals(s.Elements) {
			out = append(out, p.element(r.e, p.span(r.lo, r.hi)))
		}
		return out
	}
	for i := range s.Elements {
		e := &s.Elements[i]
		end := e.KeyEnd
		if end == nil {
			end = e.Key
		}
		out = append(out, p.element(e, p.span(e.Key, end)))
	}
	return out
}

// span is one interval; both ends belong to it. Both are nil for the catch-all.
type span struct {
	lo, hi []byte
	e      *Element
}

// intervals pairs the elements of a set of plain intervals: one begins at an
// element and ends before the next, whether that is flagged as an end or begins
// an interval of its own, or at the last key if there is none.
func intervals(elements []Element) []span {
	sorted := make([]*Element, len(elements))
	for i := range elements {
		sorted[i] = &elements[i]
	}
	slices.SortStableFunc(sorted, func(a, b *Element) int {
		if c := bytes.Compare(a.Key, b.Key); c != 0 {
			return c
		}
		return int(b.Flags&ElemIntervalEnd) - int(a.Flags&ElemIntervalEnd)
	})
	var out []span
	for i, e := range sorted {
		switch {
		case e.Flags&ElemCatchAll != 0:
			out = append(out, span{e: e})
		case e.Flags&ElemIntervalEnd != 0:
		case i+1 < len(sorted):
			out = append(out, span{lo: e.Key, hi: before(sorted[i+1].Key), e: e})
		default:
			out = append(out, span{lo: e.Key, hi: bytes.Repeat([]byte{0xff}, len(e.Key)), e: e})
		}
	}
	return out
}

// before is the key before k.
func before(k []byte) []byte {
	out := bytes.Clone(k)
	for i := len(out) - 1; i >= 0; i-- {
		out[i]--
		if out[i] != 0xff {
			break
		}
	}
	return out
}

// elementPrinter writes the elements of one set.
type elementPrinter struct {
	key, data []part
	interval  bool
}

// span writes a key or a range of keys: each part a value, a prefix or a range.
func (p *elementPrinter) span(lo, hi []byte) string {
	if len(lo) == 0 {
		return "*"
	}
	// The numbers of interval sets are big-endian already.
	los, his := fields(p.key, lo, !p.interval), fields(p.key, hi, !p.interval)
	texts := make([]string, len(p.key))
	for i, part := range p.key {
		texts[i] = part.between(los[i], his[i])
	}
	return strings.Join(texts, " . ")
}

// between writes a range of one part.
func (p part) between(lo, hi []byte) string {
	if bytes.Equal(lo, hi) {
		return p.print(lo)
	}
	if n, ok := prefixLength(lo, hi); ok && n > 0 && (p.size == 4 || p.size == 16) && !p.host {
		return p.print(lo) + "/" + strconv.Itoa(n)
	}
	return p.print(lo) + "-" + p.print(hi)
}

// prefixLength reports whether lo to hi is a prefix, and its length in bits.
func prefixLength(lo, hi []byte) (int, bool) {
	n, host := 0, false
	for i := range lo {
		x := lo[i] ^ hi[i]
		ones := bits.LeadingZeros8(x)
		if host && x != 0xff || x != 0xff>>ones {
			return 0, false
		}
		if lo[i]&x != 0 {
			return 0, false
		}
		if !host {
			n += ones
		}
		host = host || ones < 8
	}
	return n, true
}

// element writes an element behind its key.
func (p *elementPrinter) element(e *Element, key string) string {
	var b strings.Builder
	b.WriteString(key)
	if e.HasCounter && (e.Packets != 0 || e.Bytes != 0) {
		fmt.Fprintf(&b, " counter packets %d bytes %d", e.Packets, e.Bytes)
	}
	if e.Timeout > 0 {
		b.WriteString(" timeout " + duration(e.Timeout))
	}
	if e.Expiration > 0 {
		b.WriteString(" expires " + duration(e.Expiration))
	}
	if c := e.Comment(); c != "" {
		b.WriteString(" comment " + quote(c))
	}
	switch {
	case e.Verdict != nil:
		b.WriteString(" : " + e.Verdict.String())
	case e.Object != "":
		b.WriteString(" : " + quote(e.Object))
	case len(e.Data) > 0:
		texts := make([]string, 0, len(p.data))
		for i, v := range fields(p.data, e.Data, true) {
			texts = append(texts, p.data[i].print(v))
		}
		b.WriteString(" : " + strings.Join(texts, " . "))
	}
	return b.String()
}

// String is the verdict as nft writes it.
func (v *Verdict) String() string {
	switch v.Code {
	case 0:
		return "drop"
	case 1:
		return "accept"
	case -1:
		return "continue"
	case -2:
		return "break"
	case -3:
		return "jump " + v.Chain
	case -4:
		return "goto " + v.Chain
	case -5:
		return "return"
	}
	return fmt.Sprintf("verdict %d", v.Code)
}

// duration writes a span as nft reads it, in units from days to milliseconds.
func duration(d time.Duration) string {
	out := ""
	// nft takes at most eight digits of a unit.
	for _, unit := range []struct {
		size time.Duration
		name string
	}{{24 * time.Hour, "d"}, {time.Hour, "h"}, {time.Minute, "m"}, {time.Second, "s"}, {time.Millisecond, "ms"}} {
		if n := d / unit.size; n > 0 {
			out += fmt.Sprintf("%d%s", n, unit.name)
			d -= n * unit.size
		}
	}
	if out == "" {
		return "0s"
	}
	return out
}

// Comment is the comment that nft shows with the element
// (NFTNL_UDATA_SET_ELEM_COMMENT), or "".
func (e *Element) Comment() string {
	for ud := e.UserData; len(ud) >= 2 && len(ud) >= 2+int(ud[1]); ud = ud[2+int(ud[1]):] {
		if ud[0] == 0 && ud[1] > 0 {
			return strings.TrimRight(string(ud[2:2+int(ud[1])]), "\x00")
		}
	}
	return ""
}

// ElementText is one element as a plan shows it. An end of an interval has no
// text of its own in nft's grammar; it is shown as what it is.
func (s *Set) ElementText(e *Element) string {
	key, data := typeOf(s.TypeText)
	p := elementPrinter{key: key, data: data, interval: s.Flags&SetInterval != 0}
	if e.Flags&ElemIntervalEnd != 0 {
		return "up to before " + p.span(e.Key, e.Key)
	}
	end := e.KeyEnd
	if end == nil {
		end = e.Key
	}
	text := p.element(&Element{Key: e.Key, KeyEnd: e.KeyEnd, Data: e.Data, Verdict: e.Verdict, Object: e.Object, UserData: e.UserData}, p.span(e.Key, end))
	if p.interval && s.Flags&SetConcat == 0 {
		return "from " + text
	}
	return text
}
