package compile

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"bulkhead/internal/tries"
	"bulkhead/pkg/policy"
	"bulkhead/pkg/policy/policytest"
)

// Where pairs are too many to list, no reason for which a denied flow is uncovered is
// left out.
func TestCoverageOfLargeSitesLeavesNothingOut(t *testing.T) {
	tries.Check(t, func(t *rapid.T) {
		w := policytest.World(t, policytest.Options{MaxAssets: 5, MaxPolicies: 4})
		m, err := Compile(Input{Assets: w.Assets, Book: w.Book, Where: w.Where, Now: w.Now})
		if err != nil {
			t.Fatal(err)
		}
		points := []Point{{Name: "gw", Mode: policy.Enforce, Transit: true, Learn: time.Second}}
		rows := map[string]int{}
		for _, u := range coverage(m, points, 0) {
			rows[u.Reason] += u.Pairs
		}
		for _, u := range Coverage(m, points) {
			if pairs, ok := rows[u.Reason+"; there are too many pairs of groups to list each"]; !ok || pairs < u.Pairs {
				t.Fatalf("%q is left out of %v", u.Reason, rows)
			}
		}
	})
}
