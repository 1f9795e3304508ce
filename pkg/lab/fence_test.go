package lab

import (
	"math/rand/v2"
	"testing"
)

// A fence is read as it was written, and what is none is nobody's.
func TestFences(t *testing.T) {
	for _, name := range []string{"", "h1", "0123456789012345678901234567890123456"[:fenceLen-fenceName-1]} {
		want := fence{prober: 1 << 31, number: 7, from: name}
		if got := readFence(writeFence(want)[14:]); got != want {
			t.Errorf("%+v was read as %+v", want, got)
		}
	}
	r := rand.New(rand.NewPCG(1, 2))
	for range 10000 {
		b := make([]byte, r.IntN(80))
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		readFence(b) // must not panic
	}
}
