package main

import (
	"context"
	"fmt"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"bulkhead/pkg/diag"
	"bulkhead/pkg/driver"
	"bulkhead/pkg/packet"
	"bulkhead/pkg/reconcile"
)

func (a *app) flowsCmd() *cobra.Command {
	var format string
	var counters, follow bool
	cmd := &cobra.Command{
		Use:   "flows",
		Short: "what was dropped, or in observe mode would have been, with policies to paste",
		Long: `Read what the points remember as dropped (each flow for a day, counted in the kernel)
and sum it up by group pair and service. A row that policy permits by now is marked.
--counters lists what each policy's verdict has counted; --follow prints packets as
the kernel reports them, which is a sample.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := a.loaded(cmd.Context(), true)
			if err != nil {
				return err
			}
			devices, err := s.Devices(cmd.Context(), false)
			if err != nil {
				return err
			}
			defer reconcile.Close(devices)
			switch {
			case follow:
				return a.follow(cmd.Context(), s, devices, format)
			case counters:
				return a.counters(cmd.Context(), devices, format)
			}
			return a.flows(cmd.Context(), s, devices, format)
		},
	}
	outputFlag(cmd, &format, "text", "json")
	cmd.Flags().BoolVar(&counters, "counters", false, "packets and bytes by verdict")
	cmd.Flags().BoolVar(&follow, "follow", false, "packets as they are reported; ends with an interrupt")
	return cmd
}

func (a *app) flows(ctx context.Context, s *reconcile.Site, devices []*reconcile.Device, format string) error {
	rows, errs := s.Flows(ctx, devices)
	if format == "json" {
		if err := writeJSON(a.out, map[string]any{"formatVersion": "1.0", "flows": rows}); err != nil {
			return err
		}
	} else if len(rows) == 0 {
		fmt.Fprintln(a.out, "nothing was dropped")
	} else {
		a.printFlows(rows)
	}
	return joined(errs)
}

func joined(errs []error) error {
	if len(errs) == 0 {
		return nil
	}
	text := ""
	for i, err := range errs {
		if i > 0 {
			text += "; "
		}
		text += err.Error()
	}
	return fmt.Errorf("not every point could be read: %s", text)
}

func (a *app) printFlows(rows []reconcile.DroppedFlows) {
	w := tabwriter.NewWriter(a.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "PACKETS\tPAIRS\tFROM\tTO\tSERVICE\tDROPPED BY\tEXAMPLE")
	all := len(rows)
	rows = rows[:min(all, maxFlowRows)]
	for _, r := range rows {
		by := r.By
		if r.Now {
			by = "(permitted now by " + r.By + ")"
		}
		fmt.Fprintf(w, "%d\t%d\t%s\t%s\t%s\t%s\t%s\n", r.Packets, r.Pairs, dash(r.From), dash(r.To), r.Service, diag.Safe(by), r.Example)
	}
	w.Flush()
	if all > len(rows) {
		fmt.Fprintf(a.out, "... and %d more rows (-o json has all)\n", all-len(rows))
	}
	fmt.Fprintln(a.out, "\nTo permit what belongs here, paste under `policies:`")
	for _, r := range rows {
		if !r.Now {
			fmt.Fprintf(a.out, "  %s\n", r.Policy)
		}
	}
}

// maxFlowRows bounds the rows of a text.
const maxFlowRows = 40

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func (a *app) counters(ctx context.Context, devices []*reconcile.Device, format string) error {
	all := map[string][]driver.Counter{}
	var errs []error
	for _, d := range devices {
		r, ok := d.Driver.(driver.FlowReader)
		if !ok {
			continue
		}
		c, err := r.Counters(ctx)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		all[d.Name] = notNil(c)
	}
	if format == "json" {
		if err := writeJSON(a.out, map[string]any{"formatVersion": "1.0", "counters": all}); err != nil {
			return err
		}
		return joined(errs)
	}
	w := tabwriter.NewWriter(a.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "DEVICE\tVERDICT\tPACKETS\tBYTES")
	for _, name := range sortedKeys(all) {
		for _, c := range all[name] {
			fmt.Fprintf(w, "%s\t%s\t%d\t%d\n", name, diag.Safe(c.Label), c.Packets, c.Bytes)
		}
	}
	w.Flush()
	return joined(errs)
}

// follow prints packets of all devices as they come, until interrupted.
func (a *app) follow(ctx context.Context, s *reconcile.Site, devices []*reconcile.Device, format string) error {
	var mu sync.Mutex
	var wg sync.WaitGroup
	errs := make([]error, len(devices))
	for i, d := range devices {
		f, ok := d.Driver.(driver.FlowFollower)
		if !ok {
			continue
		}
		wg.Add(1)
		go func() {
			defer wg.Done()
			errs[i] = f.Follow(ctx, func(e driver.FlowEvent) {
				mu.Lock()
				defer mu.Unlock()
				a.printEvent(s, e, format)
			})
		}()
	}
	wg.Wait()
	var failed []error
	for _, err := range errs {
		if err != nil {
			failed = append(failed, err)
		}
	}
	return joined(failed)
}

func (a *app) printEvent(s *reconcile.Site, e driver.FlowEvent, format string) {
	if e.Time.IsZero() {
		e.Time = time.Now()
	}
	if format == "json" {
		_ = writeJSON(a.out, e) // a reader that went away ends the command by its signal
		return
	}
	fmt.Fprintf(a.out, "%s %s: %s (%s) -> %s (%s) %s: %s\n", e.Time.Format("15:04:05.000"), diag.Safe(e.What), e.Src, dash(s.Narrowest(e.Src)),
		e.Dst, dash(s.Narrowest(e.Dst)), packet.Services{{Lo: e.Service, Hi: e.Service}}, diag.Safe(e.Label))
}
