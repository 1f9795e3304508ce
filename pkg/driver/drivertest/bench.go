package drivertest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"bulkhead/internal/tries"
	"bulkhead/pkg/compile"
	"bulkhead/pkg/driver"
	"bulkhead/pkg/packet"
	"bulkhead/pkg/policy"
	"bulkhead/pkg/prove"
)

// tb is what a check needs of a test; *rapid.T has it too.
type tb interface {
	Helper()
	Logf(format string, args ...any)
	Fatalf(format string, args ...any)
}

// bench is a device with what the suite has done to it.
type bench struct {
	f *Factory
	s *Subject
	// looks bounds the intermediate states of one change that are decoded, roughly:
	// the first that many are, and ever fewer of those that follow.
	looks int
	// looked counts the intermediate states that were decoded.
	looked int
	// mayRefuse is set where a site that is too large for the device is skipped.
	mayRefuse bool
	brought   int // goals that the device was brought to
}

func newBench(t testing.TB, f *Factory) *bench {
	t.Helper()
	return &bench{f: f, s: f.New(t), looks: tries.Of(32)}
}

func (b *bench) read(t tb) driver.State {
	t.Helper()
	s, err := b.s.Driver().Read(context.Background())
	if err != nil {
		t.Fatalf("cannot read: %v", err)
	}
	return s
}

func (b *bench) decode(t tb, s driver.State) *driver.Decoded {
	t.Helper()
	d, err := b.s.Driver().Decode(s)
	if err != nil {
		t.Fatalf("cannot decode: %v", err)
	}
	return d
}

func (b *bench) render(t tb, g *goal, have driver.State) *driver.Rendered {
	t.Helper()
	before := have.Fingerprint()
	r, err := b.s.Driver().Render(g.want, have)
	if err != nil {
		t.Fatalf("cannot render: %v", err)
	}
	if have.Fingerprint() != before {
		t.Fatalf("rendering changed the state that it was given")
	}
	return r
}

func (b *bench) diff(t tb, have, want driver.State) *driver.Change {
	t.Helper()
	c, err := b.s.Driver().Diff(have, want)
	if err != nil {
		t.Fatalf("cannot plan: %v", err)
	}
	return c
}

// proved demands that a state enforces the goal exactly, but for the residue.
func (b *bench) proved(t tb, g *goal, s driver.State, residue []driver.Residue) *driver.Decoded {
	t.Helper()
	d := b.decode(t, s)
	if text := wrong(g, d, residue); text != "" {
		t.Fatalf("%s", text)
	}
	return d
}

// wrong says what keeps a decoded state from enforcing the goal; "" if nothing does.
func wrong(g *goal, d *driver.Decoded, residue []driver.Residue) string {
	if len(g.want.Points) == 0 {
		if len(d.Installed) > 0 {
			return fmt.Sprintf("points %q are still installed", d.Installed)
		}
		return ""
	}
	text := difference(g, d, residue)
	for _, r := range prove.Device(g.want.View.Matrix, g.want.Points, d, residue...) {
		if !r.Proved {
			return notProved(&r)
		}
	}
	if text != "" {
		return "the proof found nothing, and yet the device " + text
	}
	return ""
}

func notProved(r *prove.Result) string {
	lines := []string{fmt.Sprintf("point %q is not proved", r.Point)}
	for i := range r.Wrong {
		lines = append(lines, r.Wrong[i].String())
	}
	for _, f := range r.Findings {
		if !f.Harmless {
			lines = append(lines, fmt.Sprintf("%s: %s", f.Object, f.Text))
		}
	}
	if len(lines) > 6 {
		lines = append(lines[:6], fmt.Sprintf("and %d more", len(lines)-6))
	}
	return strings.Join(lines, "\n  ")
}

// bring takes the device to a goal in the way that the controller does, and
// demands at every stage what the contract promises.
func (b *bench) bring(t tb, g *goal) driver.State {
	t.Helper()
	have := b.read(t)
	if b.mayRefuse {
		if _, err := b.s.Driver().Render(g.want, have); errors.Is(err, driver.ErrRefused) {
			if b.read(t).Fingerprint() != have.Fingerprint() {
				t.Fatalf("a site was refused, and the device has changed")
			}
			return have
		}
	}
	b.brought++
	r := b.render(t, g, have)
	next := b.proved(t, g, r.State, r.Residue) // before anything is written
	c := b.diff(t, have, r.State)
	b.first(t, have, g, c)
	b.distinct(t, c)
	stop := b.look(t, b.decode(t, have), next)
	err := b.s.Driver().Apply(context.Background(), c)
	if text := stop(); text != "" {
		t.Fatalf("while the change is being made: %s", text)
	}
	if err != nil {
		t.Fatalf("cannot apply: %v", err)
	}
	return b.settled(t, g)
}

// settled demands that the device enforces the goal, says so after a restart, and
// that nothing is left to do.
func (b *bench) settled(t tb, g *goal) driver.State {
	t.Helper()
	now := b.read(t)
	again := b.render(t, g, now)
	d := b.proved(t, g, now, again.Residue)
	installed(t, g, d)
	if c := b.diff(t, now, again.State); !c.Empty() {
		t.Fatalf("a second plan is not empty: %s", describe(c))
	}
	if twice := b.read(t); twice.Fingerprint() != now.Fingerprint() {
		t.Fatalf("two reads of the same device have different fingerprints")
	}
	return now
}

func describe(c *driver.Change) string {
	var out []string
	for _, o := range c.Ops {
		out = append(out, fmt.Sprintf("%s %s", o.Action, o.Object))
	}
	if len(out) > 5 {
		out = append(out[:5], fmt.Sprintf("and %d more", len(c.Ops)-5))
	}
	return strings.Join(out, "; ")
}

// first demands that a first enforcement is announced: brakes and learning hang on
// it.
func (b *bench) first(t tb, have driver.State, g *goal, c *driver.Change) {
	t.Helper()
	enforcing := slices.ContainsFunc(g.want.Points, func(p compile.Point) bool {
		return p.Mode == policy.Enforce && (p.Transit || !p.Protects.IsEmpty())
	})
	before := len(b.decode(t, have).Installed) > 0
	if enforcing && c.First == before {
		t.Fatalf("first enforcement is %v, and points %v were installed before", c.First, before)
	}
}

// distinct demands that operations can be told apart: plans and approvals name
// them by their ids.
func (b *bench) distinct(t tb, c *driver.Change) {
	t.Helper()
	seen := map[string]bool{}
	for _, o := range c.Ops {
		if o.ID == "" || seen[o.ID] {
			t.Fatalf("operation %q has no id of its own: %q", o.Object, o.ID)
		}
		seen[o.ID] = true
	}
}

// installed demands that the points that enforce are named, and no others.
func installed(t tb, g *goal, d *driver.Decoded) {
	t.Helper()
	for i := range g.want.Points {
		p := &g.want.Points[i]
		if enforces := p.Mode == policy.Enforce && (p.Transit || !p.Protects.IsEmpty()); enforces && !slices.Contains(d.Installed, p.Name) {
			t.Fatalf("point %q is enforced and not named as installed: %q", p.Name, d.Installed)
		}
	}
}

// look decodes the device after every native write of the change that follows. The
// function that it returns ends that and says what was wrong.
func (b *bench) look(t tb, old, next *driver.Decoded) (stop func() string) {
	if b.s.Steps == nil || b.looks == 0 {
		return func() string { return "" }
	}
	total, text := 0, ""
	b.s.Steps(func() {
		total++
		if text != "" || total%(1+total/b.looks) != 0 {
			return
		}
		s, err := b.s.Driver().Read(context.Background())
		if err != nil {
			return // the device vanished; what it holds is looked at when it is back
		}
		b.looked++
		if bad := between(old, b.decode(t, s), next); bad != "" {
			text = fmt.Sprintf("after write %d %s", total, bad)
		}
	})
	return func() string {
		b.s.Steps(nil)
		return text
	}
}

// step is one desired state of a story.
type step struct {
	says     string
	site     *site
	protects packet.Addrs
}

func (b *bench) play(t tb, p Placement, s step) driver.State {
	t.Helper()
	return b.bring(told{t, s.says}, newGoal(t, s.site.world(), p.Points(s.protects)))
}

// told puts the step into every failure.
type told struct {
	tb
	says string
}

func (t told) Fatalf(format string, args ...any) {
	t.tb.Helper()
	t.tb.Fatalf("%s: "+format, append([]any{t.says}, args...)...)
}
