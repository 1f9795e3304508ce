package session_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"bulkhead/drivers/netconf/netconftest"
	"bulkhead/drivers/netconf/session"
)

// An answer that cannot be believed leaves the outcome unknown and ends the session; what
// is asked after it is known not to have been sent.
func TestLost(t *testing.T) {
	for name, f := range map[string]netconftest.Fault{
		"cut before":  netconftest.CutBefore(),
		"cut after":   netconftest.CutAfter(),
		"cut within":  netconftest.CutMid(),
		"another id":  netconftest.WrongID(),
		"malformed":   netconftest.Malformed(),
		"too large":   netconftest.Oversized(1 << 20),
		"too deep":    netconftest.Deep(100),
		"neither":     netconftest.Bare(),
		"never":       netconftest.NoReply(),
		"not done":    netconftest.Ignore(),
		"only errors": netconftest.Refuse(netconftest.Error{Severity: "<", Message: "\x00"}),
	} {
		for _, base10 := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				srv := start(t, netconftest.Options{})
				o := options(t, srv)
				o.Base10, o.MaxMessage, o.MaxDepth = base10, 64<<10, 50
				s := dial(t, o)
				edit(t, s, "a", "443")
				srv.Next("commit", f)
				ctx, cancel := context.WithCancel(context.Background())
				defer cancel()
				if name == "never" || name == "not done" {
					srv.After("commit", cancel)
					srv.Before("commit", map[bool]func(){true: cancel}[name == "not done"])
				}
				err := s.Commit(ctx, session.Commit{})
				if name == "only errors" { // the character is replaced where it is sent
					if !session.HasTag(err, "operation-failed") {
						t.Errorf("an error of no severity: %v", err)
					}
					return
				}
				if !errors.Is(err, session.ErrLost) || errors.Is(err, session.ErrClosed) || len(session.Tags(err)) > 0 {
					t.Fatalf("the commit: %v", err)
				}
				mustContain(t, err, "commit", "not known", srv.Address())
				before := s.RoundTrips()
				if err := s.Discard(ctxOf(t)); !errors.Is(err, session.ErrClosed) || errors.Is(err, session.ErrLost) || s.RoundTrips() != before {
					t.Errorf("after it: %v", err)
				}
				if s.Err() == nil {
					t.Error("the session goes on")
				}
				<-s.Done()
				// A confirmed commit would go back, a lock would be given back.
				until(t, "the server notices", func() bool { return srv.Sessions() == 0 })
			})
		}
	}
}

// A second answer answers nothing.
func TestUnasked(t *testing.T) {
	srv := start(t, netconftest.Options{})
	s := dial(t, options(t, srv))
	srv.Next("discard-changes", netconftest.Twice())
	if err := s.Discard(ctxOf(t)); err != nil {
		t.Fatal(err)
	}
	<-s.Done()
	mustContain(t, s.Err(), "nobody waits for")
}

// A reply to get-config without data is not an empty configuration.
func TestNoData(t *testing.T) {
	srv := start(t, netconftest.Options{})
	s := dial(t, options(t, srv))
	srv.Next("get-config", netconftest.Pretend())
	if data, err := s.GetConfig(ctxOf(t), session.Running, nil); err == nil {
		t.Errorf("read %q", data)
	}
}

// A server that is stopped keeps nobody longer than his context, wherever he is.
func TestFrozen(t *testing.T) {
	srv := start(t, netconftest.Options{})
	o := options(t, srv)
	s, idle := dial(t, o), dial(t, o)
	edit(t, s, "a", "443")
	srv.Freeze()
	if err := leave(t, s); !errors.Is(err, session.ErrLost) || !errors.Is(err, context.Canceled) {
		t.Errorf("the commit: %v", err)
	}
	// Behind somebody who hangs: the turn does not come, and nothing is sent.
	first := make(chan error, 1)
	hold, release := context.WithCancel(context.Background())
	go func() { first <- idle.Commit(hold, session.Commit{}) }()
	until(t, "the first is on its way", func() bool { return idle.RoundTrips() == 3 })
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	if err := idle.Discard(ctx); !errors.Is(err, session.ErrClosed) || errors.Is(err, session.ErrLost) {
		t.Errorf("behind somebody who hangs: %v", err)
	}
	release()
	if err := <-first; !errors.Is(err, session.ErrLost) || !errors.Is(err, context.Canceled) {
		t.Errorf("the first: %v", err)
	}
	late := o
	late.Timeout = 20 * time.Millisecond
	if _, err := session.Dial(context.Background(), late); !errors.Is(err, session.ErrUnreachable) {
		t.Errorf("a login: %v", err)
	}
	if _, _, err := session.Enrol(context.Background(), late); !errors.Is(err, session.ErrUnreachable) {
		t.Errorf("enrolling: %v", err)
	}
	srv.Thaw()
	until(t, "the server notices", func() bool { return srv.Sessions() == 0 })
	dial(t, o)
}

// leave commits on a server that hangs, and gives up once it is on its way.
func leave(t *testing.T, s *session.Session) error {
	t.Helper()
	before := s.RoundTrips()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- s.Commit(ctx, session.Commit{}) }()
	until(t, "the commit is on its way", func() bool { return s.RoundTrips() > before })
	cancel()
	return <-done
}

// Without a deadline of its own an rpc has the session's.
func TestLimit(t *testing.T) {
	srv := start(t, netconftest.Options{})
	o := options(t, srv)
	o.RPCTimeout = 50 * time.Millisecond
	s, err := session.Dial(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	srv.Hang(true)
	if err := s.Discard(context.Background()); !errors.Is(err, session.ErrLost) && !errors.Is(err, session.ErrClosed) {
		t.Errorf("an rpc without a deadline: %v", err)
	}
}

// A context that has ended before sends nothing, and the session goes on.
func TestEndedBefore(t *testing.T) {
	srv := start(t, netconftest.Options{})
	s := dial(t, options(t, srv))
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	before := s.RoundTrips()
	if err := s.Discard(ctx); !errors.Is(err, session.ErrClosed) || !errors.Is(err, context.Canceled) || s.RoundTrips() != before {
		t.Errorf("a context that has ended: %v", err)
	}
	if err := s.Discard(ctxOf(t)); err != nil {
		t.Errorf("the session does not go on: %v", err)
	}
}

// A peer that is gone without a word is noticed.
func TestKeepalive(t *testing.T) {
	srv := start(t, netconftest.Options{})
	o := options(t, srv)
	o.Keepalive = 10 * time.Millisecond
	s, err := session.Dial(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	srv.Freeze()
	<-s.Done()
	mustContain(t, s.Err(), "keepalive")
}

// The first rpc may be lost together with the hello: Dial tries again, and gives up where
// nothing else helps.
func TestFirstLost(t *testing.T) {
	srv := start(t, netconftest.Options{})
	o := session.WithTimes(options(t, srv), time.Millisecond, 2*time.Second)
	srv.LoseFirst(1)
	s := dial(t, o)
	if err := s.Discard(ctxOf(t)); err != nil {
		t.Error(err)
	}
	srv.LoseFirst(2)
	o.Timeout = 500 * time.Millisecond
	if _, err := session.Dial(context.Background(), o); !errors.Is(err, session.ErrUnreachable) || errors.Is(err, session.ErrLost) {
		t.Errorf("a server that never answers: %v", err)
	}
}

// A restart of the device ends the session, and what waited for its confirmation is gone.
func TestReboot(t *testing.T) {
	srv := start(t, netconftest.Options{})
	o := options(t, srv)
	s := dial(t, o)
	edit(t, s, "a", "443")
	if err := s.Commit(ctxOf(t), session.Commit{Confirmed: true, Persist: "x"}); err != nil {
		t.Fatal(err)
	}
	srv.Reboot()
	<-s.Done()
	if err := s.Commit(ctxOf(t), session.Commit{PersistID: "x"}); !errors.Is(err, session.ErrClosed) {
		t.Errorf("after the restart: %v", err)
	}
	data, err := dial(t, o).GetConfig(ctxOf(t), session.Running, nil)
	if err != nil {
		t.Fatal(err)
	}
	n, err := netconftest.Parse(data)
	if err != nil || n.Child("acls") != nil {
		t.Errorf("it runs %s (%v)", data, err)
	}
}
