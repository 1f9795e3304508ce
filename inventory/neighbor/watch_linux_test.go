package neighbor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"
)

// namespace makes one with an interface, and gives what runs ip in it.
func namespace(t *testing.T) (ns string, ip func(args string)) {
	t.Helper()
	ns = fmt.Sprintf("bh-near-%d", os.Getpid())
	if out, err := exec.Command("ip", "netns", "add", ns).CombinedOutput(); err != nil {
		t.Fatalf("cannot make a network namespace (this test needs root): %v: %s", err, out)
	}
	t.Cleanup(func() { exec.Command("ip", "netns", "del", ns).Run() })
	ip = func(args string) {
		t.Helper()
		if out, err := exec.Command("ip", append([]string{"-n", ns}, strings.Fields(args)...)...).CombinedOutput(); err != nil {
			t.Fatalf("ip %s: %v: %s", args, err, out)
		}
	}
	ip("link add eth1 type veth peer name eth2")
	for _, name := range []string{"eth1", "eth2"} { // without addresses that come by themselves, later
		ip("link set " + name + " addrgenmode none")
		ip("link set " + name + " up")
	}
	ip("addr add 10.9.0.1/24 dev eth1")
	ip("neigh add 10.9.0.7 lladdr 02:00:00:00:00:07 dev eth1 nud reachable")
	return ns, ip
}

// Of all that the kernel tells, what changes an answer is told, once for a burst; what
// it does to its table all the time is not.
func TestWatch(t *testing.T) {
	ns, ip := namespace(t)
	at := pace{50 * time.Millisecond, 300 * time.Millisecond, 300 * time.Millisecond}
	var calls atomic.Int32
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		ended <- listen(ctx, ns, What{Neighbours: true, Routes: true}, at, func() { calls.Add(1) })
	}()
	more := func(than int32, what string) int32 {
		t.Helper()
		for end := time.Now().Add(10 * time.Second); calls.Load() <= than; time.Sleep(10 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("nothing was heard of %s", what)
			}
		}
		return calls.Load()
	}
	quiet := func() int32 { // until nothing is told any more
		for n := calls.Load(); ; n = calls.Load() {
			if time.Sleep(3 * at.gap); calls.Load() == n {
				return n
			}
		}
	}
	more(0, "the beginning")
	n := quiet()
	for range 20 { // as probes do
		ip("neigh change 10.9.0.7 lladdr 02:00:00:00:00:07 dev eth1 nud stale")
		ip("neigh change 10.9.0.7 lladdr 02:00:00:00:00:07 dev eth1 nud reachable")
		ip("neigh add 10.9.0.8 dev eth1 nud failed")
		ip("neigh del 10.9.0.8 dev eth1")
	}
	if got := quiet(); got != n {
		t.Errorf("told %d times of what changes no answer", got-n)
	}
	n = calls.Load()
	ip("neigh change 10.9.0.7 lladdr 02:00:00:00:00:99 dev eth1 nud reachable")
	n = more(n, "another MAC")
	n = max(n, quiet())
	ip("neigh del 10.9.0.7 dev eth1")
	more(n, "an entry that is gone")
	n = quiet()
	begin := time.Now()
	for i := range 100 {
		ip(fmt.Sprintf("neigh add 10.9.0.%d lladdr 02:00:00:00:01:%02x dev eth1 nud reachable", 20+i, i))
	}
	took := time.Since(begin)
	if got := quiet() - n; got < 1 || got > 2+int32(took/at.gap) {
		t.Errorf("told %d times of a burst that took %s", got, took)
	}
	n = calls.Load()
	ip("route add 10.77.0.0/16 via 10.9.0.20 dev eth1")
	more(n, "a route")
	n = quiet()
	ip("addr add 2001:db8::1/64 dev eth1 nodad")
	more(n, "an address")
	stop()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// A table that never holds still is told of less and less often.
func TestWatchSlowsDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &watch{pace: usual, moved: make(chan struct{}, 1), failed: make(chan error, 1)}
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		var n atomic.Int32
		go func() { ended <- w.tell(ctx, func() { n.Add(1) }) }()
		count := func(long time.Duration) int32 {
			before := n.Load()
			for range long / (100 * time.Millisecond) {
				w.touch()
				time.Sleep(100 * time.Millisecond)
			}
			synctest.Wait()
			return n.Load() - before
		}
		if got := count(10 * time.Second); got < 3 || got > 5 {
			t.Errorf("told %d times in the first ten seconds", got)
		}
		count(5 * time.Minute)
		if got := count(10 * time.Minute); got < 9 || got > 11 {
			t.Errorf("told %d times in ten minutes of the same", got)
		}
		time.Sleep(5 * time.Minute)
		if got := count(time.Second); got != 1 {
			t.Errorf("told %d times of a change after a quiet time", got)
		}
		stop()
		<-ended
	})
}

// A watch that may have missed something ends and says so, and so does one of a
// namespace that is not there.
func TestWatchFails(t *testing.T) {
	w := &watch{pace: usual, moved: make(chan struct{}, 1), failed: make(chan error, 1)}
	w.fail(unix.ENOBUFS)
	w.fail(errors.New("later"))
	if err := w.tell(context.Background(), func() {}); !errors.Is(err, unix.ENOBUFS) {
		t.Errorf("events were lost, and it is said %v", err)
	}
	if err := Watch(context.Background(), "no-such-namespace", What{Neighbours: true}, func() {}); err == nil || !strings.Contains(err.Error(), `"no-such-namespace"`) {
		t.Errorf("no namespace: %v", err)
	}
}
