package nftables

import (
	"slices"
	"time"

	"bulkhead/drivers/nftables/render"
	"bulkhead/drivers/nftables/ruleset"
	"bulkhead/pkg/compile"
	"bulkhead/pkg/driver"
)

// Aged gives a state that was written down some time ago as it may be loaded now,
// into a kernel that holds nothing: what was to expire meanwhile is left out, the rest
// has less time, and windows of learning are closed, because there are no flows from
// before. A time that is negative is a clock that cannot be believed: then whatever
// expires is left out.
func (s *State) Aged(by time.Duration) *State {
	t := s.Table()
	if t == nil {
		return s
	}
	out := *t
	out.Sets = slices.Clone(t.Sets)
	for i := range out.Sets {
		set := &out.Sets[i]
		switch {
		case isWindow(set.Name) || isHold(set.Name):
			set.Elements = nil
		case set.Flags&ruleset.SetTimeout != 0:
			var left []ruleset.Element
			for _, e := range set.Elements {
				switch has := timeLeft(&e); {
				case e.Timeout == 0:
					left = append(left, e)
				case by >= 0 && has > by:
					e.Timeout, e.Expiration = has-by, 0
					left = append(left, e)
				}
			}
			set.Elements = left
		}
	}
	aged := s.with(&out)
	aged.Own = s.Own
	return aged
}

// timeLeft is how long an element lives from when the state was read or rendered.
func timeLeft(e *ruleset.Element) time.Duration {
	if e.Expiration > 0 {
		return e.Expiration
	}
	return e.Timeout
}

// shorter gives a state whose timed permits have that much less time. Those whose
// time is over end as soon as they are there. Windows begin when they are made.
func (s *State) shorter(by time.Duration) *State {
	t := s.Table()
	if t == nil || by <= 0 {
		return s
	}
	out := *t
	out.Sets = slices.Clone(t.Sets)
	for i := range out.Sets {
		set := &out.Sets[i]
		if set.Flags&ruleset.SetTimeout == 0 || set.Dynamic() || isWindow(set.Name) {
			continue
		}
		set.Elements = slices.Clone(set.Elements)
		for k := range set.Elements {
			if e := &set.Elements[k]; e.Timeout > 0 {
				e.Timeout, e.Expiration = max(timeLeft(e)-by, time.Millisecond), 0
			}
		}
	}
	less := s.with(&out)
	less.Own, less.words, less.trial = s.Own, s.words, s.trial
	return less
}

// Resume gives a state that was read while its points were at work as it is to be put
// back. A window of learning that was open then has the time that is left of it: begun
// anew, everything would pass once more that policy denies. Points whose rules are gone
// find their live flows again, as those that are rendered anew do.
func (d *Driver) Resume(known, now driver.State, points []compile.Point, age time.Duration) (driver.State, error) {
	good, err := stateOf(known)
	if err != nil {
		return nil, err
	}
	have, err := stateOf(now)
	if err != nil {
		return nil, err
	}
	t := good.Table()
	if t == nil {
		return good, nil
	}
	begin := map[string][]ruleset.Element{}
	for i := range points {
		for _, w := range render.Retaken(&points[i], have.Table()) {
			begin[w.Name] = w.Elements
		}
	}
	out := *t
	out.Sets = slices.Clone(t.Sets)
	for i := range out.Sets {
		set := &out.Sets[i]
		if !isWindow(set.Name) {
			continue
		}
		left := begin[set.Name]
		for _, e := range set.Elements {
			if has := timeLeft(&e); has > age && len(begin[set.Name]) == 0 {
				e.Timeout, e.Expiration = has-max(0, age), 0
				left = append(left, e)
			}
		}
		set.Elements = left
	}
	resumed := good.with(&out)
	resumed.Own, resumed.words, resumed.trial = good.Own, good.words, good.trial
	return resumed, nil
}
