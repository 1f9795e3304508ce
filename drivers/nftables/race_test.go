//go:build race

package nftables_test

// The race detector makes the proof about eight times slower; random cases are
// fewer under it. What it looks for is in how the code runs, not in which site.
const slower = 4
