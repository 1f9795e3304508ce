// Package classify sorts assets into groups by the expressions that a site
// gives them: CEL (https://cel.dev) over one asset.
//
// An expression sees id and kind (text), labels and attributes (maps from text
// to text), addresses, macs and sources (lists of text). Besides CEL's standard
// functions there is
//
//	addresses.within("10.0.0.0/8")
//
// which is true if at least one address of the asset, host or prefix, lies
// wholly inside the prefix; an asset without addresses is within nothing.
//
// Three things can come out for an asset: it is a member, it is not, or a label
// or attribute that it lacks decides. In the last case it is not a member and is
// listed as undecided, with what is missing: a deny that misses unlabelled
// assets must be seen.
//
// Everything here is pure: no I/O, no clock, no map order. Conjunctions and
// disjunctions of equalities are answered from an index over the assets; what
// comes out is the same as if every expression had been evaluated on every
// asset, and tests hold the two against each other.
package classify

import (
	"bulkhead/inventory"
	"bulkhead/pkg/diag"
)

// Expr is an expression and where its first character stands.
type Expr struct {
	Text string
	Pos  diag.Pos
}

// Result says who is in which group.
type Result struct {
	// Matches holds, for every group that has an expression, the IDs of the
	// assets that it is true for, sorted. Such a group is always there, if only
	// with an empty list.
	Matches map[string][]string
	// Extra is the same for the expressions that belong to no group.
	Extra map[string][]string
	// Undecided lists assets whose membership nobody can tell, in order.
	Undecided []Undecided
	// Warnings are about labels and attributes that no asset carries.
	Warnings *diag.List
}

// Undecided is an asset that is not in a group because of what it lacks.
type Undecided struct {
	Group   string   // "" for an extra expression
	Extra   string   // "" for a group
	Asset   string   // ID
	Missing []string // "labels.cell", "attributes.vendor"; sorted
	Problem string   // why evaluation failed, if nothing is missing
}

// Membership is what one asset belongs to.
type Membership struct {
	Asset     string
	Groups    []string // sorted
	Extra     []string // sorted
	Undecided []Undecided
}

// Verdict is what one expression says of one asset.
type Verdict struct {
	Member  bool
	Missing []string // what decides, if the asset lacks it; sorted
	Problem string   // why evaluation failed, if nothing is missing
}

// decided reports whether the expression gave an answer.
func (v *Verdict) decided() bool { return v.Member || v.Missing == nil && v.Problem == "" }

// Match compiles an expression and evaluates it on one asset.
func Match(e Expr, a *inventory.Asset) (Verdict, *diag.List) {
	var diags diag.List
	env, err := newEnv()
	if err != nil {
		diags.Errorf(e.Pos, "prepare expressions: %v", err)
		return Verdict{}, &diags
	}
	r := compileRule(env, e, &diags)
	if r == nil {
		return Verdict{}, &diags
	}
	return r.evaluate(newActivation(a)), &diags
}
