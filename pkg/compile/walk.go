package compile

import (
	"slices"
	"time"

	"bulkhead/pkg/packet"
	"bulkhead/pkg/policy"
)

// Default stands for "no policy decided" where a policy's index is expected.
const Default = -1

// Outcome is a verdict with all that a device has to keep apart: which policies
// decided, whether to log, what observed policies would have done, and when it
// ends by itself.
type Outcome struct {
	Permit bool
	// Egress and Ingress are the policies that decided, as indexes into
	// Matrix.Policies, or Default.
	Egress, Ingress int
	Log             bool
	// Differs is set if enforcing the observed policies would change the verdict;
	// Shadow is then the policy that decides it there (or Default).
	Differs bool
	Shadow  int
	// Deadline is when the verdict ends if nobody renews it; zero: never. After is
	// then the outcome that takes its place, else -1.
	Deadline time.Time
	After    int
	// EgressOpen and IngressOpen are set, in the contents of a space that does not
	// decide everything, for a side that none of its policies decides.
	EgressOpen, IngressOpen bool
	// Partial is set in such contents.
	Partial bool
}

// OneSide gives the outcome of a flow that one policy decides because the other
// side was allowed before.
func (m *Matrix) OneSide(p int) int {
	w := m.b.walker
	return w.intern(Outcome{Permit: m.Policies[p].Action == policy.Allow, Egress: p, Ingress: Default, Log: w.logs(p), Shadow: Default, After: -1})
}

// Open reports whether neither side is decided.
func (o *Outcome) Open() bool { return o.EgressOpen && o.IngressOpen }

// walker judges lists of policies over the whole service line.
type walker struct {
	m      *Matrix
	ranges []packet.Services // policy -> its services
	index  map[Outcome]int
}

func newWalker(m *Matrix) *walker {
	w := &walker{m: m, index: map[Outcome]int{}}
	for i := range m.Policies {
		w.ranges = append(w.ranges, packet.ServicesOf(m.Policies[i].Ranges))
	}
	return w
}

// cell judges the policies in list, which are in walking order and all name the
// pair, on every point of the line.
func (w *walker) cell(list []int, srcIsolated, dstIsolated bool) Cell {
	return w.segments(list, func(match []int) int { return w.outcome(match, srcIsolated, dstIsolated) })
}

// partial judges policies of which others may come before and after: a side that
// none of them decides stays open. None of them passes, observes or expires.
func (w *walker) partial(list []int) Cell {
	return w.segments(list, func(match []int) int {
		e, i := w.both(match, false, false, false, endNone)
		o := Outcome{Egress: e.policy, Ingress: i.policy, Shadow: Default, After: -1,
			EgressOpen: e.policy == Default, IngressOpen: i.policy == Default, Partial: true}
		o.Permit = !o.EgressOpen && !o.IngressOpen && e.permit && i.permit
		o.Log = w.logs(e.policy) || w.logs(i.policy)
		return w.intern(o)
	})
}

// segments cuts the line where a policy in the list begins or ends, and judges
// each piece by those that match there.
func (w *walker) segments(list []int, judge func(match []int) int) Cell {
	cuts := []uint32{0}
	for _, i := range list {
		for _, s := range w.ranges[i] {
			cuts = append(cuts, s.Lo)
			if s.Hi < packet.MaxService {
				cuts = append(cuts, s.Hi+1)
			}
		}
	}
	slices.Sort(cuts)
	cuts = slices.Compact(cuts)
	var out Cell
	for n, lo := range cuts {
		hi := uint32(packet.MaxService)
		if n+1 < len(cuts) {
			hi = cuts[n+1] - 1
		}
		var match []int
		for _, i := range list {
			if w.ranges[i].Contains(lo) {
				match = append(match, i)
			}
		}
		out = appendSegment(out, packet.Span{Lo: lo, Hi: hi}, judge(match))
	}
	return out
}

// ending says which policies that will expire a walk leaves out.
type ending int

const (
	endNone   ending = iota
	endAllows        // allows that expire are gone
	endAll           // allows and passes that expire are gone; denies stay
)

type decided struct {
	permit   bool
	policy   int
	deadline time.Time // the earliest end of an allow or pass that the walk relied on
}

// side walks the matching policies for one side.
func (w *walker) side(match []int, side policy.Direction, isolated, observed bool, end ending) decided {
	d := decided{permit: !isolated, policy: Default}
	skip := policy.Tier(-1)
	for _, i := range match {
		p := &w.m.Policies[i]
		if p.Tier == skip || p.Mode == policy.Observe && !observed || p.Direction != policy.Both && p.Direction != side {
			continue
		}
		timed := !p.Expires.IsZero()
		if timed && (end >= endAllows && p.Action == policy.Allow || end == endAll && p.Action == policy.Pass) {
			continue
		}
		if timed && p.Action != policy.Deny && (d.deadline.IsZero() || p.Expires.Before(d.deadline)) {
			d.deadline = p.Expires
		}
		if p.Action == policy.Pass {
			skip = p.Tier
			continue
		}
		d.permit, d.policy = p.Action == policy.Allow, i
		return d
	}
	return d
}

func (w *walker) both(match []int, srcIsolated, dstIsolated, observed bool, end ending) (e, i decided) {
	return w.side(match, policy.Egress, srcIsolated, observed, end), w.side(match, policy.Ingress, dstIsolated, observed, end)
}

func (w *walker) outcome(match []int, srcIsolated, dstIsolated bool) int {
	e, i := w.both(match, srcIsolated, dstIsolated, false, endNone)
	o := Outcome{Permit: e.permit && i.permit, Egress: e.policy, Ingress: i.policy, Shadow: Default, After: -1}
	o.Log = w.logs(e.policy) || w.logs(i.policy)
	se, si := w.both(match, srcIsolated, dstIsolated, true, endNone)
	if shadow := se.permit && si.permit; shadow != o.Permit {
		o.Differs = true
		o.Shadow = se.policy
		// A shadow that denies is named by the side that denies; one that permits by
		// the side whose judgement changed.
		if !shadow && se.permit || shadow && e.permit {
			o.Shadow = si.policy
		}
	}
	if deadline := earliest(e.deadline, i.deadline); o.Permit && !deadline.IsZero() {
		if after, ends := w.after(match, srcIsolated, dstIsolated); ends {
			o.Deadline, o.After = deadline, after
		}
	}
	return w.intern(o)
}

// after works out what takes the place of a permit once the policies it stands
// on have expired and nobody has computed anew: only what is permitted both with
// expiring passes in place and without them. It fails closed.
func (w *walker) after(match []int, srcIsolated, dstIsolated bool) (outcome int, ends bool) {
	e1, i1 := w.both(match, srcIsolated, dstIsolated, false, endAllows)
	e2, i2 := w.both(match, srcIsolated, dstIsolated, false, endAll)
	if e1.permit && i1.permit && e2.permit && i2.permit {
		return 0, false
	}
	e, i := e2, i2
	if e2.permit && i2.permit {
		e, i = e1, i1
	}
	o := Outcome{Egress: e.policy, Ingress: i.policy, Shadow: Default, After: -1}
	o.Log = w.logs(e.policy) || w.logs(i.policy)
	return w.intern(o), true
}

func earliest(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

func (w *walker) logs(i int) bool { return i != Default && w.m.Policies[i].Log }

func (w *walker) intern(o Outcome) int {
	key := o
	if !key.Deadline.IsZero() {
		key.Deadline = time.Unix(0, o.Deadline.UnixNano()).UTC() // one moment in two zones is one outcome
	}
	if id, ok := w.index[key]; ok {
		return id
	}
	w.index[key] = len(w.m.Outcomes)
	w.m.Outcomes = append(w.m.Outcomes, o)
	return len(w.m.Outcomes) - 1
}

// strictest returns the outcome that holds where two machines claim an address.
func (w *walker) strictest(x, y int) int {
	a, b := w.m.Outcomes[x], w.m.Outcomes[y]
	if x == y {
		return x
	}
	o := a
	if a.Permit && !b.Permit {
		o = b
	}
	if a.Permit && b.Permit && !b.Deadline.IsZero() && (a.Deadline.IsZero() || b.Deadline.Before(a.Deadline)) {
		// Both permit: it ends when the first of the two does.
		o.Deadline, o.After = b.Deadline, b.After
	}
	o.Log = a.Log || b.Log
	shadowA, shadowB := a.Permit != a.Differs, b.Permit != b.Differs
	o.Differs = (shadowA && shadowB) != o.Permit
	o.Shadow = Default
	switch {
	case !o.Differs:
	case o.Permit && shadowA:
		o.Shadow = b.Shadow
	default:
		o.Shadow = a.Shadow
	}
	return w.intern(o)
}
