package prove

import (
	"testing"

	"bulkhead/pkg/compile"
	"bulkhead/pkg/policy"
	"bulkhead/pkg/policy/policytest"
)

// The policy side is worked out once for a matrix and a hint, and never taken for
// that of another matrix.
func TestPolicySideIsKept(t *testing.T) {
	build := func() *compile.Matrix {
		m, err := compile.Compile(compile.Input{Now: policytest.Epoch, Book: &policy.Rulebook{Groups: []policy.Group{
			{Name: policy.GroupAny}, {Name: policy.GroupUnidentified}, {Name: policy.GroupUnknown}}}})
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	m, other := build(), build()
	point := compile.Point{Name: "gw", Mode: policy.Enforce, Transit: true}
	if _, err := compile.NewView(m, []compile.Point{point}).Layout(compile.DefaultBounds()); err != nil {
		t.Fatal(err)
	}
	if len(m.Layouts()) == 0 {
		t.Fatal("there is no hint")
	}
	hint := m.Layouts()[0]
	first, err := sideOf(m, hint)
	if err != nil {
		t.Fatal(err)
	}
	if again, _ := sideOf(m, hint); again != first {
		t.Error("it was worked out twice")
	}
	if of, _ := sideOf(other, hint); of == first || of != nil && of.m != other {
		t.Error("it was taken for that of another matrix")
	}
	// What is remembered of cells is bounded.
	for i := range maxKept + 1 {
		first.contents[string(rune(i))+"x"] = nil
	}
	first.trim()
	if len(first.contents) > maxKept {
		t.Errorf("%d cells are remembered", len(first.contents))
	}
}
