package main

import (
	"context"
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	"bulkhead/bench/estate"
	"bulkhead/bench/harness"
	"bulkhead/drivers/nftables/kernel"
	"bulkhead/drivers/nftables/ruleset"
	"bulkhead/pkg/compile"
	"bulkhead/pkg/live"
)

// event is the section between an asset's change and the committed transaction.
const event = "event to commit"

// liveRows are about changes of what is loaded already.
func liveRows(s size) []harness.Row {
	whole := func() *estate.Estate { return s.estate(estate.Options{}) }
	return []harness.Row{{
		Name: "change", Title: "Estate: one asset moves to an existing class",
		From: "From the event of the inventory to the kernel's acknowledgement of the transaction: the asset's groups, its class, two elements of the map of addresses, and the hold of its live flows. Each change by itself, on an estate that is loaded and proved. A change that brings groups together for the first time is a new class; where a table has not seen the like of it, its entries are added in a transaction before that of the address. What the tables have no words for is compiled, diffed and proved whole, and takes what that takes. A policy that is added, that is removed or that expires is proved before its transaction, read back after it, and its live flows are judged again: all of that is in its figure.",
		Variants: []harness.Variant{
			{Name: "move", Run: func(ctx context.Context, r *harness.Recorder) error {
				return moves(ctx, r, whole(), "role", s.moves, 0)
			}},
			{Name: "any label", Run: func(ctx context.Context, r *harness.Recorder) error { return moves(ctx, r, whole(), "", s.moves/5, 0) }},
			{Name: "policies", Run: func(ctx context.Context, r *harness.Recorder) error {
				return policyChanges(ctx, r, whole(), s.policies)
			}},
			{Name: "expiry", Run: func(ctx context.Context, r *harness.Recorder) error { return expiry(ctx, r, whole()) }},
		},
		Goals: []harness.Goal{
			{Text: "0.2 ms median", Of: harness.Ref{Variant: "move", Figure: event + harness.Median}, AtMost: 0.0002},
			{Text: "1 ms 99th percentile", Of: harness.Ref{Variant: "move", Figure: event + harness.P99}, AtMost: 0.001},
		},
	}, {
		Name: "change-proof", Title: "Estate: proof of that change",
		From: "From the committed transaction to the verdict on what it changed: the elements that were touched are read back, the counts of all sets and the generation compared, and the reference evaluator is asked what the address is.",
		Variants: []harness.Variant{
			{Name: "move", Run: func(ctx context.Context, r *harness.Recorder) error {
				return moves(ctx, r, whole(), "role", s.proofs, s.proofs)
			}},
		},
		Goals: []harness.Goal{{Text: "100 ms", Of: harness.Ref{Variant: "move", Figure: "proof" + harness.Median}, AtMost: 0.1}},
	}, {
		Name: "million-change", Title: "1,000,000 addresses: one asset moves",
		From: "As with the estate.",
		Variants: []harness.Variant{
			{Name: "move", Run: func(ctx context.Context, r *harness.Recorder) error {
				return moves(ctx, r, s.million(), "class", s.moves, 0)
			}},
		},
		Goals: []harness.Goal{{Text: "1 ms", Of: harness.Ref{Variant: "move", Figure: event + harness.Median}, AtMost: 0.001}},
	}}
}

// follow loads an estate and keeps it in step.
func follow(ctx context.Context, e *estate.Estate, now func() time.Time) (*live.Site, error) {
	s := newSite(e)
	return live.Open(ctx, live.Options{Name: "estate", Book: e.Book, Points: []compile.Point{s.point}, Driver: s.driver, Now: now}, e.Assets, nil)
}

// moves gives hosts another value of a label, one after the other: the one that
// another host has, drawn by the published seed; "" is of any label. Of some the
// proof is taken too.
func moves(ctx context.Context, r *harness.Recorder, e *estate.Estate, label string, n, proofs int) error {
	s, err := follow(ctx, e, func() time.Time { return time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC) })
	if err != nil {
		return err
	}
	defer s.Close()
	if proofs > 0 {
		if _, err := s.Prove(ctx); err != nil {
			return err
		}
	}
	rnd := rand.New(rand.NewPCG(estate.Seed, 5))
	labels := []string{label}
	if label == "" {
		labels = slices.Sorted(maps.Keys(e.Assets[0].Labels))
	}
	var took, born, touched, bornTouched, proof, anew []float64
	whole, same := 0, 0
	for len(took)+len(born)+whole < n {
		a := e.Assets[rnd.IntN(len(e.Assets))]
		l := labels[rnd.IntN(len(labels))]
		a.Labels = maps.Clone(a.Labels)
		a.Labels[l] = e.Assets[rnd.IntN(len(e.Assets))].Labels[l]
		at := time.Now()
		st, err := s.Asset(ctx, a)
		d := time.Since(at).Seconds()
		switch {
		case err != nil:
			return err
		case st.Whole != "":
			whole++
			anew = append(anew, d)
			if proofs > 0 { // what follows is proved from here on
				if _, err := s.Prove(ctx); err != nil {
					return err
				}
			}
			continue
		case st.Touched == 0:
			same++
		case st.Born > 0:
			born, bornTouched = append(born, d), append(bornTouched, float64(st.Touched))
		default:
			took, touched = append(took, d), append(touched, float64(st.Touched))
		}
		if len(proof) < proofs && st.Whole == "" && st.Touched > 0 {
			at := time.Now()
			p, err := s.Prove(ctx)
			if err != nil {
				return err
			}
			if p.Whole == "" {
				proof = append(proof, time.Since(at).Seconds())
			}
		}
		if err := s.Settle(ctx); err != nil {
			return err
		}
	}
	r.Spread(event, harness.Seconds, took)
	r.Spread("touched", harness.Count, touched)
	r.Spread("new class, "+event, harness.Seconds, born)
	r.Spread("new class, touched", harness.Count, bornTouched)
	r.Spread("the site anew", harness.Seconds, anew)
	r.Spread("proof", harness.Seconds, proof)
	r.Value("moves to an existing class", harness.Count, float64(len(took)))
	r.Value("moves to a new class", harness.Count, float64(len(born)))
	r.Value("moves that took the site anew", harness.Count, float64(whole))
	r.Check(len(proof) >= proofs*9/10, "nine of ten changes were proved by themselves")
	p, err := s.Prove(ctx)
	r.Check(err == nil, "after all changes the device is proved whole against a compile from nothing")
	if err == nil && proofs == 0 && p.Whole == "" {
		r.Check(false, "that proof was of the whole device")
	}
	return nil
}

// driftRows look whether anybody changed what was loaded, when nobody did.
func driftRows(s size) []harness.Row {
	const name, looks = "estate", 500
	return []harness.Row{{
		Name: "drift", Title: "Estate: look for drift, nothing changed",
		From: "From the question to the answer that nobody committed anything, on a socket that is kept open, with the estate loaded: each look by itself. Beside it what the kernel counts in every set.",
		Variants: []harness.Variant{{Name: name, Run: func(ctx context.Context, r *harness.Recorder) error {
			st := newSite(s.estate(estate.Options{}))
			if err := st.install(ctx); err != nil {
				return err
			}
			c, err := kernel.Open("")
			if err != nil {
				return err
			}
			defer c.Close()
			since, err := c.Generation(ctx)
			if err != nil {
				return err
			}
			table := st.state.Table().Name
			st = nil
			same := true
			var look, count []float64
			if err := r.Measure("looks", func() error {
				for range looks {
					at := time.Now()
					ok, _, err := c.Unchanged(ctx, since)
					if err != nil {
						return err
					}
					look, same = append(look, time.Since(at).Seconds()), same && ok
				}
				return r.Lap("generation")
			}); err != nil {
				return err
			}
			for range looks / 10 {
				at := time.Now()
				if _, err := c.Counts(ctx, ruleset.FamilyInet, table); err != nil {
					return err
				}
				count = append(count, time.Since(at).Seconds())
			}
			r.Check(same, "every look says that nothing changed")
			r.Spread("look", harness.Seconds, look)
			r.Spread("counts of all sets", harness.Seconds, count)
			changed, err := notices(ctx, c, since)
			r.Check(changed, "a change of anybody's is noticed")
			return err
		}}},
		Goals: []harness.Goal{{Text: "1 ms, at the 99th percentile", Of: harness.Ref{Variant: name, Figure: "look" + harness.P99}, AtMost: 0.001}},
	}}
}

// notices changes the kernel behind the look's back.
func notices(ctx context.Context, c *kernel.Conn, since uint32) (bool, error) {
	b := &kernel.Batch{}
	b.AddTable(ruleset.FamilyInet, "somebody", 0, nil)
	if err := c.Commit(ctx, b, 0); err != nil {
		return false, err
	}
	same, _, err := c.Unchanged(ctx, since)
	return !same, err
}
