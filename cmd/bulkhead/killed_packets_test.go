package main

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"bulkhead/pkg/lab"
)

// onTrial reports whether the kernel still counts a trial down.
func (s *street) onTrial() bool {
	out, code := s.run(nil, "nft", "list", "set", "inet", "bulkhead_t", "on_trial")
	return code == 0 && strings.Contains(out, "expires")
}

// The controller is killed at every step of an apply, under packets: what both states
// permit always arrives, what neither permits never does; before, at the kill, after
// it, while the kernel goes back by itself, and during the apply that ends it.
func TestKilledUnderPackets(t *testing.T) {
	s := newStreet(t)
	s.must("bulkhead", "apply", "--yes", "--auto-confirm")
	live := s.flow(lab.FlowSpec{Port: 6000})
	tr := s.send()
	type settled struct {
		what     string
		state    int
		from, to time.Time
	}
	var calm []settled
	rest := func(what string, state int) {
		from := time.Now()
		time.Sleep(100 * time.Millisecond)
		calm = append(calm, settled{what, state, from, time.Now()})
	}
	rest("before the first step", 0)
	fellBack := 0
	step := 1
	for ; ; step++ {
		s.write("policy.yaml", streetPolicy(step%2))
		out, code := s.run([]string{fmt.Sprintf("BULKHEAD_DIE_AT=%d", step)}, "bulkhead-faulty", "apply", "--yes", "--auto-confirm", "--confirm-timeout", "5s")
		if code == 0 {
			break
		}
		if code != -1 {
			t.Fatalf("step %d: exit code %d, not killed\n%s", step, code, out)
		}
		if s.onTrial() {
			fellBack++
			for s.onTrial() {
				time.Sleep(50 * time.Millisecond)
			}
			rest(fmt.Sprintf("step %d, the time is over", step), 1-step%2)
		}
		s.must("bulkhead", "apply", "--yes", "--auto-confirm")
		rest(fmt.Sprintf("step %d, the next apply", step), step%2)
		s.lives(live, fmt.Sprintf("step %d", step))
	}
	rest("the last step", step%2)
	tr.stop()
	t.Logf("killed %d times, %d of them on trial", step-1, fellBack)
	if step < 10 || fellBack < 3 {
		t.Errorf("killed %d times only, %d of them on trial", step-1, fellBack)
	}
	from, to := tr.all()
	tr.holds("throughout", from, to)
	for _, c := range calm {
		for state, sort := range []string{onlyOld, onlyNew} {
			sent, got := tr.count(sort, c.from, c.to)
			if want := map[bool]int{true: sent}[state == c.state]; len(got) != want || sent == 0 {
				t.Errorf("%s: %s: %d packets were sent and %d arrived", c.what, sort, sent, len(got))
			}
		}
	}
	for _, sort := range []string{always, never, onlyOld, onlyNew} {
		sent, got := tr.count(sort, from, to)
		t.Logf("%-8s %6d sent, %6d arrived", sort, sent, len(got))
	}

	// The check bites: with the rules gone for a moment, and with a map emptied.
	tr = s.send()
	time.Sleep(100 * time.Millisecond)
	s.must("nft", "flush", "map", "inet", "bulkhead_t", "svc")
	time.Sleep(100 * time.Millisecond)
	emptied := time.Now()
	s.must("nft", "flush", "ruleset")
	flushed := time.Now()
	time.Sleep(100 * time.Millisecond)
	tr.stop()
	from, to = tr.all()
	if wrong := tr.judge(from, emptied); len(wrong) != 1 || !strings.HasPrefix(wrong[0], always) {
		t.Errorf("a map is empty, and the stream says %q", wrong)
	}
	if wrong := tr.judge(flushed, to); len(wrong) != 1 || !strings.HasPrefix(wrong[0], never) {
		t.Errorf("no rules are there, and the stream says %q", wrong)
	}
}

// Change after change is applied, put on trial and confirmed, while packets come as fast
// as they can be sent: some are being judged at every commit. A trial that ended in one
// transaction lost one to four of what is sent here.
func TestChangedUnderPackets(t *testing.T) {
	s := newStreet(t)
	s.must("bulkhead", "apply", "--yes", "--auto-confirm")
	tr := s.sendEvery(time.Microsecond)
	for n := 1; n <= 60; n++ {
		s.write("policy.yaml", streetPolicy(n%2))
		s.must("bulkhead", "apply", "--yes", "--auto-confirm")
	}
	tr.stop()
	from, to := tr.all()
	tr.holds("throughout", from, to)
}

// Somebody flushes the kernel's rules while the daemon runs: until it has put them
// back everything passes, for as long as is measured here at the receiver; what policy
// permits is not interrupted, live flows that it permits go on, those that it denies
// do not.
func TestFlushedUnderPackets(t *testing.T) {
	s := newStreet(t)
	// For so long a first enforcement only looks, and one that was lost finds live TCP
	// flows again.
	s.write("bulkhead.yaml", strings.Replace(streetSettings, "observe_learn: 0s", "observe_learn: 3s", 1))
	permitted := s.flow(lab.FlowSpec{Port: 6000})
	deniedTCP := s.flow(lab.FlowSpec{Port: 9001, Every: 2 * time.Millisecond})
	deniedUDP := s.flow(lab.FlowSpec{Port: 9002, UDP: true, Every: 2 * time.Millisecond})
	s.serve("--interval", "1h")
	s.inSync()
	time.Sleep(4 * time.Second) // it drops by now, and the daemon remembers what it can put back
	stopped := func(when string) {
		t.Helper()
		s.lives(permitted, when)
		for _, f := range []*lab.Flow{deniedTCP, deniedUDP} {
			if n, err := f.During(t.Context(), 700*time.Millisecond); err != nil || n > 0 {
				t.Errorf("%s: %d bytes arrived over a live flow that policy denies (%v)", when, n, err)
			}
		}
	}
	stopped("before")
	for round := range 5 {
		tr := s.send()
		time.Sleep(200 * time.Millisecond)
		s.must("nft", "flush", "ruleset")
		s.until("the table is back", func() bool { _, code := s.run(nil, "nft", "list", "table", "inet", "bulkhead_t"); return code == 0 })
		s.inSync()
		time.Sleep(time.Second)
		tr.stop()
		from, to := tr.all()
		if sent, got := tr.count(always, from, to); sent != len(got) {
			t.Errorf("round %d: what policy permits was interrupted: %d packets sent, %d arrived", round, sent, len(got))
		}
		_, got := tr.count(never, from, to)
		if len(got) == 0 {
			t.Fatalf("round %d: the rules were flushed and no packet came through", round)
		}
		first, last := got[0], got[0]
		for _, x := range got {
			if x.Before(first) {
				first = x
			}
			if x.After(last) {
				last = x
			}
		}
		t.Logf("round %d: open for %d ms, %d packets that policy denies arrived", round, last.Sub(first).Milliseconds(), len(got))
		if open := last.Sub(first); open > 5*time.Second {
			t.Errorf("round %d: open for %s", round, open)
		}
		stopped(fmt.Sprintf("after round %d", round))
	}
}
