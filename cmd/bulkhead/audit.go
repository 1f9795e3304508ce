package main

import (
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"bulkhead/pkg/diag"
	"bulkhead/pkg/store"
)

func (a *app) auditCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "audit",
		Short: "the log of who did what, each entry chained to the one before it",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(a.auditVerifyCmd(), a.auditListCmd())
	return cmd
}

func (a *app) auditVerifyCmd() *cobra.Command {
	var format, expect string
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "check that the log is whole, and continues a hash that was kept elsewhere",
		Long: `Check every byte of the state and the chain of the audit log, and print the hash of its
last entry. Keep that on another machine: with --expect HASH the log must hold it still,
which finds a log that was written anew or replaced by an older one.

Exit codes: 0 the log is whole (and holds HASH); 2 it is damaged, shortened or does not
hold HASH; 1 it could not be looked at.`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			expect = strings.ToLower(strings.TrimSpace(expect))
			if strings.Trim(expect, "0123456789abcdef") != "" || expect != "" && len(expect) != 64 {
				return fmt.Errorf("--expect %q is not a hash that audit verify prints: 64 hexadecimal digits", expect)
			}
			site, dir, err := a.siteName()
			if err != nil {
				return err
			}
			var r store.AuditReport
			st, err := readState(dir, site)
			switch {
			case err != nil && damaged(err):
				r.Why = err.Error()
			case err != nil:
				return err
			case st == nil && expect == "":
				return fmt.Errorf("there is no state of site %q in %q", site, dir)
			case st == nil:
				r.Why = fmt.Sprintf("there is no state of site %q in %q any more", site, dir)
			default:
				r = st.Verify(expect)
				defer st.Close()
			}
			return a.printAuditReport(site, r, format)
		},
	}
	outputFlag(cmd, &format, "text", "json")
	cmd.Flags().StringVar(&expect, "expect", "", "a hash that an earlier audit verify printed")
	return cmd
}

func (a *app) printAuditReport(site string, r store.AuditReport, format string) error {
	if format == "json" {
		if err := writeJSON(a.out, struct {
			FormatVersion string `json:"formatVersion"`
			Site          string `json:"site"`
			OK            bool   `json:"ok"`
			store.AuditReport
		}{"1.0", site, r.OK(), r}); err != nil {
			return err
		}
	} else if r.OK() {
		fmt.Fprintf(a.out, "the audit log of site %s is whole: %d entries, last hash %s\n", site, r.Entries, r.Hash)
	} else {
		fmt.Fprintf(a.out, "the audit log of site %s is NOT what was written: %s\n", site, diag.Safe(r.Why))
	}
	if !r.OK() {
		return withCode(exitPending, errSaid)
	}
	return nil
}

func (a *app) auditListCmd() *cobra.Command {
	var format string
	var from uint64
	var limit int
	cmd := &cobra.Command{
		Use:   "list",
		Short: "print the log, oldest first",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if limit < 0 {
				return fmt.Errorf("--limit %d: 0 is all", limit)
			}
			site, dir, err := a.siteName()
			if err != nil {
				return err
			}
			st, err := readState(dir, site)
			if err != nil {
				return err
			}
			var list []store.Entry
			if st != nil {
				defer st.Close()
				if list, err = st.Audit(from, limit); err != nil {
					return err
				}
			}
			if format == "json" {
				return writeJSON(a.out, map[string]any{"formatVersion": "1.0", "entries": notNil(list)})
			}
			w := tabwriter.NewWriter(a.out, 0, 0, 2, ' ', 0)
			fmt.Fprintln(w, "SEQ\tWHEN\tWHO\tFROM\tACTION\tOBJECT\tRESULT\tREASON")
			for _, e := range list {
				fmt.Fprintf(w, "%d\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", e.Seq, e.When.Format(time.RFC3339), diag.Safe(e.Who), diag.Safe(dash(e.From)),
					diag.Safe(e.Action), diag.Safe(dash(e.Object)), diag.Safe(dash(e.Result)), diag.Safe(dash(e.Reason)))
			}
			return w.Flush()
		},
	}
	outputFlag(cmd, &format, "table", "json")
	cmd.Flags().Uint64Var(&from, "from", 1, "the first entry to print")
	cmd.Flags().IntVar(&limit, "limit", 0, "at most so many; 0 is all")
	return cmd
}
