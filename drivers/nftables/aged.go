package nftables

import (
	"slices"
	"time"

	"bulkhead/drivers/nftables/ruleset"
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
				switch {
				case e.Timeout == 0 || e.Timeout > by && by >= 0:
					if e.Timeout > 0 {
						e.Timeout, e.Expiration = e.Timeout-by, 0
					}
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
