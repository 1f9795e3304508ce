package lab

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestFlows(t *testing.T) {
	n := build(t, small())
	var flows []*Flow
	var specs []FlowSpec
	for i, udp := range []bool{false, true} {
		for j, fromClient := range []bool{false, true} {
			for k, four := range []bool{true, false} {
				s := FlowSpec{Client: "a", Server: "b", Addr: n.Addr("b", four), Port: uint16(7000 + i*4 + j*2 + k), UDP: udp, FromClient: fromClient}
				f, err := n.OpenFlow(t.Context(), s)
				if err != nil {
					t.Fatal(err)
				}
				defer f.Close()
				flows, specs = append(flows, f), append(specs, s)
			}
		}
	}
	time.Sleep(300 * time.Millisecond)
	for i, f := range flows {
		if f.Received() == 0 {
			t.Errorf("nothing arrives: %+v", specs[i])
		}
	}
	nft(t, n.Gateway, `table inet t { chain f { type filter hook forward priority 0; policy accept; meta nfproto ipv4 drop;
	}
}`)
	var wait sync.WaitGroup
	for i, f := range flows {
		wait.Go(func() {
			stopped, err := f.Stopped(t.Context(), 600*time.Millisecond, time.Second)
			if err != nil || stopped != specs[i].Addr.Is4() {
				t.Errorf("%+v: stopped %v, %v", specs[i], stopped, err)
			}
		})
	}
	wait.Wait()
	nft(t, n.Gateway, `delete table inet t`)
	for i, f := range flows {
		// TCP repeats a lost segment after twice the time, each time.
		before, deadline := f.Received(), time.Now().Add(5*time.Second)
		for f.Received() == before && time.Now().Before(deadline) {
			time.Sleep(10 * time.Millisecond)
		}
		if f.Received() == before {
			t.Errorf("does not go on after the rule is gone: %+v", specs[i])
		}
	}
}

func TestFlowThatCannotOpen(t *testing.T) {
	n := build(t, small())
	nft(t, n.Gateway, `table inet t { chain f { type filter hook forward priority 0; policy drop;
	}
}`)
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	if f, err := n.OpenFlow(ctx, FlowSpec{Client: "a", Server: "b", Port: 7000}); err == nil {
		f.Close()
		t.Error("a flow opened through a gateway that drops everything")
	}
}

func TestTeardownLeavesNothing(t *testing.T) {
	before, _ := os.ReadDir(netnsDir)
	n, err := Build(small())
	if err != nil {
		t.Fatal(err)
	}
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	after, _ := os.ReadDir(netnsDir)
	if len(after) != len(before) {
		t.Errorf("names left: %v", after)
	}
	if left, _ := os.ReadDir(leaseDir); len(left) != 0 {
		t.Errorf("leases left: %v", left)
	}
}

// What a killed run left behind goes with the next one; what a living one has
// stays.
func TestSweep(t *testing.T) {
	living := build(t, small())
	dead, err := newNamespace("bhlab-dead-x")
	if err != nil {
		t.Fatal(err)
	}
	dead.file.Close()
	if err := os.WriteFile(filepath.Join(leaseDir, "bhlab-dead-"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	next := build(t, small())
	names, _ := os.ReadDir(netnsDir)
	for _, e := range names {
		if strings.HasPrefix(e.Name(), "bhlab-dead-") {
			t.Errorf("%s is still there", e.Name())
		}
	}
	for _, n := range []*Net{living, next} {
		if err := n.Host("a").Do(func() error { return nil }); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(n.Host("a").Path); err != nil {
			t.Error(err)
		}
	}
}

func TestBuildIsFast(t *testing.T) {
	top := Topology{}
	for i := range 8 {
		s := Segment{Name: "s" + string(rune('0'+i)), Interface: "eth" + string(rune('1'+i)),
			Addresses: pfx("10." + string(rune('1'+i)) + ".0.1/24")}
		for j := range 3 {
			s.Hosts = append(s.Hosts, Host{Name: "h" + string(rune('0'+i)) + string(rune('0'+j)), Addresses: pfx("10." + string(rune('1'+i)) + ".0.1" + string(rune('0'+j)) + "/24")})
		}
		top.Segments = append(top.Segments, s)
	}
	begin := time.Now()
	n := build(t, top)
	took := time.Since(begin)
	t.Logf("%d hosts in %s", len(n.Hosts()), took)
	if took > 10*time.Second {
		t.Errorf("building took %s", took)
	}
}
