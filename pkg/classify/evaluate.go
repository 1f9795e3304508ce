package classify

import (
	"slices"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/types"

	"bulkhead/inventory"
)

// evaluate runs CEL on one asset. This is the meaning of an expression; the
// index only saves runs.
func (r *rule) evaluate(act *activation) Verdict {
	out, _, err := r.fast.Eval(act)
	if err == nil {
		return Verdict{Member: out == types.True}
	}
	// Something is missing, or failed. Run once more to see what.
	out, details, err2 := r.traced.Eval(act)
	if err2 == nil {
		return Verdict{Member: out == types.True}
	}
	missing := map[string]bool{}
	if details != nil && details.State() != nil {
		r.missing(r.root, details, act.asset, missing)
	}
	if len(missing) == 0 {
		return Verdict{Problem: err.Error()}
	}
	v := Verdict{}
	for m := range missing {
		v.Missing = append(v.Missing, m)
	}
	slices.Sort(v.Missing)
	return v
}

// missing follows the parts of an expression that have no value down to the
// labels and attributes that the asset lacks. A part that has a value in spite
// of what it lacks ("false && labels.x == ...") decided nothing, and is left.
func (r *rule) missing(e ast.Expr, details *cel.EvalDetails, a *inventory.Asset, out map[string]bool) {
	v, ok := details.State().Value(e.ID())
	if !ok || !types.IsError(v) {
		return
	}
	if f := fieldOf(e); f.isMap() {
		if _, there := f.of(a); !there {
			out[f.String()] = true
			return
		}
	}
	for _, c := range children(e) {
		r.missing(c, details, a, out)
	}
}

// children lists the direct parts of an expression.
func children(e ast.Expr) []ast.Expr {
	switch e.Kind() {
	case ast.CallKind:
		c := e.AsCall()
		if c.IsMemberFunction() {
			return append([]ast.Expr{c.Target()}, c.Args()...)
		}
		return c.Args()
	case ast.SelectKind:
		return []ast.Expr{e.AsSelect().Operand()}
	case ast.ListKind:
		return e.AsList().Elements()
	case ast.ComprehensionKind:
		c := e.AsComprehension()
		return []ast.Expr{c.IterRange(), c.AccuInit(), c.LoopCondition(), c.LoopStep(), c.Result()}
	case ast.MapKind:
		var out []ast.Expr
		for _, en := range e.AsMap().Entries() {
			out = append(out, en.AsMapEntry().Key(), en.AsMapEntry().Value())
		}
		return out
	}
	return nil
}
