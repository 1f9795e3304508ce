package harness

import (
	"math"
	"slices"
)

// median of sorted values; of an even number of them the mean of the middle two.
func median(sorted []float64) float64 {
	n := len(sorted)
	if n == 0 {
		return math.NaN()
	}
	if n%2 == 1 {
		return sorted[n/2]
	}
	return (sorted[n/2-1] + sorted[n/2]) / 2
}

// percentile of sorted values: the smallest one that so large a part of all does
// not exceed.
func percentile(sorted []float64, part float64) float64 {
	if len(sorted) == 0 {
		return math.NaN()
	}
	n := int(math.Ceil(part * float64(len(sorted))))
	return sorted[min(max(n, 1), len(sorted))-1]
}

// Spread is a figure over all runs.
type Spread struct {
	Name   string  `json:"name"`
	Unit   Unit    `json:"unit"`
	Runs   int     `json:"runs"`
	Median float64 `json:"median"`
	Min    float64 `json:"min"`
	Max    float64 `json:"max"`
}

func spread(name string, unit Unit, values []float64) Spread {
	s := slices.Clone(values)
	slices.Sort(s)
	return Spread{name, unit, len(s), median(s), s[0], s[len(s)-1]}
}

// spreads gathers the figures of some samples, in the order in which they came.
func spreads(samples []Sample) []Spread {
	out := []Spread{}
	seen := map[string]bool{}
	for i := range samples {
		for _, f := range samples[i].Figures {
			if !seen[f.Name] {
				seen[f.Name] = true
				values := valuesOf(samples, f.Name)
				out = append(out, spread(f.Name, f.Unit, values))
			}
		}
	}
	return out
}

// valuesOf gives a figure of each sample that has it.
func valuesOf(samples []Sample, name string) []float64 {
	var out []float64
	for i := range samples {
		if f := samples[i].figure(name); f != nil {
			out = append(out, f.Value)
		}
	}
	return out
}

func (s *Sample) figure(name string) *Figure {
	i := slices.IndexFunc(s.Figures, func(f Figure) bool { return f.Name == name })
	if i < 0 {
		return nil
	}
	return &s.Figures[i]
}

// compare holds two figures against each other: the medians, and the range of what
// neighbours in one run give. ok is false where a run lacks one of them.
func compare(c Compare, a, b []Sample) (out Spread, ok bool) {
	if len(a) != len(b) || len(a) == 0 {
		return Spread{}, false
	}
	var as, bs, pairs []float64
	var unit Unit
	for i := range a {
		x, y := a[i].figure(c.A.Figure), b[i].figure(c.B.Figure)
		if x == nil || y == nil || x.Unit != y.Unit || c.Kind != Difference && y.Value == 0 {
			return Spread{}, false
		}
		unit = x.Unit
		as, bs = append(as, x.Value), append(bs, y.Value)
		pairs = append(pairs, c.Kind.of(x.Value, y.Value))
	}
	slices.Sort(as)
	slices.Sort(bs)
	out = spread(c.Name, c.Kind.unit(unit), pairs)
	out.Median = c.Kind.of(median(as), median(bs))
	return out, true
}

func (k Kind) of(a, b float64) float64 {
	switch k {
	case Ratio:
		return a / b
	case Excess:
		return a/b - 1
	}
	return a - b
}

func (k Kind) unit(of Unit) Unit {
	switch k {
	case Ratio:
		return Times
	case Excess:
		return Part
	}
	return of
}
