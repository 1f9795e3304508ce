package harness

import (
	"bytes"
	"fmt"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
)

// Markers between which Refresh writes.
const (
	begin = "<!-- figures: written by `make bench` -->"
	end   = "<!-- end of figures -->"
)

// Markdown is the report as tables: first the goals of all rows, in the order of
// the rows given, those not measured included; then what each row found.
func (r *Report) Markdown(rows []Row) string {
	var b strings.Builder
	b.WriteString("| work | goal | measured: median (least to most) | |\n|---|---|---|---|\n")
	for i := range rows {
		res := r.row(rows[i].Name)
		for k, g := range rows[i].Goals {
			title := ""
			if k == 0 {
				title = rows[i].Title
			}
			fmt.Fprintf(&b, "| %s | %s |", cell(title), cell(g.Text))
			b.WriteString(goalCells(res, g))
		}
	}
	for i := range rows {
		if res := r.row(rows[i].Name); res != nil {
			res.details(&b)
		}
	}
	return b.String()
}

func (r *Report) row(name string) *RowResult {
	i := slices.IndexFunc(r.Rows, func(x RowResult) bool { return x.Name == name })
	if i < 0 {
		return nil
	}
	return &r.Rows[i]
}

// goalCells gives what was measured for a goal, and the mark.
func goalCells(res *RowResult, g Goal) string {
	if res != nil {
		for _, x := range res.Goals {
			if x.Text == g.Text && x.Of == g.Of {
				if x.Measured == nil {
					return fmt.Sprintf(" | **%s** |\n", x.Mark)
				}
				return fmt.Sprintf(" %s | **%s** |\n", x.Measured.text(), x.Mark)
			}
		}
	}
	return fmt.Sprintf(" | **%s** |\n", NotMeasured)
}

// details writes everything that a row found.
func (r *RowResult) details(b *strings.Builder) {
	fmt.Fprintf(b, "\n### %s\n\n`%s` (%s). %s\n", r.Title, r.Command, r.Scale, r.From)
	fmt.Fprintf(b, "\n%d runs, %s; %s.\n", r.Runs, r.At, r.Machine)
	for _, f := range r.Failed {
		fmt.Fprintf(b, "\n**These figures do not count**: %s.\n", cell(f))
	}
	sections := r.sections(b)
	r.values(b, sections)
	for _, v := range r.Variants {
		for _, n := range v.Notes {
			fmt.Fprintf(b, "\n%s: %s\n", v.Name, n)
		}
	}
	if c := r.checked(); len(c) > 0 {
		fmt.Fprintf(b, "\nChecked in every run: %s.\n", strings.Join(c, "; "))
	}
}

// sections writes the table of what was measured by Measure and Lap, and returns
// the names of those sections.
func (r *RowResult) sections(b *strings.Builder) map[string]bool {
	done := map[string]bool{}
	for _, v := range r.Variants {
		for _, f := range v.Figures {
			name, ok := strings.CutSuffix(f.Name, CPU)
			if !ok {
				continue
			}
			if len(done) == 0 {
				b.WriteString("\n| | CPU | user + system | wall | peak memory (before) | allocations |\n|---|---|---|---|---|---|\n")
			}
			done[name] = true
			get := func(what string) *Spread { return find(v.Figures, name+what) }
			user, system := get(User), get(System)
			fmt.Fprintf(b, "| %s | %s | %s + %s | %s | %s | %s |\n", cell(v.Name+", "+name), f.text(),
				number(user.Median, Seconds), number(system.Median, Seconds), get(Wall).text(), memory(get(Peak), get(Before), get(ChildPeak)), allocations(get(Allocs), get(Allocated)))
		}
	}
	return done
}

func memory(peak, before, tool *Spread) string {
	if peak == nil {
		return ""
	}
	s := fmt.Sprintf("%s (%s)", number(peak.Median, Bytes), number(before.Median, Bytes))
	if tool != nil {
		s += fmt.Sprintf(", the tool %s", number(tool.Median, Bytes))
	}
	return s
}

func allocations(n, size *Spread) string {
	if n == nil {
		return ""
	}
	return fmt.Sprintf("%s, %s", number(n.Median, Count), number(size.Median, Bytes))
}

// values writes the table of all other figures.
func (r *RowResult) values(b *strings.Builder, sections map[string]bool) {
	head := "\n| | median | least | most |\n|---|---|---|---|\n"
	line := func(name string, s *Spread) {
		fmt.Fprintf(b, "%s| %s | %s | %s | %s |\n", head, cell(name), number(s.Median, s.Unit), number(s.Min, s.Unit), number(s.Max, s.Unit))
		head = ""
	}
	for _, v := range r.Variants {
		for i := range v.Figures {
			if !partOfSection(v.Figures[i].Name, sections) {
				line(v.Name+": "+v.Figures[i].Name, &v.Figures[i])
			}
		}
	}
	for i := range r.Compared {
		line(r.Compared[i].Name, &r.Compared[i])
	}
}

func partOfSection(name string, sections map[string]bool) bool {
	for _, what := range []string{CPU, User, System, Wall, Peak, Before, ChildPeak, Allocs, Allocated} {
		if s, ok := strings.CutSuffix(name, what); ok && sections[s] {
			return true
		}
	}
	return false
}

func (r *RowResult) checked() []string {
	var out []string
	for _, v := range r.Variants {
		for _, c := range v.Checked {
			if !slices.Contains(out, c) {
				out = append(out, c)
			}
		}
	}
	return out
}

// text is a spread in one cell.
func (s *Spread) text() string {
	if s.Runs < 2 {
		return number(s.Median, s.Unit)
	}
	return fmt.Sprintf("%s (%s to %s)", number(s.Median, s.Unit), number(s.Min, s.Unit), number(s.Max, s.Unit))
}

// number shows a value with three digits in a unit that people read.
func number(v float64, unit Unit) string {
	switch unit {
	case Seconds:
		switch a := math.Abs(v); {
		case a == 0:
			return "0"
		case a < 1e-3:
			return digits(v*1e6) + " µs"
		case a < 1:
			return digits(v*1e3) + " ms"
		}
		return digits(v) + " s"
	case Bytes:
		switch a := math.Abs(v); {
		case a < 1e3:
			return digits(v) + " B"
		case a < 1e6:
			return digits(v/1e3) + " kB"
		case a < 1e9:
			return digits(v/1e6) + " MB"
		}
		return digits(v/1e9) + " GB"
	case Part:
		return digits(v*100) + " %"
	case Times:
		return digits(v) + " times"
	}
	return digits(v)
}

// digits writes three digits of a number that is no whole one, and all of one that
// is, in groups of three.
func digits(v float64) string {
	a := math.Abs(v)
	if a < 1000 && v != math.Trunc(v) {
		places := 2
		switch {
		case a >= 100:
			places = 0
		case a >= 10:
			places = 1
		}
		return strconv.FormatFloat(v, 'f', places, 64)
	}
	s := strconv.FormatFloat(a, 'f', 0, 64)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + " " + s[i:]
	}
	if v < 0 {
		s = "-" + s
	}
	return s
}

// cell keeps a text from ending a table's cell.
func cell(s string) string {
	return strings.NewReplacer("|", "\\|", "\n", " ").Replace(s)
}

// Refresh puts text between the markers of a file.
func Refresh(path, text string) error {
	old, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("read the document to refresh: %w", err)
	}
	head, rest, ok1 := bytes.Cut(old, []byte(begin))
	_, after, ok2 := bytes.Cut(rest, []byte(end))
	if !ok1 || !ok2 {
		return fmt.Errorf("%q has no place for figures: it needs the lines %q and %q", path, begin, end)
	}
	fresh := string(head) + begin + "\n" + text + end + string(after)
	if err := os.WriteFile(path, []byte(fresh), 0o644); err != nil {
		return fmt.Errorf("refresh the document: %w", err)
	}
	return nil
}
