package session_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"bulkhead/drivers/netconf/netconftest"
	"bulkhead/drivers/netconf/session"
	"bulkhead/pkg/config"
)

const nsACL = "urn:example:acl"

var keys = map[string][]string{"/acls/acl": {"name"}, "/acls/acl/aces/ace": {"name"}}

// patience bounds what has to happen on a machine that is busy.
const patience = time.Minute

func start(t *testing.T, o netconftest.Options) *netconftest.Server {
	t.Helper()
	if o.Keys == nil {
		o.Keys = keys
	}
	s, err := netconftest.Start(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// options log in to a server whose host key is enrolled.
func options(t *testing.T, s *netconftest.Server) session.Options {
	t.Helper()
	file := filepath.Join(t.TempDir(), "known_hosts")
	if err := os.WriteFile(file, []byte(s.KnownHost()), 0o600); err != nil {
		t.Fatal(err)
	}
	return session.WithTimes(session.Options{
		Address: s.Address(), User: s.User(), Password: config.NewValue(s.Password()), KnownHosts: file, Point: "sw1",
		Timeout: patience, Keepalive: -1,
	}, time.Millisecond, patience)
}

func dial(t *testing.T, o session.Options) *session.Session {
	t.Helper()
	s, err := session.Dial(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func ctxOf(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

// until waits for something that comes by itself.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not in time: %s", what)
		}
	}
}

// acl is a list of one entry.
func acl(name, port string) []byte {
	return []byte(`<acls xmlns="` + nsACL + `"><acl nc:operation="replace"><name>` + name + `</name><aces><ace><name>r1</name><port>` + port + `</port></ace></aces></acl></acls>`)
}

func edit(t *testing.T, s *session.Session, name, port string) {
	t.Helper()
	err := s.EditConfig(ctxOf(t), session.Edit{Target: session.Candidate, TestOption: session.TestThenSet, ErrorOption: session.RollbackOnError, Config: acl(name, port)})
	if err != nil {
		t.Fatal(err)
	}
}

// port is the port of a list on the server.
func port(n *netconftest.Node, name string) string {
	for _, a := range n.Child("acls").All("acl") {
		if a.Child("name").Value() == name {
			return a.At("aces/ace/port").Value()
		}
	}
	return ""
}

func mustBe(t *testing.T, what, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("%s: %q, want %q", what, got, want)
	}
}

func mustContain(t *testing.T, err error, parts ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error; it should say %q", parts)
	}
	for _, p := range parts {
		if !strings.Contains(err.Error(), p) {
			t.Errorf("%q does not say %q", err, p)
		}
	}
}
