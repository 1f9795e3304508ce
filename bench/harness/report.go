package harness

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
)

// FormatVersion of the JSON form of a report.
const FormatVersion = 1

// Report is what a run found.
type Report struct {
	FormatVersion int         `json:"formatVersion"`
	Rows          []RowResult `json:"rows"`
}

// RowResult is what became of a row.
type RowResult struct {
	Name     string          `json:"name"`
	Title    string          `json:"title"`
	From     string          `json:"from"`
	Command  string          `json:"command"`
	Scale    string          `json:"scale"`
	Runs     int             `json:"runs"`
	At       string          `json:"at"` // date
	Machine  Machine         `json:"machine"`
	Variants []VariantResult `json:"variants"`
	Compared []Spread        `json:"compared"`
	Goals    []GoalResult    `json:"goals"`
	// Failed says why the row's figures do not count; none where they do.
	Failed []string `json:"failed"`
}

// VariantResult is what became of a variant.
type VariantResult struct {
	Name     string   `json:"name"`
	NotBuilt string   `json:"notBuilt,omitempty"`
	Figures  []Spread `json:"figures"`
	Checked  []string `json:"checked"`
	Notes    []string `json:"notes"`
}

// Mark says what became of a goal.
type Mark string

// The marks.
const (
	Reached     Mark = "reached"
	Missed      Mark = "missed"
	NotJudged   Mark = "not judged"   // the work was of another size
	NotMeasured Mark = "not measured" // or its check failed
	NotBuilt    Mark = "not built"
)

// GoalResult is a goal beside what was measured.
type GoalResult struct {
	Text     string  `json:"text"`
	Of       Ref     `json:"of"`
	Measured *Spread `json:"measured"` // nil: not measured
	Mark     Mark    `json:"mark"`
}

// summarize makes a row's result of its samples, by variant.
func summarize(r *Row, samples [][]Sample, full bool) RowResult {
	out := RowResult{Name: r.Name, Title: r.Title, From: r.From, Variants: []VariantResult{}, Compared: []Spread{}, Goals: []GoalResult{}, Failed: []string{}}
	bad := map[string]Mark{} // variants whose figures do not count
	by := map[string][]Sample{}
	for i, v := range r.Variants {
		by[v.Name] = samples[i]
		res := VariantResult{Name: v.Name, NotBuilt: v.NotBuilt, Figures: []Spread{}, Checked: []string{}, Notes: []string{}}
		switch {
		case v.NotBuilt != "":
			bad[v.Name] = NotBuilt
			out.Failed = append(out.Failed, fmt.Sprintf("%s: not built: %s", v.Name, v.NotBuilt))
		case len(samples[i]) == 0:
			bad[v.Name] = NotMeasured
			out.Failed = append(out.Failed, fmt.Sprintf("%s: not measured", v.Name))
		}
		for k := range samples[i] {
			res.add(&samples[i][k])
			for _, f := range samples[i][k].Failed {
				bad[v.Name] = NotMeasured
				out.Failed = append(out.Failed, fmt.Sprintf("%s: %s", v.Name, f))
			}
		}
		// What a measurement says whose check failed is no figure.
		if bad[v.Name] == "" {
			res.Figures = spreads(samples[i])
		}
		out.Variants = append(out.Variants, res)
	}
	for _, c := range r.Compare {
		if bad[c.A.Variant] != "" || bad[c.B.Variant] != "" {
			continue
		}
		s, ok := compare(c, by[c.A.Variant], by[c.B.Variant])
		if !ok {
			out.Failed = append(out.Failed, fmt.Sprintf("cannot compare %s with %s: not every run has both", c.A, c.B))
			continue
		}
		out.Compared = append(out.Compared, s)
	}
	for _, g := range r.Goals {
		out.goal(r, g, bad, full)
	}
	return out
}

func (v *VariantResult) add(s *Sample) {
	for _, c := range s.Checked {
		if !slices.Contains(v.Checked, c) {
			v.Checked = append(v.Checked, c)
		}
	}
	for _, n := range s.Notes {
		if !slices.Contains(v.Notes, n) {
			v.Notes = append(v.Notes, n)
		}
	}
}

// goal judges one goal. A goal without its figure fails the row: a check that was
// left out must not look like one that held.
func (r *RowResult) goal(row *Row, g Goal, bad map[string]Mark, full bool) {
	out := GoalResult{Text: g.Text, Of: g.Of, Mark: NotMeasured}
	var needs []string
	if out.Of.Variant != "" {
		needs = []string{g.Of.Variant}
		i := slices.IndexFunc(r.Variants, func(v VariantResult) bool { return v.Name == g.Of.Variant })
		out.Measured = find(r.Variants[i].Figures, g.Of.Figure)
	} else {
		for _, c := range row.Compare {
			if c.Name == g.Of.Figure {
				needs = []string{c.A.Variant, c.B.Variant}
			}
		}
		out.Measured = find(r.Compared, g.Of.Figure)
	}
	for _, v := range needs {
		if bad[v] != "" {
			out.Mark = bad[v]
		}
	}
	switch {
	case out.Measured == nil:
		if out.Mark == NotMeasured && len(r.Failed) == 0 {
			r.Failed = append(r.Failed, fmt.Sprintf("goal %q: there is no figure %q", g.Text, g.Of))
		}
	case !full:
		out.Mark = NotJudged
	case g.AtMost != 0 && out.Measured.Median > g.AtMost || g.AtLeast != 0 && out.Measured.Median < g.AtLeast:
		out.Mark = Missed
	default:
		out.Mark = Reached
	}
	r.Goals = append(r.Goals, out)
}

func find(list []Spread, name string) *Spread {
	i := slices.IndexFunc(list, func(s Spread) bool { return s.Name == name })
	if i < 0 {
		return nil
	}
	return &list[i]
}

// Failed lists the rows whose figures do not count.
func (r *Report) Failed() []string {
	var out []string
	for i := range r.Rows {
		for _, f := range r.Rows[i].Failed {
			out = append(out, fmt.Sprintf("row %s: %s", r.Rows[i].Name, f))
		}
	}
	return out
}

// Put takes rows of another report over, in the order given; rows that are in
// neither are left out.
func (r *Report) Put(other *Report, order []string) {
	by := map[string]RowResult{}
	for _, rows := range [][]RowResult{r.Rows, other.Rows} {
		for _, row := range rows {
			by[row.Name] = row
		}
	}
	r.Rows = []RowResult{}
	for _, name := range order {
		if row, ok := by[name]; ok {
			r.Rows = append(r.Rows, row)
		}
	}
}

// Write writes a report as JSON.
func (r *Report) Write(w io.Writer) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", " ")
	if err := enc.Encode(r); err != nil {
		return fmt.Errorf("write the results: %w", err)
	}
	return nil
}

// ReadReport reads a report from a file; one that does not exist is empty.
func ReadReport(path string) (*Report, error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return &Report{FormatVersion: FormatVersion, Rows: []RowResult{}}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read earlier results: %w", err)
	}
	var r Report
	if err := json.Unmarshal(b, &r); err != nil {
		return nil, fmt.Errorf("read earlier results in %q: %w; remove the file to begin anew", path, err)
	}
	if r.FormatVersion != FormatVersion {
		return nil, fmt.Errorf("earlier results in %q are of format %d, this program's is %d: remove the file to begin anew", path, r.FormatVersion, FormatVersion)
	}
	return &r, nil
}
