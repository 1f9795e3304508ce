package netconf_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"bulkhead/drivers/netconf"
	"bulkhead/drivers/netconf/netconftest"
	"bulkhead/pkg/driver"
)

// onTrial puts a change on trial on a server that lets nobody lock the candidate while it
// waits, and returns what it changes and a driver that was started after.
func onTrial(t *testing.T) (*bed, *netconf.Driver, driver.State, driver.State) {
	t.Helper()
	b := newBed(t, "ietf", netconftest.Options{LikeNetconfd: true}, nil)
	ctx := timed(t)
	d := b.driver()
	first, before := b.change(d, 80)
	if err := d.Apply(ctx, first); err != nil {
		t.Fatal(err)
	}
	c, after := b.change(d, 443)
	if err := d.Try(ctx, c, time.Minute); err != nil {
		t.Fatal(err)
	}
	_ = d.Close()
	// The server notices in its own time that the session is over, and gives the candidate back,
	// with which goes what somebody else edited before.
	if !b.unlocked() {
		t.Fatalf("still locked: %v", b.server.Locks())
	}
	return b, b.driver(), before, after
}

// Where the candidate cannot be locked, confirming commits nothing that somebody else has
// edited, and nothing but what was meant.
func TestConfirmUnlocked(t *testing.T) {
	t.Run("edited by another", func(t *testing.T) {
		b, d, before, after := onTrial(t)
		theirs := `<acls xmlns="urn:ietf:params:xml:ns:yang:ietf-access-control-list" xmlns:acl="urn:ietf:params:xml:ns:yang:ietf-access-control-list"><acl><name>theirs</name><type>acl:ipv4-acl-type</type></acl></acls>`
		if err := b.server.DirtyCandidate(theirs); err != nil {
			t.Fatal(err)
		}
		if err := d.Confirm(timed(t), after); !errors.Is(err, driver.ErrRefused) || !strings.Contains(err.Error(), "theirs to commit") {
			t.Errorf("confirmed, with what somebody else has edited: %v", err)
		}
		if _, on := b.server.Pending(); !on {
			t.Error("nothing is on trial any more")
		}
		if err := b.server.Expire(); err != nil {
			t.Fatal(err)
		}
		if !b.holds(d, before) {
			t.Error("it has not gone back")
		}
	})
	t.Run("another change", func(t *testing.T) {
		b, d, before, _ := onTrial(t)
		if err := d.Confirm(timed(t), before); !errors.Is(err, driver.ErrMoved) {
			t.Errorf("another change than the one that is meant was confirmed: %v", err)
		}
		if _, on := b.server.Pending(); !on {
			t.Error("nothing is on trial any more")
		}
	})
}
