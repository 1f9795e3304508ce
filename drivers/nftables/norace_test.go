//go:build !race

package nftables_test

const slower = 1
