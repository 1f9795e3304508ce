package harness

import (
	"math"
	"strings"
	"testing"
)

func TestMedianAndPercentile(t *testing.T) {
	if !math.IsNaN(median(nil)) || median([]float64{3}) != 3 || median([]float64{1, 2, 9}) != 2 || median([]float64{1, 2, 4, 9}) != 3 {
		t.Error("median")
	}
	hundred := make([]float64, 100)
	for i := range hundred {
		hundred[i] = float64(i + 1)
	}
	for part, want := range map[float64]float64{0.99: 99, 0.5: 50, 1: 100, 0: 1} {
		if got := percentile(hundred, part); got != want {
			t.Errorf("%v of 1 to 100 is %v", part, got)
		}
	}
	if percentile([]float64{7}, 0.99) != 7 || !math.IsNaN(percentile(nil, 0.5)) {
		t.Error("percentile")
	}
}

func samples(values ...float64) []Sample {
	var out []Sample
	for _, v := range values {
		out = append(out, Sample{Figures: []Figure{{"x", Seconds, v}}})
	}
	return out
}

// A ratio is of the medians; its range is of what each run gives by itself.
func TestCompare(t *testing.T) {
	c := Compare{Name: "c", Kind: Ratio, A: Ref{"a", "x"}, B: Ref{"b", "x"}}
	a, b := samples(9, 8, 1), samples(1, 2, 4)
	got, ok := compare(c, a, b)
	if want := (Spread{"c", Times, 3, 4, 0.25, 9}); !ok || got != want {
		t.Errorf("%+v, not %+v", got, want)
	}
	c.Kind = Difference
	if got, ok := compare(c, a, b); !ok || got != (Spread{"c", Seconds, 3, 6, -3, 8}) {
		t.Errorf("%+v", got)
	}
	c.Kind = Excess
	if got, ok := compare(c, samples(11, 11), samples(10, 10)); !ok || math.Abs(got.Median-0.1) > 1e-9 || got.Unit != Part {
		t.Errorf("%+v", got)
	}
	for name, pair := range map[string][2][]Sample{"lengths": {a, samples(1)}, "none": {nil, nil}, "zero": {samples(1), samples(0)}, "missing": {samples(1), {{}}}} {
		if _, ok := compare(c, pair[0], pair[1]); ok {
			t.Errorf("%s were compared", name)
		}
	}
}

func TestSpreadOfMany(t *testing.T) {
	r := &Recorder{}
	r.Spread("change", Seconds, []float64{3, 1, 2})
	r.Spread("none", Seconds, nil)
	s := r.finish(nil)
	if len(s.Figures) != 3 || s.figure("change median").Value != 2 || s.figure("change p99").Value != 3 || s.figure("change worst").Value != 3 {
		t.Errorf("%+v", s.Figures)
	}
	r.Value("bad", Count, math.NaN())
	if s := r.finish(nil); len(s.Failed) != 1 || s.figure("bad") != nil {
		t.Errorf("%+v", s)
	}
}

func TestNumbers(t *testing.T) {
	for _, tc := range []struct {
		v    float64
		u    Unit
		want string
	}{
		{0.000_0023456, Seconds, "2.35 µs"}, {0.0456, Seconds, "45.6 ms"}, {0.5, Seconds, "500 ms"}, {12.345, Seconds, "12.3 s"}, {0, Seconds, "0"}, {-0.0000012, Seconds, "-1.20 µs"},
		{512, Bytes, "512 B"}, {123_456, Bytes, "123 kB"}, {98_765_432, Bytes, "98.8 MB"}, {1.5e9, Bytes, "1.50 GB"},
		{151_967, Count, "151 967"}, {7, Count, "7"}, {8.25, Count, "8.25"}, {1234.5, Count, "1 234"}, {-1_000_000, Count, "-1 000 000"},
		{0.0345, Part, "3.45 %"}, {90.5, Times, "90.5 times"},
	} {
		if got := number(tc.v, tc.u); got != tc.want {
			t.Errorf("%v %q is %q, not %q", tc.v, tc.u, got, tc.want)
		}
	}
}

func TestFacts(t *testing.T) {
	if v := nftVersion("nftables v1.0.6 (Lester Gooch #5)\n"); v != "1.0.6" {
		t.Error(v)
	}
	if m := cpuModel([]byte("processor\t: 0\nmodel name\t: Some CPU 9000\nmodel name : other\n")); m != "Some CPU 9000" {
		t.Error(m)
	}
	if n, err := statusBytes([]byte("VmPeak:\t 9 kB\nVmHWM:\t  2048 kB\n"), "VmHWM"); err != nil || n != 2048*1024 {
		t.Error(n, err)
	}
	if _, err := statusBytes([]byte("VmPeak:\t 9 kB\n"), "VmHWM"); err == nil {
		t.Error("a peak out of nothing")
	}
}

// The tables name every goal, also of rows that were never measured.
func TestMarkdown(t *testing.T) {
	rows := []Row{
		{Name: "load", Title: "Load | all", From: "From memory.", Variants: []Variant{{Name: "ours"}, {Name: "nft"}},
			Compare: []Compare{{"faster", Ratio, Ref{"nft", "load CPU"}, Ref{"ours", "load CPU"}}},
			Goals:   []Goal{{Text: "0.3 CPU s", Of: Ref{"ours", "load CPU"}, AtMost: 0.3}, {Text: "3 times", Of: Ref{"", "faster"}, AtLeast: 3}}},
		{Name: "other", Title: "Other", Variants: []Variant{{Name: "a"}}, Goals: []Goal{{Text: "1 ms", Of: Ref{"a", "t"}, AtMost: 0.001}}},
	}
	sample := func(cpu float64) Sample {
		s := Sample{Checked: []string{"all are there"}, Notes: []string{"a word"}}
		for _, f := range []string{CPU, User, System, Wall} {
			s.Figures = append(s.Figures, Figure{"load" + f, Seconds, cpu})
		}
		s.Figures = append(s.Figures, Figure{"load" + Peak, Bytes, 5e6}, Figure{"load" + Before, Bytes, 4e6}, Figure{"load" + Allocs, Count, 10}, Figure{"load" + Allocated, Bytes, 1000}, Figure{"elements", Count, 152_000})
		return s
	}
	res := summarize(&rows[0], [][]Sample{{sample(0.2), sample(0.25), sample(0.4)}, {sample(0.5), sample(0.5), sample(0.6)}}, true)
	res.Machine, res.Command, res.Scale, res.Runs, res.At = Machine{CPU: "X", Cores: 2, Kernel: "6.18", Go: "go1.26", NFT: "1.0.6", Root: true}, "bench -row load", "whole", 3, "2026-01-01"
	got := (&Report{Rows: []RowResult{res}}).Markdown(rows)
	for _, want := range []string{
		"| Load \\| all | 0.3 CPU s | 250 ms (200 ms to 400 ms) | **reached** |\n|  | 3 times | 2 times (1.50 times to 2.50 times) | **missed** |\n",
		"| Other | 1 ms | | **not measured** |",
		"`bench -row load` (whole). From memory.", "3 runs, 2026-01-01; 2 cores of X, Linux 6.18, go1.26, nft 1.0.6, as root.",
		"| ours, load | 250 ms (200 ms to 400 ms) | 250 ms + 250 ms |", "| 5 MB (4 MB) | 10, 1 kB |", "| ours: elements | 152 000 | 152 000 | 152 000 |",
		"Checked in every run: all are there.", "ours: a word",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("there is no %q in\n%s", want, got)
		}
	}
}
