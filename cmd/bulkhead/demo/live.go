package demo

import (
	"context"
	"fmt"
	"sync"
	"time"

	"bulkhead/pkg/lab"
)

// flowCheck is a row of the table besides the services.
type flowCheck struct {
	what                    string
	seen, want, got, differ int
}

// tally notes that something should have got through, or not, and whether it did.
func (d *demo) tally(what string, want, got bool) {
	i := 0
	for i < len(d.flows) && d.flows[i].what != what {
		i++
	}
	if i == len(d.flows) {
		d.flows = append(d.flows, flowCheck{what: what})
	}
	f := &d.flows[i]
	f.seen++
	f.want += number(want)
	f.got += number(got)
	f.differ += number(want != got)
}

// liveFlow is a connection that stays open through the demo.
type liveFlow struct {
	name, client, server string
	port                 uint16
	udp                  bool
	flow                 *lab.Flow
	ended                bool // policy ended it; it is no longer looked at
}

// liveFlows are all of them.
type liveFlows struct {
	d     *demo
	flows []*liveFlow
}

func (l *liveFlows) open(ctx context.Context, list ...liveFlow) error {
	for _, f := range list {
		flow, err := l.d.net.OpenFlow(ctx, lab.FlowSpec{Client: f.client, Server: f.server, Port: f.port, UDP: f.udp})
		if err != nil {
			return err
		}
		f.flow = flow
		l.flows = append(l.flows, &f)
		l.d.say("  %s (%s)", f.name, map[bool]string{false: "TCP", true: "UDP"}[f.udp])
	}
	return nil
}

func (l *liveFlows) close() {
	for _, f := range l.flows {
		f.flow.Close()
	}
}

// mustGoOn checks that every flow that policy has not ended delivers data.
func (l *liveFlows) mustGoOn(ctx context.Context) error {
	var wait sync.WaitGroup
	bytes := make([]int64, len(l.flows))
	errs := make([]error, len(l.flows))
	for i, f := range l.flows {
		if !f.ended {
			wait.Go(func() { bytes[i], errs[i] = f.flow.During(ctx, 600*time.Millisecond) })
		}
	}
	wait.Wait()
	going := 0
	for i, f := range l.flows {
		if f.ended {
			continue
		}
		if errs[i] != nil {
			return errs[i]
		}
		l.d.tally("live flows", true, bytes[i] > 0)
		if bytes[i] == 0 {
			l.d.say("WRONG: %s: nothing arrives any more", f.name)
			return fmt.Errorf("%w: the connection %q died, and policy permits it", ErrDisagree, f.name)
		}
		going++
	}
	l.d.say("%d open connections go on.", going)
	return nil
}

// mustStop checks that a flow falls silent.
func (l *liveFlows) mustStop(ctx context.Context, name string) error {
	for _, f := range l.flows {
		if f.name != name {
			continue
		}
		begin := time.Now()
		const quiet = 600 * time.Millisecond
		stopped, err := f.flow.Stopped(ctx, quiet, 4*time.Second)
		if err != nil {
			return err
		}
		f.ended = true
		l.d.tally("live flows", false, !stopped)
		if !stopped {
			l.d.say("WRONG: %s: data still arrives after %.1f s", name, time.Since(begin).Seconds())
			return fmt.Errorf("%w: the connection %q goes on, and policy denies it", ErrDisagree, name)
		}
		after := max(0, time.Since(begin)-quiet)
		l.d.say("Ended: %s (last byte %.1f s after we looked).", name, after.Seconds())
		return nil
	}
	return fmt.Errorf("there is no open connection %q", name)
}
