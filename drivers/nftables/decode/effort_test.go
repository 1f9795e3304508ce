package decode

import (
	"testing"
	"time"

	"bulkhead/bench/estate"
	"bulkhead/drivers/nftables/render"
	"bulkhead/drivers/nftables/ruleset"
	"bulkhead/internal/tries"
	"bulkhead/pkg/classify"
	matrix "bulkhead/pkg/compile"
	"bulkhead/pkg/driver"
	"bulkhead/pkg/policy"
)

// renderEstate makes the table of a transit point of a random estate.
func renderEstate(t *testing.T, o estate.Options) *ruleset.Table {
	t.Helper()
	e := estate.New(o)
	cl, problems := classify.Compile(e.Book, nil)
	if problems.Len() != 0 {
		t.Fatal(problems.All())
	}
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	m, err := matrix.Compile(matrix.Input{Assets: e.Assets, Book: e.Book, Where: cl.Classify(e.Assets).Matches, Now: now})
	if err != nil {
		t.Fatal(err)
	}
	points := []matrix.Point{{Name: "gw", Mode: policy.Enforce, Transit: true}}
	want := driver.Desired{Site: "big", Points: points, View: matrix.NewView(m, points), Now: now}
	tab, err := render.Table(want, nil, matrix.DefaultBounds())
	if err != nil {
		t.Fatal(err)
	}
	return tab
}

// The work of decoding is held to what the ruleset has: the things that pairs of
// words lead to, for each of the few situations. A regression to the pairs of classes
// themselves, or to every ruleset anew in every situation, is many times that. It is
// counted in rules executed and nodes made, so that a slow machine makes no failure.
func TestEffortIsBounded(t *testing.T) {
	for name, o := range map[string]estate.Options{
		"5000":            estate.Scale(5000),
		"20000":           estate.Scale(20_000),
		"direction bound": func() estate.Options { o := estate.Scale(5000); o.DirectionBound = true; return o }(),
	} {
		if name == "20000" && !tries.All {
			continue // it is the same at another size
		}
		t.Run(name, func(t *testing.T) {
			tab := renderEstate(t, o)
			d := &decoder{
				rs:  &ruleset.Ruleset{Tables: []ruleset.Table{*tab}},
				opt: Options{Table: tab.Name, MarkValue: render.VerdictBase, MarkMask: render.VerdictMask},
				out: &driver.Decoded{}, seen: map[driver.Finding]bool{}, blamed: map[string]bool{},
			}
			var res Result
			allocations := int(testing.AllocsPerRun(1, func() {
				d.effort = effort{}
				res = d.analyze()
			}))
			for _, f := range res.Decoded.Findings {
				if !f.Harmless {
					t.Fatal(f)
				}
			}
			rulesets, elements, tables := 0, 0, 0
			for i := range tab.Sets {
				s := &tab.Sets[i]
				elements += len(s.Elements)
				if !s.IsMap() || s.KeyLen != 8 || s.DataLen != 4 || s.Name == "proto" {
					continue
				}
				tables++
				found := map[string]bool{}
				for k := range s.Elements {
					found[string(s.Elements[k].Data)] = true
				}
				rulesets += len(found)
			}
			got := d.effort
			t.Logf("%d elements, %d rulesets in %d tables: %d steps, %d nodes, %d results, %d constructs, %d allocations",
				elements, rulesets, tables, got.steps, got.nodes, got.results, got.constructs, allocations)
			bounds := []struct {
				what       string
				got, bound int
			}{
				{"rules executed", got.steps, 750 * rulesets},
				{"nodes", got.nodes, 110 * rulesets},
				{"results", got.results, 12 * rulesets},
				{"constructs", got.constructs, 2 * rulesets},
				{"allocations", allocations, 3300 * rulesets},
			}
			for _, b := range bounds {
				if b.got > b.bound {
					t.Errorf("%s: %d, the bound is %d", b.what, b.got, b.bound)
				}
			}
		})
	}
}
