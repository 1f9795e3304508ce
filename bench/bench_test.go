package main

import (
	"bytes"
	"context"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"bulkhead/bench/harness"
)

// The test program takes measurements, when it is started for one.
func TestMain(m *testing.M) {
	if harness.IsChild() {
		os.Exit(run([]string{"-small"}, os.Stdout, os.Stderr))
	}
	os.Exit(m.Run())
}

// small takes rows at the small size, once, and fails where a check of theirs does.
func small(t *testing.T, names ...string) *harness.Report {
	t.Helper()
	take, err := chosen(rows(sizeOf(true)), names)
	if err != nil {
		t.Fatal(err)
	}
	x := runner(options{runs: 1, small: true}, io.Discard)
	x.Args, x.Timeout = nil, 5*time.Minute // a busy machine under the race detector is slow
	rep, err := x.Run(context.Background(), take)
	if err != nil {
		t.Fatalf("these tests need root, or user namespaces: %v", err)
	}
	for _, f := range rep.Failed() {
		t.Error(f)
	}
	return rep
}

// figure finds one figure of a report.
func figure(t *testing.T, rep *harness.Report, row, variant, name string) float64 {
	t.Helper()
	for _, r := range rep.Rows {
		for _, v := range r.Variants {
			for _, f := range v.Figures {
				if r.Name == row && v.Name == variant && f.Name == name {
					return f.Median
				}
			}
		}
	}
	t.Errorf("row %s, %s: there is no figure %q", row, variant, name)
	return 0
}

// Rows that load a kernel, ask it and send packets hold their checks at a small size.
func TestRowsAtSmallSize(t *testing.T) {
	rep := small(t, "load", "prove", "read", "drift", "packets")
	if n := figure(t, rep, "packets", "estate", forwarding(laneOurs)); n <= 0 {
		t.Errorf("a packet that is forwarded costs %v s more than one that is not", n)
	}
	text := rep.Markdown(rows(sizeOf(true)))
	for _, want := range []string{"the point is proved", "every packet of an established flow arrives", "**not judged**", "**not measured**"} {
		if !strings.Contains(text, want) {
			t.Errorf("the tables do not say %q", want)
		}
	}
}

// A row names its figures in its goals and comparisons. One that is misspelt would
// be found after a quarter of an hour.
func TestGoalsHaveFigures(t *testing.T) {
	rep := small(t, "compile", "load", "read", "drift")
	for _, r := range rep.Rows {
		for _, g := range r.Goals {
			if g.Measured == nil {
				t.Errorf("row %s: goal %q has no figure", r.Name, g.Text)
			}
		}
	}
}

func TestRowsAreDeclaredOnce(t *testing.T) {
	for _, isSmall := range []bool{true, false} {
		seen := map[string]bool{}
		for _, n := range names(rows(sizeOf(isSmall))) {
			if seen[n] {
				t.Errorf("row %q is there twice", n)
			}
			seen[n] = true
		}
	}
}

func TestCommandLine(t *testing.T) {
	for _, tc := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"-list"}, 0, "change-proof"},
		{[]string{"-row", "nothing"}, 1, `there is no row "nothing"; there are compile, `},
		{[]string{"more"}, 2, `unexpected argument "more"`},
		{[]string{"-help"}, 0, "-small"},
	} {
		var out bytes.Buffer
		if code := run(tc.args, &out, &out); code != tc.code || !strings.Contains(out.String(), tc.want) {
			t.Errorf("%v: %d: %s", tc.args, code, out.String())
		}
	}
}
