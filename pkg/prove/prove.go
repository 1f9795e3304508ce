package prove

import (
	"fmt"
	"net/netip"
	"slices"

	"bulkhead/pkg/compile"
	"bulkhead/pkg/driver"
	"bulkhead/pkg/packet"
	"bulkhead/pkg/policy"
)

// Counterexample is a packet that the device does not treat as it must.
type Counterexample struct {
	Situation driver.Situation `json:"situation"`
	Src       netip.Addr       `json:"src"`
	Dst       netip.Addr       `json:"dst"`
	Service   uint32           `json:"service"` // on the 24-bit line
	// Passes is what the device does; policy says the opposite.
	Passes bool   `json:"passes"`
	Native string `json:"native"` // the device's rule that decides
	Policy string `json:"policy"` // what says otherwise, with file:line
	// Answer is set for a packet that must pass because it belongs to a permitted flow of the
	// other direction, on a device that keeps no state.
	Answer bool `json:"answer,omitempty"`
}

// String tells the packet, the native rule and the policy in one sentence.
func (c *Counterexample) String() string {
	svc := packet.Services{{Lo: c.Service, Hi: c.Service}}.String()
	does, must := "drops", "permits"
	if c.Passes {
		does, must = "lets through", "denies"
	}
	s := c.Situation
	where := s.Hook + ", " + string(s.Tracking)
	if s.In != "" {
		where += ", in by " + s.In
	}
	if s.Port != "" {
		where += ", port " + s.Port
	}
	if s.SrcPortLo != 0 || s.SrcPortHi != 65535 {
		where += fmt.Sprintf(", source port %d", s.SrcPortLo)
	}
	if s.Expired {
		where += ", after timed elements ran out"
	}
	return fmt.Sprintf("point %q %s %s -> %s %s (%s) by %s; policy %s it: %s", s.Point, does, c.Src, c.Dst, svc, where, c.Native, must, c.Policy)
}

// Result is the outcome of a proof.
type Result struct {
	Point string `json:"point"`
	// Proved is set if every situation is equal and nothing on the device keeps the
	// proof from being complete.
	Proved bool `json:"proved"`
	// Situations counts the situations compared, Pairs the pairs of address parts.
	Situations int              `json:"situations"`
	Pairs      int              `json:"pairs"`
	Wrong      []Counterexample `json:"wrong"` // one for each situation that differs
	Findings   []driver.Finding `json:"findings"`
}

// Device proves that the decoded state of a device enforces exactly what its
// points must. Where several points judge at one hook, a packet passes only if
// all of them let it pass. Of what the device cannot express, residue is what the
// operator accepts: the flows that it enumerates may fare as it says, and no others.
func Device(m *compile.Matrix, points []compile.Point, d *driver.Decoded, residue ...driver.Residue) []Result {
	return deviceBy(newProver(m), m, points, d, residue)
}

func deviceBy(pr *prover, m *compile.Matrix, points []compile.Point, d *driver.Decoded, residue []driver.Residue) []Result {
	out := make([]Result, len(points))
	for i := range points {
		out[i] = Result{Point: points[i].Name, Proved: true, Wrong: []Counterexample{}, Findings: []driver.Finding{}}
	}
	hooks, without, portwise := map[string]bool{}, stateless(d), map[string]*portwise{}
	for i := range d.Relations {
		rel := &d.Relations[i]
		hook := rel.Situation.Hook
		hooks[hook] = true
		var at []*compile.Point
		var results []*Result
		for k := range points {
			if slices.Contains(points[k].Hooks(), hook) {
				at, results = append(at, &points[k]), append(results, &out[k])
			}
		}
		if len(at) == 0 {
			continue // no point asks for anything here
		}
		pairs := 0
		var c *Counterexample
		if ports, asked := portsOf(at); asked {
			if portwise[hook] == nil {
				portwise[hook] = pr.newPortwise(at, hook, residue, without[hook])
			}
			c = portwise[hook].relation(rel, spoken(rel, ports, d), &pairs)
		} else {
			for _, piece := range pieces(rel, at, residue) {
				if c = pr.compare(at, &piece, &pairs, residue); c != nil {
					// Where all source ports fare alike, the packet is told without one. What is
					// accepted is accepted of some source ports, and says nothing of all.
					if len(residue) > 0 {
						break
					}
					if whole := pr.compare(at, rel, &pairs, residue); whole != nil {
						c = whole
					}
					break
				}
			}
		}
		gaps := pr.takeGaps()
		for k, r := range results {
			for _, f := range gaps {
				f.Point = at[k].Name
				r.Findings = append(r.Findings, f)
				r.Proved = false
			}
			r.Situations++
			r.Pairs += pairs
			if c != nil {
				mine := *c
				mine.Situation.Point = at[k].Name
				r.Wrong = append(r.Wrong, mine)
				r.Proved = false
			}
		}
	}
	gaps := incomplete(d)
	for i := range points {
		out[i].findings(&points[i], d, hooks)
		out[i].accepted(residue)
		out[i].adrift(&points[i])
		for _, f := range gaps {
			out[i].Findings = append(out[i].Findings, f)
			out[i].Proved = false
		}
	}
	return out
}

func (r *Result) findings(p *compile.Point, d *driver.Decoded, hooks map[string]bool) {
	for _, h := range p.Hooks() {
		if !hooks[h] {
			r.Proved = false
			r.Findings = append(r.Findings, driver.Finding{Point: p.Name, Object: h, Text: "nothing judges packets at this hook"})
		}
	}
	for _, f := range d.Findings {
		if f.Point == "" || f.Point == p.Name {
			if f.Foreign != "" && slices.Contains(p.AcceptForeign, f.Foreign) {
				f.Accepted, f.Harmless = true, true
			}
			r.Findings = append(r.Findings, f)
			r.Proved = r.Proved && f.Harmless
		}
	}
}

// domain gives the services that can occur in a situation between addresses of
// one family. An ICMP message that is no query never belongs to a tracked flow,
// nor does one of the other family, and no helper expects any.
func domain(t driver.Tracking, four bool) packet.Services {
	all := packet.AllServices()
	icmp := func(proto, lo, hi uint32) packet.Services {
		return packet.Services{{Lo: proto<<16 | lo<<8, Hi: proto<<16 | hi<<8 | 0xff}}
	}
	switch t {
	case driver.TrackForward, driver.TrackReply:
		queries := icmp(58, 128, 128).Union(icmp(58, 139, 139))
		if four {
			queries = icmp(1, 8, 8).Union(icmp(1, 13, 13)).Union(icmp(1, 15, 15)).Union(icmp(1, 17, 17))
		}
		return all.Subtract(icmp(1, 0, 255)).Subtract(icmp(58, 0, 255)).Union(queries)
	case driver.TrackRelated:
		return all.Subtract(icmp(1, 0, 255)).Subtract(icmp(58, 0, 255))
	}
	return opens(t)
}

// compare finds the first difference in one situation; nil if there is none.
func (p *prover) compare(points []*compile.Point, rel *driver.Relation, pairs *int, residue []driver.Residue) *Counterexample {
	m := p.m
	boxes := boxesOf(residue, points, rel.Situation)
	if len(boxes) > 0 && rel.Rest != nil { // what is left over is told pair by pair
		flat := rel.Flat()
		rel = &flat
	}
	var domains [2]packet.Services
	for i, four := range []bool{true, false} {
		domains[i] = domain(rel.Situation.Tracking, four)
		if rel.Domain != nil {
			domains[i] = domains[i].Intersect(rel.Domain)
		}
	}
	if rel.Rest != nil {
		return p.tables(points, rel, domains, pairs)
	}
	e := NewExpected(m, points, rel.Situation)
	e.refine(boxes)
	in := newWithin(boxes, e.Addrs)
	srcs, dsts := packet.Join(e.Addrs, rel.Src), packet.Join(e.Addrs, rel.Dst)
	equal := map[[3]int]bool{} // pairs of interned service sets known to be equal
	want, got := newInterner(), newInterner()
	row := e.newRow()
	for _, s := range srcs {
		row.of(s.A)
		for _, d := range dsts {
			if s.Addrs.First().Is4() != d.Addrs.First().Is4() {
				continue // parts are of one family; no packet has ends of two
			}
			if !e.asked(s.A, d.A) {
				continue
			}
			*pairs++
			w, g := row.permit(d.A), rel.Permit(s.B, d.B)
			family := 0
			if !s.Addrs.First().Is4() {
				family = 1
			}
			key := [3]int{want.id(w), got.id(g), family}
			if same, known := equal[key]; known && same && len(boxes) == 0 {
				continue
			}
			wi, gi := w.Intersect(domains[family]), g.Intersect(domains[family])
			touched := in.touching(s.A, d.A)
			admit := admitted(touched, wi, nil, gi)
			if len(touched) == 0 {
				equal[key] = admit.Equal(gi)
			}
			if admit.Equal(gi) {
				continue
			}
			if c := p.wrong(rel, s.Addrs, d.Addrs, admit, gi); c != nil || len(p.gaps) > 0 {
				return c
			}
		}
	}
	return nil
}

// interner numbers service sets that share their memory, so that the same shared
// set is compared once. Sets with equal contents in two places get two numbers,
// which costs a comparison and nothing else.
type interner struct{ ids map[place]int }

// place is where a service set lies in memory.
type place struct {
	at  *packet.Span
	len int
}

func newInterner() *interner { return &interner{ids: map[place]int{}} }

func (t *interner) id(s packet.Services) int {
	p := place{len: len(s)}
	if len(s) > 0 {
		p.at = &s[0]
	}
	n, ok := t.ids[p]
	if !ok {
		n = len(t.ids) + 1
		t.ids[p] = n
	}
	return n
}

// wrong is witness, and keeps a part of a matrix from being proved where there is none:
// the one address stands for others, between which there are flows.
func (p *prover) wrong(rel *driver.Relation, srcs, dsts packet.Addrs, want, got packet.Services) *Counterexample {
	c := witness(p.m, rel, srcs, dsts, want, got)
	if c == nil && p.m.Partly() {
		p.gap(rel, errAlone.Error())
	}
	return c
}

// witness picks one packet out of a difference. An address to itself is no
// packet that a device ever judges.
func witness(m *compile.Matrix, rel *driver.Relation, srcs, dsts packet.Addrs, want, got packet.Services) *Counterexample {
	src, dst, ok := pick(srcs, dsts)
	if !ok {
		return nil
	}
	diff, passes := got.Subtract(want), true
	if diff.IsEmpty() {
		diff, passes = want.Subtract(got), false
	}
	c := &Counterexample{Situation: rel.Situation, Src: src, Dst: dst, Service: diff[0].Lo, Passes: passes, Native: "(unknown)"}
	if rel.Why != nil {
		c.Native = rel.Why(src, dst, c.Service)
	}
	c.Policy = Says(m, src, dst, c.Service)
	return c
}

// pick chooses a source and a destination of one family that differ.
func pick(srcs, dsts packet.Addrs) (src, dst netip.Addr, ok bool) {
	for _, s := range srcs.Runs() {
		for _, d := range dsts.Runs() {
			if s.From.Is4() != d.From.Is4() {
				continue
			}
			switch {
			case s.From != d.From:
				return s.From, d.From, true
			case d.From != d.To:
				return s.From, d.To, true
			case s.From != s.To:
				return s.To, d.From, true
			}
		}
	}
	return src, dst, false
}

// Says names what decides a flow: the policies of both sides, or the default.
func Says(m *compile.Matrix, src, dst netip.Addr, service uint32) string {
	o := m.Verdict(src, dst, service)
	side := func(i int) string {
		if i == compile.Default {
			return "the default"
		}
		return Cite(&m.Policies[i])
	}
	if o.Egress == o.Ingress {
		return side(o.Egress)
	}
	return fmt.Sprintf("%s on egress, %s on ingress", side(o.Egress), side(o.Ingress))
}

// Cite names a policy with the place that declares it.
func Cite(p *policy.Policy) string {
	return fmt.Sprintf("%s %q (%s)", p.Action, p.Name, p.Pos)
}
