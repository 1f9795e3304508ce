package diag

import (
	"fmt"
	"sort"
	"strings"
)

// Suggest returns the candidate that word was probably meant to be, or "" if
// none is near enough: at most a third of the word's letters (one at least)
// inserted, dropped, replaced or swapped with their neighbour. Letter case and
// the choice between "-" and "_" cost nothing. Of candidates that are equally
// near the first in byte order wins, so the answer does not depend on the order
// in which they come.
func Suggest(word string, candidates []string) string {
	if word == "" {
		return ""
	}
	sorted := append([]string(nil), candidates...)
	sort.Strings(sorted)
	folded := fold(word)
	limit := max(1, len(folded)/3)
	best, bestAt := "", limit+1
	for _, c := range sorted {
		if c == word || c == "" {
			continue
		}
		if d := distance(folded, fold(c), bestAt); d < bestAt {
			best, bestAt = c, d
		}
	}
	return best
}

// DidYouMean gives the hint for Suggest's answer, or "" if there is none.
func DidYouMean(word string, candidates []string) string {
	s := Suggest(word, candidates)
	if s == "" {
		return ""
	}
	return fmt.Sprintf("did you mean %q?", s)
}

func fold(s string) []rune {
	return []rune(strings.ReplaceAll(strings.ToLower(s), "_", "-"))
}

// distance is the optimal string alignment distance of a and b, or some number
// not below limit if it is limit or more. The bound keeps a long list of long
// names cheap.
func distance(a, b []rune, limit int) int {
	if len(a)-len(b) >= limit || len(b)-len(a) >= limit {
		return limit
	}
	two := make([]int, len(b)+1)
	one := make([]int, len(b)+1)
	row := make([]int, len(b)+1)
	for j := range one {
		one[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		least := i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(one[j]+1, row[j-1]+1, one[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], two[j-2]+1)
			}
			least = min(least, row[j])
		}
		if least >= limit {
			return limit
		}
		two, one, row = one, row, two
	}
	return one[len(b)]
}
