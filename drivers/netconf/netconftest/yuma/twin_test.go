package yuma_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"bulkhead/drivers/netconf/netconftest"
	"bulkhead/drivers/netconf/netconftest/yuma"
	"bulkhead/drivers/netconf/session"
	"bulkhead/internal/tries"
	"bulkhead/pkg/config"
)

// twin starts a simulated switch that knows the lists of the module.
func twin(t *testing.T) *session.Session {
	t.Helper()
	srv, err := netconftest.Start(netconftest.Options{
		Running: yuma.Interfaces("swp1", "swp2"), LikeNetconfd: true,
		Keys: map[string][]string{
			"/acls/acl": {"name"}, "/acls/acl/aces/ace": {"name"}, "/interfaces/interface": {"name"},
			"/acls/attachment-points/interface": {"interface-id"},
		},
	})
	must(t, err)
	t.Cleanup(srv.Close)
	file := filepath.Join(t.TempDir(), "known_hosts")
	must(t, os.WriteFile(file, []byte(srv.KnownHost()), 0o600))
	return dial(t, session.Options{Address: srv.Address(), User: srv.User(), Password: config.NewValue(srv.Password()), KnownHosts: file, Timeout: patience, Keepalive: -1})
}

// change is an edit, and what becomes of it.
type change struct {
	op     string
	body   []byte
	commit bool
}

// changes draws edits: operations at every level, of lists that are there and are not. None
// creates: the real one remembers that in the candidate, and the commit may fail of it.
var changes = rapid.Custom(func(t *rapid.T) change {
	op, body := draw(t)
	return change{op, body, rapid.Bool().Draw(t, "commit")}
})

func draw(t *rapid.T) (op string, body []byte) {
	var b bytes.Buffer
	operation := func() string {
		return rapid.SampledFrom([]string{"", "", ` nc:operation="merge"`, ` nc:operation="replace"`, ` nc:operation="delete"`, ` nc:operation="remove"`}).Draw(t, "operation")
	}
	names := rapid.Permutation([]string{"A", "B", "C"})
	fmt.Fprintf(&b, `<acls xmlns="%s" xmlns:acl="%s">`, nsACL, nsACL)
	for _, name := range names.Draw(t, "lists")[:rapid.IntRange(1, 2).Draw(t, "n")] {
		fmt.Fprintf(&b, `<acl%s><name>%s</name>`, operation(), name)
		if rapid.Bool().Draw(t, "type") {
			b.WriteString(`<type>acl:` + rapid.SampledFrom([]string{"ipv4", "ipv6"}).Draw(t, "family") + `-acl-type</type>`)
		}
		if rapid.Bool().Draw(t, "entries") {
			b.WriteString(`<aces>`)
			for _, ace := range names.Draw(t, "aces")[:rapid.IntRange(1, 3).Draw(t, "m")] {
				fmt.Fprintf(&b, `<ace%s><name>%s</name><actions><forwarding>acl:%s</forwarding></actions></ace>`, operation(), ace, rapid.SampledFrom([]string{"accept", "drop"}).Draw(t, "action"))
			}
			b.WriteString(`</aces>`)
		}
		b.WriteString(`</acl>`)
	}
	b.WriteString(`</acls>`)
	return rapid.SampledFrom([]string{"", session.Merge, session.None}).Draw(t, "default"), b.Bytes()
}

// tell writes the lists of a configuration in their order, without what is empty.
func tell(t *testing.T, s *session.Session, store string) string {
	t.Helper()
	data, err := s.GetConfig(ctxOf(t), store, []byte(`<acls xmlns="`+nsACL+`"/>`))
	if err != nil {
		t.Fatal(err)
	}
	n, err := netconftest.Parse(data)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, acl := range n.Child("acls").All("acl") {
		fmt.Fprintf(&b, "%s(%s)", acl.Child("name").Value(), acl.Child("type").Value())
		for _, ace := range acl.Child("aces").All("ace") {
			fmt.Fprintf(&b, " %s=%s", ace.Child("name").Value(), ace.At("actions/forwarding").Value())
		}
		b.WriteString("; ")
	}
	return b.String()
}

// The simulated switch against the real server: what the real one refuses, it refuses for
// the same reason, and what both take makes the same configuration. The edits are the same
// in every run: the real one has mistakes enough that others would find more.
func TestSimulatedSwitchIsAsStrict(t *testing.T) {
	real, simulated := dial(t, options(t, start(t, yuma.Options{}))), twin(t)
	both := func(what string, f func(s *session.Session) error) (errReal, errSimulated error) {
		t.Helper()
		errReal, errSimulated = f(real), f(simulated)
		a, b := session.Tags(errReal), session.Tags(errSimulated)
		if errReal != nil && len(a) == 0 || errSimulated != nil && len(b) == 0 {
			t.Fatalf("%s: %v, %v", what, errReal, errSimulated)
		}
		// How many of several errors one gets is the server's own.
		if len(a) > 0 && !strings.Contains(strings.Join(b, " "), a[0]) {
			t.Fatalf("%s: the real one says %v, the simulated one %v", what, errReal, errSimulated)
		}
		return errReal, errSimulated
	}
	agree := func(what, store string) {
		t.Helper()
		if a, b := tell(t, real, store), tell(t, simulated, store); a != b {
			t.Fatalf("%s makes %q of the real one's %s, %q of the simulated one's", what, a, store, b)
		}
	}
	ctx := context.Background()
	copied := func(s *session.Session) error { return s.CopyConfig(ctx, session.Candidate, session.Running) }
	refused, stricter, taken := 0, 0, 0
	for i := range tries.Of(300) {
		c := changes.Example(i)
		what := fmt.Sprintf("%d: %s %s", i, c.op, c.body)
		errReal, errSimulated := both(what, func(s *session.Session) error {
			return s.EditConfig(ctx, session.Edit{Target: session.Candidate, DefaultOperation: c.op, TestOption: session.TestThenSet, ErrorOption: session.RollbackOnError, Config: c.body})
		})
		switch {
		case errReal != nil:
			refused++
		case errSimulated != nil:
			stricter++
		default:
			taken++
			agree(what, session.Candidate)
		}
		// One edit at a time: the real one loses its way in several.
		if errSimulated == nil && c.commit {
			both(what, func(s *session.Session) error { return s.Commit(ctx, session.Commit{}) })
		} else {
			both(what, copied)
		}
		agree(what, session.Running)
		agree(what, session.Candidate)
	}
	t.Logf("%d taken, %d refused by both, %d by the simulated one alone", taken, refused, stricter)
	if tries.All && (refused < 20 || taken < 20 || stricter > 60) {
		t.Errorf("%d taken, %d refused by both, %d by the simulated one alone", taken, refused, stricter)
	}
}
