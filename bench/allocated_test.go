package main

import (
	"runtime"
	"testing"
)

// allocated counts the bytes that f allocates, those that are free again included.
func allocated(t *testing.T, f func() error) float64 {
	t.Helper()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if err := f(); err != nil {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&after)
	return float64(after.TotalAlloc - before.TotalAlloc)
}
