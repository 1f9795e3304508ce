package daemon_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"bulkhead/drivers"
	"bulkhead/pkg/controller"
	"bulkhead/pkg/reconcile"
	"bulkhead/pkg/store"
)

// Somebody is cut off while a change is on trial, which then goes back; and a plan that
// was made before that is about to be carried out. Neither lets him go, not even until
// the next pass.
func TestWhoIsCutOffMeanwhileStaysCutOff(t *testing.T) {
	ns := fmt.Sprintf("bh-cut2-%d", os.Getpid())
	if out, err := exec.Command("ip", "netns", "add", ns).CombinedOutput(); err != nil {
		t.Fatalf("cannot make a network namespace (this test needs root): %v: %s", err, out)
	}
	t.Cleanup(func() { exec.Command("ip", "netns", "del", ns).Run() })
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
		out, err := exec.Command("ip", "netns", "exec", ns, "nft", "get", "element", "inet", "bulkhead_soak", "quarantined4", "{ 10.0.1.10 }").CombinedOutput()
		return err == nil && strings.Contains(string(out), "10.0.1.10")
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
	if err != nil || p.Result != controller.Held || !strings.Contains(p.Why, "quarantine") {
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
