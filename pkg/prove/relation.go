package prove

import (
	"errors"
	"net/netip"

	"bulkhead/pkg/compile"
	"bulkhead/pkg/driver"
	"bulkhead/pkg/packet"
)

// prover proves the relations of one device. What it works out of policy, and what
// it has proved of a table, serves all of them.
type prover struct {
	m      *compile.Matrix
	tried  bool
	sides  []*policySide // by hint, the newest first
	errs   []error       // why a hint is none
	proved map[provedKey]*shown
	before []*policySide // of the proof before, with the same matrix
	gaps   []driver.Finding
	// uniformly is set if something was shown that need not hold for an address which comes
	// to another class.
	uniformly bool
}

type policySide struct {
	*stages
	cache *cache
	used  bool // it proved some table
}

type provedKey struct {
	t       *driver.Table
	expired bool
}

func newProver(m *compile.Matrix) *prover {
	return &prover{m: m, proved: map[provedKey]*shown{}}
}

func (p *prover) takeGaps() []driver.Finding {
	out := p.gaps
	p.gaps = nil
	return out
}

func (p *prover) gap(rel *driver.Relation, text string) {
	p.gaps = append(p.gaps, driver.Finding{Object: rel.Situation.Hook, Text: "not proved, " + string(rel.Situation.Tracking) + ": " + text})
}

// hints prepares the policy side for every hint that there is.
func (p *prover) hints() {
	if p.tried {
		return
	}
	p.tried = true
	for _, l := range p.m.Layouts() {
		s, err := sideOf(p.m, l)
		if err != nil {
			p.errs = append(p.errs, err)
			continue
		}
		side := &policySide{stages: s, cache: newCache()}
		for _, b := range p.before {
			if b.stages == s {
				side = b
			}
		}
		p.sides = append(p.sides, side)
	}
}

// worked is the policy side of a hint, or why it is none. It stays with the hint, and
// so no longer than the matrix: it says nothing of any device.
type worked struct {
	m      *compile.Matrix
	stages *stages
	err    error
}

// sideOf is stagesOf, worked out once for a matrix and a hint.
func sideOf(m *compile.Matrix, hint *compile.Layout) (*stages, error) {
	w, ok := hint.Kept().(*worked)
	if !ok || w.m != m {
		w = &worked{m: m}
		w.stages, w.err = stagesOf(m, hint)
		hint.Keep(w)
	}
	if w.stages != nil {
		w.stages.trim()
	}
	return w.stages, w.err
}

// tables compares a relation that judges by tables. The parts of the relation are
// what zones, failsafe addresses and the like tell apart; what policy says is held
// against the tables.
func (p *prover) tables(points []*compile.Point, rel *driver.Relation, domains [2]packet.Services, pairs *int) *Counterexample {
	e := &Expected{m: p.m, points: points, s: rel.Situation, cells: map[int]packet.Services{}}
	over := overlays(points)
	srcs, dsts := packet.Join(over, rel.Src), packet.Join(over, rel.Dst)
	for _, s := range srcs {
		for _, d := range dsts {
			four := s.Addrs.First().Is4()
			if four != d.Addrs.First().Is4() || !p.m.AskedOf(four) {
				continue
			}
			*pairs++
			dom := domains[0]
			if !four {
				dom = domains[1]
			}
			if c := p.overlay(e, rel, s, d, dom, pairs); c != nil {
				return c
			}
		}
	}
	return nil
}

// overlay compares what happens between two parts.
func (p *prover) overlay(e *Expected, rel *driver.Relation, s, d packet.Joint, dom packet.Services, pairs *int) *Counterexample {
	must, may := e.overlay(s.Addrs.First(), d.Addrs.First())
	cases := rel.Rest(s.B, d.B)
	got := rel.Permit(s.B, d.B).Intersect(dom)
	var rest packet.Services
	for _, c := range cases {
		rest = rest.Union(c.Services)
	}
	rest = rest.Intersect(dom)
	must, may = must.Intersect(dom), may.Intersect(dom)
	byPolicy := may.Subtract(must)
	// Whatever policy says, this passes and that does not.
	if miss := must.Subtract(got).Subtract(rest); len(miss) > 0 {
		return p.wrong(rel, s.Addrs, d.Addrs, miss, nil)
	}
	if extra := got.Subtract(may); len(extra) > 0 {
		return p.wrong(rel, s.Addrs, d.Addrs, nil, extra)
	}
	if odd := rest.Intersect(must); !always(cases, odd, true) {
		return p.search(e, rel, s.Addrs, d.Addrs, "failsafe or essential traffic is looked up in the tables of policy")
	}
	if odd := rest.Subtract(may); !always(cases, odd, false) {
		return p.search(e, rel, s.Addrs, d.Addrs, "traffic that must not pass is looked up in the tables of policy")
	}
	// Where a device decides by itself what policy decides, policy must say so for
	// every pair. That is rare (nothing is isolated and nothing denied): it is shown
	// by the cells of all pairs, if they are not too many.
	if byItself := byPolicy.Subtract(rest); len(byItself) > 0 {
		if c, ok := p.uniform(e, rel, s.Addrs, d.Addrs, byItself, got); !ok {
			return c
		}
	}
	svc := rest.Intersect(byPolicy)
	if len(svc) == 0 {
		return nil
	}
	return p.judge(e, rel, s, d, cases, svc, pairs)
}

// judge proves tables, by the first hint that fits.
func (p *prover) judge(e *Expected, rel *driver.Relation, s, d packet.Joint, cases []driver.Case, svc packet.Services, pairs *int) *Counterexample {
	open := svc
	for _, c := range cases {
		if c.Next != nil {
			open = open.Subtract(c.Services.Intersect(p.known(c.Next, e.s.Expired, pairs)))
		}
	}
	if len(open) == 0 {
		return nil
	}
	p.hints()
	var first error
	before := *pairs
	for _, side := range p.sides {
		w := &walker{s: side.stages, e: e, cache: side.cache, pairs: pairs, four: s.Addrs.First().Is4()}
		err := w.judge(cases, open)
		if err == nil {
			side.used = true
			w.commit()
			for _, c := range cases {
				if c.Next != nil {
					p.show(c.Next, e.s.Expired, c.Services.Intersect(open), *pairs-before)
					before = *pairs // what several tables took counts once
				}
			}
			return nil
		}
		if first == nil {
			first = err
		}
	}
	if len(p.sides) == 0 {
		first = errNoHint
		if len(p.errs) > 0 {
			first = p.errs[0]
		}
		p.gap(rel, first.Error())
		return nil
	}
	// Where tables differ there is mostly a packet that shows it, and then nothing else has
	// to be looked at.
	var m *mismatch
	if errors.As(first, &m) && !m.src.IsEmpty() && !m.dst.IsEmpty() {
		if c := p.around(e, rel, m.src, m.dst, glimpses); c != nil {
			return c
		}
	}
	c, err := p.pairwise(e, rel, s, d, cases, open, pairs)
	if err == nil {
		return c
	}
	if m != nil {
		src, dst := m.src, m.dst
		if src.IsEmpty() || dst.IsEmpty() {
			src, dst = s.Addrs, d.Addrs
		}
		return p.search(e, rel, src, dst, first.Error()+"; "+err.Error())
	}
	p.gap(rel, first.Error()+"; "+err.Error())
	return nil
}

// search looks for a packet that shows a difference: between the two sets, and if
// either is of many addresses, between an address of each class. Where it finds
// none, the relation is not proved all the same.
func (p *prover) search(e *Expected, rel *driver.Relation, srcs, dsts packet.Addrs, why string) *Counterexample {
	if c := p.around(e, rel, srcs, dsts, maxSearch); c != nil {
		return c
	}
	p.gap(rel, why)
	return nil
}

// around looks for a packet between the two sets, and between an address of either and
// one of each class; at most so many classes are looked at, spread over all of them.
func (p *prover) around(e *Expected, rel *driver.Relation, srcs, dsts packet.Addrs, most int) *Counterexample {
	if c := p.try(e, rel, srcs, dsts); c != nil {
		return c
	}
	four := srcs.First().Is4()
	step := max(1, (len(p.m.Classes)+most-1)/most)
	for i := 0; i < len(p.m.Classes); i += step {
		a := p.m.Classes[i].Addrs.OfFamily(four)
		for _, far := range []packet.Addrs{srcs, dsts} {
			if c := p.try(e, rel, far, a); c != nil {
				return c
			}
			if c := p.try(e, rel, a, far); c != nil {
				return c
			}
		}
	}
	return nil
}

const (
	// maxSearch bounds the classes that a search for a packet looks at, where nothing but
	// a packet would say what is wrong.
	maxSearch = 4096
	// glimpses is the same where all pairs can still be looked at, which takes longer.
	glimpses = 256
)

// try compares one packet between two sets.
func (p *prover) try(e *Expected, rel *driver.Relation, srcs, dsts packet.Addrs) *Counterexample {
	src, dst, ok := pick(srcs, dsts)
	if !ok {
		return nil
	}
	i, j := partOf(rel.Src, src), partOf(rel.Dst, dst)
	if i < 0 || j < 0 {
		return nil
	}
	if a, b := p.m.ClassOf(src), p.m.ClassOf(dst); a < 0 || b < 0 || !p.m.Asked(a, false) || !p.m.Asked(b, true) {
		return nil // the matrix says nothing of it
	}
	dom := domain(rel.Situation.Tracking, src.Is4())
	if rel.Domain != nil {
		dom = dom.Intersect(rel.Domain)
	}
	got := rel.Permit(i, j)
	if rel.Rest != nil {
		got = got.Union(driver.Permits(rel.Rest(i, j), src, dst))
	}
	want := e.at(src, dst).Intersect(dom)
	if got = got.Intersect(dom); got.Equal(want) {
		return nil
	}
	host := func(a netip.Addr) packet.Addrs { return packet.AddrsOf(netip.PrefixFrom(a, a.BitLen())) }
	return witness(p.m, rel, host(src), host(dst), want, got)
}

func partOf(parts []packet.Addrs, a netip.Addr) int {
	for i := range parts {
		if parts[i].Contains(a) {
			return i
		}
	}
	return -1
}

// always reports whether cases let some services pass, or drop them, whatever
// tables find.
func always(cases []driver.Case, svc packet.Services, permit bool) bool {
	seen := map[*driver.Table]packet.Services{}
	var walk func(cases []driver.Case, svc packet.Services) bool
	walk = func(cases []driver.Case, svc packet.Services) bool {
		for _, c := range cases {
			both := c.Services.Intersect(svc)
			if len(both) == 0 {
				continue
			}
			svc = svc.Subtract(both)
			if c.Permit {
				if !permit {
					return false
				}
				continue
			}
			known := seen[c.Next]
			if both = both.Subtract(known); len(both) == 0 {
				continue
			}
			seen[c.Next] = known.Union(both)
			for _, o := range c.Next.Outcomes {
				if !walk(o, both) {
					return false
				}
			}
		}
		return !permit || len(svc) == 0
	}
	return len(svc) == 0 || walk(cases, svc)
}

// uniform checks that policy says of some services, for every pair of addresses
// between two sets, what a device does without looking anything up.
func (p *prover) uniform(e *Expected, rel *driver.Relation, srcs, dsts packet.Addrs, svc, got packet.Services) (*Counterexample, bool) {
	p.uniformly = true
	rows, cols := p.ends(srcs, p.m.Row), p.ends(dsts, p.m.Col)
	if len(rows)*len(cols) > maxUniform {
		return p.search(e, rel, srcs, dsts, "what policy decides is not looked up in any table, and there are too many pairs to look at each"), false
	}
	for _, i := range rows {
		for _, j := range cols {
			want := e.cell(i, j).Intersect(svc)
			if !want.Equal(got.Intersect(svc)) {
				return p.search(e, rel, p.m.Classes[i].Addrs.Intersect(srcs), p.m.Classes[j].Addrs.Intersect(dsts), "what policy decides is not looked up in any table"), false
			}
		}
	}
	return nil, true
}

// maxUniform bounds the pairs of rows and columns that uniform looks at.
const maxUniform = 1 << 22

// ends lists a class for each row, or column, that has addresses in a set.
func (p *prover) ends(in packet.Addrs, number func(class int) int) []int {
	seen := map[int]bool{}
	var out []int
	for c := range p.m.Classes {
		if n := number(c); !seen[n] && !p.m.Classes[c].Addrs.Intersect(in).IsEmpty() {
			seen[n] = true
			out = append(out, c)
		}
	}
	return out
}
