package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"bulkhead/pkg/apply"
	"bulkhead/pkg/driver"
	"bulkhead/pkg/plan"
)

// What became of the devices decides the exit code, and what was left is listed.
func TestApplyExit(t *testing.T) {
	jobs := []apply.Job{{Device: "one"}, {Device: "two"}, {Device: "three"}}
	notProved := fmt.Errorf("device two: %w: packet", apply.ErrNotProved)
	for name, c := range map[string]struct {
		outcomes []apply.Outcome
		err      error
		code     int
		says     []string
	}{
		"put back":        {[]apply.Outcome{{Undone: true}}, notProved, exitRefused, nil},
		"refused":         {[]apply.Outcome{{}}, fmt.Errorf("x: %w", driver.ErrRefused), exitRefused, nil},
		"moved":           {[]apply.Outcome{{}}, fmt.Errorf("x: %w", driver.ErrMoved), exitRefused, nil},
		"failed":          {[]apply.Outcome{{Undone: true}}, errors.New("reset"), exitError, nil},
		"interrupted":     {[]apply.Outcome{{}}, context.Canceled, exitError, nil},
		"second fails":    {[]apply.Outcome{{Applied: true}, {Undone: true}}, notProved, exitPartial, []string{"one is changed", "two is as it was", "three was not touched"}},
		"second refuses":  {[]apply.Outcome{{Applied: true}, {}}, notProved, exitPartial, []string{"two was not changed"}},
		"not put back":    {[]apply.Outcome{{Unknown: true}}, errors.New("reset"), exitPartial, []string{"one may hold a part", "two was not touched"}},
		"not put back II": {[]apply.Outcome{{Applied: true, Unknown: true}}, notProved, exitPartial, []string{"one may hold a part"}},
	} {
		err := applyExit(jobs, c.outcomes, c.err)
		code := exitError
		var coded *codedError
		if errors.As(err, &coded) {
			code = coded.code
		}
		if code != c.code {
			t.Errorf("%s: exit code %d, want %d: %v", name, code, c.code, err)
		}
		for _, s := range append(c.says, c.err.Error()) {
			if !strings.Contains(err.Error(), s) {
				t.Errorf("%s: the error does not say %q: %v", name, s, err)
			}
		}
	}
}

// A plan's exit code: unreachable is an error, refused is refused, and only
// --detailed-exitcode tells of changes.
func TestPlanExit(t *testing.T) {
	p := func(s ...plan.Status) *plan.Plan {
		out := &plan.Plan{}
		for _, x := range s {
			out.Points = append(out.Points, plan.Point{Name: "gw", Status: x, Error: "why"})
		}
		return out
	}
	for _, c := range []struct {
		p        *plan.Plan
		detailed bool
		want     int
	}{
		{p(plan.InSync), true, 0}, {p(plan.Changes), false, 0}, {p(plan.Changes), true, exitPending},
		{p(plan.Changes, plan.Unreachable), true, exitError}, {p(plan.Refused), false, exitRefused}, {p(plan.Refused, plan.Unreachable), false, exitError},
	} {
		code := 0
		err := planExit(c.p, c.detailed)
		var coded *codedError
		if errors.As(err, &coded) {
			code = coded.code
		}
		if code != c.want {
			t.Errorf("%+v: exit code %d, want %d (%v)", c.p.Points, code, c.want, err)
		}
	}
}

// Whoever interrupts the question has said no; so has whoever says anything but yes.
func TestAsk(t *testing.T) {
	ask := func(ctx context.Context, in io.Reader) error {
		a := &app{stdio: stdio{in, io.Discard, &bytes.Buffer{}}}
		return a.ask(ctx, "Apply?")
	}
	ctx, stop := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer stop()
	silent, _ := io.Pipe()
	if err := ask(ctx, silent); err == nil || !strings.Contains(err.Error(), "interrupted; nothing was written") {
		t.Errorf("interrupted: %v", err)
	}
	for answer, yes := range map[string]bool{"yes\n": true, "yes": true, " yes \r\n": true, "y\n": false, "": false, "YES\n": false, "no\nyes\n": false} {
		if err := ask(context.Background(), strings.NewReader(answer)); (err == nil) != yes {
			t.Errorf("%q: %v", answer, err)
		}
	}
}

// An error that quotes a device cannot steer the terminal.
func TestErrorsAreEscaped(t *testing.T) {
	var out bytes.Buffer
	code := run(context.Background(), []string{"explain", "\x1b]0;x\x07", "b", "any", "--offline", "--site", "\x1b[31mno"}, stdio{strings.NewReader(""), &out, &out})
	if code != exitError || strings.ContainsAny(out.String(), "\x1b\x07") {
		t.Errorf("%d %q", code, out.String())
	}
}
