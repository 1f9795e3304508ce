// Command bench takes the figures of docs/performance.md. `make bench` runs it.
//
// Without -row it takes them all. Every measurement is taken by this program
// again, in a process and in namespaces of its own (package harness); results are
// kept, so that a single row can be taken anew.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"time"

	"bulkhead/bench/harness"
	"bulkhead/pkg/lab"
)

// Where results go, from the directory that this program is run in: the
// repository's root.
const (
	resultsFile  = "bench/results.json"
	documentFile = "docs/performance.md"
)

// timeout is what one measurement may take. The slowest one, nft with a rule for
// each policy, takes a good minute.
const timeout = 5 * time.Minute

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

// options are the flags.
type options struct {
	rows  []string
	runs  int
	small bool
	list  bool
}

func parse(args []string, stderr io.Writer) (o options, err error) {
	var rows string
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.SetOutput(stderr)
	f.StringVar(&rows, "row", "", "take these rows only, separated by commas")
	f.IntVar(&o.runs, "runs", harness.MinRuns, "runs of each measurement")
	f.BoolVar(&o.small, "small", false, "try everything at a small size, and keep nothing")
	f.BoolVar(&o.list, "list", false, "list the rows")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	if f.NArg() > 0 {
		return o, fmt.Errorf("unexpected argument %q", f.Arg(0))
	}
	o.rows = strings.FieldsFunc(rows, func(r rune) bool { return r == ',' })
	return o, nil
}

func run(args []string, stdout, stderr io.Writer) int {
	o, err := parse(args, stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		fmt.Fprintln(stderr, "bench:", err)
		return 2
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	all := rows(sizeOf(o.small))
	if harness.IsChild() {
		err = child(ctx, all, stdout)
	} else if o.list {
		err = list(all, stdout)
	} else {
		err = measure(ctx, all, o, stdout, stderr)
	}
	if err != nil {
		fmt.Fprintln(stderr, "bench:", err)
		return 1
	}
	return 0
}

// child takes one measurement.
func child(ctx context.Context, all []harness.Row, stdout io.Writer) error {
	if err := lab.EnterSandbox(); err != nil {
		return err
	}
	return harness.Child(ctx, all, stdout)
}

func list(all []harness.Row, w io.Writer) error {
	for i := range all {
		if _, err := fmt.Fprintf(w, "%-16s %s\n", all[i].Name, all[i].Title); err != nil {
			return err
		}
		for _, v := range all[i].Variants {
			what := v.Name
			if v.NotBuilt != "" {
				what += " (not built: " + v.NotBuilt + ")"
			}
			if _, err := fmt.Fprintf(w, "%-16s   %s\n", "", what); err != nil {
				return err
			}
		}
	}
	return nil
}

// names lists the rows, in the order of the document.
func names(all []harness.Row) []string {
	out := make([]string, len(all))
	for i := range all {
		out[i] = all[i].Name
	}
	return out
}

// chosen picks the rows that were asked for.
func chosen(all []harness.Row, want []string) ([]harness.Row, error) {
	if len(want) == 0 {
		return all, nil
	}
	var out []harness.Row
	for _, name := range want {
		i := slices.Index(names(all), name)
		if i < 0 {
			return nil, fmt.Errorf("there is no row %q; there are %s", name, strings.Join(names(all), ", "))
		}
		out = append(out, all[i])
	}
	return out, nil
}

// measure takes rows one by one, and publishes each when it is done: a run that is
// interrupted keeps what it has.
func measure(ctx context.Context, all []harness.Row, o options, stdout, stderr io.Writer) error {
	take, err := chosen(all, o.rows)
	if err != nil {
		return err
	}
	publish := !o.small && o.runs >= harness.MinRuns
	kept := &harness.Report{FormatVersion: harness.FormatVersion}
	x := runner(o, stderr)
	var failed []string
	for i := range take {
		rep, err := x.Run(ctx, take[i:i+1])
		if err != nil {
			return err
		}
		failed = append(failed, rep.Failed()...)
		if publish {
			// Read anew for each row, so that two runs of other rows do not undo each other.
			if kept, err = harness.ReadReport(resultsFile); err != nil {
				return err
			}
		}
		kept.Put(rep, names(all))
		if publish {
			if err := keep(kept, all); err != nil {
				return err
			}
		}
	}
	shown := take
	if publish {
		shown = all
	} else {
		fmt.Fprintf(stderr, "nothing is kept: that takes the whole size and %d runs\n", harness.MinRuns)
	}
	if _, err := io.WriteString(stdout, kept.Markdown(shown)); err != nil {
		return err
	}
	if len(failed) > 0 {
		return fmt.Errorf("some figures do not count:\n  %s", strings.Join(failed, "\n  "))
	}
	return nil
}

func runner(o options, progress io.Writer) *harness.Runner {
	x := &harness.Runner{Runs: o.runs, Timeout: timeout, Full: !o.small, Scale: "whole size", Command: "make bench ROW=%s", Progress: progress}
	if o.small {
		x.Args, x.Scale, x.Command = []string{"-small"}, "small, for a try", "bench -small -row %s"
	}
	return x
}

// keep writes what was found, for later runs and for people.
func keep(r *harness.Report, all []harness.Row) error {
	f, err := os.Create(resultsFile)
	if err != nil {
		return fmt.Errorf("keep the results: %w", err)
	}
	if err := errors.Join(r.Write(f), f.Close()); err != nil {
		return err
	}
	return harness.Refresh(documentFile, r.Markdown(all))
}
