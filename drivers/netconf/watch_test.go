package netconf_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"bulkhead/drivers/netconf/netconftest"
	"bulkhead/pkg/driver"
)

// A change by somebody else is heard of; a switch that tells nothing ends no watch.
func TestWatch(t *testing.T) {
	b := newBed(t, "ietf", netconftest.Options{}, nil)
	ctx, stop := context.WithCancel(timed(t))
	heard, ended := make(chan struct{}, 100), make(chan error, 1)
	d := b.driver()
	go func() { ended <- d.Watch(ctx, func() { heard <- struct{}{} }) }()
	wait := func(says string) {
		t.Helper()
		select {
		case <-heard:
		case err := <-ended:
			t.Fatalf("%s: the watch ended: %v", says, err)
		case <-time.After(time.Minute):
			t.Fatalf("%s: nothing was heard", says)
		}
	}
	wait("the beginning")
	b.foreign(b.withForeign(b.config()))
	wait("a change by somebody else")
	stop()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}

	b = newBed(t, "ietf", netconftest.Options{Without: []string{"notification:1.0"}}, nil)
	ctx, stop = context.WithCancel(timed(t))
	go func() { ended <- b.driver().Watch(ctx, func() { t.Error("heard of something") }) }()
	select {
	case err := <-ended:
		t.Errorf("the watch ended: %v", err)
	case <-time.After(200 * time.Millisecond):
	}
	stop()
	<-ended

	b.gone.Store(true)
	if err := b.driver().Watch(timed(t), func() {}); !errors.Is(err, driver.ErrUnreachable) {
		t.Error(err)
	}
}

// Somebody else's commit while a change is on trial keeps it from going back: it is put back like
// any other state, and what somebody else wrote stays.
func TestForeignCommitWhileOnTrial(t *testing.T) {
	b := newBed(t, "ietf", netconftest.Options{}, nil)
	ctx := timed(t)
	d := b.driver()
	c, after := b.change(d, 80)
	if err := d.Try(ctx, c, time.Minute); err != nil {
		t.Fatal(err)
	}
	b.foreign(b.withForeign(b.config()))
	now, err := d.Read(ctx)
	if err != nil || d.Trial(now) == nil {
		t.Fatalf("%v: nothing is on trial", err)
	}
	if err := d.Confirm(ctx, after); err != nil {
		t.Fatal(err)
	}
	if now, err = d.Read(ctx); err != nil {
		t.Fatal(err)
	}
	rest, err := d.Diff(now, after)
	if err != nil || !rest.Empty() {
		t.Errorf("left to do: %s %v", ops(rest), err)
	}
	if b.config().List("uplink") == nil {
		t.Error("what somebody else wrote is gone")
	}
}
