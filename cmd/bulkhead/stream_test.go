package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"bulkhead/pkg/daemon"
	"bulkhead/pkg/lab"
)

// street is a gateway between web with a stranger and db, and the site directory of a
// point on it. The program runs on the gateway as a process of its own, while this one
// sends packets all the time.
type street struct {
	t      *testing.T
	net    *lab.Net
	prober *lab.Prober
	dir    string // site directory, and state below it
}

const streetSettings = `name: t
points:
  gw:
    driver: nftables
    zones:
      a: {interfaces: [eth1], prefixes: [10.0.1.0/24, "2001:db8:1::/64"]}
      b: {interfaces: [eth2], prefixes: [10.0.2.0/24, "2001:db8:2::/64"]}
observe_learn: 0s
limits: {first_enforcement: accept, newly_denied_percent: 100, assets_lost_percent: 100}
`

// The two states that a street goes between. Both let web have tcp/6000 and udp/6000
// of db, under other policies and from another class; a port more differs.
func streetPolicy(state int) string {
	return fmt.Sprintf(`assets:
  web: {kind: vm, addresses: [10.0.1.20, "2001:db8:1::20"], labels: {role: web%d}}
  db: {kind: vm, addresses: [10.0.2.20, "2001:db8:2::20"], labels: {role: db}}
groups:
  web0: {where: 'labels.role == "web0"'}
  web1: {where: 'labels.role == "web1"'}
  db: {where: 'labels.role == "db"', isolate: both}
policies:
  - {name: old, from: web0, to: db, services: [tcp/6000, udp/6000, udp/7000], action: allow}
  - {name: new, from: web1, to: db, services: [tcp/6000, udp/6000, udp/7001], action: allow}
`, state)
}

func newStreet(t *testing.T) *street {
	t.Helper()
	n, err := lab.Build(lab.Topology{Segments: []lab.Segment{
		{Name: "a", Interface: "eth1", Addresses: at("10.0.1.1/24", "2001:db8:1::1/64"), Bridge: true, Hosts: []lab.Host{
			{Name: "web", Addresses: at("10.0.1.20/24", "2001:db8:1::20/64")}, {Name: "stranger", Addresses: at("10.0.1.66/24", "2001:db8:1::66/64")}}},
		{Name: "b", Interface: "eth2", Addresses: at("10.0.2.1/24", "2001:db8:2::1/64"), Hosts: []lab.Host{
			{Name: "db", Addresses: at("10.0.2.20/24", "2001:db8:2::20/64")}}},
	}})
	if err != nil {
		t.Fatalf("cannot build the lab (this test needs root): %v", err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
	p, err := lab.NewProber(n)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	s := &street{t, n, p, t.TempDir()}
	s.write("bulkhead.yaml", streetSettings)
	s.write("policy.yaml", streetPolicy(0))
	return s
}

func (s *street) write(name, text string) {
	s.t.Helper()
	if err := os.WriteFile(filepath.Join(s.dir, name), []byte(text), 0o644); err != nil {
		s.t.Fatal(err)
	}
}

// command is a command on the gateway.
func (s *street) command(env []string, args ...string) *exec.Cmd {
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Dir = s.dir
	cmd.Env = append(append(os.Environ(), "XDG_STATE_HOME="+filepath.Join(s.dir, "state"), "HOME="+s.dir), env...)
	return cmd
}

// run runs a command on the gateway; code is -1 where it was killed.
func (s *street) run(env []string, args ...string) (out string, code int) {
	s.t.Helper()
	cmd := s.command(env, args...)
	var b bytes.Buffer
	cmd.Stdout, cmd.Stderr = &b, &b
	err := s.net.Gateway.Run(cmd)
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		s.t.Fatalf("%q: %v", args, err)
	}
	return b.String(), cmd.ProcessState.ExitCode()
}

// must runs a command that has to succeed.
func (s *street) must(args ...string) string {
	s.t.Helper()
	out, code := s.run(nil, args...)
	if code != 0 {
		s.t.Fatalf("%q: exit code %d\n%s", args, code, out)
	}
	return out
}

// serve starts the daemon, and ends it with the test. What it logs is in the file
// "log".
func (s *street) serve(args ...string) *exec.Cmd {
	s.t.Helper()
	cmd := s.command(nil, append([]string{"bulkhead", "serve"}, args...)...)
	s.background(cmd, "log")
	return cmd
}

// background starts a command that ends with the test. What it says is in a file.
func (s *street) background(cmd *exec.Cmd, file string) {
	s.t.Helper()
	log, err := os.Create(filepath.Join(s.dir, file))
	if err != nil {
		s.t.Fatal(err)
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	if err := s.net.Gateway.Start(cmd); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if b, err := os.ReadFile(filepath.Join(s.dir, file)); err == nil && s.t.Failed() {
			s.t.Logf("%s:\n%s", file, b)
		}
	})
}

// status asks the daemon how it is; nil if it does not answer.
func (s *street) status() *daemon.StatusAnswer {
	c := http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", filepath.Join(s.dir, "state", "bulkhead", "t.sock"))
	}}}
	r, err := c.Get("http://daemon/v1/status")
	if err != nil {
		return nil
	}
	defer r.Body.Close()
	var a daemon.StatusAnswer
	if json.NewDecoder(r.Body).Decode(&a) != nil {
		return nil
	}
	return &a
}

// until waits for something.
func (s *street) until(what string, ok func() bool) {
	s.t.Helper()
	for end := time.Now().Add(40 * time.Second); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			s.t.Fatalf("it never came to that: %s; the daemon: %+v", what, s.status())
		}
	}
}

func (s *street) inSync() {
	s.t.Helper()
	s.until("in sync", func() bool {
		a := s.status()
		return a != nil && a.Result == "in sync" && len(a.Trouble) == 0
	})
}

// The kinds of packets on a street.
const (
	always  = "always"  // both states permit it
	never   = "never"   // neither does
	onlyOld = "state 0" // one of them alone does
	onlyNew = "state 1"
)

// traffic is a stream of all kinds.
type traffic struct {
	s      *street
	stream *lab.Stream
	kinds  []lab.Probe
	sorts  []string
	sent   [][]lab.Packet
}

func (s *street) send() *traffic { return s.sendEvery(2 * time.Millisecond) }

// sendEvery sends a packet of each kind at every interval.
func (s *street) sendEvery(every time.Duration) *traffic {
	s.t.Helper()
	const tcp, udp = 6, 17
	tr := &traffic{s: s}
	add := func(sort, from, to string, four bool, proto uint8, num uint16) {
		tr.sorts = append(tr.sorts, sort)
		tr.kinds = append(tr.kinds, lab.Probe{From: from, Dst: s.net.Addr(to, four), Proto: proto, Num: num})
	}
	add(always, "web", "db", true, udp, 6000)
	add(always, "web", "db", false, udp, 6000)
	add(always, "web", "db", true, tcp, 6000)
	add(never, "web", "db", true, udp, 9000)
	add(never, "web", "db", false, tcp, 9000)
	add(never, "stranger", "db", true, udp, 6000)
	add(never, "db", "web", false, udp, 6000)
	add(onlyOld, "web", "db", true, udp, 7000)
	add(onlyNew, "web", "db", true, udp, 7001)
	var err error
	if tr.stream, err = s.prober.Stream(tr.kinds, every); err != nil {
		s.t.Fatal(err)
	}
	return tr
}

// stop ends the stream, and says how close it came to sending all the time.
func (tr *traffic) stop() {
	tr.s.t.Helper()
	var err error
	if tr.sent, err = tr.stream.Stop(); err != nil {
		tr.s.t.Fatal(err)
	}
	list := tr.sent[0]
	var gap time.Duration
	for i := 1; i < len(list); i++ {
		gap = max(gap, list[i].At.Sub(list[i-1].At))
	}
	tr.s.t.Logf("%d packets of each of %d kinds in %s, the longest pause %s", len(list), len(tr.sent), list[len(list)-1].At.Sub(list[0].At).Round(time.Millisecond), gap.Round(10*time.Microsecond))
}

// count tells how many packets of a sort were sent between two moments, and which of
// them arrived.
func (tr *traffic) count(sort string, from, to time.Time) (sent int, got []time.Time) {
	for k, list := range tr.sent {
		if tr.sorts[k] != sort {
			continue
		}
		for _, x := range list {
			if x.At.Before(from) || x.At.After(to) {
				continue
			}
			if sent++; x.Got {
				got = append(got, x.At)
			}
		}
	}
	return sent, got
}

// judge says what is wrong with a time: a packet of always that did not arrive, one of
// never that did.
func (tr *traffic) judge(from, to time.Time) (wrong []string) {
	for _, sort := range []string{always, never} {
		sent, got := tr.count(sort, from, to)
		if want := map[string]int{always: sent, never: 0}[sort]; len(got) != want || sent == 0 {
			wrong = append(wrong, fmt.Sprintf("%s: %d packets were sent and %d arrived%s", sort, sent, len(got), tr.which(sort, from, to)))
		}
	}
	return wrong
}

// which names some of the packets of a sort that are wrong.
func (tr *traffic) which(sort string, from, to time.Time) (text string) {
	begin, _ := tr.all()
	n := 0
	for k, list := range tr.sent {
		if tr.sorts[k] != sort {
			continue
		}
		for _, x := range list {
			if !x.At.Before(from) && !x.At.After(to) && x.Got == (sort == never) && n < 5 {
				text += fmt.Sprintf("; %s to %s, protocol %d port %d, after %s", tr.kinds[k].From, tr.kinds[k].Dst, tr.kinds[k].Proto, tr.kinds[k].Num, x.At.Sub(begin).Round(time.Microsecond))
				n++
			}
		}
	}
	return text
}

// all is the time of the whole stream.
func (tr *traffic) all() (from, to time.Time) {
	return tr.sent[0][0].At, time.Now()
}

// holds fails where a time was not as it had to be.
func (tr *traffic) holds(what string, from, to time.Time) {
	tr.s.t.Helper()
	if wrong := tr.judge(from, to); wrong != nil {
		tr.s.t.Errorf("%s: %s", what, strings.Join(wrong, "; "))
	}
}

// flow opens a live flow from web to db.
func (s *street) flow(spec lab.FlowSpec) *lab.Flow {
	s.t.Helper()
	spec.Client, spec.Server = "web", "db"
	f, err := s.net.OpenFlow(context.Background(), spec)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(f.Close)
	return f
}

// lives fails where nothing more arrives over a live flow.
func (s *street) lives(f *lab.Flow, what string) {
	s.t.Helper()
	if n, err := f.During(context.Background(), 300*time.Millisecond); err != nil || n == 0 {
		s.t.Errorf("%s: the live flow was cut (%v)", what, err)
	}
}
