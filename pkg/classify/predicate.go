package classify

import (
	"slices"

	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"

	"bulkhead/inventory"
)

// field is something about an asset that has one text: its ID or kind, or a
// label or an attribute by name.
type field struct {
	variable string
	name     string // of the label or attribute
}

func (f field) isMap() bool { return f.variable == varLabels || f.variable == varAttributes }

func (f field) String() string { return f.variable + "." + f.name }

// of returns the field's text, and whether the asset has one.
func (f field) of(a *inventory.Asset) (string, bool) {
	switch f.variable {
	case varID:
		return a.ID, true
	case varKind:
		return string(a.Kind), true
	case varLabels:
		v, ok := a.Labels[f.name]
		return v, ok
	}
	v, ok := a.Attributes[f.name]
	return v, ok
}

// fieldOf recognises id, kind, labels.x, labels["x"] and has(labels.x). The zero
// field is none.
func fieldOf(e ast.Expr) field {
	switch e.Kind() {
	case ast.IdentKind:
		if n := e.AsIdent(); n == varID || n == varKind {
			return field{variable: n}
		}
	case ast.SelectKind:
		s := e.AsSelect()
		if s.Operand().Kind() == ast.IdentKind {
			if f := (field{s.Operand().AsIdent(), s.FieldName()}); f.isMap() {
				return f
			}
		}
	case ast.CallKind:
		c := e.AsCall()
		if c.FunctionName() != operators.Index || len(c.Args()) != 2 || c.Args()[0].Kind() != ast.IdentKind {
			break
		}
		if name, ok := text(c.Args()[1]); ok {
			if f := (field{c.Args()[0].AsIdent(), name}); f.isMap() {
				return f
			}
		}
	}
	return field{}
}

// text returns the value of a text literal.
func text(e ast.Expr) (string, bool) {
	if e.Kind() != ast.LiteralKind {
		return "", false
	}
	s, ok := e.AsLiteral().(types.String)
	return string(s), ok
}

// pred is the part of an expression that an index can answer.
type pred interface {
	// judge says what the predicate is for one asset. With unsure, missing holds
	// what the asset lacks, unless it is nil.
	judge(a *inventory.Asset, missing map[string]bool) truth
	// candidates lists, sorted and without repeats, every asset for which the
	// predicate may be other than no.
	candidates(x *index) []int32
	// settled lists, sorted and without repeats, the assets for which the predicate is
	// yes. It is not ok where the predicate is unsure for any asset.
	settled(x *index) (members []int32, ok bool)
	// trigger notes in x what an asset must carry, or lack, for the predicate to be
	// other than no; weight counts the rules that are noted there already.
	trigger(x *ruleIndex, rule int32)
	weight(x *ruleIndex) int
}

// truth is one of CEL's three outcomes.
type truth int

const (
	no truth = iota
	unsure
	yes
)

// predicate extracts what an index can answer. Exact means that the predicate
// is the whole expression; otherwise the expression is false wherever it is.
func predicate(e ast.Expr) (p pred, exact bool) {
	switch e.Kind() {
	case ast.SelectKind:
		if f := fieldOf(e); f.isMap() && e.AsSelect().IsTestOnly() {
			return has{f}, true
		}
	case ast.CallKind:
		c := e.AsCall()
		switch c.FunctionName() {
		case operators.LogicalAnd:
			return conjunction(c.Args())
		case operators.LogicalOr:
			return disjunction(c.Args())
		case operators.Equals:
			return equality(c.Args()[0], c.Args()[1])
		case operators.In:
			return oneOf(c.Args()[0], c.Args()[1])
		}
	}
	return nil, false
}

// conjunction keeps the terms that an index can answer: without the others it
// is true more often, never less.
func conjunction(terms []ast.Expr) (pred, bool) {
	var ps all
	exact := true
	for _, t := range terms {
		p, ok := predicate(t)
		exact = exact && ok
		if p != nil {
			ps = append(ps, p)
		}
	}
	if len(ps) == 0 {
		return nil, false
	}
	return ps, exact
}

// disjunction needs every term: any other might be true where these are not.
func disjunction(terms []ast.Expr) (pred, bool) {
	var ps some
	exact := true
	for _, t := range terms {
		p, ok := predicate(t)
		if p == nil {
			return nil, false
		}
		exact = exact && ok
		ps = append(ps, p)
	}
	return ps, exact
}

func equality(a, b ast.Expr) (pred, bool) {
	v, ok := text(b)
	if !ok {
		if v, ok = text(a); !ok {
			return nil, false
		}
		a = b
	}
	if f := valueOf(a); f != (field{}) {
		return equals{f, []string{v}}, true
	}
	return nil, false
}

// oneOf is kind in ["ot", "iot"], or "cell" in labels.
func oneOf(a, b ast.Expr) (pred, bool) {
	if name, ok := text(a); ok && b.Kind() == ast.IdentKind {
		if f := (field{b.AsIdent(), name}); f.isMap() {
			return has{f}, true
		}
		return nil, false
	}
	f := valueOf(a)
	if f == (field{}) || b.Kind() != ast.ListKind {
		return nil, false
	}
	var values []string
	for _, e := range b.AsList().Elements() {
		v, ok := text(e)
		if !ok {
			return nil, false
		}
		values = append(values, v)
	}
	slices.Sort(values)
	return equals{f, slices.Compact(values)}, true
}

// valueOf is fieldOf without has(), which is a truth value and no text.
func valueOf(e ast.Expr) field {
	if e.Kind() == ast.SelectKind && e.AsSelect().IsTestOnly() {
		return field{}
	}
	return fieldOf(e)
}

// equals is a field with one of some values.
type equals struct {
	field  field
	values []string
}

func (p equals) judge(a *inventory.Asset, missing map[string]bool) truth {
	v, ok := p.field.of(a)
	switch {
	case !ok:
		if missing != nil {
			missing[p.field.String()] = true
		}
		return unsure
	case slices.Contains(p.values, v):
		return yes
	}
	return no
}

// has is an asset that has a field.
type has struct{ field field }

func (p has) judge(a *inventory.Asset, _ map[string]bool) truth {
	if _, ok := p.field.of(a); ok {
		return yes
	}
	return no
}

// all is a conjunction, some a disjunction. What is missing counts only where it
// decides, as in CEL.
type (
	all  []pred
	some []pred
)

func (ps all) judge(a *inventory.Asset, missing map[string]bool) truth {
	return judgeTerms(ps, a, missing, no, yes)
}

func (ps some) judge(a *inventory.Asset, missing map[string]bool) truth {
	return judgeTerms(ps, a, missing, yes, no)
}

// judgeTerms gives decides if any term is that, otherwise unsure if any is, else
// neutral.
func judgeTerms(ps []pred, a *inventory.Asset, missing map[string]bool, decides, neutral truth) truth {
	out := neutral
	var lacks map[string]bool
	if missing != nil {
		lacks = map[string]bool{}
	}
	for _, p := range ps {
		switch p.judge(a, lacks) {
		case decides:
			return decides
		case unsure:
			out = unsure
		}
	}
	for m := range lacks {
		missing[m] = true
	}
	return out
}
