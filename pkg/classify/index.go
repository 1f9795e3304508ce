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
	p := &postings{byValue: map[string][]int32{}}
	for i := range x.assets {
		n := int32(i)
		if v, ok := f.of(&x.assets[i]); ok {
			p.byValue[v] = append(p.byValue[v], n)
			p.have = append(p.have, n)
		} else {
			p.lack = append(p.lack, n)
		}
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

func (p equals) settled(x *index) ([]int32, bool) {
	if len(x.of(p.field).lack) > 0 {
		return nil, false
	}
	return p.candidates(x), true
}

func (p has) settled(x *index) ([]int32, bool) { return p.candidates(x), true }

func (ps all) settled(x *index) ([]int32, bool) {
	lists, ok := settledTerms(ps, x)
	if !ok {
		return nil, false
	}
	slices.SortStableFunc(lists, func(a, b []int32) int { return len(a) - len(b) })
	out := lists[0]
	for _, l := range lists[1:] {
		out = common(out, l)
	}
	return out, true
}

func (ps some) settled(x *index) ([]int32, bool) {
	lists, ok := settledTerms(ps, x)
	return union(lists), ok
}

func settledTerms(ps []pred, x *index) (lists [][]int32, ok bool) {
	for _, p := range ps {
		l, ok := p.settled(x)
		if !ok {
			return nil, false
		}
		lists = append(lists, l)
	}
	return lists, true
}

// common lists what is in both sorted lists. The first is the shorter one: each of
// its numbers is sought in the other from where the last one was.
func common(few, many []int32) []int32 {
	var out []int32
	for _, n := range few {
		step := 1
		for step < len(many) && many[step] < n {
			step *= 2
		}
		at, found := slices.BinarySearch(many[:min(step+1, len(many))], n)
		if found {
			out = append(out, n)
		}
		many = many[at:]
	}
	return out
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
