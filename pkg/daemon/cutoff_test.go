package daemon_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"bulkhead/drivers"
	"bulkhead/pkg/controller"
	"bulkhead/pkg/daemon"
	"bulkhead/pkg/reconcile"
	"bulkhead/pkg/store"
)

// Somebody is cut off while a change is on trial, which then goes back; and a plan that
// was made before that is about to be carried out. Neither lets him go, not even until
// the next pass.
func TestWhoIsCutOffMeanwhileStaysCutOff(t *testing.T) {
	ns := netns(t, "cut2")
	dir, ctx := t.TempDir(), context.Background()
	write(t, dir, "bulkhead.yaml", fmt.Sprintf(soakSite, ns))
	st := openStore(t, t.TempDir())
	c := &controller.Controller{Store: st, Now: time.Now, Who: "eva"}
	load := func(version int) (*reconcile.Site, []*reconcile.Device) {
		t.Helper()
		write(t, dir, "policy.yaml", simPolicy(version))
		s, diags, err := reconcile.LoadWith(ctx, dir, time.Now(), drivers.Kinds(), reconcile.LoadOptions{
			Quarantined: []reconcile.InQuarantine{func(string) ([]reconcile.Quarantine, error) { return controller.Quarantines(st) }}})
		if err != nil || s == nil {
			t.Fatal(err, diags.All())
		}
		devices, err := s.Devices(ctx, false)
		if err != nil {
			t.Fatal(err)
		}
		return s, devices
	}
	cutOff := func() bool {
		ok, _ := element(ns, "quarantined4", "10.0.1.10")
		return ok
	}
	s, devices := load(0)
	if p, err := c.Pass(ctx, s, devices, controller.PassOptions{}); err != nil || p.Result != controller.Applied {
		t.Fatalf("%+v %v", p, err)
	}

	s, devices = load(1)
	opt, err := c.Options(nil)
	if err != nil {
		t.Fatal(err)
	}
	r, err := s.RunOnce(ctx, devices, opt)
	if err != nil {
		t.Fatal(err)
	}
	bad := errors.New("a probe fails")
	meanwhile := func(ctx context.Context) error {
		q := reconcile.Quarantine{Asset: "web", Until: time.Now().Add(time.Hour), Who: "eva", Reason: "scans"}
		if waits, err := c.Quarantine(ctx, s, devices, q); err != nil || len(waits) > 0 {
			t.Errorf("%v %v", waits, err)
		}
		return bad
	}
	done, err := c.Apply(ctx, s, r, controller.Order{Timeout: time.Minute, Confirm: true, Check: meanwhile})
	if !errors.Is(err, bad) || done.Apply.State != store.Undone {
		t.Fatalf("%+v %v", done.Apply, err)
	}
	if !cutOff() {
		t.Error("the change was taken back, and with it the quarantine")
	}

	p, err := c.Pass(ctx, s, devices, controller.PassOptions{})
	if err != nil || p.Result != controller.Held || !p.Anew || !strings.Contains(p.Why, "quarantine") {
		t.Errorf("a plan of who knows of no quarantine: %+v %v", p.Why, err)
	}
	if !cutOff() {
		t.Error("a plan that knows of no quarantine has ended it")
	}
	s, devices = load(1)
	if p, err := c.Pass(ctx, s, devices, controller.PassOptions{}); err != nil || p.Result != controller.Applied || !cutOff() {
		t.Errorf("%+v %v, cut off: %v", p, err, cutOff())
	}
}

// Somebody is cut off between the moment that a daemon reads the site and the one that
// it carries its plan out. That is no trouble, and nothing has to wait for another try:
// the daemon plans anew at once.
func TestWhoIsCutOffMeanwhileKeepsNobodyWaiting(t *testing.T) {
	ns := netns(t, "cut3")
	dir := t.TempDir()
	write(t, dir, "bulkhead.yaml", fmt.Sprintf(soakSite, ns))
	write(t, dir, "policy.yaml", simPolicy(0))
	st := openStore(t, t.TempDir())
	c := &controller.Controller{Store: st, Now: time.Now, Who: "eva"}
	var meanwhile atomic.Bool
	d := daemon.New(daemon.Options{Dir: dir, Kinds: drivers.Kinds(), Store: st, Interval: time.Hour,
		Load: func(ctx context.Context, now time.Time) (*reconcile.Site, error) {
			s, diags, err := reconcile.LoadWith(ctx, dir, now, drivers.Kinds(), reconcile.LoadOptions{
				Quarantined: []reconcile.InQuarantine{func(string) ([]reconcile.Quarantine, error) { return controller.Quarantines(st) }}})
			if err != nil || s == nil {
				return nil, errors.Join(err, errors.New(fmt.Sprint(diags.All())))
			}
			if meanwhile.CompareAndSwap(true, false) {
				q := reconcile.Quarantine{Asset: "web", Until: now.Add(time.Hour), Who: "eva", Reason: "scans"}
				if _, err := c.Quarantine(ctx, s, nil, q); err != nil {
					t.Error(err)
				}
			}
			return s, nil
		}}, "test", "here")
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- d.Run(ctx) }()
	defer func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()
	if err := d.Look(ctx); err != nil {
		t.Fatal(err)
	}
	time.Sleep(500 * time.Millisecond) // what was due by itself is done
	meanwhile.Store(true)
	write(t, dir, "policy.yaml", simPolicy(1))
	if err := d.Look(ctx); err != nil {
		t.Fatal(err)
	}
	v := d.View()
	if len(v.Trouble) > 0 || v.Pass.Result != controller.Applied || len(v.Site.Quarantined) != 1 {
		t.Errorf("after one look: %s %q, trouble %v, %d in quarantine", v.Pass.Result, v.Pass.Why, v.Trouble, len(v.Site.Quarantined))
	}
}
