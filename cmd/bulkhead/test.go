package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"bulkhead/pkg/diag"
)

func (a *app) testCmd() *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use:   "test",
		Short: "judge the site's must-permit and must-deny tests",
		Long:  "Judge the tests of the site directory against its policy. Exit code 2 if one fails.",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := a.loaded(cmd.Context(), false)
			if err != nil {
				return err
			}
			results := s.RunTests()
			failed := 0
			for _, r := range results {
				if !r.Passed {
					failed++
				}
			}
			if format == "json" {
				err = writeJSON(a.out, map[string]any{"formatVersion": "1.0", "tests": results, "failed": failed})
			} else {
				for _, r := range results {
					if !r.Passed {
						fmt.Fprintf(a.out, "FAIL %s (%s): expected %s, but %s\n", diag.Safe(r.Name), r.Where, r.Expect, r.Reason)
					}
				}
				fmt.Fprintf(a.out, "%d tests, %d passed, %d failed\n", len(results), len(results)-failed, failed)
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
