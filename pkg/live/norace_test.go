//go:build !race

package live_test

const changes = 300
