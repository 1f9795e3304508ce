package harness

import (
	"context"
	"fmt"
	"slices"
)

// Row is one line of the benchmark's table: a work, in one or several variants that
// take turns.
type Row struct {
	Name  string // on the command line
	Title string // the work, as the table names it
	// From says where measuring starts and ends, and what is checked.
	From     string
	Variants []Variant
	Compare  []Compare
	Goals    []Goal
}

// Variant is one way to do a row's work.
type Variant struct {
	Name string
	// Run does the work in a process of its own. What it does outside of
	// Recorder.Measure is not measured.
	Run func(ctx context.Context, r *Recorder) error
	// NotBuilt says what is missing where the work cannot be done yet. Such a variant
	// is listed and fails its row.
	NotBuilt string
}

// Ref names a figure of a variant.
type Ref struct {
	Variant string `json:"variant"`
	Figure  string `json:"figure"`
}

func (r Ref) String() string { return r.Variant + ": " + r.Figure }

// Kind is how two figures are compared.
type Kind string

// The kinds of comparison.
const (
	Ratio      Kind = "ratio"      // A/B: how many times as much as B
	Difference Kind = "difference" // A-B, in their unit
	Excess     Kind = "excess"     // A/B-1: how much over B, as a part of B
)

// Compare holds two figures against each other, run by run.
type Compare struct {
	Name string
	Kind Kind
	A, B Ref
}

// Goal is what a figure or a comparison must reach.
type Goal struct {
	Text string // as the table says it
	// Of is a figure, or, with no variant, a comparison by name.
	Of Ref
	// AtMost and AtLeast are bounds in the figure's own unit; 0 is none.
	AtMost, AtLeast float64
}

// check finds mistakes in the declaration of rows, which would show as figures that
// are missing after an hour's run.
func check(rows []Row) error {
	seen := map[string]bool{}
	for _, r := range rows {
		if seen[r.Name] {
			return fmt.Errorf("row %q is declared twice", r.Name)
		}
		seen[r.Name] = true
		has := func(name string) bool {
			return slices.ContainsFunc(r.Variants, func(v Variant) bool { return v.Name == name })
		}
		for i, v := range r.Variants {
			if (v.Run == nil) != (v.NotBuilt != "") {
				return fmt.Errorf("variant %q of row %q must have either work or the reason why not", v.Name, r.Name)
			}
			if slices.ContainsFunc(r.Variants[:i], func(x Variant) bool { return x.Name == v.Name }) {
				return fmt.Errorf("row %q has variant %q twice", r.Name, v.Name)
			}
		}
		for _, c := range r.Compare {
			if !has(c.A.Variant) || !has(c.B.Variant) {
				return fmt.Errorf("comparison %q of row %q is of a variant that does not exist", c.Name, r.Name)
			}
		}
		for _, g := range r.Goals {
			known := has(g.Of.Variant) || g.Of.Variant == "" && slices.ContainsFunc(r.Compare, func(c Compare) bool { return c.Name == g.Of.Figure })
			if !known {
				return fmt.Errorf("goal %q of row %q is of %q, which does not exist", g.Text, r.Name, g.Of)
			}
			if g.AtMost == 0 && g.AtLeast == 0 {
				return fmt.Errorf("goal %q of row %q has no bound", g.Text, r.Name)
			}
		}
	}
	return nil
}
