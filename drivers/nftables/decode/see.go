package decode

import "slices"

// look says how a construct goes by the word that another one gives: the word under
// and, then exclusive or; or, as a test, whether the word under and is a value.
type look struct {
	con          int32
	and, xor, is uint32
	test         bool
}

// see tells what a construct makes of an address by its word alone, and names the
// maps that the word comes from; nil where it does not go by one.
func (m *machine) see(con int32) (f func(word uint32) (int32, bool), maps []string) {
	s, ok := m.seen[con]
	if !ok {
		s.f, s.maps = m.newSee(con)
		m.seen[con] = s
	}
	return s.f, s.maps
}

// sight is what see finds out.
type sight struct {
	f    func(word uint32) (int32, bool)
	maps []string
}

func (m *machine) newSee(con int32) (f func(word uint32) (int32, bool), maps []string) {
	var chain []look // from con down to the word
	base := con
	for {
		l, ok := m.looks[base]
		if !ok {
			break
		}
		chain = append(chain, l)
		base = l.con
	}
	maps = m.over[base]
	if maps == nil {
		return nil, nil
	}
	index := map[uint32]int32{}
	for v, w := range m.conWords[con] {
		index[w] = int32(v)
	}
	return func(word uint32) (int32, bool) {
		for _, l := range slices.Backward(chain) {
			if l.test { // a test is of words, and no word itself: it is the last
				if word&l.and == l.is {
					return 1, true
				}
				return 0, true
			}
			word = word&l.and ^ l.xor
		}
		v, ok := index[word]
		return v, ok
	}, maps
}

// sees fills in what a table's lookup makes of a word; src and dst are constructs,
// negative for an end that is not looked at.
func (x *exporter) sees(src, dst int32) (seeSrc, seeDst func(uint32) (int32, bool), words []string) {
	alike := func(uint32) (int32, bool) { return 0, true }
	seeSrc, seeDst = alike, alike
	var a, b []string
	if src >= 0 {
		seeSrc, a = x.v.m.see(src)
	}
	if dst >= 0 {
		seeDst, b = x.v.m.see(dst)
	}
	switch {
	case src < 0:
		return seeSrc, seeDst, b
	case dst < 0 || slices.Equal(a, b):
		return seeSrc, seeDst, a
	}
	return nil, nil, nil // words of two sorts
}

// byWord reports whether a view's classes go by the words of addresses.
func (v *view) byWord() bool {
	for fam := range v.cons {
		for _, cons := range v.cons[fam] {
			for _, c := range cons {
				if _, ok := v.m.looks[c]; ok || v.m.over[c] != nil {
					return true
				}
			}
		}
	}
	return false
}
