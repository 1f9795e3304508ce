package demo

import (
	"fmt"
	"strings"

	"bulkhead/pkg/diag"
)

// title begins a step.
func (d *demo) title(text string) {
	d.step++
	fmt.Fprintf(d.opt.Out, "\n%d. %s\n", d.step, text)
}

// say prints a line of the story.
func (d *demo) say(format string, args ...any) {
	fmt.Fprintf(d.opt.Out, "   "+format+"\n", args...)
}

// working prints a line of progress.
func (d *demo) working(format string, args ...any) {
	fmt.Fprintf(d.opt.Err, "   ... "+format+"\n", args...)
}

// quote shows what a program printed, at most so many lines of it.
func (d *demo) quote(text string, most int) {
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	more := 0
	if !d.opt.Verbose && len(lines) > most {
		more = len(lines) - most
		lines = lines[:most]
	}
	for _, l := range lines {
		l = diag.Safe(l)
		if !d.opt.Verbose {
			l = shorten(l, 110)
		}
		fmt.Fprintf(d.opt.Out, "   | %s\n", l)
	}
	if more > 0 {
		fmt.Fprintf(d.opt.Out, "   | ... %d more lines (--verbose shows them)\n", more)
	}
}

func shorten(s string, most int) string {
	r := []rune(s)
	if len(r) <= most {
		return s
	}
	return string(r[:most-3]) + "..."
}

// count writes 12345 as 12 345.
func count(n int) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + " " + s[i:]
	}
	return s
}
