package main

import (
	"context"
	"errors"
	"runtime"

	"bulkhead/bench/estate"
	"bulkhead/bench/harness"
	"bulkhead/drivers/nftables/kernel"
	"bulkhead/inventory"
	"bulkhead/pkg/compile"
	"bulkhead/pkg/config"
)

// The variants of the estate.
const (
	plain     = "estate"
	directed  = "direction-bound"
	mixed     = "mixed denies"
	megabytes = 1e6
)

// estateRows are the rows about the estate, and about the case of the peers.
func estateRows(s size) []harness.Row {
	kinds := []struct {
		name string
		o    estate.Options
	}{{plain, estate.Options{}}, {directed, estate.Options{DirectionBound: true}}, {mixed, estate.Options{MixedDenies: true}}}
	compileRow := harness.Row{
		Name: "compile", Title: "Estate: classify, partition and compile",
		From: "From assets in memory to the layout of the device's tables. The estate has 100,000 addresses, a fifth of them IPv6, 500 groups and 2,000 policies at random places in the order; " +
			"the variants bind a fifth of the policies to one side, and put a third of the denies among the allows. A refusal with its advice is a result.",
		Goals: []harness.Goal{
			{Text: "0.6 CPU s", Of: harness.Ref{Variant: plain, Figure: "compile" + harness.CPU}, AtMost: 0.6},
			{Text: "300 MB", Of: harness.Ref{Variant: plain, Figure: "compile" + harness.Peak}, AtMost: 300 * megabytes},
		},
	}
	loadRow := harness.Row{
		Name: "load", Title: "Estate: render and first load into the kernel",
		From: "From the compiled matrix and the layout to the committed transaction in a namespace without a table: read, render, diff, send, commit, look for flows to end. Then the kernel is asked what it counts.",
		Goals: []harness.Goal{
			{Text: "0.3 CPU s", Of: harness.Ref{Variant: plain, Figure: "render and load" + harness.CPU}, AtMost: 0.3},
		},
	}
	proveRow := harness.Row{
		Name: "prove", Title: "Estate: full proof of one transit point, the kernel read back",
		From: "From the loaded kernel to the verdict: read, decode, compare every pair of classes in every situation. The matrix and the layout are there already, as they are when a plan or a verify proves.",
		Goals: []harness.Goal{
			{Text: "3 CPU s", Of: harness.Ref{Variant: plain, Figure: "proof" + harness.CPU}, AtMost: 3},
			{Text: "1 GB", Of: harness.Ref{Variant: plain, Figure: "proof" + harness.Peak}, AtMost: 1000 * megabytes},
		},
	}
	// A row of its own: the slowest measurement of all must not hold up the one that a
	// goal is about.
	directedRow := harness.Row{
		Name: "prove-directed", Title: "Estate with direction-bound policies: full proof", From: "As with the estate.",
		Goals: []harness.Goal{
			{Text: "3 CPU s", Of: harness.Ref{Variant: directed, Figure: "proof" + harness.CPU}, AtMost: 3},
			{Text: "1 GB", Of: harness.Ref{Variant: directed, Figure: "proof" + harness.Peak}, AtMost: 1000 * megabytes},
		},
	}
	for _, k := range kinds {
		make := func() *site { return newSite(s.estate(k.o)) }
		compileRow.Variants = append(compileRow.Variants, harness.Variant{Name: k.name, Run: func(_ context.Context, r *harness.Recorder) error { return compiles(r, make()) }})
		if k.name == mixed {
			continue // refused at full size: there is nothing to load
		}
		loadRow.Variants = append(loadRow.Variants, harness.Variant{Name: k.name, Run: func(ctx context.Context, r *harness.Recorder) error { return loads(ctx, r, make()) }})
		proof := harness.Variant{Name: k.name, Run: func(ctx context.Context, r *harness.Recorder) error { return proves(ctx, r, make()) }}
		if k.name == plain {
			proveRow.Variants = append(proveRow.Variants, proof)
		} else {
			directedRow.Variants = append(directedRow.Variants, proof)
		}
	}
	return []harness.Row{compileRow, loadRow, proveRow, directedRow, readRow(s), peersRow(s)}
}

// compiles measures classify to layout.
func compiles(r *harness.Recorder, s *site) error {
	assets := len(s.assets)
	var refused *compile.Refusal
	err := r.Measure("compile", func() error {
		err := s.steps(r)
		if errors.As(err, &refused) {
			return nil
		}
		return err
	})
	runtime.KeepAlive(s)
	if err != nil {
		return err
	}
	r.Value("assets", harness.Count, float64(assets))
	r.Value("classes", harness.Count, float64(len(s.matrix.Classes)))
	if refused != nil {
		r.Note("refused: %s. Advice: %s.", refused.Reason, refused.Advice)
		return nil
	}
	l, err := s.layout()
	if err != nil {
		return err
	}
	st := l.Stats()
	r.Value("tables of pairs", harness.Count, float64(st.Spaces))
	r.Value("pairs in them", harness.Count, float64(st.Pairs))
	r.Value("rulesets", harness.Count, float64(st.Contents))
	return nil
}

// loads measures the first load, after compiling.
func loads(ctx context.Context, r *harness.Recorder, s *site) error {
	if err := s.prepare(); err != nil {
		return err
	}
	return watched(ctx, func(c *kernel.Conn, before uint32) error {
		if err := r.Measure("render and load", func() error {
			if err := s.render(); err != nil {
				return err
			}
			if err := r.Lap("render"); err != nil {
				return err
			}
			if err := s.load(ctx); err != nil {
				return err
			}
			return r.Lap("load")
		}); err != nil {
			return err
		}
		return s.loaded(ctx, r, c, before)
	})
}

// proves measures the proof of what the kernel holds.
func proves(ctx context.Context, r *harness.Recorder, s *site) error {
	if err := s.install(ctx); err != nil {
		return err
	}
	s.state = nil // the proof looks at the kernel alone
	return r.Measure("proof", func() error {
		res, err := s.proof(ctx, r.Lap)
		if err != nil {
			return err
		}
		r.Check(res.Proved, "the point is proved")
		r.Value("situations", harness.Count, float64(res.Situations))
		r.Value("pairs compared", harness.Count, float64(res.Pairs))
		return nil
	})
}

// readRow reads the estate from files, as every command does first.
func readRow(s size) harness.Row {
	return harness.Row{
		Name: "read", Title: "Estate: read from CSV",
		From: "From the site directory on disk to the merged inventory: CSV, YAML and their checks, and the merge of sources.",
		Variants: []harness.Variant{{Name: plain, Run: func(_ context.Context, r *harness.Recorder) error {
			e := s.estate(estate.Options{})
			if err := e.WriteSite(r.Dir); err != nil {
				return err
			}
			want := len(e.Assets)
			e = nil
			return r.Measure("read", func() error {
				cfg, diags := config.Load(r.Dir)
				if err := diags.Err(); err != nil {
					return err
				}
				if err := r.Lap("load the files"); err != nil {
					return err
				}
				inv := inventory.Merge([]inventory.Report{cfg.Report()}, inventory.MergeOptions{Precedence: cfg.Settings.Precedence})
				r.Check(len(inv.Assets) == want && len(inv.Conflicts) == 0, "every asset is there, and none in conflict")
				r.Value("assets", harness.Count, float64(len(inv.Assets)))
				return r.Lap("merge")
			})
		}}},
		Goals: []harness.Goal{{Text: "1 CPU s", Of: harness.Ref{Variant: plain, Figure: "read" + harness.CPU}, AtMost: 1}},
	}
}

// peersRow is the case that generators of policies are compared by.
func peersRow(s size) harness.Row {
	const name = "peers"
	return harness.Row{
		Name: "peers", Title: "Peers' case: compile, render, load",
		From:     "200 groups of 50 strewn IPv4 hosts, 5,000 policies of 1 to 3 TCP ports, all else denied. From assets in memory to the rendered state; then from that to the committed transaction.",
		Variants: []harness.Variant{{Name: name, Run: func(ctx context.Context, r *harness.Recorder) error { return peers(ctx, r, newSite(s.peers())) }}},
		Goals: []harness.Goal{
			{Text: "0.5 CPU s to the rendered state", Of: harness.Ref{Variant: name, Figure: "compile and render" + harness.CPU}, AtMost: 0.5},
			{Text: "100 MB", Of: harness.Ref{Variant: name, Figure: "compile and render" + harness.Peak}, AtMost: 100 * megabytes},
			{Text: "0.15 CPU s to load", Of: harness.Ref{Variant: name, Figure: "load" + harness.CPU}, AtMost: 0.15},
		},
	}
}

func peers(ctx context.Context, r *harness.Recorder, s *site) error {
	if err := r.Measure("compile and render", func() error {
		if err := s.steps(r); err != nil {
			return err
		}
		if err := s.render(); err != nil {
			return err
		}
		return r.Lap("render")
	}); err != nil {
		return err
	}
	return watched(ctx, func(c *kernel.Conn, before uint32) error {
		if err := r.Measure("load", func() error { return s.load(ctx) }); err != nil {
			return err
		}
		return s.loaded(ctx, r, c, before)
	})
}
