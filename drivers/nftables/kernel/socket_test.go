package kernel

import (
	"context"
	"testing"

	"golang.org/x/sys/unix"
)

// A context that ends while a socket waits writes to the socket's eventfd, from a
// goroutine of its own. It has done so when wait returns: one that runs after close would
// write into a file that has got the number meanwhile.
func TestNothingIsWrittenAfterClose(t *testing.T) {
	for range 300 {
		s, err := openSocket()
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		// Two at once: the wait ends by itself, and the context.
		if _, err := unix.Write(s.wake, []byte{1, 0, 0, 0, 0, 0, 0, 0}); err != nil {
			t.Fatal(err)
		}
		go cancel()
		if err := s.wait(ctx); err != nil {
			t.Fatal(err)
		}
		cancel()
		s.close()
	}
}
