package harness

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"bulkhead/pkg/lab"
)

// The test program takes measurements too, when it is started for one.
func TestMain(m *testing.M) {
	if IsChild() {
		if err := Child(context.Background(), testRows(), os.Stdout); err != nil {
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

var sink []byte

func testRows() []Row {
	work := func(value float64) func(context.Context, *Recorder) error {
		return func(_ context.Context, r *Recorder) error {
			r.Check(true, "two and two are four")
			r.Value("size", Count, value)
			return r.Measure("work", func() error {
				for range 20 {
					sink = make([]byte, 1<<20)
					for i := range sink {
						sink[i]++
					}
				}
				return r.Lap("half")
			})
		}
	}
	return []Row{
		{Name: "good", Title: "Work", From: "Of nothing.", Variants: []Variant{{Name: "a", Run: work(6)}, {Name: "b", Run: work(2)}},
			Compare: []Compare{{"a over b", Ratio, Ref{"a", "size"}, Ref{"b", "size"}}},
			Goals: []Goal{
				{Text: "at most 7", Of: Ref{"a", "size"}, AtMost: 7},
				{Text: "at most 5", Of: Ref{"a", "size"}, AtMost: 5},
				{Text: "at least 3 times", Of: Ref{"", "a over b"}, AtLeast: 3},
				{Text: "at least 4 times", Of: Ref{"", "a over b"}, AtLeast: 4}}},
		{Name: "unchecked", Title: "A proof that was skipped", Variants: []Variant{{Name: "a", Run: func(ctx context.Context, r *Recorder) error {
			r.Check(false, "the point is proved")
			return work(1)(ctx, r)
		}}}, Goals: []Goal{{Text: "1", Of: Ref{"a", "size"}, AtMost: 1}}},
		{Name: "error", Title: "Error", Variants: []Variant{{Name: "a", Run: func(context.Context, *Recorder) error { return errors.New("nothing works today") }}}},
		{Name: "panic", Title: "Panic", Variants: []Variant{{Name: "a", Run: func(context.Context, *Recorder) error { panic("at the disco") }}}},
		{Name: "slow", Title: "Slow", Variants: []Variant{{Name: "a", Run: func(context.Context, *Recorder) error { time.Sleep(time.Hour); return nil }}}},
		{Name: "empty", Title: "Empty", Variants: []Variant{{Name: "a", Run: func(context.Context, *Recorder) error { return nil }}}},
		{Name: "less", Title: "Less", Variants: []Variant{{Name: "a", Run: work(1)}}, Goals: []Goal{{Text: "1", Of: Ref{"a", "speed"}, AtMost: 1}}},
		{Name: "later", Title: "Later", Variants: []Variant{{Name: "a", NotBuilt: "there is no engine"}}, Goals: []Goal{{Text: "1 ms", Of: Ref{"a", "time"}, AtMost: 1}}},
	}
}

func runner(full bool) *Runner {
	return &Runner{Runs: 3, Timeout: 2 * time.Minute, Full: full, Scale: "small", Command: "bench -row %s",
		Now: func() time.Time { return time.Unix(0, 0) },
		Start: func(ctx context.Context, c lab.Command) error {
			cmd := exec.CommandContext(ctx, c.Path, c.Args...)
			cmd.Env, cmd.Stdout, cmd.Stderr = c.Env, c.Stdout, c.Stderr
			return cmd.Run()
		}}
}

func run(t *testing.T, x *Runner, names ...string) *Report {
	t.Helper()
	var rows []Row
	for _, n := range names {
		for _, r := range testRows() {
			if r.Name == n {
				rows = append(rows, r)
			}
		}
	}
	rep, err := x.Run(context.Background(), rows)
	if err != nil {
		t.Fatal(err)
	}
	return rep
}

func TestGoodRow(t *testing.T) {
	rep := run(t, runner(true), "good")
	row := rep.Rows[0]
	if len(rep.Failed()) != 0 {
		t.Fatal(rep.Failed())
	}
	var marks []Mark
	for _, g := range row.Goals {
		marks = append(marks, g.Mark)
	}
	if want := []Mark{Reached, Missed, Reached, Missed}; !equal(marks, want) {
		t.Errorf("goals are %v, not %v", marks, want)
	}
	figures := row.Variants[0].Figures
	for name, least := range map[string]float64{"work" + CPU: 1e-6, "work" + Wall: 1e-6, "work" + Peak: 1 << 20, "work" + Allocated: 20 << 20, "work" + Allocs: 20, "work: half" + CPU: 1e-6} {
		s := find(figures, name)
		if s == nil || s.Runs != 3 || s.Median < least || s.Min > s.Median || s.Median > s.Max {
			t.Errorf("%s is %+v", name, s)
		}
	}
	// The goals of another size are not judged.
	for _, g := range run(t, runner(false), "good").Rows[0].Goals {
		if g.Mark != NotJudged || g.Measured == nil {
			t.Errorf("%s: %s", g.Text, g.Mark)
		}
	}
}

func equal(a, b []Mark) bool {
	for i := range a {
		if i >= len(b) || a[i] != b[i] {
			return false
		}
	}
	return len(a) == len(b)
}

// Whatever goes wrong in a measurement fails its row, and leaves no figure.
func TestFailingRows(t *testing.T) {
	x := runner(true)
	for name, want := range map[string]string{
		"unchecked": "a: not so: the point is proved",
		"error":     "a: nothing works today",
		"panic":     "a: the measuring process ended: exit status 2: panic: at the disco",
		"empty":     "a: nothing was measured",
		"less":      `goal "1": there is no figure "a: speed"`,
		"later":     "a: not built: there is no engine",
	} {
		rep := run(t, x, name)
		row := rep.Rows[0]
		if len(row.Failed) == 0 || row.Failed[0] != want || len(rep.Failed()) == 0 {
			t.Errorf("%s: %q, not %q", name, row.Failed, want)
		}
		for _, g := range row.Goals {
			if g.Measured != nil || g.Mark != NotMeasured && g.Mark != NotBuilt {
				t.Errorf("%s: goal %q is %s by %+v", name, g.Text, g.Mark, g.Measured)
			}
		}
	}
	x.Timeout = 200 * time.Millisecond
	if f := run(t, x, "slow").Failed(); len(f) != 1 || f[0] != "row slow: a: not done within 200ms" {
		t.Error(f)
	}
}

// One run in which a check fails spoils the variant, however many held.
func TestOneFailedRunSpoils(t *testing.T) {
	row := Row{Name: "r", Variants: []Variant{{Name: "a"}}, Goals: []Goal{{Text: "g", Of: Ref{"a", "x"}, AtMost: 9}}}
	good := Sample{Figures: []Figure{{"x", Count, 1}}}
	res := summarize(&row, [][]Sample{{good, good, {Figures: good.Figures, Failed: []string{"lost"}}}}, true)
	if len(res.Failed) != 1 || res.Goals[0].Mark != NotMeasured || res.Goals[0].Measured != nil {
		t.Errorf("%+v", res)
	}
}

func TestDeclarations(t *testing.T) {
	run := func(context.Context, *Recorder) error { return nil }
	a := []Variant{{Name: "a", Run: run}}
	for want, rows := range map[string][]Row{
		"declared twice": {{Name: "x"}, {Name: "x"}},
		"either work":    {{Name: "x", Variants: []Variant{{Name: "a"}}}},
		"variant \"a\"":  {{Name: "x", Variants: []Variant{a[0], a[0]}}},
		"comparison":     {{Name: "x", Variants: a, Compare: []Compare{{"c", Ratio, Ref{"a", "y"}, Ref{"b", "y"}}}}},
		"does not exist": {{Name: "x", Variants: a, Goals: []Goal{{Text: "g", Of: Ref{"b", "y"}, AtMost: 1}}}},
		"no bound":       {{Name: "x", Variants: a, Goals: []Goal{{Text: "g", Of: Ref{"a", "y"}}}}},
	} {
		if err := check(rows); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", want, err)
		}
	}
	if err := check(testRows()); err != nil {
		t.Error(err)
	}
}

func TestChildEnv(t *testing.T) {
	got := childEnv([]string{"PATH=/bin", "GOMEMLIMIT=1GiB", "GOGC=off"}, "r", "v")
	if len(got) != 2 || got[0] != "PATH=/bin" || got[1] != childVar+"=r/v" {
		t.Error(got)
	}
}

func TestRefreshAndPut(t *testing.T) {
	path := filepath.Join(t.TempDir(), "doc.md")
	if err := os.WriteFile(path, []byte("before\n"+begin+"\nold\n"+end+"\nafter\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := Refresh(path, "new\n"); err != nil {
			t.Fatal(err)
		}
	}
	b, _ := os.ReadFile(path)
	if string(b) != "before\n"+begin+"\nnew\n"+end+"\nafter\n" {
		t.Errorf("%s", b)
	}
	if err := os.WriteFile(path, []byte("nothing"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := Refresh(path, "new"); err == nil {
		t.Error("a document without markers was refreshed")
	}

	old := &Report{Rows: []RowResult{{Name: "b", At: "old"}, {Name: "a", At: "old"}, {Name: "gone"}}}
	old.Put(&Report{Rows: []RowResult{{Name: "b", At: "new"}, {Name: "c", At: "new"}}}, []string{"a", "b", "c"})
	var got []string
	for _, r := range old.Rows {
		got = append(got, r.Name+" "+r.At)
	}
	if s := strings.Join(got, ", "); s != "a old, b new, c new" {
		t.Error(s)
	}
}
