package prove

import (
	"errors"
	"slices"

	"bulkhead/pkg/driver"
	"bulkhead/pkg/packet"
)

// pairwise holds what a device does with some services between two parts against
// policy, pair by pair, where the tables could not be held against each other. It
// returns a packet that fares otherwise, or nil if there is none; an error says that
// neither was shown.
func (p *prover) pairwise(e *Expected, rel *driver.Relation, s, d packet.Joint, cases []driver.Case, svc packet.Services, pairs *int) (c *Counterexample, err error) {
	if len(p.sides) == 0 {
		return nil, errNoHint
	}
	policy := p.sides[0] // any that holds decides what policy says
	w := &walker{s: policy.stages, e: e, cache: policy.cache, pairs: pairs, four: s.Addrs.First().Is4()}
	before, tables := *pairs, behind(cases, svc)
	all, err := w.surveyOf(tables)
	if err != nil {
		return nil, err
	}
	all.w = w
	src, dst, found, err := all.differ(cases, svc)
	switch {
	case err != nil:
		return nil, err
	case !found:
		policy.used = true
		if all.lone { // an address that comes to be seen so would have the other for its peer
			p.uniformly = true
		}
		if !slices.Contains(w.cache.surveyed, all) {
			w.cache.surveyed = append(w.cache.surveyed, all)
		}
		for _, c := range cases {
			if c.Next != nil {
				p.show(c.Next, e.s.Expired, c.Services.Intersect(svc), *pairs-before)
				before = *pairs
			}
		}
		return nil, nil
	}
	// The pair need not be one of these two parts, for which alone the cases were asked.
	from, to, _ := all.addrs(src, dst)
	if from, to = from.Intersect(s.Addrs), to.Intersect(d.Addrs); !from.IsEmpty() && !to.IsEmpty() {
		if c := p.try(e, rel, from, to); c != nil {
			return c, nil
		}
	}
	here, err := w.newSurvey(tables, [2]packet.Addrs{s.Addrs, d.Addrs})
	if err != nil {
		return nil, err
	}
	src, dst, found, err = here.differ(cases, svc)
	if err != nil || !found {
		p.uniformly = true // of single addresses nothing was noted
		return nil, err
	}
	from, to, _ = here.addrs(src, dst)
	if c := p.try(e, rel, from, to); c != nil {
		return c, nil
	}
	return nil, errOddPair
}

var (
	errNoHint  = errors.New("which policies are in which table is not known")
	errOddPair = errors.New("its tables do not say what the policies do, and no packet was found that shows it")
)

// differ holds what a device does with some services of every pair against policy. It
// returns a pair that fares otherwise, if there is one.
func (s *survey) differ(cases []driver.Case, svc packet.Services) (src, dst int32, found bool, err error) {
	if err := s.enumerate(); err != nil {
		return 0, 0, false, err
	}
	t := s.newTuple()
	for _, c := range s.found {
		*s.w.pairs++
		s.fill(t, c)
		if s.device(t, cases, svc).Equal(s.policy(t, svc)) {
			continue
		}
		if src, dst, ok := s.where(c); ok { // an address to itself is no packet
			return src, dst, true, nil
		}
		if s.w.s.m.Partly() { // one address stands for several, and they have flows
			return 0, 0, false, errAlone
		}
		s.lone = true
	}
	return 0, 0, false, nil
}

// device is which of some services a device lets pass.
func (s *survey) device(t *tuple, cases []driver.Case, svc packet.Services) packet.Services {
	var out packet.Services
	for _, c := range cases {
		both := c.Services.Intersect(svc)
		switch {
		case len(both) == 0:
		case c.Permit:
			out = out.Union(both)
		default:
			out = out.Union(s.device(t, c.Next.Outcomes[t.outcomes[s.of[c.Next]]], both))
		}
	}
	return out
}

// policy is which of some services policy permits: what its tables say in turn, and
// isolation of what none of them decides.
func (s *survey) policy(t *tuple, svc packet.Services) packet.Services {
	var out packet.Services
	left := [3]packet.Services{open: svc} // by side
	for k := range s.w.s.list {
		if t.cells[k] == 0 {
			continue
		}
		var next [3]packet.Services
		for from, svc := range left {
			if len(svc) == 0 {
				continue
			}
			for _, x := range s.w.splits(s.cells[t.cells[k]], side(from), s.w.s.list[k].whole) {
				here := x.svc.Intersect(svc)
				switch {
				case len(here) == 0 || x.what == drops:
				case x.what == passes:
					out = out.Union(here)
				default:
					next[x.side] = next[x.side].Union(here)
				}
			}
		}
		left = next
	}
	for from, svc := range left {
		if (side(from) == egressOK || !t.isolated[0]) && (side(from) == ingressOK || !t.isolated[1]) {
			out = out.Union(svc)
		}
	}
	return out
}
