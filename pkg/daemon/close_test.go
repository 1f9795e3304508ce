package daemon_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"bulkhead/drivers/aws"
	"bulkhead/pkg/config"
	"bulkhead/pkg/daemon"
	"bulkhead/pkg/driver"
	"bulkhead/pkg/store"
)

// held counts drivers that hold something: since they were last asked nobody closed them.
type held struct {
	mu  sync.Mutex
	now map[*holder]bool
	all int
}

// holder is a driver whose device does not answer, and which holds a connection from the
// first question on.
type holder struct {
	driver.Driver
	in *held
}

func (h *holder) Read(context.Context) (driver.State, error) {
	h.in.mu.Lock()
	defer h.in.mu.Unlock()
	h.in.now[h] = true
	return nil, fmt.Errorf("%w: it does not answer", driver.ErrUnreachable)
}

func (h *holder) Close() error {
	h.in.mu.Lock()
	defer h.in.mu.Unlock()
	delete(h.in.now, h)
	return nil
}

func (h *held) count() (now, all int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.now), h.all
}

// A daemon that runs for years reads its site anew a thousand times: the devices of sites
// that were in force before are closed, and the last ones when it ends.
func TestDaemonCloses(t *testing.T) {
	in := &held{now: map[*holder]bool{}}
	kind := aws.Kind()
	open := kind.Open
	kind.Open = func(site string, points []config.Point) (driver.Driver, error) {
		d, err := open(site, points)
		in.mu.Lock()
		in.all++
		in.mu.Unlock()
		return &holder{d, in}, err
	}
	dir := t.TempDir()
	write := func(rules int) {
		text := fmt.Sprintf("name: t\npoints:\n  cloud: {driver: aws, protects: 'id == \"a\"', settings: {region: eu-central-1, rules_per_group: %d}}\nassets:\n  a: {kind: instance, addresses: [10.0.0.1]}\n", rules)
		if err := os.WriteFile(filepath.Join(dir, "bulkhead.yaml"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(60)
	st, err := store.Open(t.TempDir(), "t", time.Now)
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	d := daemon.New(daemon.Options{Dir: dir, Kinds: []driver.Kind{kind}, Store: st, Interval: time.Hour}, "test", "here")
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- d.Run(ctx) }()
	for rules := 50; rules < 55; rules++ { // other settings, and so another driver
		write(rules)
		if err := d.Look(ctx); err != nil {
			t.Fatal(err)
		}
		if now, _ := in.count(); now > 1 {
			t.Errorf("%d drivers are open while one site is in force", now)
		}
	}
	stop()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	if now, all := in.count(); now != 0 || all < 5 {
		t.Errorf("%d of %d drivers are open after the daemon ended", now, all)
	}
}
