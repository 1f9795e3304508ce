package render

import (
	"slices"

	"bulkhead/drivers/nftables/ruleset"
	"bulkhead/pkg/compile"
)

// Words tells how a table writes what it knows of an address: the class's value in
// every dimension side by side, and the isolation of either side. It belongs to one
// rendered table and the layout that this was rendered from.
type Words struct {
	values []map[int32]uint32 // dimension -> value -> its bits of a word
}

// Word gives the word of an address that is placed so; ok is not set for a value
// that no class of the table has.
func (w *Words) Word(p compile.Placement) (word uint32, ok bool) {
	if len(p.Values) != len(w.values) {
		return 0, false
	}
	for d, v := range p.Values {
		bits, known := w.values[d][v]
		if !known {
			return 0, false
		}
		word |= bits
	}
	if p.EgressIsolated {
		word |= classEgress
	}
	if p.IngressIsolated {
		word |= classInto
	}
	return word, true
}

// newWords takes the words of a layout's classes apart.
func (s *matrixSets) newWords() *Words {
	w := &Words{}
	for d, f := range s.fields {
		bits := map[int32]uint32{}
		for c := range s.layout.Classes {
			bits[s.layout.Classes[c].Values[d]] = s.words[c] & f.mask()
		}
		w.values = append(w.values, bits)
	}
	return w
}

// HostSets names a table's maps from single addresses to words, of a family, in the
// order in which they are looked up.
func HostSets(t *ruleset.Table, four bool) []string {
	if four {
		return shardNames(t, setHost4)
	}
	return shardNames(t, setHost6)
}

// shardNames names the shards of a map that a table has, in order.
func shardNames(t *ruleset.Table, base string) []string {
	var shards []int
	for i := range t.Sets {
		if n, ok := shardOf(base, t.Sets[i].Name); ok {
			shards = append(shards, n)
		}
	}
	slices.Sort(shards)
	out := make([]string, 0, len(shards))
	for _, n := range shards {
		out = append(out, shardName(base, n))
	}
	return out
}

// Lookups is how many lookups in maps the judgement of a new packet costs at most:
// both ends in the maps of addresses of one family, then in each space the pair and
// up to four for the service, and the source again where the space decides nothing.
func Lookups(t *ruleset.Table, spaces int) int {
	one := 0 // for the word of one address
	for _, four := range []bool{true, false} {
		one = max(one, len(HostSets(t, four))+len(NetSets(t, four)))
	}
	return 2*one + spaces*(1+4) + (spaces-1)*one
}
