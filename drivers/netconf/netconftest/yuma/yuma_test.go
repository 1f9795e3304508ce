package yuma_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"bulkhead/drivers/netconf/netconftest/yuma"
	"bulkhead/drivers/netconf/session"
	"bulkhead/pkg/config"
)

// What the hello says, in both framings, and however often one comes: an rpc that the
// server reads together with the hello is lost, and Dial has to survive that.
func TestHello(t *testing.T) {
	srv := start(t, yuma.Options{})
	for i := range 8 {
		o := options(t, srv)
		o.Base10 = i%2 == 1
		s := dial(t, o)
		c := s.Capabilities()
		confirmed, persist := c.ConfirmedCommit()
		if !c.Candidate() || !confirmed || !persist || !c.Validate() || !c.TestOnly() || !c.RollbackOnError() || !c.XPath() || !c.Notification() || !c.Interleave() || c.Startup() || c.WritableRunning() {
			t.Errorf("the hello was read as something else: %q", c.All())
		}
		m, ok := c.Module("ietf-access-control-list")
		if !ok || m.Namespace != nsACL || m.Revision != "2019-03-04" || len(m.Features) != 8 {
			t.Errorf("the module is %+v", m)
		}
		// A long answer, which is sent in many chunks.
		data, err := s.GetConfig(ctxOf(t), session.Running, nil)
		must(t, err)
		if !strings.Contains(string(data), "<name>swp2</name>") {
			t.Errorf("running is %s", data)
		}
		must(t, s.Close())
	}
}

// Everything that a change may be refused for, and that nothing of it is done.
func TestRefusals(t *testing.T) {
	srv := start(t, yuma.Options{})
	s := dial(t, options(t, srv))
	ctx := ctxOf(t)
	must(t, edit(ctx, s, lists("create", "A", ace("r1", "443"), ace("r2", "80"))))
	in := func(config string) []byte {
		return []byte(`<acls xmlns="` + nsACL + `" xmlns:acl="` + nsACL + `">` + config + `</acls>`)
	}
	for name, c := range map[string]struct {
		config []byte
		tags   string
		says   string
	}{
		"a port that is none":     {lists("replace", "B", ace("r1", "99999")), "invalid-value", "[acl:name='r1']"},
		"two at once":             {lists("replace", "B", ace("r1", "99999"), ace("r2", "88888")), "invalid-value invalid-value", "[acl:name='r2']"},
		"an unknown leaf":         {in(`<acl><name>B</name><foo/></acl>`), "unknown-element", `element "acl:foo"`},
		"a mandatory leaf":        {in(`<acl><name>B</name><aces><ace><name>x</name><actions><logging>acl:log-none</logging></actions></ace></aces></acl>`), "data-missing", "instance-required"},
		"a must":                  {in(`<acl><name>B</name><aces><ace><name>x</name><matches><tcp><source-port><lower-port>10</lower-port><upper-port>5</upper-port></source-port></tcp></matches><actions><forwarding>acl:drop</forwarding></actions></ace></aces></acl>`), "operation-failed", "must-violation"},
		"no such interface":       {in(`<attachment-points><interface><interface-id>swp9</interface-id></interface></attachment-points>`), "data-missing", "instance-required"},
		"no such list":            {in(`<attachment-points><interface><interface-id>swp1</interface-id><ingress><acl-sets><acl-set><name>Z</name></acl-set></acl-sets></ingress></interface></attachment-points>`), "data-missing", "instance-required"},
		"delete of what is not":   {lists("delete", "Z"), "data-missing", ""},
		"create of what is":       {lists("create", "A"), "data-exists", ""},
		"a list without its key":  {in(`<acl><aces/></acl>`), "missing-element", ""},
		"another namespace":       {[]byte(`<acls xmlns="urn:other"/>`), "unknown-namespace", ""},
		"no namespace":            {[]byte(`<acls/>`), "unknown-element", ""},
		"an entry before another": {in(`<acl><name>A</name><aces><ace xmlns:yang="urn:ietf:params:xml:ns:yang:1" nc:operation="create" yang:insert="before" yang:key="[acl:name='r2']"><name>r3</name><actions><forwarding>acl:drop</forwarding></actions></ace></aces></acl>`), "bad-attribute", ""},
	} {
		err := edit(ctx, s, c.config)
		if got := strings.Join(session.Tags(err), " "); got != c.tags || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %q (%v), want %q saying %q", name, got, err, c.tags, c.says)
		}
	}
	err := s.EditConfig(ctx, session.Edit{Target: session.Running, Config: lists("merge", "A")})
	if !session.HasTag(err, "operation-failed") {
		t.Errorf("an edit of running: %v", err)
	}
	// Not there, although the server could have it.
	if err := s.CopyConfig(ctx, session.Startup, session.Running); !session.HasTag(err, "invalid-value") {
		t.Errorf("a copy to startup: %v", err)
	}
	if has(t, s, session.Candidate, "<name>B</name>") {
		t.Error("a refused edit has left something")
	}
	must(t, s.Commit(ctx, session.Commit{}))
	data, err := s.GetConfig(ctx, session.Running, []byte(`<acls xmlns="`+nsACL+`"><acl><name>A</name></acl></acls>`))
	must(t, err)
	if a, b := strings.Index(string(data), "<name>r1<"), strings.Index(string(data), "<name>r2<"); a < 0 || b < a {
		t.Errorf("the entries have another order: %s", data)
	}
	none, err := s.GetConfig(ctx, session.Running, []byte(`<acls xmlns="`+nsACL+`"><acl><name>Z</name></acl></acls>`))
	must(t, err)
	if strings.Contains(string(none), "<acl") {
		t.Errorf("a list that is not there: %s", none)
	}
}

// Locks keep other sessions out, and say whose they are.
func TestLocks(t *testing.T) {
	srv := start(t, yuma.Options{})
	a, b := dial(t, options(t, srv)), dial(t, options(t, srv))
	ctx := ctxOf(t)
	must(t, a.Lock(ctx, session.Candidate))
	holder, denied := session.LockHolder(b.Lock(ctx, session.Candidate))
	if !denied || holder != a.SessionID() {
		t.Errorf("the lock is %q's (%t), want %q's", holder, denied, a.SessionID())
	}
	if err := edit(ctx, b, lists("merge", "B", ace("r1", "1"))); !session.HasTag(err, "in-use") {
		t.Errorf("an edit of a locked candidate: %v", err)
	}
	if err := b.Commit(ctx, session.Commit{}); !session.HasTag(err, "in-use") {
		t.Errorf("a commit of a locked candidate: %v", err)
	}
	if err := b.Unlock(ctx, session.Candidate); !session.HasTag(err, "in-use") {
		t.Errorf("somebody else's lock given back: %v", err)
	}
	if err := b.Unlock(ctx, session.Running); !session.HasTag(err, "operation-failed") {
		t.Errorf("a lock given back that nobody has: %v", err)
	}
	must(t, edit(ctx, a, lists("merge", "A", ace("r1", "1"))))
	must(t, a.Unlock(ctx, session.Candidate))
	if has(t, b, session.Candidate, "<name>A<") {
		t.Error("what was not committed outlives the lock")
	}
	// A candidate that somebody has left changed.
	must(t, edit(ctx, b, lists("merge", "B", ace("r1", "1"))))
	if err := a.Lock(ctx, session.Candidate); !session.HasTag(err, "resource-denied") {
		t.Errorf("a lock of a candidate that is not clean: %v", err)
	}
	// It answers ok and discards nothing; only a copy, or giving a lock back, does.
	must(t, a.Discard(ctx))
	if !has(t, a, session.Candidate, "<name>B<") {
		t.Error("it was discarded: netconfd is another one than the comments speak of")
	}
	must(t, a.CopyConfig(ctx, session.Candidate, session.Running))
	must(t, a.Lock(ctx, session.Candidate))
	must(t, a.Close())
	until(t, "the lock goes with its session", func() bool { return b.Lock(ctx, session.Candidate) == nil })
}

// A confirmed commit goes back by itself, in every way that there is.
func TestConfirmedCommit(t *testing.T) {
	srv := start(t, yuma.Options{})
	o := options(t, srv)
	ctx := ctxOf(t)
	s, watch := dial(t, o), dial(t, o)
	commit := func(s *session.Session, name string, c session.Commit) {
		t.Helper()
		must(t, s.CopyConfig(ctx, session.Candidate, session.Running)) // what has gone back may be in it
		must(t, edit(ctx, s, lists("replace", name, ace("r1", "443"))))
		must(t, s.Commit(ctx, c))
		if !has(t, watch, session.Running, "<name>"+name+"<") {
			t.Errorf("%s is committed and does not run", name)
		}
	}
	gone := func(name string) {
		t.Helper()
		// netconfd looks at its clock once it has had nothing to do for a second: whoever asks
		// more often keeps the change from going back.
		for end := time.Now().Add(patience); ; {
			time.Sleep(1500 * time.Millisecond)
			if !has(t, watch, session.Running, "<name>"+name+"<") {
				return
			}
			if time.Now().After(end) {
				t.Fatalf("%s does not go back", name)
			}
		}
	}
	commit(s, "TIME", session.Commit{Confirmed: true, Timeout: time.Second})
	gone("TIME")

	commit(s, "CANCEL", session.Commit{Confirmed: true, Timeout: 10 * time.Minute, Persist: "x<&\"y"})
	if err := watch.Commit(ctx, session.Commit{PersistID: "wrong"}); !session.HasTag(err, "invalid-value") {
		t.Errorf("a wrong name confirms: %v", err)
	}
	if err := watch.Commit(ctx, session.Commit{}); !session.HasTag(err, "in-use") {
		t.Errorf("another session confirms without the name: %v", err)
	}
	if err := watch.Lock(ctx, session.Running); !session.HasTag(err, "in-use") {
		t.Errorf("running is locked while a commit waits: %v", err)
	}
	if err := watch.Lock(ctx, session.Candidate); !session.HasTag(err, "in-use") {
		t.Errorf("another session locks the candidate while a commit waits, and the simulated switch need not be stricter any more: %v", err)
	}
	must(t, watch.CancelCommit(ctx, "x<&\"y"))
	gone("CANCEL")
	if err := watch.CancelCommit(ctx, ""); !session.HasTag(err, "operation-failed") {
		t.Errorf("a commit taken back that is none: %v", err)
	}

	dropped, err := session.Dial(ctx, o)
	must(t, err)
	commit(dropped, "DROP", session.Commit{Confirmed: true, Timeout: 10 * time.Minute})
	must(t, dropped.Close())
	gone("DROP")

	named, err := session.Dial(ctx, o)
	must(t, err)
	commit(named, "NAMED", session.Commit{Confirmed: true, Timeout: 10 * time.Minute, Persist: "n1"})
	must(t, named.Close())
	must(t, watch.Commit(ctx, session.Commit{PersistID: "n1"}))
	saved, err := srv.Saved()
	must(t, err)
	if !strings.Contains(saved, "<name>NAMED<") {
		t.Error("what is confirmed is not saved")
	}

	commit(s, "POWER", session.Commit{Confirmed: true, Timeout: 10 * time.Minute, Persist: "n2"})
	srv.Kill()
	until(t, "the session ends with the server", func() bool { return s.Err() != nil && watch.Err() != nil })
	must(t, srv.Restart())
	watch = dial(t, o)
	if has(t, watch, session.Running, "<name>POWER<") || !has(t, watch, session.Running, "<name>NAMED<") {
		t.Error("after a power cut it does not run what was confirmed last")
	}
}

// The roll-back fails while running is locked, also by its own session: only the
// candidate may be locked.
func TestRunningLockedKeepsItFromGoingBack(t *testing.T) {
	srv := start(t, yuma.Options{})
	s := dial(t, options(t, srv))
	ctx := ctxOf(t)
	must(t, s.Lock(ctx, session.Running))
	must(t, edit(ctx, s, lists("replace", "A", ace("r1", "443"))))
	must(t, s.Commit(ctx, session.Commit{Confirmed: true, Timeout: time.Second}))
	until(t, "the server tries", func() bool { return strings.Contains(srv.Log(), "restore running config failed") })
	if !has(t, s, session.Running, "<name>A<") {
		t.Error("it went back: the simulated switch need not be stricter any more")
	}
}

// A commit after a validate of its own answers ok and does nothing: what a commit says is
// not to be believed.
func TestCommitThatDoesNothing(t *testing.T) {
	srv := start(t, yuma.Options{})
	s := dial(t, options(t, srv))
	ctx := ctxOf(t)
	must(t, edit(ctx, s, lists("replace", "A", ace("r1", "443"))))
	must(t, s.Validate(ctx, session.Candidate))
	must(t, s.Commit(ctx, session.Commit{}))
	if has(t, s, session.Running, "<name>A<") {
		t.Error("it was done: netconfd is another one than the comments speak of")
	}
}

// What an edit removes from an element that it makes itself, is made with it; delete of it
// is refused.
func TestRemoveBelowWhatIsNotThere(t *testing.T) {
	srv := start(t, yuma.Options{})
	s := dial(t, options(t, srv))
	ctx := ctxOf(t)
	if err := edit(ctx, s, lists("delete", "A")); !session.HasTag(err, "data-missing") {
		t.Errorf("a delete: %v", err)
	}
	must(t, edit(ctx, s, lists("remove", "A")))
	if !has(t, s, session.Candidate, "<name>A<") {
		t.Error("nothing was made: netconfd is another one than the comments speak of")
	}
}

// What was confirmed is there after a restart; with a startup datastore only what was
// copied there.
func TestRestart(t *testing.T) {
	srv := start(t, yuma.Options{Startup: true})
	o := options(t, srv)
	s := dial(t, o)
	ctx := ctxOf(t)
	if !s.Capabilities().Startup() {
		t.Fatalf("no startup: %q", s.Capabilities().All())
	}
	must(t, edit(ctx, s, lists("replace", "SAVED", ace("r1", "443"))))
	must(t, s.Commit(ctx, session.Commit{}))
	must(t, s.CopyConfig(ctx, session.Startup, session.Running))
	must(t, edit(ctx, s, lists("replace", "LOST", ace("r1", "443"))))
	must(t, s.Commit(ctx, session.Commit{}))
	must(t, srv.Restart())
	s = dial(t, o)
	if !has(t, s, session.Running, "<name>SAVED<") || has(t, s, session.Running, "<name>LOST<") {
		t.Error("it does not start with what was copied")
	}
}

// Events come between replies, and are not taken for any.
func TestEvents(t *testing.T) {
	srv := start(t, yuma.Options{})
	s := dial(t, options(t, srv))
	ctx := ctxOf(t)
	events, err := s.Subscribe(ctx)
	must(t, err)
	for _, name := range []string{"A", "B", "C"} {
		must(t, edit(ctx, s, lists("replace", name, ace("r1", "443"))))
		must(t, s.Commit(ctx, session.Commit{}))
	}
	for seen := 0; seen < 3; {
		select {
		case e, ok := <-events:
			if !ok {
				t.Fatalf("the session ended: %v", s.Err())
			}
			if e.Name.Local == "netconf-config-change" {
				seen++
			}
		case <-ctx.Done():
			t.Fatal("no event came")
		}
	}
}

// A user who may not write is told so.
func TestAccessDenied(t *testing.T) {
	srv := start(t, yuma.Options{Superuser: "somebody"})
	s := dial(t, options(t, srv))
	if err := edit(ctxOf(t), s, lists("replace", "A", ace("r1", "443"))); !session.HasTag(err, "access-denied") {
		t.Errorf("an edit without the right to: %v", err)
	}
}

// sshd's word on keys, ours and its own.
func TestLogin(t *testing.T) {
	srv, other := start(t, yuma.Options{}), start(t, yuma.Options{})
	o := options(t, srv)
	fingerprint, line, err := session.Enrol(ctxOf(t), o)
	must(t, err)
	if line+"\n" != srv.KnownHost() || !strings.HasPrefix(fingerprint, "SHA256:") {
		t.Errorf("enrolled %q, want %q", line, srv.KnownHost())
	}
	wrong := o
	wrong.Key = config.NewValue(other.Key())
	if _, err := session.Dial(ctxOf(t), wrong); !errors.Is(err, session.ErrAuthentication) {
		t.Errorf("somebody else's key: %v", err)
	}
	stranger := options(t, other)
	stranger.Address = srv.Address()
	if _, err := session.Dial(ctxOf(t), stranger); !errors.Is(err, session.ErrHostKey) {
		t.Errorf("a host key that is not enrolled: %v", err)
	}
}

// A server that hangs keeps nobody longer than his context.
func TestHang(t *testing.T) {
	srv := start(t, yuma.Options{})
	o := options(t, srv)
	s := dial(t, o)
	must(t, edit(ctxOf(t), s, lists("replace", "A", ace("r1", "443"))))
	srv.Freeze()
	before := s.RoundTrips()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- s.Commit(ctx, session.Commit{}) }()
	until(t, "the commit is on its way", func() bool { return s.RoundTrips() > before })
	cancel()
	if err := <-done; !errors.Is(err, session.ErrLost) || !errors.Is(err, context.Canceled) {
		t.Errorf("a commit of a server that hangs: %v", err)
	}
	if err := s.Commit(ctxOf(t), session.Commit{}); !errors.Is(err, session.ErrClosed) {
		t.Errorf("a session that was lost: %v", err)
	}
	late := o
	late.Timeout = 300 * time.Millisecond
	if _, err := session.Dial(context.Background(), late); !errors.Is(err, session.ErrUnreachable) {
		t.Errorf("a login at a server that hangs: %v", err)
	}
	srv.Thaw()
	// It may have done it, and it may have not: who asks is told.
	has(t, dial(t, o), session.Running, "<name>A<")
}
