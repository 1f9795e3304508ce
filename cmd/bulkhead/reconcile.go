package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"net/http"
	"time"

	"github.com/spf13/cobra"

	"bulkhead/pkg/apply"
	"bulkhead/pkg/controller"
	"bulkhead/pkg/diag"
	"bulkhead/pkg/plan"
	"bulkhead/pkg/reconcile"
)

type reconcileOptions struct {
	controller.PassOptions
	format, out, webhook string
}

func (a *app) reconcileCmd() *cobra.Command {
	var o reconcileOptions
	cmd := &cobra.Command{
		Use:   "reconcile",
		Short: "one pass by itself, for cron and systemd timers: plan, apply within the brakes, report",
		Long: `Plan, and apply what no brake holds; changes are confirmed as soon as they are proved.
The report goes to the standard output, to a file, or to a webhook as JSON.

Exit codes: 0 in sync, or applied; 1 an error, or a device that could not be read;
2 drift that is only reported; 3 held by a brake, waiting for approval, or refused by
a policy test or the proof; 4 applied in part.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.reconcile(cmd.Context(), o) },
	}
	f := cmd.Flags()
	f.StringSliceVar(&o.Accept, "accept", nil, "accept a brake by its name")
	f.StringVar(&o.Reason, "reason", "", "why; wanted with --accept")
	f.StringSliceVar(&o.Only, "point", nil, "only these points (and those that share their device)")
	f.StringVar(&o.Plan, "approved", "", "the ID of the one plan that may be applied, although the site wants approval")
	f.BoolVar(&o.DryRun, "dry-run", false, "change nothing")
	f.StringVar(&o.out, "out", "", "write the report to this file instead of standard output")
	f.StringVar(&o.webhook, "webhook", "", "POST the report as JSON to this URL, too")
	outputFlag(cmd, &o.format, "text", "json", "markdown", "html")
	return cmd
}

func (a *app) reconcile(ctx context.Context, o reconcileOptions) error {
	if err := (&applyOptions{accept: o.Accept, reason: o.Reason}).check(); err != nil {
		return err
	}
	s, err := a.load(ctx, o.Accept)
	if err != nil {
		return err
	}
	if err := knownPoints(s, o.Only); err != nil {
		return err
	}
	o.Approved = o.Plan != ""
	return a.controlling(ctx, s, "reconcile", func(c *controller.Controller, devices []*reconcile.Device) error {
		p, err := c.Pass(ctx, s, devices, o.PassOptions)
		if errors.Is(err, controller.ErrStale) {
			return withCode(exitRefused, err)
		}
		if p == nil {
			return err
		}
		if reportErr := a.report(ctx, p, o); reportErr != nil && err == nil {
			err = reportErr
		}
		if err != nil {
			return err
		}
		return passExit(p)
	})
}

// controlling opens a site's state for writing, and its devices, for as long as f works
// with them.
func (a *app) controlling(ctx context.Context, s *reconcile.Site, command string, f func(*controller.Controller, []*reconcile.Device) error) error {
	st, err := a.openState(s, command)
	if err != nil {
		return err
	}
	defer st.Close()
	devices, err := s.Devices(ctx, false)
	if err != nil {
		return err
	}
	defer reconcile.Close(devices)
	return f(a.controller(st), devices)
}

// passExit turns the result of a pass into an exit code.
func passExit(p *controller.Pass) error {
	say := fmt.Errorf("%s: %s", p.Result, diag.Safe(p.Why))
	switch p.Result {
	case controller.InSync, controller.Applied:
		return nil
	case controller.Held, controller.Refused, controller.OnTrial:
		return withCode(exitRefused, say)
	case controller.Drifted:
		return withCode(exitPending, say)
	case controller.Partial:
		return withCode(exitPartial, say)
	}
	return withCode(exitError, say)
}

// passReport is a pass as a report shows it.
type passReport struct {
	FormatVersion string            `json:"formatVersion"`
	Result        controller.Result `json:"result"`
	Why           string            `json:"why,omitempty"`
	Drift         []string          `json:"drift"`
	Apply         string            `json:"apply,omitempty"`
	Outcomes      []apply.Outcome   `json:"outcomes"`
	Plan          *plan.Plan        `json:"plan"`
}

func reportOf(p *controller.Pass) passReport {
	r := passReport{FormatVersion: "1.0", Result: p.Result, Why: p.Why, Drift: notNil(p.Drift), Outcomes: []apply.Outcome{}, Plan: p.Plan}
	if p.Apply != nil {
		r.Apply, r.Outcomes = p.Apply.Apply.ID, notNil(p.Apply.Outcomes)
	}
	return r
}

func (r *passReport) line() string {
	text := "result: " + string(r.Result)
	if r.Apply != "" {
		text += " (apply " + r.Apply + ")"
	}
	if r.Why != "" {
		text += ": " + r.Why
	}
	return diag.Safe(text)
}

func (a *app) report(ctx context.Context, p *controller.Pass, o reconcileOptions) error {
	r := reportOf(p)
	text, err := a.reportText(&r, o)
	if err != nil {
		return err
	}
	if o.out == "" || o.out == "-" {
		_, err = a.out.Write(text)
	} else if err = writeFile(o.out, text); err == nil {
		fmt.Fprintf(a.err, "report written to %s\n", o.out)
	}
	if err != nil {
		return fmt.Errorf("cannot write the report: %w", err)
	}
	if o.webhook == "" {
		return nil
	}
	return post(ctx, o.webhook, &r)
}

func (a *app) reportText(r *passReport, o reconcileOptions) ([]byte, error) {
	switch {
	case o.format == "json":
		var b bytes.Buffer
		err := writeJSON(&b, r)
		return b.Bytes(), err
	case r.Plan == nil:
		return []byte(r.line() + "\n"), nil
	case o.format == "markdown":
		return append([]byte("**"+r.line()+"**\n\n"), plan.Markdown(r.Plan)...), nil
	case o.format == "html":
		text, err := plan.HTML(r.Plan)
		line := []byte("<p class=\"result\"><strong>" + html.EscapeString(r.line()) + "</strong></p>\n")
		if at := bytes.Index(text, []byte("<body>")); err == nil && at >= 0 {
			at += len("<body>")
			text = append(text[:at:at], append(append([]byte("\n"), line...), text[at:]...)...)
		}
		return text, err
	}
	return append(plan.Text(r.Plan, a.colour(o.out)), r.line()+"\n"...), nil
}

// webhookTimeout bounds how long a report's receiver may take: the job must end.
const webhookTimeout = 15 * time.Second

// post sends a report. What was done stays done if that fails.
func post(ctx context.Context, url string, r *passReport) error {
	body, err := json.Marshal(r)
	if err != nil {
		return err
	}
	ctx, stop := context.WithTimeout(context.WithoutCancel(ctx), webhookTimeout)
	defer stop()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("cannot send the report: %w", err)
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("cannot send the report: %w", err)
	}
	resp.Body.Close()
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("cannot send the report: the receiver answered %s", resp.Status)
	}
	return nil
}
