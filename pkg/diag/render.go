package diag

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// Source returns the contents of a file by the name that Pos.File has, or nil
// if they are not at hand. A nil Source has no files.
type Source func(file string) []byte

// maxShown bounds, in characters, how much of a long source line is printed on
// either side of the caret.
const maxShown = 60

// Render writes every diagnostic of the list, in All's order, as
//
//	policy/plant.yaml:4:11: error: unknown group "plc"
//	    to: [plc]
//	         ^~~
//	  hint: did you mean "plcs"?
//
// The text of files and messages is passed through Safe, so that nothing in a
// site or on a device can steer the reader's terminal.
func (l *List) Render(w io.Writer, src Source) error {
	for _, d := range l.All() {
		if _, err := io.WriteString(w, d.Text(src)); err != nil {
			return fmt.Errorf("write diagnostics: %w", err)
		}
	}
	return nil
}

// Text is Render into a string.
func (l *List) Text(src Source) string {
	var b strings.Builder
	for _, d := range l.All() {
		b.WriteString(d.Text(src))
	}
	return b.String()
}

// Text renders one diagnostic, ending in a newline. See List.Render.
func (d Diagnostic) Text(src Source) string {
	var b strings.Builder
	b.WriteString(d.place())
	b.WriteString(d.Severity.String())
	b.WriteString(": ")
	b.WriteString(Safe(d.Message))
	b.WriteByte('\n')
	d.snippet(&b, src)
	if d.Hint != "" {
		b.WriteString("  hint: ")
		b.WriteString(Safe(d.Hint))
		b.WriteByte('\n')
	}
	return b.String()
}

// Error gives the first line of Text, without the newline.
func (d Diagnostic) Error() string {
	return d.place() + d.Severity.String() + ": " + Safe(d.Message)
}

func (d Diagnostic) place() string {
	p := d.Pos
	file := Safe(p.File)
	switch {
	case file == "":
		return ""
	case p.Line == 0:
		return file + ": "
	case p.Col == 0:
		return fmt.Sprintf("%s:%d: ", file, p.Line)
	}
	return fmt.Sprintf("%s:%d:%d: ", file, p.Line, p.Col)
}

// snippet writes the source line and the caret line under it, if there are any.
func (d Diagnostic) snippet(b *strings.Builder, src Source) {
	if src == nil || d.Pos.Line == 0 || d.Pos.File == "" {
		return
	}
	line, ok := lineOf(src(d.Pos.File), d.Pos.Line)
	if !ok {
		return
	}
	runes := []rune(line)
	at := min(max(d.Pos.Col-1, 0), len(runes))
	from, to := max(0, at-maxShown), min(len(runes), at+maxShown)
	text, before, under := "", 0, 0
	for i, r := range runes[from:to] {
		s := shownAs(r)
		n := utf8.RuneCountInString(s)
		switch i += from; {
		case i < at:
			before += n
		case i < at+max(d.Len, 1):
			under += n
		}
		text += s
	}
	lead, tail := "", ""
	if from > 0 {
		lead = "..."
	}
	if to < len(runes) {
		tail = "..."
	}
	fmt.Fprintf(b, "    %s%s%s\n", lead, text, tail)
	if d.Pos.Col > 0 {
		pad := strings.Repeat(" ", len(lead)+before)
		fmt.Fprintf(b, "    %s^%s\n", pad, strings.Repeat("~", max(under-1, 0)))
	}
}

// shownAs shows one character of a source line. A tab becomes one space: it
// counts as one column, and its width on the terminal is not known.
func shownAs(r rune) string {
	if r == '\t' {
		return " "
	}
	return Safe(string(r))
}

// lineOf returns line n, counting from 1, of text, without its line end.
func lineOf(text []byte, n int) (string, bool) {
	for ; n > 1; n-- {
		i := bytes.IndexByte(text, '\n')
		if i < 0 {
			return "", false
		}
		text = text[i+1:]
	}
	if i := bytes.IndexByte(text, '\n'); i >= 0 {
		text = text[:i]
	}
	text = bytes.TrimSuffix(text, []byte("\r"))
	return string(text), len(text) > 0
}

// Err returns nil if the list holds no error, and otherwise an error that
// counts the errors and quotes the first of them.
func (l *List) Err() error {
	n, first := 0, Diagnostic{}
	for _, d := range l.All() {
		if d.Severity == Error {
			if n == 0 {
				first = d
			}
			n++
		}
	}
	switch n {
	case 0:
		return nil
	case 1:
		return first
	}
	return fmt.Errorf("%w (and %d more)", first, n-1)
}

// Len is the number of diagnostics.
func (l *List) Len() int { return len(l.items) }
