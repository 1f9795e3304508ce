package session_test

import (
	"context"
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
	} {
		t.Run(name, func(t *testing.T) {
			srv := start(t, netconftest.Options{})
			o := options(t, srv)
			set(srv, &o)
			s := dial(t, o)
			ctx := ctxOf(t)
			before := s.RoundTrips()
			for _, step := range []func() error{
				func() error { return s.Lock(ctx, session.Candidate) },
				func() error { return s.Discard(ctx) },
				func() error {
					return s.EditConfig(ctx, session.Edit{Target: session.Candidate, TestOption: session.TestThenSet, Config: acl("a<&\"'>", "443")})
				},
				func() error {
					return s.Commit(ctx, session.Commit{Confirmed: true, Timeout: 90*time.Second + 1, Persist: `x"<y`})
				},
				func() error { return s.Commit(ctx, session.Commit{PersistID: `x"<y`}) },
				func() error { return s.Unlock(ctx, session.Candidate) },
			} {
				if err := step(); err != nil && err.Error() == "" {
					t.Fatal(err)
				} else if err != nil {
					t.Log(err)
				}
			}
			_ = before
		})
	}
	_ = context.Background
}
