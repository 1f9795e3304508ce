package render

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"bulkhead/drivers/nftables/ruleset"
	"bulkhead/pkg/compile"
	"bulkhead/pkg/driver"
)

// The kernel lists a hash map in time that grows with the square of its size: a
// million elements take ten seconds, and nobody can be sure of what a device holds
// without listing it. A map of single addresses that would grow beyond a limit is
// therefore spread over several, its shards, which are looked up one after the
// other. An address is in one of them, and a miss changes nothing, so that their
// order makes no difference.
//
// Which shard an address is in is read back from the device: it stays there, so
// that a change touches what changed. A new one goes to the first shard with room.
// All shards have the same size, and where all are full one more is opened: no set
// outgrows its size, which would take a new table.
//
// Runs of addresses are spread likewise (netshards.go). Pairs are not: a hit leaves a
// ruleset's id where the next shard would look for a word, and the proof of a table of
// pairs asks one set. Ranges of services are not either: their kind of set is listed in
// 1.3 microseconds an element at 65,536, and takes seven times as long to load.
const (
	// shardLimit is how many elements a shard has at most.
	shardLimit = 1 << 17
	// mostElements bounds the hash maps that are not spread: one of this size is listed
	// in about a second, one twice as large in four (BenchmarkReadBackOfKinds).
	mostElements = 1 << 18
)

// shardName names the shards of a map. The first has the map's own name: a site
// that needs no more has never heard of them.
func shardName(base string, shard int) string {
	if shard == 0 {
		return base
	}
	return fmt.Sprintf("%s_%d", base, shard+1)
}

// shardOf takes such a name apart; ok is false for names that are none of base's.
func shardOf(base, name string) (shard int, ok bool) {
	if name == base {
		return 0, true
	}
	digits, ok := strings.CutPrefix(name, base+"_")
	if !ok {
		return 0, false
	}
	n, err := strconv.Atoi(digits)
	return n - 1, err == nil && n >= 2 && n <= maxShards && shardName(base, n-1) == name
}

// maxShards bounds the numbers that are believed on reading.
const maxShards = 1 << 12

// HostSet reports whether a set of this name holds the words of single addresses.
func HostSet(name string) bool {
	_, four := shardOf(setHost4, name)
	_, six := shardOf(setHost6, name)
	return four || six
}

// shardSets lists the sets of a table that hold the shards of a map: by number,
// without those that are not there.
func shardSets(t *ruleset.Table, base string) map[int][]ruleset.Element {
	out := map[int][]ruleset.Element{}
	if t == nil {
		return out
	}
	for i := range t.Sets {
		if n, ok := shardOf(base, t.Sets[i].Name); ok {
			es := t.Sets[i].Elements
			if !sortedElements(es) {
				es = slices.Clone(es)
				sortElements(es)
			}
			out[n] = es
		}
	}
	return out
}

// addShards adds a map whose elements are sorted, spread over as many shards as it
// needs, and gives their names for the rules that look them up.
func (s *matrixSets) addShards(base string, k kind, elements []ruleset.Element) (names []string) {
	shards := s.spread(base, elements)
	for i, es := range shards {
		if i > 0 && len(es) == 0 {
			continue
		}
		set := hashSet(shardName(base, i), k, 0, es)
		if len(shards) > 1 {
			set.Size = hashSize(s.limit)
		}
		s.sets = append(s.sets, set)
		names = append(names, set.Name)
	}
	return names
}

// spread gives the elements of each shard. The elements are sorted, and so is
// what each shard gets.
func (s *matrixSets) spread(base string, elements []ruleset.Element) [][]ruleset.Element {
	have := shardSets(s.ids.table, base)
	if len(elements) <= s.limit && len(have) < 2 {
		return [][]ruleset.Element{elements}
	}
	if len(have) == 0 {
		var out [][]ruleset.Element
		for part := range slices.Chunk(elements, s.limit) {
			out = append(out, part)
		}
		return out
	}
	where, count := keepShards(have, elements, s.limit)
	where, count = closeShards(where, count, len(elements), s.limit)
	at := 0
	for i := range where {
		if where[i] >= 0 {
			continue
		}
		for at < len(count) && count[at] >= s.limit {
			at++
		}
		if at == len(count) {
			count = append(count, 0)
		}
		where[i] = at
		count[at]++
	}
	out := make([][]ruleset.Element, len(count))
	for i := range out {
		out[i] = make([]ruleset.Element, 0, count[i])
	}
	for i := range where {
		out[where[i]] = append(out[where[i]], elements[i])
	}
	return out
}

// keepShards finds the shard that each element is in on the device, -1 where it
// is in none, and how many elements each shard keeps.
func keepShards(have map[int][]ruleset.Element, elements []ruleset.Element, limit int) (where, count []int) {
	shards := 1
	for n := range have {
		shards = max(shards, n+1)
	}
	count = make([]int, shards)
	where = make([]int, len(elements))
	next := make([][]ruleset.Element, shards)
	for n, es := range have {
		next[n] = es
	}
	for i := range elements {
		where[i] = -1
		for n := range next {
			for len(next[n]) > 0 && bytes.Compare(next[n][0].Key, elements[i].Key) < 0 {
				next[n] = next[n][1:]
			}
			if where[i] < 0 && count[n] < limit && len(next[n]) > 0 && bytes.Equal(next[n][0].Key, elements[i].Key) {
				where[i] = n
				count[n]++
			}
		}
	}
	return where, count
}

// closeShards empties the last shard while what is in it fits into the others,
// with a quarter of them to spare: each shard costs every new packet two lookups.
// The spare quarter keeps a site that grows and shrinks a little from opening and
// closing one at every turn.
func closeShards(where, count []int, total, limit int) ([]int, []int) {
	for last := len(count) - 1; last > 0 && (count[last] == 0 || total <= last*limit/4*3); last-- {
		for i := range where {
			if where[i] == last {
				where[i] = -1
			}
		}
		count = count[:last]
	}
	return where, count
}

// tooLarge refuses a hash map that cannot be read back in reasonable time.
func tooLarge(t *ruleset.Table) error {
	for i := range t.Sets {
		s := &t.Sets[i]
		if n := len(s.Elements); n > mostElements && s.Flags&ruleset.SetInterval == 0 {
			return fmt.Errorf("%w: the set %q would hold %d elements, and the kernel takes seconds to list more than %d: let policies name fewer groups or services",
				driver.ErrRefused, s.Name, n, mostElements)
		}
	}
	return nil
}

// shardOfBounds is how many elements a shard may have by the bounds.
func shardOfBounds(b compile.Bounds) int {
	if b.Shard > 0 {
		return b.Shard
	}
	return shardLimit
}
