package main

import (
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"bulkhead/pkg/config"
	"bulkhead/pkg/diag"
	"bulkhead/pkg/probe"
)

func (a *app) probeCmd() *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use:   "probe [NAME...]",
		Short: "run the site's probes from here, once each",
		Long: `Run the probes of bulkhead.yaml from this machine: a TCP connection, an echo request or
an HTTP request that must succeed. Exit code 2 if one fails. Touches no device.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := a.loaded(cmd.Context(), false)
			if err != nil {
				return err
			}
			list, err := chosenProbes(s.Config.Settings.Probes, args)
			if err != nil {
				return err
			}
			results := probe.Run(cmd.Context(), list, probe.Options{})
			failed := 0
			for _, r := range results {
				if !r.OK {
					failed++
				}
			}
			if format == "json" {
				err = writeJSON(a.out, map[string]any{"formatVersion": "1.0", "probes": results, "failed": failed})
			} else {
				for _, r := range results {
					a.printProbe(r)
				}
				fmt.Fprintf(a.out, "%d probes, %d passed, %d failed\n", len(results), len(results)-failed, failed)
			}
			if err == nil && failed > 0 {
				return withCode(exitPending, errSaid)
			}
			return err
		},
	}
	outputFlag(cmd, &format, "text", "json")
	return cmd
}

func (a *app) printProbe(r probe.Result) {
	if r.OK {
		fmt.Fprintf(a.out, "ok   %s (%s) in %s\n", diag.Safe(r.Name), diag.Safe(r.Target), r.Took.Round(100*time.Microsecond))
		return
	}
	fmt.Fprintf(a.out, "FAIL %s (%s): %s\n", diag.Safe(r.Name), diag.Safe(r.Target), diag.Safe(r.Error))
}

// chosenProbes gives the probes of these names, or all of them.
func chosenProbes(all []config.Probe, names []string) ([]config.Probe, error) {
	if len(names) == 0 {
		return all, nil
	}
	var known []string
	for _, p := range all {
		known = append(known, p.Name)
	}
	for _, n := range names {
		if !slices.Contains(known, n) {
			return nil, fmt.Errorf("no probe %q in bulkhead.yaml%s", n, didYouMean(n, known))
		}
	}
	var out []config.Probe
	for _, p := range all {
		if slices.Contains(names, p.Name) {
			out = append(out, p)
		}
	}
	return out, nil
}
