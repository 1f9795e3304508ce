package daemon_test

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"bulkhead/drivers"
	"bulkhead/pkg/controller"
	"bulkhead/pkg/daemon"
	"bulkhead/pkg/reconcile"
)

var soakFor = flag.Duration("soak", 8*time.Second, "how long the daemon is worked for real; `make soak` takes ten minutes")

const soakSite = `name: soak
points:
  gw: {driver: nftables, netns: %s, zones: {a: {interfaces: [eth1], prefixes: [10.0.1.0/24]}, b: {interfaces: [eth2], prefixes: [10.0.2.0/24]}}}
observe_learn: 0s
history: {keep_last: 20, keep_within: 0s, keep_most: 100}
limits: {first_enforcement: accept, newly_denied_percent: 100, assets_lost_percent: 100}
`

// sample is what a process holds.
type sample struct {
	heap        uint64 // bytes in use after a collection
	goroutines  int
	descriptors int
}

// above reports whether s has more than o, and so much more memory or so many more of the
// rest.
func (s sample) above(o sample, heap uint64, rest int) bool {
	return s.heap > o.heap+heap || s.goroutines > o.goroutines+rest || s.descriptors > o.descriptors+rest
}

func take(t *testing.T) sample {
	t.Helper()
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return sample{m.HeapAlloc, runtime.NumGoroutine(), len(fds)}
}

// netns makes a network namespace that ends with the test.
func netns(t *testing.T, name string) string {
	t.Helper()
	name = fmt.Sprintf("bh-%s-%d", name, os.Getpid())
	if out, err := exec.Command("ip", "netns", "add", name).CombinedOutput(); err != nil {
		t.Fatalf("cannot make a network namespace (this test needs root): %v: %s", err, out)
	}
	t.Cleanup(func() { exec.Command("ip", "netns", "del", name).Run() })
	return name
}

// The daemon on a real kernel: policies change, somebody tampers, assets go into
// quarantine and out, points are opened and closed, as fast as it goes. It ends in
// sync, and holds no more than after its first part: memory, descriptors, goroutines.
func TestSoak(t *testing.T) {
	ns := netns(t, "soak")
	dir := t.TempDir()
	write(t, dir, "bulkhead.yaml", fmt.Sprintf(soakSite, ns))
	write(t, dir, "policy.yaml", simPolicy(0))
	st := openStore(t, t.TempDir())
	d := daemon.New(daemon.Options{Dir: dir, Kinds: drivers.Kinds(), Store: st, Interval: 2 * time.Second}, "soak", "here")
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- d.Run(ctx) }()
	h := d.Handler(show, &caller{daemon.Permissions()})
	rng := rand.New(rand.NewPCG(1, 2))
	begin := time.Now()
	var early sample
	rounds, repaired := 0, 0
	var slowest time.Duration
	for time.Since(begin) < *soakFor {
		switch rng.IntN(6) {
		case 0, 1:
			write(t, dir, "policy.yaml", simPolicy(rng.IntN(6)))
		case 2:
			if inSync(d) && tamper(ns) {
				from := time.Now()
				for untampered(ns) != nil && time.Since(from) < 20*time.Second {
					time.Sleep(2 * time.Millisecond)
				}
				repaired++
				slowest = max(slowest, time.Since(from))
			}
		case 3:
			call(h, "POST", "/v1/assets/web/quarantine", `{"reason": "soak", "for": "1h"}`)
		case 4:
			call(h, "POST", "/v1/assets/web/release", `{"reason": "soak"}`)
		case 5:
			if w := call(h, "POST", "/v1/points/gw/open", `{"reason": "soak", "for": "1m"}`); w.Code == http.StatusOK {
				call(h, "POST", "/v1/points/gw/close", `{"reason": "soak"}`)
			}
		}
		time.Sleep(time.Duration(rng.IntN(300)) * time.Millisecond)
		rounds++
		if early == (sample{}) && time.Since(begin) > *soakFor/4 {
			// What is kept of the past is bounded: a day would have to pass until the daemon
			// forgets by itself.
			call(h, "POST", "/v1/history/prune", "")
			early = take(t)
			t.Logf("after %s: %+v", time.Since(begin).Round(time.Second), early)
		}
	}
	call(h, "POST", "/v1/assets/web/release", `{"reason": "soak"}`)
	d.Wake("the end")
	for end := time.Now().Add(30 * time.Second); !inSync(d); {
		if time.Now().After(end) {
			t.Fatalf("not in sync: %+v", d.View().Trouble)
		}
		time.Sleep(20 * time.Millisecond)
	}
	if w := call(h, "POST", "/v1/history/prune", ""); w.Code != http.StatusOK {
		t.Errorf("pruning: %d %s", w.Code, w.Body)
	}
	late, more := take(t), early.heap/2+2<<20
	// A look at the kernel that is under way has sockets and pipes open, and what it has
	// read in memory: what leaks stays.
	for end := time.Now().Add(10 * time.Second); late.above(early, more, 0) && time.Now().Before(end); late = take(t) {
		time.Sleep(100 * time.Millisecond)
	}
	t.Logf("the state: %+v", st.Size())
	t.Logf("after %s: %+v; %d rounds, %d repairs, the slowest took %s", time.Since(begin).Round(time.Second), late, rounds, repaired, slowest.Round(time.Millisecond))
	if late.above(early, more, 3) {
		t.Errorf("it grows: %+v after a quarter, %+v at the end", early, late)
	}
	before := runtime.NumGoroutine()
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	for end := time.Now().Add(5 * time.Second); runtime.NumGoroutine() >= before && time.Now().Before(end); {
		time.Sleep(10 * time.Millisecond)
	}
	if runtime.NumGoroutine() >= before {
		t.Errorf("%d goroutines before the end and %d after it", before, runtime.NumGoroutine())
	}
}

func inSync(d *daemon.Daemon) bool {
	v := d.View()
	return v.Pass != nil && v.Pass.Result == "in sync" && len(v.Trouble) == 0
}

// tamper takes an element away; false if it is not there.
func tamper(ns string) bool {
	return exec.Command("ip", "netns", "exec", ns, "nft", "delete", "element", "inet", "bulkhead_soak", "host4", "{ 10.0.2.10 }").Run() == nil
}

func untampered(ns string) error {
	if ok, said := element(ns, "host4", "10.0.2.10"); !ok {
		return fmt.Errorf("the element is gone: %s", said)
	}
	return nil
}

// element tells whether a set of the site's table has an element, and what nft said. nft
// does not try a read again that a change interrupted: such a one says nothing of what
// is there.
func element(ns, set, key string) (bool, string) {
	for end := time.Now().Add(10 * time.Second); ; {
		out, err := exec.Command("ip", "netns", "exec", ns, "nft", "get", "element", "inet", "bulkhead_soak", set, "{ "+key+" }").CombinedOutput()
		if err != nil && strings.Contains(string(out), "Interrupted system call") && time.Now().Before(end) {
			continue
		}
		return err == nil && strings.Contains(string(out), key), fmt.Sprintf("%v: %s", err, out)
	}
}

// An asset that somebody cuts off stays cut off while the daemon makes it part of what
// is enforced: what was put into the kernel in a hurry is no drift.
func TestQuarantineIsNotPutBack(t *testing.T) {
	ns := netns(t, "cut")
	dir := t.TempDir()
	write(t, dir, "bulkhead.yaml", fmt.Sprintf(soakSite, ns))
	write(t, dir, "policy.yaml", simPolicy(0))
	st := openStore(t, t.TempDir())
	d := daemon.New(daemon.Options{Dir: dir, Kinds: drivers.Kinds(), Store: st, Interval: time.Hour}, "test", "here")
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- d.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	settled := func() {
		t.Helper()
		for end := time.Now().Add(30 * time.Second); !inSync(d); time.Sleep(10 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("not in sync: %+v", d.View().Trouble)
			}
		}
	}
	settled()
	time.Sleep(500 * time.Millisecond) // the daemon remembers what it can put back
	v := d.View()
	c := controller.Controller{Store: st, Now: time.Now, Who: "eva"}
	// Nobody wakes the daemon: all that it hears is that the kernel has changed.
	if waits, err := c.Quarantine(ctx, v.Site, v.Devices, reconcile.Quarantine{Asset: "web", Until: time.Now().Add(time.Hour), Who: "eva", Reason: "scans"}); err != nil || len(waits) > 0 {
		t.Fatal(waits, err)
	}
	for end := time.Now().Add(3 * time.Second); time.Now().Before(end); {
		if ok, said := element(ns, "quarantined4", "10.0.1.10"); !ok {
			t.Fatalf("the asset is not cut off any more: %s", said)
		}
	}
	settled()
	if ok, said := element(ns, "quarantined4", "10.0.1.10"); len(d.View().Site.Quarantined) != 1 || !ok {
		t.Errorf("the site does not know of the quarantine: %+v, %s", d.View().Site.Quarantined, said)
	}
}
