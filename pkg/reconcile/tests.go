package reconcile

import (
	"fmt"

	"bulkhead/pkg/config"
	"bulkhead/pkg/packet"
	"bulkhead/pkg/plan"
	"bulkhead/pkg/policy"
	"bulkhead/pkg/prove"
)

// TestResult is what became of one policy test.
type TestResult struct {
	Name   string `json:"name"`
	Where  string `json:"where"`
	Expect string `json:"expect"`
	Passed bool   `json:"passed"`
	// Reason tells, for a failing test, one flow that is otherwise and what decides it.
	Reason string `json:"reason,omitempty"`
}

// RunTests judges the site's tests. They know policy alone: what a point lets
// pass besides (essential, failsafe) is none of their business.
func (s *Site) RunTests() []TestResult {
	out := []TestResult{}
	for i := range s.Config.Tests {
		t := &s.Config.Tests[i]
		r := TestResult{Name: t.Name, Where: t.Pos.String(), Expect: string(t.Expect)}
		r.Reason = s.runTest(t)
		r.Passed = r.Reason == ""
		out = append(out, r)
	}
	return out
}

// Summary sums test results up for a plan.
func Summary(results []TestResult) plan.TestSummary {
	out := plan.TestSummary{Failed: []string{}}
	for _, r := range results {
		if r.Passed {
			out.Passed++
		} else {
			out.Failed = append(out.Failed, fmt.Sprintf("%s (%s): %s", r.Name, r.Where, r.Reason))
		}
	}
	return out
}

func (s *Site) endAddrs(e config.End) packet.Addrs {
	switch e.Kind {
	case config.EndGroup:
		set, _ := s.Matrix.GroupAddrs(e.Name)
		return set
	case config.EndAsset:
		if a := s.Inventory.Lookup(e.Name); a != nil {
			return packet.AddrsOf(a.Addresses...)
		}
		return packet.Addrs{}
	}
	return packet.AddrsOf(e.Prefix)
}

// runTest returns "" if the test holds, or one flow that is otherwise.
func (s *Site) runTest(t *config.TestCase) string {
	from, to := s.endAddrs(t.From), s.endAddrs(t.To)
	// Tests say what policy is to mean. A quarantine overrides it, on purpose.
	cut, _ := s.Matrix.GroupAddrs(policy.GroupQuarantined)
	cutOff := !from.Intersect(cut).IsEmpty() || !to.Intersect(cut).IsEmpty()
	from, to = from.Subtract(cut), to.Subtract(cut)
	services := packet.ServicesOf(t.Ranges)
	pairs := 0
	for _, four := range []bool{true, false} {
		family, svc := packet.AllAddrs().OfFamily(four), ofFamily(services, four)
		if svc.IsEmpty() {
			continue
		}
		for i := range s.Matrix.Classes {
			src := s.Matrix.Classes[i].Addrs.Intersect(from).Intersect(family)
			if src.IsEmpty() {
				continue
			}
			for j := range s.Matrix.Classes {
				dst := s.Matrix.Classes[j].Addrs.Intersect(to).Intersect(family)
				if dst.IsEmpty() || src.Single() && src.Equal(dst) {
					continue
				}
				pairs++
				if reason := s.judgeTest(t, i, j, src, dst, svc); reason != "" {
					return reason
				}
			}
		}
	}
	if pairs == 0 && !cutOff {
		return fmt.Sprintf("no pair of addresses: %q gives %s and %q gives %s", t.From.Name, from, t.To.Name, to)
	}
	return ""
}

// ofFamily leaves out what is a service of the other family alone: ICMPv6 is none of
// IPv4, nor ICMP of IPv6.
func ofFamily(s packet.Services, four bool) packet.Services {
	other := uint32(58)
	if !four {
		other = 1
	}
	return s.Subtract(packet.Services{{Lo: other << 16, Hi: other<<16 | 0xffff}})
}

func (s *Site) judgeTest(t *config.TestCase, i, j int, src, dst packet.Addrs, svc packet.Services) string {
	permitted := s.Matrix.Permitted(i, j)
	wrong, is := svc.Intersect(permitted), "permitted"
	if t.Expect == config.Permit {
		wrong, is = svc.Subtract(permitted), "denied"
	}
	if wrong.IsEmpty() {
		return ""
	}
	a, b := src.First(), dst.First()
	if a == b {
		runs := dst.Runs()
		if b = runs[len(runs)-1].To; a == b {
			runs = src.Runs()
			a = runs[len(runs)-1].To
		}
	}
	point := wrong[0].Lo
	return fmt.Sprintf("%s -> %s %s is %s by %s", a, b, packet.Services{{Lo: point, Hi: point}}, is, prove.Says(s.Matrix, a, b, point))
}
