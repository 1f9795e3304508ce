//go:build race

package live_test

// changes is how many changes a random sequence has. The race detector makes each
// ten times slower.
const changes = 25
