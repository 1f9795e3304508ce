package render

import (
	"fmt"

	"bulkhead/pkg/compile"
	"bulkhead/pkg/driver"
	"bulkhead/pkg/driver/want"
	"bulkhead/pkg/packet"
)

// standing is what happens at a hook to what one part sends to another.
type standing int

// The standings.
const (
	filtered standing = iota // a list decides
	inbound                  // nobody filters what the other receives
	ignored                  // it does not come by there, or is none of the points' business
)

// stands tells what happens at a hook. What hangs on the switch is filtered where it sends;
// what comes from elsewhere, where it is received, if at all.
func (x *fabric) stands(hook string, src, dst int) standing {
	from, to := len(x.at[src]) > 0, len(x.at[dst]) > 0 || x.w.Multicast(dst) && len(x.ports) > 0
	switch {
	case hook == compile.HookOutput && from, hook == compile.HookInput && to && x.f.Out:
		return filtered
	case hook == compile.HookInput && to && !from:
		return inbound
	}
	return ignored
}

// residue enumerates where lists do otherwise than policy says.
func (x *fabric) residue() ([]driver.Residue, error) {
	type memo struct {
		shape    int
		standing standing
		errors   bool
	}
	known := map[memo][]want.Lapse{}
	out := want.NewLapses(x.w.Parts)
	for _, hook := range []string{compile.HookInput, compile.HookOutput} {
		for dst := range x.w.Parts {
			for src := range x.w.Parts {
				if x.w.Four(src) != x.w.Four(dst) || src == dst && len(x.w.Parts[src].Prefixes()) == 1 && x.w.Parts[src].Single() {
					continue
				}
				at := x.stands(hook, src, dst)
				if at == ignored {
					continue
				}
				m := memo{x.shapeOf(src, dst), at, at == filtered && hook == compile.HookInput && !x.w.Multicast(dst)}
				all, ok := known[m]
				if !ok {
					var err error
					if all, err = x.lapses(x.shapes[m.shape], at, m.errors); err != nil {
						return nil, fmt.Errorf("%s to %s: %w", x.w.Parts[src], x.w.Parts[dst], err)
					}
					known[m] = all
				}
				point := x.w.Seer(hook, src, dst)
				for _, l := range all {
					out.Add(point, hook, src, dst, l)
				}
			}
		}
	}
	return out.Residue(texts), nil
}

// lapses works out what is wrong in one standing. errors is set where ICMP errors come in
// from everybody.
func (x *fabric) lapses(s *shape, at standing, errors bool) ([]want.Lapse, error) {
	required := s.errors
	if errors {
		more := *s
		more.always = nil
		more.errors = errorsOf(s.four)
		s = &more
	}
	var out []want.Lapse
	every := packet.AllServices()
	compare := func(t driver.Tracking, run want.Ports, must, does, answers packet.Services, kinds map[bool]string) error {
		domain := every
		if t == driver.TrackMid {
			domain = tcp
		}
		wider, less := does.Subtract(must).Intersect(domain), must.Union(answers).Subtract(does).Intersect(domain)
		for _, p := range []struct {
			wider    bool
			services packet.Services
		}{{true, wider}, {false, less}} {
			if p.services.IsEmpty() {
				continue
			}
			if lost := p.services.Intersect(s.cut); !p.wider && !lost.IsEmpty() && at == filtered {
				icmp := lost.Intersect(line(1).Union(line(58)))
				if !icmp.IsEmpty() {
					out = append(out, want.NewLapse(KindMessage, false, t, run, icmp))
				}
				if ports := lost.Subtract(icmp); !ports.IsEmpty() {
					out = append(out, want.NewLapse(KindPorts, false, t, run, ports))
				}
				if p.services = p.services.Subtract(lost); p.services.IsEmpty() {
					continue
				}
			}
			kind, ok := kinds[p.wider]
			if !ok {
				return fmt.Errorf("%v would fare otherwise than policy says (%s), which is not of a list's nature; this is a fault of Bulkhead", p.services, t)
			}
			out = append(out, want.NewLapse(kind, p.wider, t, run, p.services))
		}
		return nil
	}
	var errs []error
	for _, run := range x.runs {
		for _, t := range []driver.Tracking{driver.TrackNew, driver.TrackMid} {
			must := s.from(run)
			if at != filtered {
				errs = append(errs, compare(t, run, must, every, nil, map[bool]string{true: KindInbound}))
				continue
			}
			errs = append(errs, compare(t, run, must, s.passes(run, t == driver.TrackMid), compile.Answers(s.back, run.Lo, run.Hi).Union(required).Intersect(s.cut), map[bool]string{true: KindReturn}))
		}
	}
	whole := want.AllPorts()
	if at != filtered {
		errs = append(errs, compare(driver.TrackLater, whole, s.opens, every, nil, map[bool]string{true: KindInbound}))
	} else {
		errs = append(errs, compare(driver.TrackLater, whole, s.opens, s.later(x.f.Later), s.laterAnswers(), map[bool]string{true: KindFragment, false: KindFragment}))
	}
	for _, err := range errs {
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}
