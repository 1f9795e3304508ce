package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"bulkhead/pkg/controller"
	"bulkhead/pkg/diag"
	"bulkhead/pkg/plan"
	"bulkhead/pkg/store"
)

func (a *app) historyCmd() *cobra.Command {
	var format string
	var limit int
	cmd := &cobra.Command{
		Use:   "history [ID]",
		Short: "what was applied, newest first; with an ID one apply in full",
		Long: `List the applies that the state directory keeps, newest first: when, who, what became
of them and why. With an ID, or the beginning of one that fits no other: its points,
steps and the plan as it was made. Nothing is locked; a running apply shows as running,
one whose controller died as unfinished.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if limit < 0 {
				return fmt.Errorf("--limit %d: 0 is all", limit)
			}
			if done, err := a.historyByDaemon(cmd.Context(), args, limit, format); done || err != nil {
				return err
			}
			site, dir, err := a.siteName()
			if err != nil {
				return err
			}
			_, busy := store.Writer(dir, site)
			st, err := readState(dir, site)
			if err != nil {
				return err
			}
			if st == nil {
				if len(args) > 0 {
					return fmt.Errorf("apply %q: there is no state of site %q in %q", args[0], site, dir)
				}
				return a.printHistory(nil, format)
			}
			defer st.Close()
			if len(args) > 0 {
				x, err := controller.HistoryOf(st, args[0], busy, a.now())
				if err != nil {
					return err
				}
				return a.printPast(x, format)
			}
			rows, err := controller.History(st, limit, busy, a.now())
			if err != nil {
				return err
			}
			return a.printHistory(rows, format)
		},
	}
	cmd.AddCommand(a.historyPruneCmd())
	outputFlag(cmd, &format, "table", "json")
	cmd.Flags().IntVar(&limit, "limit", 20, "at most so many; 0 is all")
	return cmd
}

// historyByDaemon prints the history as a running daemon tells it, so that its state
// need not be readable; false where none does.
func (a *app) historyByDaemon(ctx context.Context, args []string, limit int, format string) (bool, error) {
	d := a.reader(ctx)
	if len(args) > 0 {
		var got struct{ Apply *controller.PastWhole }
		ok, err := a.answered(ctx, d, pathOf("history", args[0]), nil, &got)
		if !ok || err != nil {
			return ok, err
		}
		return true, a.printPast(got.Apply, format)
	}
	var got struct{ Applies []controller.Past }
	ok, err := a.answered(ctx, d, pathOf("history"), url.Values{"limit": {strconv.Itoa(limit)}}, &got)
	if !ok || err != nil {
		return ok, err
	}
	return true, a.printHistory(got.Applies, format)
}

func (a *app) printHistory(rows []controller.Past, format string) error {
	if format == "json" {
		return writeJSON(a.out, map[string]any{"formatVersion": "1.0", "applies": notNil(rows)})
	}
	if len(rows) == 0 {
		fmt.Fprintln(a.out, "nothing was applied yet")
		return nil
	}
	w := tabwriter.NewWriter(a.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "ID\tSTARTED\tSTATE\tWHO\tON\tPOINTS\tREASON")
	for i := range rows {
		r := &rows[i]
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", r.ID, r.Started.Format(time.RFC3339), r.Stands(), diag.Safe(r.Who), diag.Safe(dash(r.From)),
			diag.Safe(dash(strings.Join(r.Points, " "))), diag.Safe(dash(r.Reason)))
	}
	return w.Flush()
}

func (a *app) printPast(p *controller.PastWhole, format string) error {
	if format == "json" {
		return writeJSON(a.out, map[string]any{"formatVersion": "1.0", "apply": p})
	}
	w := tabwriter.NewWriter(a.out, 0, 0, 2, ' ', 0)
	line := func(name, value string) { fmt.Fprintf(w, "%s\t%s\n", name, diag.Safe(dash(value))) }
	line("apply", p.ID)
	line("state", p.Stands())
	line("who", p.Who+" on "+dash(p.From))
	line("reason", p.Reason)
	for _, x := range p.Accepted {
		line("accepted", x.Brake+": "+x.Reason)
	}
	line("started", p.Started.Format(time.RFC3339))
	if p.Waits {
		line("goes back", p.Deadline.Format(time.RFC3339)+", unless it is confirmed")
	}
	if !p.Finished.IsZero() {
		line("finished", p.Finished.Format(time.RFC3339))
	}
	line("plan", p.Plan)
	line("inventory", p.Snapshot)
	for _, r := range p.Results {
		line("point "+diag.Safe(r.Point), string(r.State)+because(r.Error))
	}
	for _, s := range p.Steps {
		line("step "+s.At.Format(time.RFC3339), fmt.Sprintf("point %s: %s: %s", s.Point, s.What, s.State))
	}
	for _, c := range p.Changes {
		kept := "exact"
		if !c.PreviousIs {
			kept = "as text only: it cannot be put back from here"
		}
		line("kept of "+diag.Safe(c.Point), fmt.Sprintf("what %s held before, %s (%d bytes, fingerprint %.16s)", c.Device, kept, c.PreviousLen, c.Previous))
	}
	if err := w.Flush(); err != nil || p.PlanAs == nil {
		return err
	}
	var was plan.Plan
	if err := json.Unmarshal(p.PlanAs, &was); err != nil {
		return fmt.Errorf("the plan of apply %s cannot be read: %w", p.ID, err)
	}
	fmt.Fprintln(a.out, "\nThe plan, as it was made:")
	_, err := a.out.Write(plan.Text(&was, a.colour("")))
	return err
}
