package session_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"bulkhead/drivers/netconf/netconftest"
	"bulkhead/drivers/netconf/session"
)

// The way of a change, in both framings, and however the network cuts what is sent.
func TestChange(t *testing.T) {
	for name, set := range map[string]func(*netconftest.Server, *session.Options){
		"chunks":       func(*netconftest.Server, *session.Options) {},
		"base 1.0":     func(_ *netconftest.Server, o *session.Options) { o.Base10 = true },
		"byte by byte": func(s *netconftest.Server, _ *session.Options) { s.ByteByByte(true) },
		"keys last":    func(s *netconftest.Server, _ *session.Options) { s.KeysLast(true) },
		"both":         func(s *netconftest.Server, o *session.Options) { o.Base10 = true; s.ByteByByte(true) },
	} {
		t.Run(name, func(t *testing.T) {
			srv := start(t, netconftest.Options{})
			o := options(t, srv)
			set(srv, &o)
			s := dial(t, o)
			ctx := ctxOf(t)
			before := s.RoundTrips()
			steps := []func() error{
				func() error { return s.Lock(ctx, session.Candidate) },
				func() error {
					return s.EditConfig(ctx, session.Edit{
						Target: session.Candidate, TestOption: session.TestThenSet, ErrorOption: session.RollbackOnError, DefaultOperation: session.Merge, Config: acl("a", "443"),
					})
				},
				func() error {
					return s.Commit(ctx, session.Commit{Confirmed: true, Timeout: 90*time.Second + 1, Persist: "x\"<&]]>y"})
				},
				func() error { return s.Commit(ctx, session.Commit{PersistID: "x\"<&]]>y"}) },
				func() error { return s.Unlock(ctx, session.Candidate) },
				func() error { return s.Validate(ctx, session.Running) },
				func() error { return s.Discard(ctx) },
				func() error { return s.CopyConfig(ctx, session.Candidate, session.Running) },
			}
			for i, step := range steps {
				if err := step(); err != nil {
					t.Fatalf("step %d: %v", i, err)
				}
				if i == 2 {
					if p, ok := srv.Pending(); !ok || p.Timeout != 91 || p.Persist != "x\"<&]]>y" {
						t.Errorf("what waits is %+v", p)
					}
				}
			}
			mustBe(t, "running", port(srv.Running(), "a"), "443")
			data, err := s.GetConfig(ctx, session.Running, []byte(`<acls xmlns="`+nsACL+`"><acl><name>a</name></acl></acls>`))
			if err != nil {
				t.Fatal(err)
			}
			n, err := netconftest.Parse(data)
			if err != nil || n.Name.Local != "data" || n.At("acls/acl/aces/ace/port").Value() != "443" {
				t.Errorf("the data is %s (%v)", data, err)
			}
			if got := s.RoundTrips() - before; got != len(steps)+1 {
				t.Errorf("%d round trips, want %d", got, len(steps)+1)
			}
		})
	}
}

// What nobody can be told apart by is not sent: text that would end its element, and
// what the server's hello does not offer.
func TestNotSent(t *testing.T) {
	srv := start(t, netconftest.Options{Without: []string{"validate:1.0", "validate:1.1", "confirmed-commit:1.1", "notification:1.0"}})
	s := dial(t, options(t, srv))
	bare := dial(t, options(t, start(t, netconftest.Options{Without: []string{"candidate:1.0", "confirmed-commit:1.0", "confirmed-commit:1.1"}})))
	ctx := ctxOf(t)
	before := s.RoundTrips() + bare.RoundTrips()
	edit := func(config string) error {
		return s.EditConfig(ctx, session.Edit{Target: session.Candidate, Config: []byte(config)})
	}
	for name, err := range map[string]error{
		"ends its element":    edit(`</config><evil/><config>`),
		"not ended":           edit(`<a>`),
		"text":                edit(`a`),
		"declaration":         edit(`<?xml version="1.0"?><a/>`),
		"document type":       edit(`<!DOCTYPE a><a/>`),
		"attribute twice":     edit(`<a b="1" b="2"/>`),
		"undefined entity":    edit(`<a>&b;</a>`),
		"datastore":           s.Lock(ctx, "candidate/><evil"),
		"url":                 s.CopyConfig(ctx, session.Startup, "url"),
		"validate":            s.Validate(ctx, session.Candidate),
		"persist":             s.Commit(ctx, session.Commit{Confirmed: true, Persist: "a"}),
		"persist without":     s.Commit(ctx, session.Commit{Persist: "a"}),
		"timeout without":     s.Commit(ctx, session.Commit{Timeout: time.Minute}),
		"negative timeout":    s.Commit(ctx, session.Commit{Confirmed: true, Timeout: -1}),
		"cancel":              s.CancelCommit(ctx, "a"),
		"commit, no candiate": bare.Commit(ctx, session.Commit{}),
		"confirmed":           bare.Commit(ctx, session.Commit{Confirmed: true}),
		"not to be written":   func() error { _, err := s.Do(ctx, make(chan int)); return err }(),
		"subscribe":           func() error { _, err := s.Subscribe(ctx); return err }(),
		"filter": func() error {
			_, err := s.GetConfig(ctx, session.Running, []byte(`</filter><evil/><filter>`))
			return err
		}(),
	} {
		if !errors.Is(err, session.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if after := s.RoundTrips() + bare.RoundTrips(); after != before {
		t.Errorf("%d rpcs were sent all the same", after-before)
	}
	if err := s.Lock(ctx, session.Candidate); err != nil {
		t.Errorf("the session does not go on: %v", err)
	}
	// In the framing of base:1.0 its mark would end the message.
	o := options(t, srv)
	o.Base10 = true
	old := dial(t, o)
	before = old.RoundTrips()
	err := old.EditConfig(ctx, session.Edit{Target: session.Candidate, Config: []byte(`<a><!--]]>]]>--></a>`)})
	if !errors.Is(err, session.ErrInvalid) || old.RoundTrips() != before {
		t.Errorf("a mark of the framing within a message: %v", err)
	}
	if _, err := old.GetConfig(ctx, session.Running, nil); err != nil {
		t.Errorf("the session does not go on: %v", err)
	}
}

// Everything that a server says of an error arrives, all errors of it, and warnings apart.
func TestRefusals(t *testing.T) {
	srv := start(t, netconftest.Options{})
	o := options(t, srv)
	var warned []string
	o.OnWarning = func(op string, w *session.RPCError) { warned = append(warned, op+" "+w.Message) }
	s := dial(t, o)
	ctx := ctxOf(t)
	srv.Next("commit", netconftest.Refuse(
		netconftest.Error{Severity: "warning", Tag: "operation-failed", Message: "old"},
		netconftest.Error{Type: "application", Tag: "in-use", AppTag: "busy", Path: "/a/b[c='<d>']", Message: "later & <more>", SessionID: "7", BadElement: "e", BadAttribute: "f", BadNamespace: "g"},
		netconftest.Error{Type: "protocol", Tag: "resource-denied", Severity: "grave"},
	))
	err := s.Commit(ctx, session.Commit{})
	var refused *session.RefusedError
	if !errors.As(err, &refused) || len(refused.Errors) != 2 {
		t.Fatalf("refused: %v", err)
	}
	e := *refused.Errors[0]
	if e.Info = ""; e != (session.RPCError{
		Type: "application", Tag: "in-use", Severity: "error", AppTag: "busy", Path: "/a/b[c='<d>']", Message: "later & <more>", SessionID: "7", BadElement: "e", BadAttribute: "f", BadNamespace: "g",
	}) {
		t.Errorf("the error is %+v", e)
	}
	mustBe(t, "tags", strings.Join(session.Tags(err), " "), "in-use resource-denied")
	mustBe(t, "warnings", strings.Join(warned, ";"), "commit old")
	mustContain(t, err, "commit", "busy", "later & <more>", `session "7"`, "resource-denied")
	var one *session.RPCError
	if !errors.As(err, &one) || one.Tag != "in-use" {
		t.Errorf("an error of it: %+v", one)
	}
	if _, ok := session.LockHolder(err); ok || session.HasTag(errors.New("in-use"), "in-use") {
		t.Error("it is taken for something else")
	}

	// With warnings it is done: ok is left out then (RFC 6241 section 4.4).
	edit(t, s, "a", "1")
	srv.Next("commit", netconftest.Warn(netconftest.Error{Tag: "operation-failed", Message: "slow"}))
	if err := s.Commit(ctx, session.Commit{}); err != nil {
		t.Errorf("a warning: %v", err)
	}
	mustBe(t, "running", port(srv.Running(), "a"), "1")
	mustBe(t, "warnings", strings.Join(warned, ";"), "commit old;commit slow")

	srv.HoldLock(session.Candidate, 0)
	if id, ok := session.LockHolder(s.Lock(ctx, session.Candidate)); !ok || id != "0" {
		t.Errorf("the lock is %q's (%t)", id, ok)
	}
	srv.ReleaseLock(session.Candidate)
	other := dial(t, options(t, srv))
	if err := other.Lock(ctx, session.Candidate); err != nil {
		t.Fatal(err)
	}
	if id, ok := session.LockHolder(s.Lock(ctx, session.Candidate)); !ok || id != other.SessionID() {
		t.Errorf("the lock is %q's (%t), want %q's", id, ok, other.SessionID())
	}
}

// Events do not pass for replies, also where both come in one packet, and keep their order.
func TestEvents(t *testing.T) {
	for _, merged := range []bool{false, true} {
		t.Run(fmt.Sprintf("merged %t", merged), func(t *testing.T) {
			srv := start(t, netconftest.Options{})
			srv.MergeEvents(merged)
			s := dial(t, options(t, srv))
			ctx := ctxOf(t)
			events, err := s.Subscribe(ctx)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := s.Subscribe(ctx); !errors.Is(err, session.ErrInvalid) {
				t.Errorf("a second subscription: %v", err)
			}
			const n = 20
			for i := range n {
				edit(t, s, "a", fmt.Sprint(i+1))
				if err := s.Commit(ctx, session.Commit{}); err != nil {
					t.Fatal(err)
				}
			}
			for range n {
				select {
				case e := <-events:
					if e.Name.Local != "netconf-config-change" || e.Time.IsZero() || !strings.Contains(string(e.Raw), "<session-id>"+s.SessionID()+"<") {
						t.Errorf("the event is %+v %s", e, e.Raw)
					}
				case <-ctx.Done():
					t.Fatal("an event is missing")
				}
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			if _, ok := <-events; ok {
				t.Error("the channel goes on after the session")
			}
		})
	}
}

// Events that nobody reads do not stop the session, and are counted.
func TestEventsUnread(t *testing.T) {
	srv := start(t, netconftest.Options{})
	s := dial(t, options(t, srv))
	ctx := ctxOf(t)
	events, err := s.Subscribe(ctx)
	if err != nil {
		t.Fatal(err)
	}
	const n = 1100
	for i := range n {
		if err := srv.ForeignCommit(string(acl("a", fmt.Sprint(i+1)))); err != nil {
			t.Fatal(err)
		}
	}
	seen := 0
	for seen < n {
		select {
		case e := <-events:
			seen += 1 + e.Missed
		case <-ctx.Done():
			t.Fatalf("%d events of %d", seen, n)
		}
		if seen == 1 { // the rest has come before the next reply
			for range 3 {
				if _, err := s.GetConfig(ctx, session.Running, nil); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	if seen != n {
		t.Errorf("%d events of %d", seen, n)
	}
}

// Several goroutines share a session, and each gets its own answer.
func TestShared(t *testing.T) {
	srv := start(t, netconftest.Options{})
	s := dial(t, options(t, srv))
	ctx := ctxOf(t)
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			for range 10 {
				source := []string{session.Running, session.Candidate}[i%2]
				if _, err := s.GetConfig(ctx, source, nil); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
}

// What a hello has to have.
func TestCapabilities(t *testing.T) {
	srv := start(t, netconftest.Options{Startup: true, WritableRunning: true, Without: []string{"confirmed-commit:1.1"}, With: []string{
		"urn:example:m?module=m&revision=2020-01-01&features=x,y", "urn:ietf:params:netconf:capability:xpath:1.0", "urn:example:candidate:1.0", "urn:bad?%zz",
	}})
	c := dial(t, options(t, srv)).Capabilities()
	confirmed, persist := c.ConfirmedCommit()
	if !c.Startup() || !c.WritableRunning() || !confirmed || persist || !c.XPath() || !c.Candidate() {
		t.Errorf("the hello was read as something else: %q", c.All())
	}
	if m, ok := c.Module("m"); !ok || m.Namespace != "urn:example:m" || m.Revision != "2020-01-01" || strings.Join(m.Features, " ") != "x y" {
		t.Errorf("the module is %+v", m)
	}
	if _, ok := c.Module("x"); ok || c.Has("urn:example:none") || !c.Has("urn:example:m") {
		t.Error("something is there that is not, or the other way round")
	}
	for _, without := range []string{"base:1.0", "base:1.1"} {
		s := dial(t, options(t, start(t, netconftest.Options{Without: []string{without}})))
		if _, err := s.GetConfig(ctxOf(t), session.Running, nil); err != nil {
			t.Errorf("without %s: %v", without, err)
		}
	}
	none := options(t, start(t, netconftest.Options{Without: []string{"base:1.0", "base:1.1"}}))
	if _, err := session.Dial(context.Background(), none); !errors.Is(err, session.ErrProtocol) {
		t.Errorf("a server of no version: %v", err)
	}
}
