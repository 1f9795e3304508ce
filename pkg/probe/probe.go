// Package probe runs the probes of a site: a TCP connection, an echo request or an
// HTTP request that must succeed. They say of a change to a device what no proof
// can: that what must work still works, for real packets.
//
// A probe runs from where the program runs, in its network namespace, past every
// point on the way. It knows no proxy: one would answer for another path.
package probe

import (
	"context"
	"crypto/x509"
	"fmt"
	"sync"
	"time"

	"bulkhead/pkg/config"
)

// Options of a run. The zero value tries each probe once.
type Options struct {
	// Tries is how often a probe is tried until it passes; below 1 is 1. After a
	// change, see Grace: the first packet may meet a device that has just been told.
	Tries int
	// Pause is between two tries of one probe.
	Pause time.Duration
	// Parallel is how many probes run at once; below 1 is 8.
	Parallel int
	// Roots are what TLS certificates are checked against; nil is the system's.
	Roots *x509.CertPool
}

// Grace are the options for probes after a change: three tries with a second
// between them, so that a neighbour entry or a route that has to settle again is
// not taken for a flow that is cut.
func Grace() Options { return Options{Tries: 3, Pause: time.Second} }

// Result is what became of one probe.
type Result struct {
	Name   string `json:"name"`
	Target string `json:"target"` // what was tried, for example "tcp 10.0.4.20:443"
	OK     bool   `json:"ok"`
	// Error says why the last try failed; "" if it passed. It may quote what a
	// stranger sent, and is escaped by whoever shows it.
	Error string        `json:"error,omitempty"`
	Tries int           `json:"tries"`
	Took  time.Duration `json:"tookNanoseconds"` // all tries together
}

// Run runs the probes, several at once, and returns one result for each, in the
// order of the probes. A probe takes at most Tries times its timeout, and the
// pauses between. When ctx ends, what has not passed by then has failed.
func Run(ctx context.Context, probes []config.Probe, o Options) []Result {
	if o.Parallel < 1 {
		o.Parallel = 8
	}
	out := make([]Result, len(probes))
	slots := make(chan struct{}, o.Parallel)
	var wg sync.WaitGroup
	for i := range probes {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			out[i] = runOne(ctx, &probes[i], o)
		})
	}
	wg.Wait()
	return out
}

func runOne(ctx context.Context, p *config.Probe, o Options) Result {
	r := Result{Name: p.Name, Target: target(p)}
	began := time.Now()
	for {
		r.Tries++
		err := once(ctx, p, o)
		r.OK, r.Error = err == nil, ""
		if err != nil {
			r.Error = err.Error()
		}
		if r.OK || r.Tries >= o.Tries || !wait(ctx, o.Pause) {
			r.Took = time.Since(began)
			return r
		}
	}
}

// once is one try of a probe, in its time.
func once(ctx context.Context, p *config.Probe, o Options) error {
	timeout := p.Timeout
	if timeout <= 0 {
		timeout = config.DefaultProbeTimeout
	}
	if ctx.Err() != nil {
		return fmt.Errorf("not tried: %w", context.Cause(ctx))
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	switch {
	case p.TCP.IsValid():
		return connect(ctx, p.TCP, timeout)
	case p.Ping.IsValid():
		return ping(ctx, p.Ping, timeout)
	case p.HTTP != nil:
		return get(ctx, p.HTTP, o.Roots, timeout)
	}
	// The loader refuses it; taken for one that passes, it would guard nothing.
	return fmt.Errorf("the probe says nothing that could be tried")
}

// wait reports whether the time passed before ctx ended.
func wait(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

func target(p *config.Probe) string {
	switch {
	case p.TCP.IsValid():
		return "tcp " + p.TCP.String()
	case p.Ping.IsValid():
		return "ping " + p.Ping.String()
	case p.HTTP != nil:
		return fmt.Sprintf("http %s (status %d)", p.HTTP.URL, p.HTTP.Status)
	}
	return "nothing"
}

// Compare gives the results of after that undo a change: probes that passed before
// it and do not pass after. One that was not run after it counts as failed: nobody
// knows that it passes. What failed before already guards nothing and undoes
// nothing.
func Compare(before, after []Result) []Result {
	then := make(map[string]Result, len(after))
	for _, r := range after {
		then[r.Name] = r
	}
	out := []Result{}
	for _, b := range before {
		if !b.OK {
			continue
		}
		a, ok := then[b.Name]
		if !ok {
			a = Result{Name: b.Name, Target: b.Target, Error: "not tried after the change"}
		}
		if !a.OK {
			out = append(out, a)
		}
	}
	return out
}
