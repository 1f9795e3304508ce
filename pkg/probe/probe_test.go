package probe_test

import (
	"context"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"bulkhead/pkg/config"
	"bulkhead/pkg/lab"
	"bulkhead/pkg/probe"
)

// TestMain runs all tests in a network namespace of their own: they write firewall
// rules that drop.
func TestMain(m *testing.M) {
	if !lab.Inside() {
		err := lab.Sandbox(context.Background(), lab.Command{Path: "/proc/self/exe", Args: os.Args[1:], Stdout: os.Stdout, Stderr: os.Stderr})
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	err := lab.EnterSandbox()
	for _, args := range [][]string{{"ip", "link", "set", "lo", "up"}, {"ip", "link", "add", "d0", "type", "veth", "peer", "name", "d1"}, {"ip", "link", "set", "d1", "up"}, {"ip", "link", "set", "d0", "up"},
		{"ip", "addr", "add", "10.9.0.1/24", "dev", "d0"}, {"ip", "-6", "addr", "add", "2001:db8:9::1/64", "dev", "d0", "nodad"}} {
		if err == nil {
			if out, e := exec.Command(args[0], args[1:]...).CombinedOutput(); e != nil {
				err = fmt.Errorf("%q: %w: %s", args, e, out)
			}
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	goleak.VerifyTestMain(m)
}

// dropping installs rules that drop what matches, until the test ends. Incoming: a
// drop on the way out tells the sender.
func dropping(t *testing.T, matches ...string) {
	t.Helper()
	text := "table inet t {\n chain c {\n type filter hook input priority 0;\n"
	for _, m := range matches {
		text += " " + m + "\n"
	}
	cmd := exec.Command("nft", "-f", "-")
	cmd.Stdin = strings.NewReader(text + " }\n}\n")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("nft: %v\n%s", err, out)
	}
	t.Cleanup(func() { _ = exec.Command("nft", "delete", "table", "inet", "t").Run() })
}

func listener(t *testing.T, at string) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp", at)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l.Addr().(*net.TCPAddr).AddrPort()
}

// closedPort is a port on which nobody listens.
func closedPort(t *testing.T) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).AddrPort()
}

const short = 400 * time.Millisecond

func tcp(name string, to netip.AddrPort) config.Probe {
	return config.Probe{Name: name, TCP: to, Timeout: short}
}

func pings(name, to string) config.Probe {
	return config.Probe{Name: name, Ping: netip.MustParseAddr(to), Timeout: short}
}

func gets(url string, status int, follow bool) config.Probe {
	return config.Probe{Name: url, HTTP: &config.HTTPProbe{URL: url, Status: status, Follow: follow}, Timeout: short}
}

// want holds one run of one probe to an outcome: "" for passed, else a part of the
// error.
func want(t *testing.T, p config.Probe, o probe.Options, text string) probe.Result {
	t.Helper()
	if !strings.HasPrefix(text, "no answer") && p.Name != "nothing" && p.Timeout == short {
		p.Timeout = 30 * time.Second // what is to be answered is, on however busy a machine
	}
	rs := probe.Run(t.Context(), []config.Probe{p}, o)
	if len(rs) != 1 {
		t.Fatalf("%d results of one probe", len(rs))
	}
	r := rs[0]
	if r.OK != (text == "") || r.OK != (r.Error == "") || !strings.Contains(r.Error, text) {
		t.Errorf("%s: ok %v, error %q; want %q", r.Target, r.OK, r.Error, text)
	}
	if r.Name != p.Name || r.Took <= 0 || r.Tries < 1 {
		t.Errorf("result %+v", r)
	}
	return r
}

func TestTCP(t *testing.T) {
	for _, at := range []string{"127.0.0.1:0", "[::1]:0"} {
		want(t, tcp("answers", listener(t, at)), probe.Options{}, "")
	}
	want(t, tcp("nobody listens", closedPort(t)), probe.Options{}, "refused")
	want(t, tcp("no route", netip.MustParseAddrPort("192.0.2.1:443")), probe.Options{}, "unreachable")
}

// A firewall that drops without a word is a failed probe, after its time and not
// later.
func TestSilentDrop(t *testing.T) {
	four, six := listener(t, "127.0.0.1:0"), listener(t, "[::1]:0")
	dropping(t, "meta l4proto tcp drop", "meta l4proto { icmp, icmpv6 } drop")
	for _, p := range []config.Probe{tcp("t4", four), tcp("t6", six), pings("p4", "127.0.0.1"), pings("p6", "2001:db8:9::1"), gets("http://"+four.String()+"/", 200, false)} {
		r := want(t, p, probe.Options{}, "no answer within 400ms")
		if r.Took < short || r.Took > 20*short {
			t.Errorf("%s took %s, its time is %s", r.Target, r.Took, short)
		}
	}
}

// A firewall that says no is not waited for.
func TestReject(t *testing.T) {
	to := listener(t, "127.0.0.1:0")
	dropping(t, fmt.Sprintf("tcp dport %d reject with tcp reset", to.Port()))
	want(t, tcp("reset", to), probe.Options{}, "refused")
}

func TestPing(t *testing.T) {
	// With a ping socket where the system lets us, and with a raw one.
	for _, who := range []string{"1 0", "0 0"} {
		if err := os.WriteFile("/proc/sys/net/ipv4/ping_group_range", []byte(who), 0o644); err != nil {
			t.Fatal(err)
		}
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, unix.IPPROTO_ICMP)
		if (err == nil) != (who == "0 0") {
			t.Fatalf("range %q: a ping socket: %v; the test needs one way each", who, err)
		}
		_ = unix.Close(fd)
		for _, to := range []string{"127.0.0.1", "::1", "10.9.0.1", "2001:db8:9::1"} {
			want(t, pings("ping "+who, to), probe.Options{}, "")
		}
		want(t, pings("no route", "192.0.2.1"), probe.Options{}, "no route")
		want(t, pings("no route", "2001:db8:99::1"), probe.Options{}, "no route")
		want(t, pings("nobody", "10.9.0.99"), probe.Options{}, "no answer within")
	}
}

// One lost packet is no cut flow.
func TestPingLosesOne(t *testing.T) {
	dropping(t, "icmp type echo-request numgen inc mod 3 < 2 drop") // the first two of three
	twice := pings("twice lost", "127.0.0.1")
	twice.Timeout = 6 * time.Second // two thirds of it pass until the third is sent
	r := want(t, twice, probe.Options{}, "")
	if r.Took < twice.Timeout/2 || r.Tries != 1 {
		t.Errorf("no packet was lost: %+v", r)
	}
}

func TestHTTP(t *testing.T) {
	mux := http.NewServeMux()
	mux.HandleFunc("/ok", func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "fine") })
	mux.HandleFunc("/broken", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) })
	mux.HandleFunc("/moved", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/ok", http.StatusFound) })
	mux.HandleFunc("/loop", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/loop", http.StatusFound) })
	mux.HandleFunc("/hangs", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	mux.HandleFunc("/endless", func(w http.ResponseWriter, r *http.Request) {
		for r.Context().Err() == nil {
			fmt.Fprint(w, strings.Repeat("x", 1<<16))
		}
	})
	s := httptest.NewServer(mux)
	defer s.Close()
	// A proxy would answer for another path; this one answers nobody.
	t.Setenv("HTTP_PROXY", "http://127.0.0.1:1")
	for _, c := range []struct {
		path   string
		status int
		follow bool
		want   string
	}{
		{"/ok", 200, false, ""},
		{"/broken", 200, false, "status 500 instead of 200"},
		{"/broken", 500, false, ""},
		{"/absent", 200, false, "status 404 instead of 200"},
		{"/moved", 200, false, `status 302 instead of 200, a redirect to "/ok"`},
		{"/moved", 302, false, ""},
		{"/moved", 200, true, ""},
		{"/loop", 200, true, "more than 5 redirects"},
		{"/hangs", 200, false, "no answer within 400ms"},
		{"/endless", 200, false, ""},
	} {
		want(t, gets(s.URL+c.path, c.status, c.follow), probe.Options{}, c.want)
	}
	want(t, gets("http://no-such-host.invalid/", 200, false), probe.Options{}, "no-such-host.invalid")
	want(t, gets("http://"+closedPort(t).String()+"/", 200, false), probe.Options{}, "refused")
}

// A certificate that nobody vouches for fails, whatever status comes with it.
func TestTLS(t *testing.T) {
	s := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer s.Close()
	want(t, gets(s.URL, 200, false), probe.Options{}, "certificate")
	roots := x509.NewCertPool()
	roots.AddCert(s.Certificate())
	want(t, gets(s.URL, 200, false), probe.Options{Roots: roots}, "")
}

// What comes back within the grace has passed.
func TestTries(t *testing.T) {
	var asked atomic.Int32
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if asked.Add(1) < 3 {
			w.WriteHeader(503)
		}
	}))
	defer s.Close()
	grace := probe.Grace()
	if grace.Tries != 3 || grace.Pause <= 0 {
		t.Errorf("the grace is %+v", grace)
	}
	grace.Pause = time.Millisecond
	if r := want(t, gets(s.URL, 200, false), grace, ""); r.Tries != 3 {
		t.Errorf("%d tries", r.Tries)
	}
	if r := want(t, tcp("never", closedPort(t)), grace, "refused"); r.Tries != 3 {
		t.Errorf("%d tries", r.Tries)
	}
	if r := want(t, tcp("once", closedPort(t)), probe.Options{}, "refused"); r.Tries != 1 {
		t.Errorf("%d tries without a grace", r.Tries)
	}
}

// Probes wait for their answers side by side, a few at once, and the results come
// in the order of the probes.
func TestParallel(t *testing.T) {
	var now, most atomic.Int32
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		n := now.Add(1)
		for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
		}
		time.Sleep(20 * time.Millisecond)
		now.Add(-1)
	}))
	defer s.Close()
	var list []config.Probe
	for i := range 24 {
		p := gets(s.URL, 200, false)
		p.Name, p.Timeout = fmt.Sprintf("p%02d", i), 10*time.Second
		list = append(list, p)
	}
	out := probe.Run(t.Context(), list, probe.Options{Parallel: 4})
	for i, r := range out {
		if r.Name != list[i].Name || !r.OK {
			t.Errorf("result %d is %+v", i, r)
		}
	}
	if m := most.Load(); m < 2 || m > 4 {
		t.Errorf("%d probes ran at once, wanted 2 to 4", m)
	}
}

// An interrupted run ends, and nothing of it counts as passed.
func TestInterrupt(t *testing.T) {
	to := listener(t, "127.0.0.1:0")
	dropping(t, "meta l4proto { tcp, icmp } drop")
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(100*time.Millisecond, cancel)
	var list []config.Probe
	for _, p := range []config.Probe{tcp("a", to), pings("b", "127.0.0.1"), gets("http://"+to.String(), 200, false)} {
		p.Timeout = time.Hour
		list = append(list, p)
	}
	for _, r := range probe.Run(ctx, list, probe.Options{Tries: 3, Pause: time.Hour}) {
		if r.OK || !strings.Contains(r.Error, "interrupted") {
			t.Errorf("%+v", r)
		}
	}
	for _, r := range probe.Run(ctx, list, probe.Options{}) {
		if r.OK || !strings.Contains(r.Error, "not tried") {
			t.Errorf("%+v", r)
		}
	}
	want(t, config.Probe{Name: "nothing"}, probe.Options{}, "nothing that could be tried")
}

func TestCompare(t *testing.T) {
	r := func(name string, ok bool) probe.Result { return probe.Result{Name: name, OK: ok} }
	before := []probe.Result{r("breaks", true), r("works", true), r("was broken", false), r("was mended", false), r("forgotten", true)}
	after := []probe.Result{r("works", true), r("was mended", true), r("was broken", false), r("breaks", false), r("new", false)}
	got := probe.Compare(before, after)
	want := []probe.Result{r("breaks", false), {Name: "forgotten", Error: "not tried after the change"}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("undone for %+v\nwanted %+v", got, want)
	}
	if got := probe.Compare(nil, after); got == nil || len(got) != 0 {
		t.Errorf("%+v", got)
	}
}
