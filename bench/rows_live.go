package main

import (
	"context"
	"time"

	"bulkhead/bench/estate"
	"bulkhead/bench/harness"
	"bulkhead/drivers/nftables/kernel"
	"bulkhead/drivers/nftables/ruleset"
)

// noEngine is what the rows about single changes wait for.
const noEngine = "there is no engine yet that changes a loaded estate without working all of it out again"

// liveRows are about changes of what is loaded already.
func liveRows() []harness.Row {
	const event = "event to commit"
	change := harness.Row{
		Name: "change", Title: "Estate: one asset moves to an existing class",
		From: "From the event of the inventory to the committed transaction.",
		Goals: []harness.Goal{
			{Text: "0.2 ms median", Of: harness.Ref{Variant: "move", Figure: event + harness.Median}, AtMost: 0.0002},
			{Text: "1 ms 99th percentile", Of: harness.Ref{Variant: "move", Figure: event + harness.P99}, AtMost: 0.001},
		},
	}
	for _, v := range []string{"move", "new class", "policy added", "expiry"} {
		change.Variants = append(change.Variants, harness.Variant{Name: v, NotBuilt: noEngine})
	}
	return []harness.Row{change, {
		Name: "change-proof", Title: "Estate: proof of that change",
		From:     "From the committed transaction to the verdict on what it changed.",
		Variants: []harness.Variant{{Name: "move", NotBuilt: noEngine}},
		Goals:    []harness.Goal{{Text: "100 ms", Of: harness.Ref{Variant: "move", Figure: "proof" + harness.CPU}, AtMost: 0.1}},
	}, {
		Name: "million-change", Title: "1,000,000 addresses: one asset moves",
		From:     "As with the estate.",
		Variants: []harness.Variant{{Name: "move", NotBuilt: noEngine}},
		Goals:    []harness.Goal{{Text: "1 ms", Of: harness.Ref{Variant: "move", Figure: event + harness.Median}, AtMost: 0.001}},
	}}
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
