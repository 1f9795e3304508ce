package render

import (
	"bytes"
	"slices"

	"bulkhead/drivers/nftables/ruleset"
)

// The maps of runs of addresses are trees, and the kernel lists those in time that
// grows with the square of their size like the others: 131,072 elements take it half a
// second, 524,288 eight (BenchmarkReadBackOfKinds). One that would grow beyond a limit is spread over several by
// ranges of addresses: each covers a range and all of them everything, so that an
// address is in one of them and a miss changes nothing.
//
// Where the ranges begin is read back from the device, and stays: a change touches the
// shard that it is in. A shard that grows beyond the limit is cut in two, and where
// they are a quarter full they are cut anew.

// netShard is what a shard of runs holds: the runs from a key on.
type netShard struct {
	number   int
	from     []byte
	elements []ruleset.Element
}

// addNets adds a map of runs, spread over as many shards as it needs, and gives their
// names for the rules that look them up.
func (s *matrixSets) addNets(base string, k kind, elements []ruleset.Element) (names []string) {
	shards := s.spreadNets(base, elements)
	slices.SortFunc(shards, func(a, b netShard) int { return a.number - b.number })
	for _, x := range shards {
		set := intervalSet(shardName(base, x.number), k, x.elements)
		s.sets = append(s.sets, set)
		names = append(names, set.Name)
	}
	return names
}

// spreadNets gives what each shard holds. The elements are sorted, and their runs cover
// everything.
func (s *matrixSets) spreadNets(base string, elements []ruleset.Element) []netShard {
	have := netBounds(s.ids.table, base)
	limit := max(s.limit, 2) // a run is two
	switch {
	case len(elements) == 0:
		return []netShard{{}} // the rules name a set
	case len(have) < 2:
		return cutShards(elements, []netShard{{}}, limit)
	}
	out := cutShards(elements, have, limit)
	if len(elements) <= len(out)*limit/4 {
		// It is what this change makes of them that is judged, not what there was: a
		// shard cut in two could have been one too many, and the same table rendered
		// again have been another one.
		out = cutShards(elements, []netShard{{}}, limit)
	}
	return out
}

// cutShards cuts runs where the shards that there are begin, and those that hold more
// than the limit in two.
func cutShards(elements []ruleset.Element, have []netShard, limit int) []netShard {
	var out []netShard
	next := 0
	for i := range have {
		next = max(next, have[i].number+1)
	}
	for i := range have {
		x := netShard{number: have[i].number, from: have[i].from}
		var until []byte
		if i+1 < len(have) {
			until = have[i+1].from
		}
		rest := cutRuns(elements, x.from, until)
		for len(rest) > limit {
			// What is cut off holds half of the limit, so that it can grow. It ends where
			// another run begins.
			at := (limit/2 + 1) &^ 1
			x.elements, x.from = rest[:at:at], rest[0].Key
			out = append(out, x)
			rest = rest[at:]
			x = netShard{number: next, from: rest[0].Key}
			next++
		}
		x.elements = rest
		if len(rest) > 0 {
			out = append(out, x)
		}
	}
	return out
}

// netBounds lists the shards of a table in order of the address that they begin with.
func netBounds(t *ruleset.Table, base string) []netShard {
	var out []netShard
	for n, es := range shardSets(t, base) {
		for i := range es {
			if es[i].Flags&ruleset.ElemIntervalEnd == 0 {
				out = append(out, netShard{number: n, from: es[i].Key})
				break
			}
		}
	}
	slices.SortFunc(out, func(a, b netShard) int { return bytes.Compare(a.from, b.from) })
	if len(out) > 0 {
		out[0].from = nil // from the first address on, whatever it held
	}
	return out
}

// cutRuns gives the runs between two keys: of those that go beyond one, the part that
// does not. Each run is a start and the end after it, but for the one that reaches the
// last key.
func cutRuns(elements []ruleset.Element, from, until []byte) []ruleset.Element {
	var out []ruleset.Element
	for i := 0; i < len(elements); {
		start := elements[i]
		i++
		var end *ruleset.Element
		if i < len(elements) && elements[i].Flags&ruleset.ElemIntervalEnd != 0 {
			end = &elements[i]
			i++
		}
		if from != nil && end != nil && bytes.Compare(end.Key, from) <= 0 || until != nil && bytes.Compare(start.Key, until) >= 0 {
			continue
		}
		if from != nil && bytes.Compare(start.Key, from) < 0 {
			start.Key = from
		}
		if until != nil && (end == nil || bytes.Compare(end.Key, until) > 0) {
			end = &ruleset.Element{Key: until, Flags: ruleset.ElemIntervalEnd}
		}
		out = append(out, start)
		if end != nil {
			out = append(out, *end)
		}
	}
	return out
}

// NetSets names the shards of the map from runs of addresses to words, of a family.
func NetSets(t *ruleset.Table, four bool) []string {
	if four {
		return shardNames(t, setNet4)
	}
	return shardNames(t, setNet6)
}

// IsNetSet reports whether a set of this name holds the words of runs of addresses.
func IsNetSet(name string) bool {
	_, four := shardOf(setNet4, name)
	_, six := shardOf(setNet6, name)
	return four || six
}
