package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"bulkhead/pkg/apply"
	"bulkhead/pkg/diag"
	"bulkhead/pkg/plan"
	"bulkhead/pkg/store"
)

// past is an apply as it is shown. Unfinished is one whose controller died.
type past struct {
	store.Apply
	Unfinished bool     `json:"unfinished"`
	Waits      bool     `json:"onTrial"` // to be confirmed
	Points     []string `json:"points"`
}

// pastWhole is an apply with all that the state has of it.
type pastWhole struct {
	past
	Changes []pastChange    `json:"changes"`
	Steps   []store.Step    `json:"steps"`
	PlanAs  json.RawMessage `json:"planAsMade,omitempty"`
}

// pastChange names the states of a point's device before and after. Exact says
// that the state can be made again from the journal.
type pastChange struct {
	Point       string `json:"point"`
	Device      string `json:"device"`
	Previous    string `json:"previousFingerprint"`
	Intended    string `json:"intendedFingerprint"`
	PreviousIs  bool   `json:"previousExact"`
	IntendedIs  bool   `json:"intendedExact"`
	PreviousLen int    `json:"previousBytes"`
}

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
		RunE: func(_ *cobra.Command, args []string) error {
			if limit < 0 {
				return fmt.Errorf("--limit %d: 0 is all", limit)
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
				return a.historyOf(st, args[0], busy, format)
			}
			list, err := st.History(limit)
			if err != nil {
				return err
			}
			var rows []past
			for _, x := range list {
				j, err := st.Journal(x.ID)
				if err != nil {
					return err
				}
				rows = append(rows, asPast(j, busy, a.now()))
			}
			return a.printHistory(rows, format)
		},
	}
	outputFlag(cmd, &format, "table", "json")
	cmd.Flags().IntVar(&limit, "limit", 20, "at most so many; 0 is all")
	return cmd
}

func asPast(j store.Journal, busy bool, now time.Time) past {
	p := past{Apply: j.Apply, Points: []string{}}
	p.Waits = j.Apply.State == store.Running && now.Before(j.Apply.Deadline)
	p.Unfinished = j.Apply.State == store.Running && !busy && !p.Waits
	for _, c := range j.Changes {
		p.Points = append(p.Points, c.Point)
	}
	p.Accepted, p.Results = notNil(p.Accepted), notNil(p.Results)
	return p
}

func (p *past) state() string {
	switch {
	case p.Waits:
		return "on trial"
	case p.Unfinished:
		return "unfinished"
	}
	return string(p.State)
}

func (a *app) printHistory(rows []past, format string) error {
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
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", r.ID, r.Started.Format(time.RFC3339), r.state(), diag.Safe(r.Who), diag.Safe(dash(r.From)),
			diag.Safe(dash(strings.Join(r.Points, " "))), diag.Safe(dash(r.Reason)))
	}
	return w.Flush()
}

func (a *app) historyOf(st *store.Store, id string, busy bool, format string) error {
	x, err := st.Apply(id)
	if err != nil {
		return err
	}
	j, err := st.Journal(x.ID)
	if err != nil {
		return err
	}
	out := pastWhole{past: asPast(j, busy, a.now()), Changes: []pastChange{}, Steps: notNil(j.Steps)}
	for _, c := range j.Changes {
		prev, err := apply.ReadRecord(c.Previous)
		if err != nil {
			return err
		}
		next, err := apply.ReadRecord(c.Intended)
		if err != nil {
			return err
		}
		out.Changes = append(out.Changes, pastChange{c.Point, prev.Device, prev.Fingerprint, next.Fingerprint, prev.State != nil, next.State != nil, len(c.Previous)})
	}
	if x.Plan != "" {
		p, err := st.Plan(x.Plan)
		if err != nil {
			return err
		}
		if out.PlanAs, err = st.Blob(p.Hash); err != nil {
			return err
		}
	}
	if format == "json" {
		return writeJSON(a.out, map[string]any{"formatVersion": "1.0", "apply": out})
	}
	return a.printPast(&out)
}

func (a *app) printPast(p *pastWhole) error {
	w := tabwriter.NewWriter(a.out, 0, 0, 2, ' ', 0)
	line := func(name, value string) { fmt.Fprintf(w, "%s\t%s\n", name, diag.Safe(dash(value))) }
	line("apply", p.ID)
	line("state", p.state())
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
