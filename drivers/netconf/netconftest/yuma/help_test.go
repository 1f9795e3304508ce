package yuma_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"bulkhead/drivers/netconf/netconftest/yuma"
	"bulkhead/drivers/netconf/session"
	"bulkhead/pkg/config"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds what has to happen on a machine that is busy.
const patience = 2 * time.Minute

func start(t *testing.T, o yuma.Options) *yuma.Server {
	t.Helper()
	if o.Running == "" {
		o.Running = yuma.Interfaces("swp1", "swp2")
	}
	s, err := yuma.Start(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(s.Log())
		}
		s.Close()
	})
	return s
}

func options(t *testing.T, s *yuma.Server) session.Options {
	t.Helper()
	file := filepath.Join(t.TempDir(), "known_hosts")
	if err := os.WriteFile(file, []byte(s.KnownHost()), 0o600); err != nil {
		t.Fatal(err)
	}
	return session.Options{Address: s.Address(), User: s.User(), Key: config.NewValue(s.Key()), KnownHosts: file, Point: "sw1", Timeout: patience, Keepalive: -1}
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

func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not in time: %s", what)
		}
	}
}

const nsACL = "urn:ietf:params:xml:ns:yang:ietf-access-control-list"

// ace is an entry that lets TCP to a port pass.
func ace(name, port string) string {
	return fmt.Sprintf(`<ace><name>%s</name><matches><ipv4><protocol>6</protocol><destination-ipv4-network>10.0.2.0/24</destination-ipv4-network></ipv4>`+
		`<tcp><destination-port><operator>eq</operator><port>%s</port></destination-port></tcp></matches><actions><forwarding>acl:accept</forwarding></actions></ace>`, name, port)
}

// lists is a configuration of one list of these entries.
func lists(operation, name string, aces ...string) []byte {
	return fmt.Appendf(nil, `<acls xmlns="%s" xmlns:acl="%s"><acl nc:operation="%s"><name>%s</name><type>acl:ipv4-acl-type</type><aces>%s</aces></acl></acls>`,
		nsACL, nsACL, operation, name, strings.Join(aces, ""))
}

func edit(ctx context.Context, s *session.Session, config []byte) error {
	return s.EditConfig(ctx, session.Edit{Target: session.Candidate, TestOption: session.TestThenSet, ErrorOption: session.RollbackOnError, Config: config})
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// has reports whether a datastore has a text among its lists.
func has(t *testing.T, s *session.Session, store, text string) bool {
	t.Helper()
	data, err := s.GetConfig(ctxOf(t), store, []byte(`<acls xmlns="`+nsACL+`"/>`))
	must(t, err)
	return strings.Contains(string(data), text)
}
