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
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"bulkhead/bench/estate"
	"bulkhead/bench/harness"
	"bulkhead/drivers"
	"bulkhead/drivers/nftables"
	"bulkhead/drivers/nftables/kernel"
	"bulkhead/drivers/nftables/render"
	"bulkhead/drivers/nftables/ruleset"
	"bulkhead/pkg/controller"
	"bulkhead/pkg/daemon"
	"bulkhead/pkg/driver"
	"bulkhead/pkg/store"
)

// daemonRows are about a daemon that runs.
func daemonRows(s size) []harness.Row {
	const cells, whole = "cells", "estate"
	return []harness.Row{{
		Name: "idle", Title: "1,000 points, 100,000 addresses: a pass that finds nothing changed",
		From:     "A daemon with 1,000 devices that are simulated in memory and can only be read, as a cloud's API or a switch: each protects 100 addresses. From the end of the interval to the word that nothing has to be done: the site directory's files are read, every device is read and held against what was proved of it. Then what the process keeps, after the collector ran and after a quiet half minute.",
		Variants: []harness.Variant{{Name: cells, Run: func(ctx context.Context, r *harness.Recorder) error { return idles(ctx, r, s) }}},
		Goals: []harness.Goal{
			{Text: "2 CPU s", Of: harness.Ref{Variant: cells, Figure: "pass" + harness.CPU}, AtMost: 2},
			{Text: "500 MB, idle", Of: harness.Ref{Variant: cells, Figure: "resident, idle"}, AtMost: 500 * megabytes},
			{Text: "1 % of a core, at the interval that is the default", Of: harness.Ref{Variant: cells, Figure: "of a core"}, AtMost: 0.01},
		},
	}, {
		Name: "respond", Title: "Estate: what a daemon does at once",
		From:     "A daemon that enforces the estate on this kernel. Quarantine: from the call at its Unix socket to the answer, which comes after the kernel's. Drift: from the transaction of another program that takes an element out of a table to the moment that the element is there again.",
		Variants: []harness.Variant{{Name: whole, Run: func(ctx context.Context, r *harness.Recorder) error { return responds(ctx, r, s) }}},
		Goals: []harness.Goal{
			{Text: "100 ms for a quarantine", Of: harness.Ref{Variant: whole, Figure: "quarantine" + harness.Median}, AtMost: 0.1},
			{Text: "1 s for drift, median", Of: harness.Ref{Variant: whole, Figure: "drift repaired" + harness.Median}, AtMost: 1},
		},
	}, {
		Name: "whole-change", Title: "Estate: a daemon takes over one asset that has changed",
		From:     "A daemon that enforces the estate on this kernel. From the moment that a line of the CSV file is written anew, with another role, to the first transaction on the kernel, with which the change is in force; to the end of the pass that follows, which finds it done, proves the device as a whole and writes it into the history; and to the word that nothing is left to be done. 0.3 s of it the daemon waits for the editor to be done with the directory.",
		Variants: []harness.Variant{{Name: whole, Run: func(ctx context.Context, r *harness.Recorder) error { return takesOver(ctx, r, s) }}},
	}}
}

// running is a daemon with its API at a socket.
type running struct {
	d      *daemon.Daemon
	store  *store.Store
	client *http.Client
	ended  chan error
	stop   func()
}

// serve runs a daemon on a generated site, and waits until all is in sync.
func serve(ctx context.Context, dir string, e *estate.Estate, kinds []driver.Kind) (*running, error) {
	site := filepath.Join(dir, "site")
	if err := e.WriteSite(site); err != nil {
		return nil, err
	}
	const begin = "observe_learn: 0s\nlimits: {first_enforcement: accept}\n" // nothing has to be learnt here
	if err := os.WriteFile(filepath.Join(site, "begin.yaml"), []byte(begin), 0o600); err != nil {
		return nil, err
	}
	st, err := store.OpenWith(store.Options{Dir: filepath.Join(dir, "state"), Site: e.Name, Command: "bench"})
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(ctx)
	x := &running{store: st, stop: stop, ended: make(chan error, 1)}
	x.d = daemon.New(daemon.Options{Dir: site, Kinds: kinds, Store: st, Interval: time.Hour}, "bench", "here")
	socket := filepath.Join(dir, "api.sock")
	l, err := net.Listen("unix", socket)
	if err != nil {
		return nil, err
	}
	peers := daemon.Peers{UID: os.Getuid()}
	srv := &http.Server{Handler: x.d.Handler(daemon.Show{}, peers), ConnContext: peers.ConnContext}
	go srv.Serve(l) //nolint:errcheck // it ends with the process
	x.client = &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}}}
	go func() { x.ended <- x.d.Run(ctx) }()
	return x, x.settled()
}

// settled waits until the last pass found everything in sync.
func (x *running) settled() error {
	for {
		v := x.d.View()
		if v.Pass != nil && v.Pass.Result == controller.InSync && len(v.Trouble) == 0 && len(v.Site.Quarantined) == 0 {
			return nil
		}
		if v.Pass != nil && v.Pass.Result != controller.InSync && v.Pass.Result != controller.Applied || v.Problem != "" {
			return fmt.Errorf("the daemon does not come into sync: %+v, %s", v.Pass.Why, v.Problem)
		}
		select {
		case err := <-x.ended:
			return fmt.Errorf("the daemon ended: %w", err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func (x *running) close() {
	x.stop()
	<-x.ended
	x.store.Close()
}

// call posts to the API.
func (x *running) call(ctx context.Context, path string, body any) error {
	b, err := json.Marshal(body)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://bulkhead"+path, bytes.NewReader(b))
	if err != nil {
		return err
	}
	res, err := x.client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	var text bytes.Buffer
	if _, err := text.ReadFrom(res.Body); err != nil {
		return err
	}
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s: %s", path, res.Status, text.String())
	}
	return nil
}

// resident is what the process holds, in bytes.
func resident() (float64, error) {
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kb, err := strconv.ParseFloat(strings.Fields(rest)[0], 64)
			return kb * 1024, err
		}
	}
	return 0, fmt.Errorf("the kernel does not say how much is resident")
}

func idles(ctx context.Context, r *harness.Recorder, s size) error {
	e := estate.Cells(s.cells, memoryDriver)
	assets := len(e.Assets)
	x, err := serve(ctx, r.Dir, e, []driver.Kind{memoryKind()})
	if err != nil {
		return err
	}
	defer x.close()
	e = nil
	v := x.d.View()
	points := len(v.Pass.Plan.Points)
	r.Value("assets", harness.Count, float64(assets))
	r.Value("points", harness.Count, float64(points))
	if err := x.d.Look(ctx); err != nil { // the first one keeps what the next ones compare with
		return err
	}
	runtime.GC()
	before := x.d.View().Pass
	if err := r.Measure("pass", func() error { return x.d.Look(ctx) }); err != nil {
		return err
	}
	r.Check(points == s.cells && x.d.View().Pass == before && len(x.d.View().Trouble) == 0, "nothing had to be planned for any of the points, and none is in trouble")
	r.Value("of a core", harness.Part, r.Figure("pass"+harness.CPU)/daemon.DefaultInterval.Seconds())
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	r.Value("heap, idle", harness.Bytes, float64(m.HeapAlloc))
	select { // the runtime gives back what it does not use, little by little
	case <-time.After(s.quiet):
	case <-ctx.Done():
		return ctx.Err()
	}
	rss, err := resident()
	r.Value("resident, idle", harness.Bytes, rss)
	return err
}

func responds(ctx context.Context, r *harness.Recorder, s size) error {
	e := s.estate(estate.Options{})
	x, err := serve(ctx, r.Dir, e, drivers.Kinds())
	if err != nil {
		return err
	}
	defer x.close()
	var took []float64
	for i := range s.responses {
		id := e.Assets[(i*7919)%len(e.Assets)].ID
		began := time.Now()
		if err := x.call(ctx, "/v1/assets/"+id+"/quarantine", map[string]string{"reason": "bench", "for": "10m"}); err != nil {
			return err
		}
		took = append(took, time.Since(began).Seconds())
		if err := x.call(ctx, "/v1/assets/"+id+"/release", map[string]string{"reason": "bench"}); err != nil {
			return err
		}
		if err := x.d.Look(ctx); err != nil {
			return err
		}
		if err := x.settled(); err != nil {
			return err
		}
	}
	r.Spread("quarantine", harness.Seconds, took)
	return drifts(ctx, r, x, s)
}

// ready waits until a daemon has done what it does after all is in sync.
func (x *running) ready(ctx context.Context) error {
	for range 3 {
		time.Sleep(time.Second)
		if err := x.d.Do(ctx, func(context.Context) error { return nil }); err != nil {
			return err
		}
	}
	return nil
}

// takesOver has one asset after the other change its role in the site directory.
func takesOver(ctx context.Context, r *harness.Recorder, s size) error {
	e := s.estate(estate.Options{})
	x, err := serve(ctx, r.Dir, e, drivers.Kinds())
	if err != nil {
		return err
	}
	defer x.close()
	kern, err := kernel.Open("")
	if err != nil {
		return err
	}
	defer kern.Close()
	file := filepath.Join(r.Dir, "site", "inventory", "estate.csv")
	for i := range s.takes {
		if err := x.ready(ctx); err != nil {
			return err
		}
		text, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		lines := strings.Split(string(text), "\n")
		line, role := 1+i*101, ""
		fields := strings.Split(lines[line], ",")
		for _, other := range lines[line+1:] { // a role that somebody has
			if role = other[strings.LastIndex(other, ",")+1:]; role != fields[len(fields)-1] {
				break
			}
		}
		fields[len(fields)-1] = role
		lines[line] = strings.Join(fields, ",")
		before := x.d.View().Pass
		gen, err := kern.Generation(ctx)
		if err != nil {
			return err
		}
		var inForce time.Duration
		began := time.Now()
		err = r.Measure(fmt.Sprintf("change %d", i+1), func() error {
			if err := os.WriteFile(file, []byte(strings.Join(lines, "\n")), 0o600); err != nil {
				return err
			}
			for x.d.View().Pass == before {
				if now, err := kern.Generation(ctx); err != nil || time.Since(began) > 5*time.Minute {
					return errors.Join(err, fmt.Errorf("change %d was not taken over", i+1))
				} else if now != gen && inForce == 0 {
					inForce = time.Since(began)
				}
				time.Sleep(2 * time.Millisecond)
			}
			if err := r.Lap("to the history"); err != nil {
				return err
			}
			if err := x.settled(); err != nil {
				return err
			}
			return r.Lap("until nothing is left")
		})
		if err != nil {
			return err
		}
		r.Check(inForce > 0, "the kernel was written to")
		r.Value(fmt.Sprintf("change %d: in force after", i+1), harness.Seconds, inForce.Seconds())
	}
	return nil
}

// someElement gives an element of the largest set that is no set of runs, and how many
// that has.
func someElement(ctx context.Context) (set string, one []ruleset.Element, of int, err error) {
	now, err := nftables.New(nftables.Options{Site: "estate"}).Read(ctx)
	if err != nil {
		return "", nil, 0, err
	}
	t := now.(*nftables.State).Table()
	for i := range t.Sets {
		x := &t.Sets[i]
		if len(x.Elements) > of && x.Flags&(ruleset.SetInterval|ruleset.SetTimeout|ruleset.SetEval) == 0 {
			set, one, of = x.Name, x.Elements[:1], len(x.Elements)
		}
	}
	return set, one, of, nil
}

// drifts takes elements out of the daemon's table, and waits until they are back.
func drifts(ctx context.Context, r *harness.Recorder, x *running, s size) error {
	c, err := kernel.Open("")
	if err != nil {
		return err
	}
	defer c.Close()
	table := render.TableName("estate")
	set, one, whole, err := someElement(ctx)
	if err != nil {
		return err
	}
	var took []float64
	for i := range s.responses {
		if err := x.d.Look(ctx); err != nil { // what follows from the one before is done
			return err
		}
		if err := x.settled(); err != nil {
			return err
		}
		gen, err := c.Generation(ctx)
		if err != nil {
			return err
		}
		b := &kernel.Batch{}
		b.DelElements(ruleset.FamilyInet, table, set, one)
		began := time.Now()
		if err := c.Commit(ctx, b, gen); err != nil {
			return err
		}
		for {
			now, err := c.Counts(ctx, ruleset.FamilyInet, table)
			if err != nil {
				return err
			}
			if int(now[set].Elements) == whole {
				break
			}
			if time.Since(began) > time.Minute {
				return fmt.Errorf("drift number %d was not repaired", i)
			}
			time.Sleep(time.Millisecond)
		}
		took = append(took, time.Since(began).Seconds())
	}
	r.Spread("drift repaired", harness.Seconds, took)
	return nil
}
