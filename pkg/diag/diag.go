// Package diag holds positions in a site's files and the problems found at them.
//
// Everything that reads a site directory reports through a List, so that an
// operator sees every mistake at once instead of one a run. The package sits at
// the bottom of the import graph: it knows nothing of assets or policies.
package diag

import (
	"fmt"
	"sort"
)

// Pos is a place in a file of the site directory. Line and Col count from 1;
// 0 means "not known". File is relative to the site directory, with slashes.
type Pos struct {
	File string `json:"file"`
	Line int    `json:"line"`
	Col  int    `json:"column"`
}

// String gives file:line, the form that editors and terminals make clickable,
// or "built-in" for what no file declares.
func (p Pos) String() string {
	if p.File == "" {
		return "built-in"
	}
	if p.Line == 0 {
		return p.File
	}
	return fmt.Sprintf("%s:%d", p.File, p.Line)
}

// Severity says whether a problem stops the run.
type Severity int

// The severities, the one that stops first.
const (
	Error Severity = iota
	Warning
)

func (s Severity) String() string {
	if s == Warning {
		return "warning"
	}
	return "error"
}

// Diagnostic is one problem: where, what, and what would help.
type Diagnostic struct {
	Severity Severity
	Pos      Pos
	Message  string // lower case, user values quoted
	Hint     string // may be empty
	Len      int    // how many columns the caret underlines; 0 and 1 are one
}

// List collects diagnostics. Its zero value is ready for use.
type List struct {
	items []Diagnostic
}

// Errorf adds an error at p.
func (l *List) Errorf(p Pos, format string, args ...any) *Diagnostic {
	return l.add(Diagnostic{Severity: Error, Pos: p, Message: fmt.Sprintf(format, args...)})
}

// Warnf adds a warning at p.
func (l *List) Warnf(p Pos, format string, args ...any) *Diagnostic {
	return l.add(Diagnostic{Severity: Warning, Pos: p, Message: fmt.Sprintf(format, args...)})
}

func (l *List) add(d Diagnostic) *Diagnostic {
	l.items = append(l.items, d)
	return &l.items[len(l.items)-1]
}

// Append adds everything that o holds.
func (l *List) Append(o *List) {
	if o != nil {
		l.items = append(l.items, o.items...)
	}
}

// HasErrors reports whether any diagnostic stops the run.
func (l *List) HasErrors() bool {
	for _, d := range l.items {
		if d.Severity == Error {
			return true
		}
	}
	return false
}

// All returns the diagnostics in order of file, line, column and message, so
// that the same site prints the same bytes.
func (l *List) All() []Diagnostic {
	out := append([]Diagnostic(nil), l.items...)
	sort.SliceStable(out, func(i, j int) bool {
		a, b := out[i], out[j]
		switch {
		case a.Pos.File != b.Pos.File:
			return a.Pos.File < b.Pos.File
		case a.Pos.Line != b.Pos.Line:
			return a.Pos.Line < b.Pos.Line
		case a.Pos.Col != b.Pos.Col:
			return a.Pos.Col < b.Pos.Col
		case a.Severity != b.Severity:
			return a.Severity < b.Severity
		}
		return a.Message < b.Message
	})
	return out
}
