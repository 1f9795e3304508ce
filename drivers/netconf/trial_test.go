package netconf_test

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"bulkhead/drivers/netconf"
	"bulkhead/drivers/netconf/netconftest"
	"bulkhead/drivers/netconf/session"
	"bulkhead/inventory"
	"bulkhead/pkg/compile"
	"bulkhead/pkg/config"
	"bulkhead/pkg/driver"
	"bulkhead/pkg/driver/drivertest"
	"bulkhead/pkg/driver/portacl"
	"bulkhead/pkg/policy"
	"bulkhead/pkg/policy/policytest"
)

// change plans that web serves a TCP port to everybody.
func (b *bed) change(d *netconf.Driver, port uint16) (*driver.Change, driver.State) {
	b.t.Helper()
	ctx := timed(b.t)
	w := &policy.World{Book: &policy.Rulebook{}, Where: map[string][]string{}, Now: policytest.Epoch}
	w.Assets = []inventory.Asset{{ID: "web-1", Kind: inventory.Server, Addresses: []netip.Prefix{netip.MustParsePrefix("10.0.0.10/32")}}}
	for _, name := range []string{policy.GroupAny, policy.GroupUnidentified, policy.GroupUnknown} {
		w.Book.Groups = append(w.Book.Groups, policy.Group{Name: name, Isolate: policy.IsolateNone})
	}
	w.Book.Groups = append(w.Book.Groups, policy.Group{Name: "web", Members: []string{"web-1"}, Isolate: policy.IsolateBoth})
	w.Book.Policies = []policy.Policy{{Name: "serve", Action: policy.Allow, From: []string{policy.GroupAny}, To: []string{"web"}, Ranges: []policy.Range{{Proto: 6, Lo: port, Hi: port}},
		Tier: policy.Application, Order: 100, Direction: policy.Both, Mode: policy.Enforce}}
	m, err := compile.Compile(compile.Input{Assets: w.Assets, Book: w.Book, Where: w.Where, Now: w.Now})
	if err != nil {
		b.t.Fatal(err)
	}
	points := plugged(drivertest.Quiet()).Points(drivertest.Addrs("10.0.0.10"))
	have, err := d.Read(ctx)
	if err != nil {
		b.t.Fatal(err)
	}
	r, err := d.Render(driver.Desired{Site: drivertest.Site, Points: points, View: compile.NewView(m, points), Now: w.Now}, have)
	if err != nil {
		b.t.Fatal(err)
	}
	c, err := d.Diff(have, r.State)
	if err != nil {
		b.t.Fatal(err)
	}
	return c, r.State
}

// holds reports whether a switch holds a state and nothing of ours besides.
func (b *bed) holds(d *netconf.Driver, s driver.State) bool {
	b.t.Helper()
	now, err := d.Read(timed(b.t))
	if err != nil {
		b.t.Fatal(err)
	}
	return now.Fingerprint() == s.Fingerprint()
}

// A change on trial is in force, goes back when its time is up, and stays when it is confirmed,
// by whoever made it or by somebody who was started after.
func TestTrial(t *testing.T) {
	for _, how := range []string{"expires", "is undone", "is undone by another", "is confirmed", "is confirmed by another", "reboots"} {
		t.Run(how, func(t *testing.T) {
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
			now, err := d.Read(ctx)
			if err != nil {
				t.Fatal(err)
			}
			if x := d.Trial(now); x == nil || x.Left <= 50*time.Second || x.Left > time.Minute {
				t.Fatalf("what is on trial is not seen: %+v", x)
			}
			if rest, err := d.Diff(now, after); err != nil || strings.Contains(ops(rest), "lists of port") {
				t.Errorf("another state is in force than is on trial: %s, %v", ops(rest), err)
			}
			if err := d.Apply(ctx, &driver.Change{From: now, To: before}); !errors.Is(err, driver.ErrRefused) && !strings.Contains(how, "another") {
				t.Errorf("a change was made while another is on trial: %v", err)
			}
			other := d
			if strings.Contains(how, "another") {
				_ = d.Close()
				other = b.driver()
			}
			want := before
			switch {
			case how == "expires":
				if err := b.server.Expire(); err != nil {
					t.Fatal(err)
				}
				if err := other.Confirm(ctx, after); !errors.Is(err, driver.ErrTooLate) {
					t.Errorf("confirmed though it had gone back: %v", err)
				}
			case how == "reboots":
				b.server.Reboot()
			case strings.HasPrefix(how, "is undone"):
				if err := other.Undo(ctx); err != nil {
					t.Fatal(err)
				}
			default:
				want = after
				if err := other.Confirm(ctx, after); err != nil {
					t.Fatal(err)
				}
			}
			if !b.holds(other, want) {
				t.Errorf("the switch holds something else: %v", b.config())
			}
			if now, err := other.Read(ctx); err != nil || other.Trial(now) != nil {
				t.Errorf("something is still on trial: %v", err)
			}
			if !b.unlocked() {
				t.Errorf("still locked: %v", b.server.Locks())
			}
			if _, on := b.server.Pending(); on {
				t.Errorf("the server still waits for a confirmation")
			}
		})
	}
}

func ops(c *driver.Change) string {
	out := ""
	for _, o := range c.Ops {
		out += o.Object + "; "
	}
	return out
}

// Who has the candidate, or has edited it, is named, and keeps what is theirs.
func TestCandidateOfOthers(t *testing.T) {
	b := newBed(t, "ietf", netconftest.Options{}, nil)
	ctx := timed(t)
	d := b.driver()
	c, _ := b.change(d, 80)
	b.server.HoldLock("candidate", 4711)
	if err := d.Apply(ctx, c); !errors.Is(err, driver.ErrRefused) || !strings.Contains(err.Error(), "4711") {
		t.Errorf("the holder of the lock is not named: %v", err)
	}
	b.server.ReleaseLock("candidate")
	theirs := `<acls xmlns="urn:ietf:params:xml:ns:yang:ietf-access-control-list" xmlns:acl="urn:ietf:params:xml:ns:yang:ietf-access-control-list"><acl><name>theirs</name><type>acl:ipv4-acl-type</type></acl></acls>`
	if err := b.server.DirtyCandidate(theirs); err != nil {
		t.Fatal(err)
	}
	if err := d.Apply(ctx, c); !errors.Is(err, driver.ErrRefused) || !strings.Contains(err.Error(), "theirs to commit") {
		t.Errorf("an edited candidate is not named: %v", err)
	}
	if b.server.Candidate().Child("acls") == nil || len(b.config().Lists) > 0 {
		t.Errorf("what somebody else edited was thrown away or committed")
	}
}

// A server that says ok and does nothing, one that refuses at the commit, and one that loses the
// answer.
func TestCommitIsNotBelieved(t *testing.T) {
	refusal := netconftest.Error{Tag: "resource-denied", Message: "no TCAM left"}
	for name, fault := range map[string]netconftest.Fault{"pretends": netconftest.Pretend(), "refuses": netconftest.Refuse(refusal), "loses the answer": netconftest.CutAfter()} {
		t.Run(name, func(t *testing.T) {
			b := newBed(t, "ietf", netconftest.Options{}, nil)
			ctx := timed(t)
			d := b.driver()
			c, want := b.change(d, 80)
			b.server.Next("commit", fault)
			err := d.Apply(ctx, c)
			switch {
			case err == nil:
				t.Fatal("believed")
			case name == "refuses":
				if !errors.Is(err, driver.ErrRefused) || !strings.Contains(err.Error(), "no TCAM left") {
					t.Error(err)
				}
			case errors.Is(err, driver.ErrRefused) || errors.Is(err, driver.ErrMoved):
				t.Errorf("nobody knows that nothing was done: %v", err)
			}
			if b.holds(d, want) != (name == "loses the answer") {
				t.Errorf("holds %v", b.config())
			}
			if !b.unlocked() {
				t.Errorf("still locked: %v", b.server.Locks())
			}
		})
	}
}

// Without a name for the commit the session must stay; without a confirmed commit, or a candidate,
// a switch cannot try, and takes changes in three steps.
func TestLesserSwitches(t *testing.T) {
	ctx := timed(t)
	b := newBed(t, "ietf", netconftest.Options{Without: []string{"confirmed-commit:1.1"}}, nil)
	d := b.driver()
	c, after := b.change(d, 80)
	before := c.From
	if err := d.Try(ctx, c, time.Minute); err != nil {
		t.Fatal(err)
	}
	_ = d.Close() // it goes back with the session
	d = b.driver()
	if !b.holds(d, before) {
		t.Errorf("a confirmed commit outlived its session: %v", b.config())
	}
	if err := d.Try(ctx, c, time.Minute); err != nil {
		t.Fatal(err)
	}
	if err := d.Confirm(ctx, after); err != nil || !b.holds(d, after) {
		t.Errorf("%v", err)
	}

	b = newBed(t, "ietf", netconftest.Options{Without: []string{"candidate:1.0", "confirmed-commit:1.0", "confirmed-commit:1.1"}, WritableRunning: true, Startup: true}, nil)
	d = b.driver()
	c, after = b.change(d, 80)
	if _, ok := driver.TrierOf(d); ok {
		t.Error("a switch without a candidate is taken for one that can go back by itself")
	}
	if err := d.Try(ctx, c, time.Minute); !errors.Is(err, driver.ErrRefused) {
		t.Error(err)
	}
	if err := d.Apply(ctx, c); err != nil || !b.holds(d, after) {
		t.Error(err)
	}
	b.server.Reboot()
	if !b.holds(d, after) {
		t.Error("what was applied was not saved")
	}
	for _, p := range b.config().Ports {
		for _, x := range p.Bound {
			if !portacl.Ours(drivertest.Site, x.List) {
				t.Errorf("bound to %q", x.List)
			}
		}
	}
}

// A change is applied, proved and confirmed in ten round trips: of the driver lock, read, edit
// and commit; the read that is proved; the look whether it is still on trial; edit, commit and
// unlock; and the last look. The session is open before.
func TestRoundTrips(t *testing.T) {
	b := newBed(t, "ietf", netconftest.Options{}, nil)
	ctx := timed(t)
	d := b.driver()
	c, after := b.change(d, 80)
	before := b.server.Count("")
	if err := d.Try(ctx, c, time.Minute); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := d.Read(ctx); err != nil {
			t.Fatal(err)
		}
	}
	if err := d.Confirm(ctx, after); err != nil || !b.holds(d, after) {
		t.Fatal(err)
	}
	if n := b.server.Count("") - before; n != 10 {
		t.Errorf("%d round trips", n)
	}
}

// Somebody else confirms what is on trial: it does not go back by itself any more, and is put
// back like any other state before its time is up.
func TestConfirmedBySomebodyElse(t *testing.T) {
	b := newBed(t, "ietf", netconftest.Options{}, nil)
	ctx := timed(t)
	d := b.driver()
	first, before := b.change(d, 80)
	if err := d.Apply(ctx, first); err != nil {
		t.Fatal(err)
	}
	c, _ := b.change(d, 443)
	if err := d.Try(ctx, c, time.Hour); err != nil {
		t.Fatal(err)
	}
	_ = d.Close()
	if !b.unlocked() {
		t.Fatal("still locked")
	}
	p, on := b.server.Pending()
	if !on {
		t.Fatal("nothing waits")
	}
	s, err := session.Dial(ctx, session.Options{Address: b.server.Address(), User: "admin", Password: config.NewValue(b.server.Password()), KnownHosts: b.known, Keepalive: -1})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Commit(ctx, session.Commit{PersistID: p.Persist}); err != nil {
		t.Fatal(err)
	}
	_ = s.Close()
	d = b.driver()
	if err := d.Undo(ctx); err != nil {
		t.Fatal(err)
	}
	now, err := d.Read(ctx)
	if err != nil || d.Trial(now) != nil {
		t.Fatalf("still on trial: %v", err)
	}
	back, err := d.Diff(now, before)
	if err == nil {
		err = d.Apply(ctx, back)
	}
	if err != nil || !b.holds(d, before) {
		t.Errorf("not put back: %v", err)
	}
}
