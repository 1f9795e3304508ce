package classify

import (
	"slices"

	"bulkhead/inventory"
)

// index finds assets by the text of a field, without looking at all of them.
// Assets are numbered; lists of numbers are sorted.
type index struct {
	assets []inventory.Asset
	fields map[field]*postings
}

// postings is one field's part of the index.
type postings struct {
	byValue map[string][]int32
	have    []int32 // assets that have the field
	lack    []int32 // and those that do not
}

func newIndex(assets []inventory.Asset) *index {
	return &index{assets: assets, fields: map[field]*postings{}}
}

// of returns a field's postings, made when first asked for.
func (x *index) of(f field) *postings {
	if p, ok := x.fields[f]; ok {
		return p
	}
	p := &postings{byValue: map[string][]int32{}, have: make([]int32, 0, len(x.assets))}
	number := map[string]int32{} // values, in the order in which they come
	var values []string
	var count []int
	of := make([]int32, 0, len(x.assets)) // of those that have the field
	for i := range x.assets {
		v, ok := f.of(&x.assets[i])
		if !ok {
			p.lack = append(p.lack, int32(i))
			continue
		}
		n, known := number[v]
		if !known {
			n = int32(len(values))
			number[v] = n
			values, count = append(values, v), append(count, 0)
		}
		count[n]++
		of, p.have = append(of, n), append(p.have, int32(i))
	}
	// All lists lie in one block, each as long as it will be.
	block := make([]int32, len(of))
	lists := make([][]int32, len(values))
	for n, c := range count {
		lists[n], block = block[:0:c], block[c:]
	}
	for k, n := range of {
		lists[n] = append(lists[n], p.have[k])
	}
	for n, v := range values {
		p.byValue[v] = lists[n]
	}
	x.fields[f] = p
	return p
}

// candidates of an equality are those that have one of the values, and those
// that lack the field, for whom it is not decided.
func (p equals) candidates(x *index) []int32 {
	po := x.of(p.field)
	lists := [][]int32{po.lack}
	for _, v := range p.values {
		lists = append(lists, po.byValue[v])
	}
	return union(lists)
}

func (p has) candidates(x *index) []int32 { return x.of(p.field).have }

// candidates of a conjunction are those of its rarest term: the others are
// judged one by one.
func (ps all) candidates(x *index) []int32 {
	best := ps[0].candidates(x)
	for _, p := range ps[1:] {
		if c := p.candidates(x); len(c) < len(best) {
			best = c
		}
	}
	return best
}

func (ps some) candidates(x *index) []int32 {
	lists := make([][]int32, len(ps))
	for i, p := range ps {
		lists[i] = p.candidates(x)
	}
	return union(lists)
}

// union merges sorted lists.
func union(lists [][]int32) []int32 {
	lists = slices.DeleteFunc(lists, func(l []int32) bool { return len(l) == 0 })
	switch len(lists) {
	case 0:
		return nil
	case 1:
		return lists[0]
	}
	out := slices.Concat(lists...)
	slices.Sort(out)
	return slices.Compact(out)
}
