package classify

import (
	"slices"

	"bulkhead/inventory"
)

// ruleIndex finds the rules that may say something of an asset by what the asset
// carries, without looking at all of them. It is the counterpart of index, which finds
// the assets that a rule may say something of.
type ruleIndex struct {
	always []int32 // rules that no field rules out
	fields map[field]*triggers
	order  []field // of fields, as they came up
}

// triggers are the rules to be looked at by what an asset has in one field. Lists of
// numbers are in order.
type triggers struct {
	byValue map[string][]int32
	have    []int32 // where it has any value
	lack    []int32 // and where it has none
}

func newRuleIndex(rules []named) *ruleIndex {
	x := &ruleIndex{fields: map[field]*triggers{}}
	for k := range rules {
		if rules[k].rule.pred == nil {
			x.always = append(x.always, int32(k))
			continue
		}
		rules[k].rule.pred.trigger(x, int32(k))
	}
	return x
}

func (x *ruleIndex) of(f field) *triggers {
	t := x.fields[f]
	if t == nil {
		t = &triggers{byValue: map[string][]int32{}}
		x.fields[f] = t
		x.order = append(x.order, f)
	}
	return t
}

// concern lists the rules that may be other than no for an asset, in order.
func (x *ruleIndex) concern(a *inventory.Asset) []int32 {
	out := slices.Clone(x.always)
	for _, f := range x.order {
		t := x.fields[f]
		if v, ok := f.of(a); ok {
			out = append(append(out, t.byValue[v]...), t.have...)
		} else {
			out = append(out, t.lack...)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func (p equals) trigger(x *ruleIndex, rule int32) {
	t := x.of(p.field)
	for _, v := range p.values {
		t.byValue[v] = append(t.byValue[v], rule)
	}
	t.lack = append(t.lack, rule)
}

func (p equals) weight(x *ruleIndex) int {
	most := 0
	for _, v := range p.values {
		most = max(most, len(x.of(p.field).byValue[v]))
	}
	return most
}

func (p has) trigger(x *ruleIndex, rule int32) {
	t := x.of(p.field)
	t.have = append(t.have, rule)
}

// An asset that has any value at all runs into it: everything else is better.
func (p has) weight(*ruleIndex) int { return 1 << 30 }

// trigger of a conjunction is that of one term: where it is no, all of it is. The one
// with the fewest rules beside it makes the lists short.
func (ps all) trigger(x *ruleIndex, rule int32) {
	best, least := ps[0], ps[0].weight(x)
	for _, p := range ps[1:] {
		if w := p.weight(x); w < least {
			best, least = p, w
		}
	}
	best.trigger(x, rule)
}

func (ps all) weight(x *ruleIndex) int {
	least := ps[0].weight(x)
	for _, p := range ps[1:] {
		least = min(least, p.weight(x))
	}
	return least
}

func (ps some) trigger(x *ruleIndex, rule int32) {
	for _, p := range ps {
		p.trigger(x, rule)
	}
}

func (ps some) weight(x *ruleIndex) int {
	most := 0
	for _, p := range ps {
		most = max(most, p.weight(x))
	}
	return most
}
