package decode

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"bulkhead/drivers/nftables/ruleset"
)

// datum is what an element gives on a match.
type datum struct {
	data    []byte
	verdict *ruleset.Verdict
}

// element is one range of keys, both ends included, byte by byte (exact sets) or
// field by field.
type element struct {
	lo, hi []byte
	datum  int32
	opaque bool // a stateful expression may stop the rule on a match
}

// fieldSpan is one part of a concatenation.
type fieldSpan struct{ off, n int }

// set is a set or a map prepared for lookups. Elements of a plain interval set
// are ranges here; a set that only has single keys is exact.
type set struct {
	rs       *ruleset.Set
	elems    []element
	catchall *element
	fields   []fieldSpan // how ranges compare; nil for exact sets
	data     []datum
	bad      string            // why the contents are not known; "" if they are
	guarded  bool              // a match may stop the rule, whatever the element
	exact    bool              // single keys, found with holds
	words    map[uint32]int32  // of keys of four bytes; made when asked for
	others   map[string]int32  // of other keys; likewise
	indexes  map[string]*index // by family and shape
	origins  map[string]*index // by family and where the bytes of a key come from
	dataIdx  map[string]int32
	verdicts map[ruleset.Verdict]int32
	runs     []wordRun // of a map from addresses to words, once asked for
	unrun    bool      // there are none
	total    bool      // they cover every address
}

// learning reports whether timed elements of the set are a learning window,
// which ends by itself and is evaluated as if it had ended.
func learning(s *ruleset.Set) bool {
	for _, name := range []string{"learning", "pickup"} {
		if s.Name == name || strings.HasPrefix(s.Name, name+".") {
			return true
		}
	}
	return false
}

// timed reports whether an element leaves by itself.
func timed(s *ruleset.Set, e *ruleset.Element) bool { return e.Timeout > 0 || s.Timeout > 0 }

// compileSet prepares a set. With expired, timed elements are gone.
func compileSet(rs *ruleset.Set, expired bool) *set {
	s := &set{rs: rs, indexes: map[string]*index{}, origins: map[string]*index{}, dataIdx: map[string]int32{}, verdicts: map[ruleset.Verdict]int32{}}
	switch {
	case rs.Dynamic():
		s.bad = "rules write its elements"
	case rs.NotRead:
		s.bad = "its elements were not read"
	case rs.KeyLen == 0 || rs.KeyLen > regBytes:
		s.bad = fmt.Sprintf("its keys have %d bytes", rs.KeyLen)
	}
	if s.bad != "" {
		return s
	}
	drop := expired || learning(rs)
	// A limit or the like that every element carries may stop the rule.
	s.guarded = slices.ContainsFunc(rs.Exprs, func(e ruleset.Expr) bool { return e.Name != "counter" && e.Name != "last" })
	if rs.Flags&ruleset.SetInterval != 0 {
		off := 0
		for _, n := range rs.Fields {
			s.fields = append(s.fields, fieldSpan{off, int(n)})
			off += (int(n) + 3) &^ 3
		}
		if len(s.fields) <= 1 {
			s.fields = []fieldSpan{{0, int(rs.KeyLen)}}
			s.compileIntervals(drop)
			return s
		}
		if off != int(rs.KeyLen) {
			s.bad = "its fields do not make up its key"
			return s
		}
	}
	s.compileElements(drop)
	return s
}

// compileElements takes single keys and ranges of concatenations.
func (s *set) compileElements(drop bool) {
	s.exact = s.fields == nil
	s.elems = make([]element, 0, len(s.rs.Elements))
	for i := range s.rs.Elements {
		e := &s.rs.Elements[i]
		if drop && timed(s.rs, e) {
			continue
		}
		if e.Flags&ruleset.ElemCatchAll != 0 {
			s.addCatchall(e)
			continue
		}
		hi := e.KeyEnd
		if hi == nil {
			hi = e.Key
		}
		switch {
		case len(e.Key) != int(s.rs.KeyLen) || len(hi) != len(e.Key):
			s.bad = "an element has a key of a wrong length"
		case e.Flags&ruleset.ElemIntervalEnd != 0:
			s.bad = "an element ends an interval where there are none"
		case s.fields == nil && !bytes.Equal(hi, e.Key):
			s.bad = "an element is a range in a set of single keys"
		}
		if s.bad != "" {
			return
		}
		s.elems = append(s.elems, element{e.Key, hi, s.datumOf(e), e.Opaque || s.guarded})
	}
}

// compileIntervals turns the marks of a plain interval set into ranges. The
// kernel finds the last mark that is not above the key: a start matches, an end
// does not (nft_set_rbtree.c). Of a start and an end with one key the start
// counts.
func (s *set) compileIntervals(drop bool) {
	type mark struct {
		key  []byte
		e    *ruleset.Element
		ends bool
	}
	var marks []mark
	for i := range s.rs.Elements {
		e := &s.rs.Elements[i]
		gone := drop && timed(s.rs, e)
		if e.Flags&ruleset.ElemCatchAll != 0 {
			if !gone {
				s.addCatchall(e)
			}
			continue
		}
		if len(e.Key) != int(s.rs.KeyLen) || e.KeyEnd != nil {
			s.bad = "an element has a key that is no end of an interval"
			return
		}
		// An expired start still hides what lies before it, and matches nothing.
		marks = append(marks, mark{e.Key, e, gone || e.Flags&ruleset.ElemIntervalEnd != 0})
	}
	slices.SortStableFunc(marks, func(a, b mark) int {
		if c := bytes.Compare(a.key, b.key); c != 0 || a.ends == b.ends {
			return c
		}
		if a.ends {
			return -1
		}
		return 1
	})
	for i, m := range marks {
		if i+1 < len(marks) && bytes.Equal(marks[i+1].key, m.key) || m.ends {
			continue
		}
		hi := bytes.Repeat([]byte{0xff}, len(m.key))
		if i+1 < len(marks) {
			hi = before(marks[i+1].key)
		}
		s.elems = append(s.elems, element{m.key, hi, s.datumOf(m.e), m.e.Opaque || s.guarded})
	}
}

// before is the key just below one that is not zero.
func before(key []byte) []byte {
	out := slices.Clone(key)
	for i := len(out) - 1; i >= 0; i-- {
		out[i]--
		if out[i] != 0xff {
			break
		}
	}
	return out
}

func (s *set) addCatchall(e *ruleset.Element) {
	s.catchall = &element{datum: s.datumOf(e), opaque: e.Opaque || s.guarded}
}

// datumOf numbers what elements give, so that equal data is one value.
func (s *set) datumOf(e *ruleset.Element) int32 {
	id, ok := int32(0), false
	if e.Verdict != nil {
		id, ok = s.verdicts[*e.Verdict]
	} else {
		id, ok = s.dataIdx[string(e.Data)]
	}
	if ok {
		return id
	}
	id = int32(len(s.data))
	if e.Verdict != nil {
		s.verdicts[*e.Verdict] = id
	} else {
		s.dataIdx[string(e.Data)] = id
	}
	s.data = append(s.data, datum{e.Data, e.Verdict})
	return id
}

// holds finds the element of a single key.
func (s *set) holds(key []byte) (int32, bool) {
	if len(key) == 4 {
		if s.words == nil {
			s.words = make(map[uint32]int32, len(s.elems))
			for i := range s.elems {
				s.words[binary.NativeEndian.Uint32(s.elems[i].lo)] = int32(i)
			}
		}
		i, ok := s.words[binary.NativeEndian.Uint32(key)]
		return i, ok
	}
	if s.others == nil {
		s.others = make(map[string]int32, len(s.elems))
		for i := range s.elems {
			s.others[string(s.elems[i].lo)] = int32(i)
		}
	}
	i, ok := s.others[string(key)]
	return i, ok
}
