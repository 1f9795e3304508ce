// Package tries says how hard a test tries. The race detector makes a computation
// five to ten times slower, and what it looks for is in how the code runs, not in
// which of a hundred random sites it is about. So tests of many random cases, and of
// long lists of them, are run twice: a few of them under the race detector, and all
// without it. `make test` does both.
package tries

import (
	"flag"
	"strconv"
	"testing"

	"pgregory.net/rapid"
)

// few is what part of the cases is left under the race detector: it takes about as
// long as all of them without it.
const few = 10

// Of is how many of n cases to try: all, or a tenth and at least one under the race
// detector.
func Of(n int) int {
	if All {
		return n
	}
	return max(1, n/few)
}

// Some is the list of cases to try: all, or every tenth under the race detector.
func Some[T any](all []T) []T {
	if All {
		return all
	}
	var out []T
	for i := 0; i < len(all); i += few {
		out = append(out, all[i])
	}
	return out
}

// usual is how many cases rapid tries by itself.
const usual = 100 // the default of -rapid.checks

// Check is rapid.Check of as many cases as rapid tries by itself.
func Check(t testing.TB, f func(*rapid.T)) {
	t.Helper()
	Checks(t, usual, f)
}

// Checks is rapid.Check of n cases, for those that take long. Where -rapid.checks asks
// for a number, that is what is tried. Two at a time would take each other's number: it
// is not for tests that run in parallel.
func Checks(t testing.TB, n int, f func(*rapid.T)) {
	t.Helper()
	checks := flag.Lookup("rapid.checks")
	if old := checks.Value.String(); old == strconv.Itoa(usual) {
		if err := flag.Set(checks.Name, strconv.Itoa(Of(n))); err != nil {
			t.Fatal(err)
		}
		defer func() { _ = flag.Set(checks.Name, old) }()
	}
	rapid.Check(t, f)
}
