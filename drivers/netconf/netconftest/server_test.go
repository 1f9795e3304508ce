package netconftest_test

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"bulkhead/drivers/netconf/netconftest"
	"bulkhead/drivers/netconf/session"
	"bulkhead/pkg/config"
)

const patience = time.Minute

func start(t *testing.T, o netconftest.Options) *netconftest.Server {
	t.Helper()
	if o.Keys == nil {
		o.Keys = map[string][]string{"/c/l": {"k"}}
	}
	s, err := netconftest.Start(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func dial(t *testing.T, s *netconftest.Server) *session.Session {
	t.Helper()
	file := filepath.Join(t.TempDir(), "known_hosts")
	if err := os.WriteFile(file, []byte(s.KnownHost()), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := session.Dial(context.Background(), session.Options{
		Address: s.Address(), User: s.User(), Password: config.NewValue(s.Password()), KnownHosts: file, Timeout: patience, Keepalive: -1,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func ctxOf(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not in time: %s", what)
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func mustTag(t *testing.T, what string, err error, tag string) {
	t.Helper()
	if !session.HasTag(err, tag) {
		t.Errorf("%s: %v, want %s", what, err, tag)
	}
}

func value(v string) []byte { return []byte(`<c xmlns="urn:x"><v>` + v + `</v></c>`) }

func edit(t *testing.T, c *session.Session, v string) {
	t.Helper()
	must(t, c.EditConfig(ctxOf(t), session.Edit{Target: session.Candidate, Config: value(v)}))
}

func runs(s *netconftest.Server) string { return s.Running().At("c/v").Value() }

func mustRun(t *testing.T, s *netconftest.Server, want string) {
	t.Helper()
	if got := runs(s); got != want {
		t.Errorf("%q runs, want %q", got, want)
	}
}

// Locks, and a candidate that somebody else has changed.
func TestLocks(t *testing.T) {
	s := start(t, netconftest.Options{})
	a, b := dial(t, s), dial(t, s)
	ctx := ctxOf(t)
	must(t, a.Lock(ctx, session.Candidate))
	mustTag(t, "a lock that is held", b.Lock(ctx, session.Candidate), "lock-denied")
	mustTag(t, "a lock that one has", a.Lock(ctx, session.Candidate), "lock-denied")
	mustTag(t, "an edit", b.EditConfig(ctx, session.Edit{Target: session.Candidate, Config: value("1")}), "in-use")
	mustTag(t, "a commit", b.Commit(ctx, session.Commit{}), "in-use")
	mustTag(t, "a discard", b.Discard(ctx), "in-use")
	mustTag(t, "a copy", b.CopyConfig(ctx, session.Candidate, session.Running), "in-use")
	mustTag(t, "somebody else's lock", b.Unlock(ctx, session.Candidate), "in-use")
	mustTag(t, "nobody's lock", b.Unlock(ctx, session.Running), "operation-failed")
	edit(t, a, "1")
	must(t, a.Unlock(ctx, session.Candidate))
	if s.Candidate().Child("c") != nil {
		t.Error("what was not committed outlives the lock")
	}
	must(t, s.DirtyCandidate(string(value("2"))))
	mustTag(t, "a candidate that is dirty", a.Lock(ctx, session.Candidate), "resource-denied")
	must(t, a.Discard(ctx))
	must(t, a.Lock(ctx, session.Candidate))
	must(t, a.Lock(ctx, session.Running))
	mustTag(t, "a commit while running is locked", b.Commit(ctx, session.Commit{}), "in-use")
	must(t, a.Close())
	until(t, "locks go with their session", func() bool { return len(s.Locks()) == 0 })
	s.HoldLock(session.Candidate, 99)
	if id, ok := session.LockHolder(b.Lock(ctx, session.Candidate)); !ok || id != "99" {
		t.Errorf("the lock is %q's", id)
	}
}

// Confirmed commits: the time is up when a test says so.
func TestConfirmedCommits(t *testing.T) {
	s := start(t, netconftest.Options{})
	a, b := dial(t, s), dial(t, s)
	ctx := ctxOf(t)
	edit(t, a, "1")
	must(t, a.Commit(ctx, session.Commit{}))
	confirmed := func(v, name string) {
		t.Helper()
		edit(t, a, v)
		must(t, a.Commit(ctx, session.Commit{Confirmed: true, Timeout: time.Minute, Persist: name}))
		mustRun(t, s, v)
		if s.Saved().At("c/v").Value() == v {
			t.Error("what is not confirmed is saved")
		}
	}
	confirmed("2", "")
	must(t, s.Expire())
	mustRun(t, s, "1")
	if s.Expire() == nil {
		t.Error("a second time is up")
	}
	confirmed("3", "")
	mustTag(t, "another session's", b.Commit(ctx, session.Commit{}), "in-use")
	mustTag(t, "another session's, by a name", b.Commit(ctx, session.Commit{PersistID: "x"}), "invalid-value")
	mustTag(t, "another session's, cancelled", b.CancelCommit(ctx, ""), "in-use")
	mustTag(t, "running locked", b.Lock(ctx, session.Running), "in-use")
	confirmed("4", "") // a follow-up: it all goes back
	must(t, a.CancelCommit(ctx, ""))
	mustRun(t, s, "1")
	mustTag(t, "none that waits", a.CancelCommit(ctx, ""), "operation-failed")
	mustTag(t, "none that waits, by a name", a.Commit(ctx, session.Commit{PersistID: "x"}), "operation-failed")

	confirmed("5", "n")
	mustTag(t, "without its name", a.Commit(ctx, session.Commit{}), "invalid-value")
	mustTag(t, "by a wrong name", b.Commit(ctx, session.Commit{PersistID: "x"}), "invalid-value")
	must(t, b.Commit(ctx, session.Commit{PersistID: "n"}))
	mustRun(t, s, "5")
	if s.Saved().At("c/v").Value() != "5" {
		t.Error("what is confirmed is not saved")
	}
	confirmed("6", "n")
	s.Reboot()
	mustRun(t, s, "5")

	a, b = dial(t, s), dial(t, s)
	confirmed("7", "")
	must(t, a.Close())
	until(t, "it goes back with its session", func() bool { return runs(s) == "5" })
	a = dial(t, s)
	confirmed("8", "n")
	must(t, a.Close())
	until(t, "the session ends", func() bool { return s.Sessions() == 1 })
	mustRun(t, s, "8")
	must(t, b.CancelCommit(ctx, "n"))
	mustRun(t, s, "5")

	// Whoever holds running keeps it from going back.
	a = dial(t, s)
	confirmed("9", "")
	must(t, a.Lock(ctx, session.Running))
	if s.Expire() == nil {
		t.Error("it went back")
	}
	mustRun(t, s, "9")
}

// Running that is written at once, a startup datastore, and who is told of changes.
func TestDatastores(t *testing.T) {
	var told []string
	s := start(t, netconftest.Options{
		Startup: true, WritableRunning: true, Running: string(value("0")), Namespaces: []string{"urn:x"},
		Follow: func(running *netconftest.Node) { told = append(told, running.At("c/v").Value()) },
		Validate: func(config *netconftest.Node) []netconftest.Error {
			if config.At("c/v").Value() == "bad" {
				return []netconftest.Error{{Tag: "invalid-value", Path: "/c/v"}}
			}
			return nil
		},
	})
	c := dial(t, s)
	ctx := ctxOf(t)
	write := func(target, test, v string) error {
		return c.EditConfig(ctx, session.Edit{Target: target, TestOption: test, Config: value(v)})
	}
	must(t, write(session.Running, "", "1"))
	must(t, write(session.Running, session.TestOnly, "x"))
	mustTag(t, "one that is refused", write(session.Running, session.SetOnly, "bad"), "invalid-value")
	mustTag(t, "one that is refused", write(session.Candidate, session.TestThenSet, "bad"), "invalid-value")
	mustTag(t, "another namespace", c.EditConfig(ctx, session.Edit{Target: session.Candidate, Config: []byte("<c/>")}), "unknown-namespace")
	mustTag(t, "an unknown option", write(session.Candidate, "sure", "1"), "invalid-value")
	mustTag(t, "startup", write(session.Startup, "", "1"), "operation-failed")
	must(t, write(session.Candidate, session.SetOnly, "bad"))
	mustTag(t, "validate", c.Validate(ctx, session.Candidate), "invalid-value")
	mustTag(t, "commit", c.Commit(ctx, session.Commit{}), "invalid-value")
	must(t, c.Discard(ctx))
	must(t, c.CopyConfig(ctx, session.Startup, session.Running))
	must(t, write(session.Running, "", "2"))
	must(t, s.ForeignCommit(string(value("3"))))
	mustRun(t, s, "3")
	s.Reboot()
	mustRun(t, s, "1")
	if got := strings.Join(told, " "); got != "1 2 3 1" {
		t.Errorf("told of %q", got)
	}
}

// The surroundings that a test can make.
func TestSurroundings(t *testing.T) {
	s := start(t, netconftest.Options{})
	c := dial(t, s)
	ctx := ctxOf(t)
	read := func() string {
		data, err := c.GetConfig(ctx, session.Running, nil)
		must(t, err)
		n, err := netconftest.Parse(data)
		must(t, err)
		return n.At("c/v").Value()
	}
	s.Lag(2)
	edit(t, c, "1")
	must(t, c.Commit(ctx, session.Commit{}))
	if got := read() + "," + read() + "," + read(); got != ",,1" {
		t.Errorf("the reads see %q", got)
	}
	s.Lag(0)
	s.Next("commit", netconftest.Pretend())
	edit(t, c, "2")
	must(t, c.Commit(ctx, session.Commit{}))
	mustRun(t, s, "1")
	s.After("commit", func() { s.ForeignCommit(string(value("3"))) })
	must(t, c.Commit(ctx, session.Commit{}))
	mustRun(t, s, "3")
	s.After("commit", nil)
	s.Before("commit", func() { s.DirtyCandidate(string(value("4"))) })
	must(t, c.Commit(ctx, session.Commit{}))
	mustRun(t, s, "4")
	if s.Count("commit") != 4 || s.Count("") < 8 {
		t.Errorf("%d commits of %d rpcs", s.Count("commit"), s.Count(""))
	}
	s.Next("", netconftest.Refuse(netconftest.Error{Tag: "access-denied"}))
	mustTag(t, "any", c.Discard(ctx), "access-denied")
	must(t, c.Discard(ctx))
	other := dial(t, s)
	kill := struct {
		XMLName   struct{} `xml:"kill-session"`
		SessionID string   `xml:"session-id"`
	}{SessionID: other.SessionID()}
	if _, err := c.Do(ctx, kill); err != nil {
		t.Fatal(err)
	}
	<-other.Done()
	_, err := c.Do(ctx, struct {
		XMLName struct{} `xml:"reboot"`
	}{})
	mustTag(t, "an unknown operation", err, "operation-not-supported")
}

// The mistakes of netconfd's.
func TestLikeNetconfd(t *testing.T) {
	s := start(t, netconftest.Options{LikeNetconfd: true})
	c := dial(t, s)
	ctx := ctxOf(t)
	edit(t, c, "1")
	must(t, c.Discard(ctx))
	mustTag(t, "a candidate that was discarded", c.Lock(ctx, session.Candidate), "resource-denied")
	must(t, c.CopyConfig(ctx, session.Candidate, session.Running))
	must(t, c.Lock(ctx, session.Candidate))
	edit(t, c, "2")
	must(t, c.Validate(ctx, session.Candidate))
	must(t, c.Commit(ctx, session.Commit{}))
	mustRun(t, s, "")
	must(t, c.Commit(ctx, session.Commit{}))
	mustRun(t, s, "2")
	must(t, c.Unlock(ctx, session.Candidate))
	edit(t, c, "3")
	must(t, c.Commit(ctx, session.Commit{Confirmed: true, Persist: "p"}))
	other := dial(t, s)
	mustTag(t, "the candidate while a commit waits", other.Lock(ctx, session.Candidate), "in-use")
	must(t, other.Commit(ctx, session.Commit{PersistID: "p"}))
	must(t, other.Lock(ctx, session.Candidate))
}

// What a client of ours never sends: several rpcs at once, none with a message-id, XML
// that is none.
func TestRaw(t *testing.T) {
	s := start(t, netconftest.Options{})
	const hello = `<hello xmlns="urn:ietf:params:xml:ns:netconf:base:1.0"><capabilities><capability>urn:ietf:params:netconf:base:1.0</capability></capabilities></hello>]]>]]>`
	rpc := func(id, op string) string {
		return `<rpc xmlns="urn:ietf:params:xml:ns:netconf:base:1.0"` + id + ` x="&lt;&quot;">` + op + `</rpc>]]>]]>`
	}
	const get = `<get-config><source><running/></source></get-config>`
	got := raw(t, s, hello+rpc(` message-id="1"`, get)+rpc(` message-id="2&amp;"`, get)+rpc("", get)+rpc(` message-id="3"`, get+get)+rpc(` message-id="4"`, "<close-session/>"))
	for _, want := range []string{`message-id="1"`, `message-id="2&amp;" x="&lt;&#34;"`, "missing-attribute", "missing-element", `message-id="4"`} {
		if !strings.Contains(got, want) {
			t.Errorf("no %s in %s", want, got)
		}
	}
	for name, bad := range map[string]string{
		"no rpc":       hello + "<a/>]]>]]>",
		"malformed":    hello + "<rpc>]]>]]>",
		"a server":     strings.Replace(hello, "</capabilities>", "</capabilities><session-id>1</session-id>", 1),
		"no version":   strings.Replace(hello, "base:1.0</", "base:3.0</", 1),
		"no hello":     "<a/>]]>]]>",
		"a wrong size": strings.Replace(hello, "base:1.0</", "base:1.1</", 1) + "\n#0\n",
	} {
		if got := raw(t, s, bad); strings.Contains(got, "rpc-reply") {
			t.Errorf("%s: %s", name, got)
		}
	}
}

// raw sends bytes to a server, and returns what comes until it hangs up.
func raw(t *testing.T, s *netconftest.Server, send string) string {
	t.Helper()
	c, err := ssh.Dial("tcp", s.Address(), &ssh.ClientConfig{
		User: s.User(), Auth: []ssh.AuthMethod{ssh.Password(s.Password())}, HostKeyCallback: ssh.FixedHostKey(s.HostKey()),
	})
	must(t, err)
	defer c.Wait()
	defer c.Close()
	ch, reqs, err := c.OpenChannel("session", nil)
	must(t, err)
	go ssh.DiscardRequests(reqs)
	ok, err := ch.SendRequest("subsystem", true, ssh.Marshal(struct{ Name string }{"netconf"}))
	if err != nil || !ok {
		t.Fatal(ok, err)
	}
	ch.Write([]byte(send))
	b, _ := io.ReadAll(ch)
	return string(b)
}
