package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"bulkhead/pkg/diag"
	"bulkhead/pkg/driver"
	"bulkhead/pkg/plan"
	"bulkhead/pkg/prove"
)

func (a *app) verifyCmd() *cobra.Command {
	var format string
	var points []string
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "read the devices and prove that they enforce the policy",
		Long: `Read every device, work out from its native state what it lets through, and compare
that with the policy, exactly. Exit code 2 if a point has drifted or is not proved.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			r, err := a.plan(cmd.Context(), points, nil)
			if err != nil {
				return err
			}
			if format == "json" {
				err = writeJSON(a.out, map[string]any{"formatVersion": "1.0", "points": r.Plan.Points, "uncovered": r.Plan.Uncovered})
			} else {
				for _, pt := range r.Plan.Points {
					a.printVerify(&pt)
				}
			}
			if err != nil {
				return err
			}
			return verifyExit(r.Plan)
		},
	}
	outputFlag(cmd, &format, "text", "json")
	cmd.Flags().StringSliceVar(&points, "point", nil, "only these points (and those that share their device)")
	return cmd
}

func verifyExit(p *plan.Plan) error {
	for _, pt := range p.Points {
		if pt.Status == plan.Unreachable {
			return withCode(exitError, errSaid)
		}
	}
	for _, pt := range p.Points {
		if pt.Status != plan.InSync || pt.Before == nil || !pt.Before.Proved {
			return withCode(exitPending, errSaid)
		}
	}
	return nil
}

func (a *app) printVerify(pt *plan.Point) {
	switch {
	case pt.Error != "":
		fmt.Fprintf(a.out, "point %s: %s: %s\n", pt.Name, pt.Status, diag.Safe(pt.Error))
		return
	case pt.Before.Proved && observing(pt) > 0:
		fmt.Fprintf(a.out, "point %s: proved for when it begins to enforce, in %s; until then it observes and drops nothing\n", pt.Name, observing(pt).Round(time.Second))
	case pt.Before.Proved && pt.Status == plan.InSync:
		fmt.Fprintf(a.out, "point %s: proved: it enforces exactly what policy says (%d situations, %d pairs of address sets)%s\n", pt.Name, pt.Before.Situations, pt.Before.Pairs, diag.Safe(plan.Besides(pt.Before.Findings)))
	case pt.Before.Proved:
		fmt.Fprintf(a.out, "point %s: proved, but it is not as it would be written: %d changes pending\n", pt.Name, len(pt.Ops))
	default:
		fmt.Fprintf(a.out, "point %s: NOT PROVED\n", pt.Name)
	}
	wrong := worst(pt.Before.Wrong)
	for i, w := range wrong {
		if i == maxShown {
			fmt.Fprintf(a.out, "  ... and %d more packets (-o json has all)\n", len(wrong)-maxShown)
			break
		}
		fmt.Fprintf(a.out, "  wrong: %s\n", diag.Safe(w.String()))
	}
	for _, f := range pt.Before.Findings {
		if f.Accepted { // said above
			continue
		}
		kind := "not proved"
		if f.Harmless {
			kind = "note"
		}
		fmt.Fprintf(a.out, "  %s: %s: %s\n", kind, diag.Safe(f.Object), diag.Safe(f.Text))
	}
}

// maxShown bounds how many packets a text lists; JSON has all.
const maxShown = 3

// worst puts what passes and must not before what is dropped and must not, and
// lists a packet that differs in several situations once.
func worst(all []prove.Counterexample) []prove.Counterexample {
	var out []prove.Counterexample
	seen := map[string]bool{}
	for _, passes := range []bool{true, false} {
		for _, c := range all {
			key := fmt.Sprint(c.Src, c.Dst, c.Service, c.Passes)
			if c.Passes == passes && !seen[key] {
				seen[key] = true
				out = append(out, c)
			}
		}
	}
	return out
}

// observing tells how long the point still drops nothing by itself.
func observing(pt *plan.Point) time.Duration { return observingIn(pt.Before.Findings) }

func observingIn(findings []driver.Finding) time.Duration {
	left := time.Duration(0)
	for _, f := range findings {
		left = max(left, f.Observing)
	}
	return left
}
