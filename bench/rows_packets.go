package main

import (
	"context"
	"fmt"
	"runtime"
	"runtime/debug"

	"bulkhead/bench/estate"
	"bulkhead/bench/harness"
)

// packetSize says how many packets a measurement sends.
type packetSize struct {
	flows   int // established, each one packet a round
	sampled int // of each family, permitted and denied, to be checked
	rounds  int
	fresh   int // new flows a round
	// freshRounds times fresh new flows, and flows, must fit the kernel's table of
	// flows (nf_conntrack_max): it drops what does not.
	freshRounds int
}

// The lanes that packets take, by the rules of their gateways.
const (
	laneBare  = "bare conntrack"
	laneOurs  = "Bulkhead"
	laneSpoof = "Bulkhead, anti-spoofing on"
)

// packetRows time packets.
func packetRows(s size) []harness.Row {
	const big, est = "100k", "estate"
	over := func(v, lane string) string { return v + ": established, " + lane + ", over bare" }
	more := func(v, lane string) string { return v + ": new, " + lane + ", more than bare" }
	row := harness.Row{
		Name: "packets", Title: "Packets through a gateway",
		From: "UDP packets of 64 bytes and more, a fifth of them IPv6, from a namespace through a gateway's to a third one: CPU time of the thread that sends, in which the kernel forwards them. " +
			"Three gateways stand side by side and take turns within one process, round by round: bare (`ct state established,related accept; accept`), Bulkhead, and Bulkhead with anti-spoofing on. " +
			"Of established flows each packet's share of sending is taken off, by packets that the gateway throws away unseen, so that the excess is one of the gateway's own work. " +
			"100k is 100,000 addresses with 1,000 policies.",
		Variants: []harness.Variant{
			{Name: big, Run: func(ctx context.Context, r *harness.Recorder) error { return packets(ctx, r, s.shared(), s.packets) }},
			{Name: est, Run: func(ctx context.Context, r *harness.Recorder) error {
				return packets(ctx, r, s.estate(estate.Options{}), s.packets)
			}},
		},
	}
	for _, v := range []string{big, est} {
		for _, lane := range []string{laneOurs, laneSpoof} {
			row.Compare = append(row.Compare,
				harness.Compare{Name: over(v, lane), Kind: harness.Excess, A: harness.Ref{Variant: v, Figure: forwarding(lane)}, B: harness.Ref{Variant: v, Figure: forwarding(laneBare)}},
				harness.Compare{Name: more(v, lane), Kind: harness.Difference, A: harness.Ref{Variant: v, Figure: opening(lane)}, B: harness.Ref{Variant: v, Figure: opening(laneBare)}})
		}
	}
	row.Goals = []harness.Goal{
		{Text: "established flows at most 10 % over bare", Of: harness.Ref{Figure: over(big, laneOurs)}, AtMost: 0.1},
		{Text: "new flows at most 3 µs over bare", Of: harness.Ref{Figure: more(big, laneOurs)}, AtMost: 3e-6},
		{Text: "new flows of the estate at most 3 µs over bare", Of: harness.Ref{Figure: more(est, laneOurs)}, AtMost: 3e-6},
	}
	return []harness.Row{row}
}

// Names of figures.
func forwarding(lane string) string { return "established, " + lane + ": forwarding" }
func opening(lane string) string    { return "new, " + lane }

// packets measures one site.
func packets(ctx context.Context, r *harness.Recorder, e *estate.Estate, n packetSize) error {
	t, err := newTraffic(e, n)
	if err != nil {
		return err
	}
	s := newSite(e)
	if err := s.prepare(); err != nil {
		return err
	}
	t.tablesAsked(r, s)
	var lanes []*lane
	defer func() {
		for _, l := range lanes {
			l.close()
		}
	}()
	for _, name := range []string{laneBare, laneOurs, laneSpoof} {
		l, err := newLane(name, t)
		if err != nil {
			return err
		}
		lanes = append(lanes, l)
		if err := l.install(ctx, s); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if err := l.check(ctx, r, t); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	s.state, s.assets = nil, nil
	// A collection in between would only be noise.
	runtime.GC()
	debug.SetGCPercent(-1)
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := timeEstablished(ctx, r, lanes, t, n); err != nil {
		return err
	}
	return timeNew(r, lanes, t, n)
}

// timeEstablished opens flows, has them answered, and times packets over them.
func timeEstablished(ctx context.Context, r *harness.Recorder, lanes []*lane, t *traffic, n packetSize) error {
	for _, l := range lanes {
		if err := l.open(ctx, r, t); err != nil {
			return fmt.Errorf("%s: %w", l.name, err)
		}
	}
	times := make([][]float64, len(lanes)+1)
	for round := range n.rounds {
		for i := range times {
			k := (i + round) % len(times) // nobody is always first
			unseen := k == len(lanes)
			l := lanes[min(k, len(lanes)-1)]
			frames := l.there
			if unseen {
				frames = lanes[0].unseen
				l = lanes[0]
			}
			want := len(frames)
			if unseen {
				want = 0
			}
			spent, got, err := l.timed(frames, want)
			if err != nil {
				return err
			}
			if !about(got, want) {
				r.Check(false, "%s: of %d packets of established flows %d arrive, not %d", l.name, len(frames), got, want)
				return nil
			}
			times[k] = append(times[k], spent/float64(len(frames)))
		}
	}
	sending := middle(times[len(lanes)])
	r.Value("sending alone", harness.Seconds, sending)
	for i, l := range lanes {
		all := middle(times[i])
		r.Value("established, "+l.name+": sending and forwarding", harness.Seconds, all)
		r.Value(forwarding(l.name), harness.Seconds, all-sending)
	}
	r.Check(true, "every packet of an established flow arrives")
	return nil
}

// timeNew times first packets of flows.
func timeNew(r *harness.Recorder, lanes []*lane, t *traffic, n packetSize) error {
	times, denied := make([][]float64, len(lanes)), make([][]float64, len(lanes))
	for round := range n.freshRounds {
		for i := range lanes {
			l := lanes[(i+round)%len(lanes)]
			k := (i + round) % len(lanes)
			frames := l.fresh(round, n.fresh)
			spent, got, err := l.timed(frames, len(frames))
			if err != nil {
				return err
			}
			if !about(got, len(frames)) {
				r.Check(false, "%s: of %d first packets of permitted flows %d arrive", l.name, len(frames), got)
				return nil
			}
			times[k] = append(times[k], spent/float64(len(frames)))
			if l.name == laneBare {
				continue
			}
			frames = l.refused(round)
			if spent, got, err = l.timed(frames, 0); err != nil {
				return err
			}
			if !about(got, 0) {
				r.Check(false, "%s: of %d first packets of denied flows %d arrive", l.name, len(frames), got)
				return nil
			}
			denied[k] = append(denied[k], spent/float64(len(frames)))
		}
	}
	for i, l := range lanes {
		r.Value(opening(l.name), harness.Seconds, middle(times[i]))
		if l.name != laneBare {
			r.Value("denied, "+l.name, harness.Seconds, middle(denied[i]))
		}
	}
	r.Check(true, "every first packet of a permitted flow arrives, and none of a denied one")
	return nil
}

// about allows for the few packets that the kernel sends by itself, such as
// neighbour discovery: what is to be found out is whether thousands arrive or none.
func about(got, want int) bool { return got >= want && got <= want+8 }
