package render

import (
	"fmt"
	"slices"
	"sort"

	"bulkhead/drivers/nftables/ruleset"
	"bulkhead/pkg/compile"
	"bulkhead/pkg/packet"
)

// field is the place of one dimension's value in a class's word.
type field struct{ shift, bits int }

func (f field) mask() uint32 { return (1<<f.bits - 1) << f.shift }

func (f field) value(word uint32) uint32 { return word & f.mask() >> f.shift }

// pairSet names the set of a space's pairs.
func pairSet(space int) string {
	if space == 0 {
		return setPair
	}
	return fmt.Sprintf("%s%d", setPair, space+1)
}

// fieldsOf gives each dimension its place.
func fieldsOf(l *compile.Layout) []field {
	if l.Single {
		return []field{{0, classBits}}
	}
	var out []field
	at := 0
	for i := range l.Dims {
		f := field{at, l.Dims[i].Bits()}
		at += f.bits
		out = append(out, f)
	}
	return out
}

// makeWords gives each class a word. A value takes the number of the value on the
// device that it shares most runs of addresses with, so that few addresses change
// their word; where the device's words are made up otherwise, all are new.
func (s *matrixSets) makeWords() {
	s.fields = fieldsOf(s.layout)
	olds := make([]uint32, 0, len(s.ids.words))
	if slices.Equal(s.fields, s.ids.fields) {
		for w := range s.ids.words {
			olds = append(olds, w)
		}
	}
	slices.Sort(olds)
	oldSets := make([]packet.Addrs, len(olds))
	for i, w := range olds {
		oldSets[i] = s.ids.words[w]
	}
	newSets := make([]packet.Addrs, len(s.layout.Classes))
	for i := range newSets {
		newSets[i] = s.layout.Classes[i].Addrs
	}
	var joints []packet.Joint
	if len(olds) > 0 {
		joints = packet.Join(newSets, oldSets)
	}
	s.words = make([]uint32, len(newSets))
	for d, f := range s.fields {
		numbers := s.nameValues(d, f, olds, joints)
		for c := range s.words {
			s.words[c] |= numbers[s.layout.Classes[c].Values[d]] << f.shift
		}
	}
	for c := range s.words {
		if s.layout.Classes[c].EgressIsolated {
			s.words[c] |= classEgress
		}
		if s.layout.Classes[c].IngressIsolated {
			s.words[c] |= classInto
		}
	}
}

// nameValues numbers the values of one dimension.
func (s *matrixSets) nameValues(d int, f field, olds []uint32, joints []packet.Joint) []uint32 {
	type vote struct {
		value int32
		old   uint32
		runs  int
	}
	at := map[[2]uint32]int{}
	var votes []vote
	used := map[uint32]bool{}
	for _, w := range olds {
		used[f.value(w)] = true
	}
	for _, j := range joints {
		v, old := s.layout.Classes[j.A].Values[d], f.value(olds[j.B])
		key := [2]uint32{uint32(v), old}
		n, ok := at[key]
		if !ok {
			n = len(votes)
			at[key] = n
			votes = append(votes, vote{v, old, 0})
		}
		votes[n].runs += len(j.Addrs.Runs())
	}
	sort.SliceStable(votes, func(i, j int) bool { return votes[i].runs > votes[j].runs })
	count := s.layout.Dims[d].Values
	numbers, named := make([]uint32, count), make([]bool, count)
	taken := map[uint32]bool{}
	if !s.layout.Single {
		// Zero is "none of the dimension's groups", on the device as well.
		named[0], taken[0], used[0] = true, true, true
	}
	for _, v := range votes {
		if !named[v.value] && !taken[v.old] {
			numbers[v.value], named[v.value], taken[v.old] = v.old, true, true
		}
	}
	for v := range numbers {
		if named[v] {
			continue
		}
		if s.layout.Single {
			numbers[v] = s.ids.take(keepClass, f.mask(), func(n uint32) bool { return used[n] })
		} else {
			numbers[v] = lowestFree(f, taken, used)
		}
		used[numbers[v]], taken[numbers[v]] = true, true
	}
	return numbers
}

// lowestFree gives a number that neither the device nor we use, or else one that
// only the device uses for a value that is gone.
func lowestFree(f field, taken, used map[uint32]bool) uint32 {
	limit := uint32(1) << f.bits
	for _, busy := range []map[uint32]bool{used, taken} {
		for n := uint32(1); n < limit; n++ {
			if !busy[n] && !taken[n] {
				return n
			}
		}
	}
	panic("render: a field of a class's word is too narrow for its values") // see fieldsOf
}

// masksOf gives what each space looks up of the words of source and destination.
func (s *matrixSets) masksOf() [][2]uint32 {
	var out [][2]uint32
	for i := range s.layout.Spaces {
		sp := &s.layout.Spaces[i]
		var row, col uint32
		for _, d := range sp.RowDims {
			row |= s.fields[d].mask()
		}
		for _, d := range sp.ColDims {
			col |= s.fields[d].mask()
		}
		if sp.Whole {
			row, col = row|classEgress|classInto, col|classEgress|classInto
		}
		out = append(out, [2]uint32{row, col})
	}
	return out
}

// shape is what the `keep` map remembers: the next number of each id space, how
// words are made up, and the masks of the spaces.
func (s *matrixSets) shape() []ruleset.Element {
	var out []ruleset.Element
	row := func(key, value uint32) { out = append(out, ruleset.Element{Key: native(key), Data: native(value)}) }
	for _, k := range []uint32{keepClass, keepRuleset, keepVerdict} {
		row(k, s.ids.next[k])
	}
	if s.layout.Sided {
		row(keepPartial, s.ids.next[keepPartial])
	}
	for i, f := range s.fields {
		row(keepField+uint32(i), uint32(f.shift|f.bits<<8))
	}
	for i, m := range s.masks {
		row(keepMask+2*uint32(i), m[0])
		row(keepMask+2*uint32(i)+1, m[1])
	}
	return out
}

func (s *matrixSets) writeClasses() {
	classes := make([]packet.Addrs, len(s.layout.Classes))
	for i := range classes {
		classes[i] = s.layout.Classes[i].Addrs
	}
	hosts4, nets4 := classElements(s.words, classes, true)
	hosts6, nets6 := classElements(s.words, classes, false)
	s.hosts4 = s.addShards(setHost4, kindAddr4Word, hosts4)
	s.hosts6 = s.addShards(setHost6, kindAddr6Word, hosts6)
	s.nets4 = s.addNets(setNet4, kindAddr4Word, nets4)
	s.nets6 = s.addNets(setNet6, kindAddr6Word, nets6)
}
