package classify

import "slices"

// answer is what an index says of a predicate: the assets for which it holds, and
// those that lack what decides. Both lists are sorted, and no asset is in both.
// Lists may be an index's own, and are not to be written to.
type answer struct{ yes, unsure []int32 }

func (p equals) answer(x *index) answer {
	po := x.of(p.field)
	lists := make([][]int32, len(p.values))
	for i, v := range p.values {
		lists[i] = po.byValue[v]
	}
	return answer{union(lists), po.lack}
}

func (p has) answer(x *index) answer { return answer{yes: x.of(p.field).have} }

// answer of a conjunction: it holds where all terms hold, and is not decided where
// none is false and some lack something.
func (ps all) answer(x *index) answer {
	terms := make([]answer, len(ps))
	for i, p := range ps {
		terms[i] = p.answer(x)
	}
	// From the rarest on: what is looked through gets shorter.
	slices.SortStableFunc(terms, func(a, b answer) int { return len(a.yes) - len(b.yes) })
	out := terms[0]
	for _, t := range terms[1:] {
		both := intersect(out.yes, t.yes)
		var open []int32
		if len(out.unsure) > 0 || len(t.unsure) > 0 {
			open = union([][]int32{intersect(out.unsure, t.unsure), intersect(out.unsure, t.yes), intersect(out.yes, t.unsure)})
		}
		out = answer{both, open}
	}
	return out
}

// answer of a disjunction: it holds where any term does, and is not decided where
// none does and some lack something.
func (ps some) answer(x *index) answer {
	yes, unsure := make([][]int32, len(ps)), make([][]int32, len(ps))
	for i, p := range ps {
		a := p.answer(x)
		yes[i], unsure[i] = a.yes, a.unsure
	}
	out := answer{yes: union(yes)}
	out.unsure = subtract(union(unsure), out.yes)
	return out
}

// intersect gives what two sorted lists share. The shorter one is looked up in the
// longer one, in steps that double: a rare label costs little beside a common one.
func intersect(a, b []int32) []int32 {
	if len(a) > len(b) {
		a, b = b, a
	}
	if len(a) == 0 {
		return nil
	}
	out := make([]int32, 0, len(a))
	for _, v := range a {
		b = b[ahead(b, v):]
		if len(b) == 0 {
			break
		}
		if b[0] == v {
			out = append(out, v)
		}
	}
	return out
}

// subtract gives what is in a sorted list and not in another one.
func subtract(a, b []int32) []int32 {
	if len(a) == 0 || len(b) == 0 {
		return a
	}
	out := make([]int32, 0, len(a))
	for _, v := range a {
		b = b[ahead(b, v):]
		if len(b) == 0 || b[0] != v {
			out = append(out, v)
		}
	}
	return out
}

// ahead is the place of the first number in a sorted list that is not below v.
func ahead(list []int32, v int32) int {
	step := 1
	for step < len(list) && list[step-1] < v {
		step *= 2
	}
	from := step / 2
	i, _ := slices.BinarySearch(list[from:min(step, len(list))], v)
	return from + i
}
