package main

import (
	"context"
	"maps"
	"math/rand/v2"
	"os"
	"runtime"
	"time"

	"bulkhead/bench/estate"
	"bulkhead/bench/harness"
	"bulkhead/drivers/nftables"
)

// dayRows are about what a day of changes leaves behind.
func dayRows(s size) []harness.Row {
	const name = plain
	return []harness.Row{{
		Name: "day", Title: "Estate: memory of thousands of changes",
		From: "As many changes as a measurement has time for on a busy machine, made one after the other without a pause: some hosts take the roles of others, so that all their classes are born in the first tenth, settled and proved now and then. What the heap holds after the collector ran, what the kernel's table holds and what is open, after the first tenth of them and after all.",
		Variants: []harness.Variant{{Name: name, Run: func(ctx context.Context, r *harness.Recorder) error {
			return aDay(ctx, r, s.estate(estate.Options{}), s.day)
		}}},
		Goals: []harness.Goal{{Text: "the heap is flat: within 2 %", Of: harness.Ref{Variant: name, Figure: "heap after all, of that after a tenth"}, AtMost: 1.02}},
	}}
}

// kept is what is held between two changes.
type kept struct{ heap, elements, files, goroutines float64 }

func keptNow(ctx context.Context, d *nftables.Driver) (k kept, err error) {
	for range 3 { // what finalizers let go is collected at the next turn
		runtime.GC()
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	k.heap, k.goroutines = float64(m.HeapAlloc), float64(runtime.NumGoroutine())
	files, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return k, err
	}
	k.files = float64(len(files))
	now, err := d.Read(ctx)
	if err != nil {
		return k, err
	}
	t := now.(*nftables.State).Table()
	for i := range t.Sets {
		k.elements += float64(len(t.Sets[i].Elements))
	}
	return k, nil
}

// aDay makes n changes, and looks what is held after a tenth of them and at the end.
func aDay(ctx context.Context, r *harness.Recorder, e *estate.Estate, n int) error {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	s, err := follow(ctx, e, func() time.Time { return now })
	if err != nil {
		return err
	}
	defer s.Close()
	reader := nftables.New(nftables.Options{Site: "estate"})
	rnd := rand.New(rand.NewPCG(estate.Seed, 9))
	if _, err := s.Prove(ctx); err != nil {
		return err
	}
	some := make([]int, 40)
	for i := range some {
		some[i] = rnd.IntN(len(e.Assets))
	}
	var early kept
	whole, born := 0, 0
	for i := range n {
		a := &e.Assets[some[rnd.IntN(len(some))]]
		a.Labels = maps.Clone(a.Labels)
		a.Labels["role"] = e.Assets[rnd.IntN(len(e.Assets))].Labels["role"]
		st, err := s.Asset(ctx, *a)
		if err != nil {
			return err
		}
		born += st.Born
		if st.Whole != "" {
			whole++
		}
		if i%150 == 149 || i == n-1 || i == n/10-1 {
			if err := s.Settle(ctx); err != nil {
				return err
			}
		}
		if i%900 == 899 || i == n-1 || i == n/10-1 {
			if _, err := s.Prove(ctx); err != nil {
				return err
			}
		}
		if i == n/10-1 {
			if early, err = keptNow(ctx, reader); err != nil {
				return err
			}
		}
	}
	late, err := keptNow(ctx, reader)
	if err != nil {
		return err
	}
	r.Value("changes", harness.Count, float64(n))
	r.Value("classes born", harness.Count, float64(born))
	r.Value("changes that took the site anew", harness.Count, float64(whole))
	r.Value("heap after a tenth", harness.Bytes, early.heap)
	r.Value("heap after all", harness.Bytes, late.heap)
	r.Value("heap after all, of that after a tenth", harness.Count, late.heap/early.heap)
	r.Value("elements in the kernel after a tenth", harness.Count, early.elements)
	r.Value("elements in the kernel after all", harness.Count, late.elements)
	r.Check(late.files <= early.files && late.goroutines <= early.goroutines, "no file and no goroutine was left behind")
	runtime.KeepAlive(e)
	return nil
}
