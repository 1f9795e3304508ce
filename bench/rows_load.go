package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"bulkhead/bench/estate"
	"bulkhead/bench/harness"
	"bulkhead/drivers/nftables/kernel"
)

// loadRows compare loading with nft's, and load a million addresses.
func loadRows(s size) []harness.Row {
	const whole, text, rules, ours = "estate, Bulkhead", "estate, nft", "100k, a rule for each policy", "100k, Bulkhead"
	cpu := func(v string) harness.Ref { return harness.Ref{Variant: v, Figure: "load" + harness.CPU} }
	estateSite := func() *estate.Estate { return s.estate(estate.Options{}) }
	const sameTable, eachRule = "nft takes, with the same table", "nft takes, with a rule for each policy"
	return []harness.Row{{
		Name: "nft", Title: "Loading, against the nft tool",
		From: "Bulkhead: from the rendered state in memory to the committed transaction. nft: `nft -f` of a file that is written already. " +
			"The same table is the estate's, as Bulkhead writes it in nft's language. A rule for each policy is what one would write by hand for 100,000 addresses and 1,000 policies: " +
			"`ip saddr {...} ip daddr {...} meta l4proto . th dport {...} accept`, the same for IPv6, and the denies first.",
		Variants: []harness.Variant{
			{Name: whole, Run: func(ctx context.Context, r *harness.Recorder) error { return loadsRendered(ctx, r, estateSite()) }},
			{Name: text, Run: func(ctx context.Context, r *harness.Recorder) error { return nftSame(ctx, r, estateSite()) }},
			{Name: ours, Run: func(ctx context.Context, r *harness.Recorder) error { return loadsRendered(ctx, r, s.shared()) }},
			{Name: rules, Run: func(ctx context.Context, r *harness.Recorder) error { return nftRules(ctx, r, s.shared()) }},
		},
		Compare: []harness.Compare{
			{Name: sameTable, Kind: harness.Ratio, A: cpu(text), B: cpu(whole)},
			{Name: eachRule, Kind: harness.Ratio, A: cpu(rules), B: cpu(ours)},
		},
		Goals: []harness.Goal{
			{Text: "nft takes 3 times as much for the same table", Of: harness.Ref{Figure: sameTable}, AtLeast: 3},
			{Text: "nft takes 50 times as much for a rule for each policy", Of: harness.Ref{Figure: eachRule}, AtLeast: 50},
		},
	}, {
		Name: "million", Title: "1,000,000 addresses, 500 classes, 1,000 policies: first load",
		From: "From assets in memory to the committed transaction, without the proof.",
		Variants: []harness.Variant{{Name: "million", Run: func(ctx context.Context, r *harness.Recorder) error {
			return million(ctx, r, newSite(s.million()))
		}}},
		Goals: []harness.Goal{{Text: "3 CPU s", Of: harness.Ref{Variant: "million", Figure: "classify to kernel" + harness.CPU}, AtMost: 3}},
	}}
}

// watched runs f with a connection to the kernel, and what its generation was.
func watched(ctx context.Context, f func(c *kernel.Conn, before uint32) error) error {
	c, err := kernel.Open("")
	if err != nil {
		return err
	}
	defer c.Close()
	before, err := c.Generation(ctx)
	if err != nil {
		return err
	}
	return f(c, before)
}

// rendered goes to the rendered state.
func rendered(e *estate.Estate) (*site, error) {
	s := newSite(e)
	if err := s.prepare(); err != nil {
		return nil, err
	}
	return s, s.render()
}

func loadsRendered(ctx context.Context, r *harness.Recorder, e *estate.Estate) error {
	s, err := rendered(e)
	if err != nil {
		return err
	}
	return watched(ctx, func(c *kernel.Conn, before uint32) error {
		if err := r.Measure("load", func() error { return s.load(ctx) }); err != nil {
			return err
		}
		return s.loaded(ctx, r, c, before)
	})
}

// nftSame lets nft load what Bulkhead would.
func nftSame(ctx context.Context, r *harness.Recorder, e *estate.Estate) error {
	s, err := rendered(e)
	if err != nil {
		return err
	}
	file := filepath.Join(r.Dir, "table.nft")
	if err := os.WriteFile(file, []byte(s.state.Text()), 0o600); err != nil {
		return err
	}
	return watched(ctx, func(c *kernel.Conn, before uint32) error {
		if err := r.Measure("load", func() error { return nft(ctx, file) }); err != nil {
			return err
		}
		return s.loaded(ctx, r, c, before)
	})
}

// nftRules lets nft load a rule for each policy.
func nftRules(ctx context.Context, r *harness.Recorder, e *estate.Estate) error {
	s := newSite(e)
	if err := s.classify(); err != nil {
		return err
	}
	file := filepath.Join(r.Dir, "rules.nft")
	n, err := writeRules(file, s)
	if err != nil {
		return err
	}
	r.Value("addresses in its sets", harness.Count, float64(n))
	return watched(ctx, func(c *kernel.Conn, before uint32) error {
		if err := r.Measure("load", func() error { return nft(ctx, file) }); err != nil {
			return err
		}
		after, err := c.Generation(ctx)
		r.Check(after == before+1, "one transaction brought the kernel from nothing to all of it")
		return err
	})
}

// nft runs the tool on a file, in this namespace.
func nft(ctx context.Context, file string) error {
	var said bytes.Buffer
	cmd := exec.CommandContext(ctx, "nft", "-f", file)
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Run(); err != nil {
		line, _, _ := bytes.Cut(said.Bytes(), []byte("\n"))
		return fmt.Errorf("nft: %w: %s", err, line)
	}
	return nil
}

// writeRules writes a rule of each family for each policy, and returns how many
// addresses stand in them.
func writeRules(file string, s *site) (n int, err error) {
	f, err := os.Create(file)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	w := bufio.NewWriterSize(f, 1<<20)
	lists := addressLists(s)
	fmt.Fprint(w, "table inet rules {\nchain forward {\ntype filter hook forward priority 0; policy drop;\nct state established,related accept\n")
	for i := range s.book.Policies { // in walking order: the first that matches decides
		p := &s.book.Policies[i]
		action := "accept"
		if p.Action != "allow" {
			action = "drop"
		}
		for family, ip := range []string{"ip", "ip6"} {
			from, to := lists[p.From[0]][family], lists[p.To[0]][family]
			if from.count == 0 || to.count == 0 {
				continue
			}
			fmt.Fprintf(w, "%s saddr { %s } %s daddr { %s } meta l4proto . th dport { ", ip, from.text, ip, to.text)
			for k, x := range p.Ranges {
				if k > 0 {
					fmt.Fprint(w, ", ")
				}
				fmt.Fprintf(w, "%d . %d", x.Proto, x.Lo)
			}
			fmt.Fprintf(w, " } %s\n", action)
			n += from.count + to.count
		}
	}
	fmt.Fprint(w, "}\n}\n")
	return n, w.Flush()
}

// addressList is the addresses of a group in one family, as nft writes them.
type addressList struct {
	text  []byte
	count int
}

// addressLists gives those of every group: IPv4 and IPv6.
func addressLists(s *site) map[string]*[2]addressList {
	at := map[string]int{}
	for i := range s.assets {
		at[s.assets[i].ID] = i
	}
	out := map[string]*[2]addressList{}
	for group, ids := range s.where {
		lists := &[2]addressList{}
		for _, id := range ids {
			for _, p := range s.assets[at[id]].Addresses {
				l := &lists[0]
				if p.Addr().Is6() {
					l = &lists[1]
				}
				if l.count++; l.count > 1 {
					l.text = append(l.text, ", "...)
				}
				l.text = p.Addr().AppendTo(l.text)
			}
		}
		out[group] = lists
	}
	return out
}

// million measures everything from assets to the kernel.
func million(ctx context.Context, r *harness.Recorder, s *site) error {
	return watched(ctx, func(c *kernel.Conn, before uint32) error {
		if err := r.Measure("classify to kernel", func() error {
			if err := s.steps(r); err != nil {
				return err
			}
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
		r.Value("addresses", harness.Count, float64(len(s.assets)))
		r.Value("classes", harness.Count, float64(len(s.matrix.Classes)))
		return s.loaded(ctx, r, c, before)
	})
}
