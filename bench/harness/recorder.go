package harness

import (
	"cmp"
	"fmt"
	"math"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"time"
)

// Sample is what one measurement found.
type Sample struct {
	Figures []Figure `json:"figures"`
	// Checked lists the checks that held, Failed those that did not.
	Checked []string `json:"checked"`
	Failed  []string `json:"failed"`
	// Notes are for people: a refusal and its advice.
	Notes []string `json:"notes"`
}

// Figure is one number.
type Figure struct {
	Name  string  `json:"name"`
	Unit  Unit    `json:"unit"`
	Value float64 `json:"value"`
}

// Unit is a figure's unit.
type Unit string

// The units. Times are in seconds and sizes in bytes, however they are shown.
const (
	Seconds Unit = "s"
	Bytes   Unit = "B"
	Count   Unit = ""
	Part    Unit = "part" // shown in percent
	Times   Unit = "times"
)

// Names of the figures of a measured section, after its own name.
const (
	CPU       = " CPU"            // user and system, seconds
	User      = " user"           // seconds
	System    = " system"         // seconds
	Wall      = " wall"           // seconds
	Peak      = " peak"           // VmHWM of the process while it ran, what was there before included, bytes
	Before    = " before"         // resident when it began, bytes
	ChildPeak = " peak of tool"   // largest resident set of a program that it ran, bytes
	Allocs    = " allocations"    // of the Go heap
	Allocated = " bytes of those" // bytes
)

// Recorder takes the figures of one measurement.
type Recorder struct {
	// Dir is an empty directory that goes with the measurement.
	Dir string

	sample   Sample
	measured bool // inside of Measure
	lap      usage
	lapWall  time.Time
	section  string
}

func newRecorder() (*Recorder, error) {
	dir, err := os.MkdirTemp("", "bulkhead-bench-")
	if err != nil {
		return nil, fmt.Errorf("make a directory for the measurement: %w", err)
	}
	return &Recorder{Dir: dir, sample: Sample{Figures: []Figure{}, Checked: []string{}, Failed: []string{}, Notes: []string{}}}, nil
}

// Measure runs f and takes its CPU time, wall time, peak of memory and allocations,
// as figures of a section. Sections do not nest.
func (r *Recorder) Measure(section string, f func() error) error {
	if r.measured {
		return fmt.Errorf("section %q is inside of section %q: use Lap there", section, r.section)
	}
	// Garbage of what went before is not this section's work, and its memory not its
	// peak.
	runtime.GC()
	debug.FreeOSMemory()
	if err := resetPeak(); err != nil {
		return err
	}
	base, err := peak()
	if err != nil {
		return err
	}
	var m0, m1 runtime.MemStats
	runtime.ReadMemStats(&m0)
	r.measured, r.section = true, section
	u0, err := usageNow()
	if err != nil {
		return err
	}
	start := time.Now()
	r.lap, r.lapWall = u0, start
	err = f()
	wall := time.Since(start)
	u1, uerr := usageNow()
	r.measured = false
	if err = cmp.Or(err, uerr); err != nil {
		return err
	}
	high, err := peak()
	if err != nil {
		return err
	}
	runtime.ReadMemStats(&m1)
	r.cpu(section, u0, u1, wall)
	r.Value(section+Peak, Bytes, float64(high))
	r.Value(section+Before, Bytes, float64(base))
	if u1.childPeak > u0.childPeak {
		r.Value(section+ChildPeak, Bytes, float64(u1.childPeak))
	}
	r.Value(section+Allocs, Count, float64(m1.Mallocs-m0.Mallocs))
	r.Value(section+Allocated, Bytes, float64(m1.TotalAlloc-m0.TotalAlloc))
	return nil
}

func (r *Recorder) cpu(name string, from, to usage, wall time.Duration) {
	user, system := to.user-from.user, to.system-from.system
	r.Value(name+CPU, Seconds, (user + system).Seconds())
	r.Value(name+User, Seconds, user.Seconds())
	r.Value(name+System, Seconds, system.Seconds())
	r.Value(name+Wall, Seconds, wall.Seconds())
}

// Lap ends a part of the section that is being measured: what was spent since the
// section began, or since the lap before, are its figures.
func (r *Recorder) Lap(name string) error {
	now, err := usageNow()
	if err != nil {
		return err
	}
	at := time.Now()
	r.cpu(r.section+": "+name, r.lap, now, at.Sub(r.lapWall))
	r.lap, r.lapWall = now, at
	return nil
}

// Value notes a figure.
func (r *Recorder) Value(name string, unit Unit, v float64) {
	r.sample.Figures = append(r.sample.Figures, Figure{name, unit, v})
}

// Figure gives a figure that was noted before; 0 if there is none.
func (r *Recorder) Figure(name string) float64 {
	for _, f := range r.sample.Figures {
		if f.Name == name {
			return f.Value
		}
	}
	return 0
}

// Spread notes the median, the 99th percentile and the largest of many values.
func (r *Recorder) Spread(name string, unit Unit, values []float64) {
	if len(values) == 0 {
		return
	}
	s := slices.Clone(values)
	slices.Sort(s)
	r.Value(name+Median, unit, median(s))
	r.Value(name+P99, unit, percentile(s, 0.99))
	r.Value(name+Worst, unit, s[len(s)-1])
}

// Names of the figures of a spread, after its own name.
const (
	Median = " median"
	P99    = " p99"
	Worst  = " worst"
)

// Check notes whether something holds without which the figures do not count.
func (r *Recorder) Check(ok bool, format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if ok {
		r.sample.Checked = append(r.sample.Checked, text)
	} else {
		r.sample.Failed = append(r.sample.Failed, "not so: "+text)
	}
}

// Note keeps words for the report.
func (r *Recorder) Note(format string, args ...any) {
	r.sample.Notes = append(r.sample.Notes, fmt.Sprintf(format, args...))
}

// finish makes the sample complete: without a figure that is a number it is none.
func (r *Recorder) finish(err error) Sample {
	if err != nil {
		r.sample.Failed = append(r.sample.Failed, err.Error())
	}
	for _, f := range r.sample.Figures {
		if math.IsNaN(f.Value) || math.IsInf(f.Value, 0) {
			r.sample.Failed = append(r.sample.Failed, fmt.Sprintf("figure %q is %v", f.Name, f.Value))
		}
	}
	if len(r.sample.Figures) == 0 && len(r.sample.Failed) == 0 {
		r.sample.Failed = append(r.sample.Failed, "nothing was measured")
	}
	r.sample.Figures = slices.DeleteFunc(r.sample.Figures, func(f Figure) bool { return math.IsNaN(f.Value) || math.IsInf(f.Value, 0) })
	return r.sample
}
