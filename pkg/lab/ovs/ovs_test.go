package ovs

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"bulkhead/pkg/lab"
)

// TestMain runs all tests in a sandbox: nothing of theirs touches the machine's own
// namespaces.
func TestMain(m *testing.M) {
	if os.Getenv(victimVar) != "" {
		os.Exit(victim())
	}
	if slices.ContainsFunc(os.Args, func(a string) bool { return strings.HasPrefix(a, "-test.fuzz") }) {
		os.Exit(m.Run()) // what is fuzzed needs no network, and its workers are many
	}
	if !lab.Inside() {
		err := lab.Sandbox(context.Background(), lab.Command{Path: "/proc/self/exe", Args: os.Args[1:], Stdout: os.Stdout, Stderr: os.Stderr})
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if err := lab.EnterSandbox(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	goleak.VerifyTestMain(m)
}

func newSwitch(t *testing.T, o Options) *Switch {
	t.Helper()
	s, err := New(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func newProber(t *testing.T, s *Switch) *lab.Prober {
	t.Helper()
	p, err := lab.NewProber(s.Net)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return p
}

// mesh is a ping of both families between all hosts.
func mesh(s *Switch) []lab.Probe {
	var out []lab.Probe
	for _, from := range s.Net.Hosts() {
		for _, to := range s.Net.Hosts() {
			if from != to {
				out = append(out, lab.Probe{From: from, Dst: s.Net.Addr(to, true), Proto: 1, Num: 8 << 8},
					lab.Probe{From: from, Dst: s.Net.Addr(to, false), Proto: 58, Num: 128 << 8})
			}
		}
	}
	return out
}

// expect sends probes and compares what arrives with what must.
func expect(t *testing.T, s *Switch, p *lab.Prober, what string, probes []lab.Probe, want func(q *lab.Probe) bool) {
	t.Helper()
	got, err := p.Run(t.Context(), probes, lab.ProbeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for i, r := range got {
		if w := want(&probes[i]); r.Got != w {
			t.Errorf("%s: %+v: arrived %v, want %v", what, probes[i], r.Got, w)
		}
	}
	if t.Failed() {
		text, _ := s.Flows(t.Context())
		t.Fatalf("the flows:\n%s", text)
	}
}

func all(*lab.Probe) bool { return true }

func TestForwards(t *testing.T) {
	s := newSwitch(t, Options{Hosts: Hosts(3)})
	p := newProber(t, s)
	expect(t, s, p, "no list", mesh(s), all)
	fdb, err := s.FDB(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]int{}
	for _, l := range fdb {
		seen[l.MAC.String()] = l.Port
	}
	for i := 1; i <= 3; i++ {
		if got := seen[fmt.Sprintf("02:00:00:00:00:%02x", i)]; got != i {
			t.Errorf("the address of host %d was learned at port %d: %+v", i, got, fdb)
		}
	}
}

func TestVLANsSeparate(t *testing.T) {
	s := newSwitch(t, Options{Hosts: Hosts(3)})
	p := newProber(t, s)
	if err := s.SetPVID(t.Context(), 2, 30); err != nil {
		t.Fatal(err)
	}
	expect(t, s, p, "port 2 in VLAN 30", mesh(s), func(q *lab.Probe) bool {
		return q.From != "h2" && s.Net.Owner(q.Dst) != "h2"
	})
	if vid, err := s.PVID(t.Context(), 2); vid != 30 || err != nil {
		t.Errorf("port 2 is in VLAN %d, %v", vid, err)
	}
	if err := s.SetPVID(t.Context(), 2, 1); err != nil {
		t.Fatal(err)
	}
	expect(t, s, p, "back in VLAN 1", mesh(s), all)
	for _, bad := range [][2]int{{0, 1}, {4, 1}, {1, 0}, {1, 4095}} {
		if err := s.SetPVID(t.Context(), bad[0], bad[1]); err == nil {
			t.Errorf("port %d was put in VLAN %d", bad[0], bad[1])
		}
	}
}

func TestLinkDownCuts(t *testing.T) {
	s := newSwitch(t, Options{Hosts: Hosts(3)})
	p := newProber(t, s)
	expect(t, s, p, "up", mesh(s), all)
	if err := s.SetLink(t.Context(), 3, false); err != nil {
		t.Fatal(err)
	}
	expect(t, s, p, "port 3 down", mesh(s), func(q *lab.Probe) bool {
		return q.From != "h3" && s.Net.Owner(q.Dst) != "h3"
	})
	if err := s.SetLink(t.Context(), 3, true); err != nil {
		t.Fatal(err)
	}
	expect(t, s, p, "port 3 up again", mesh(s), all)
}

// Hosts that resolve addresses talk as well, by ordinary sockets.
func TestTalks(t *testing.T) {
	for _, resolve := range []bool{true, false} {
		s := newSwitch(t, Options{Hosts: Hosts(2), Resolve: resolve})
		var talks []lab.Talk
		for _, four := range []bool{true, false} {
			for _, kind := range []lab.TalkKind{lab.Connect, lab.Echo, lab.Ping} {
				talks = append(talks, lab.Talk{Kind: kind, From: "h1", Dst: s.Net.Addr("h2", four), Port: 443, Want: true})
			}
		}
		got, err := s.Net.Talk(t.Context(), talks)
		if err != nil {
			t.Fatal(err)
		}
		for i := range got {
			if !got[i] {
				t.Errorf("resolve %v: %+v does not work", resolve, talks[i])
			}
		}
	}
}
