package nftables

import (
	"slices"

	"bulkhead/drivers/nftables/render"
	"bulkhead/drivers/nftables/ruleset"
)

// LimitSend makes the driver's sockets send at most n bytes at once, as those of an
// ordinary user's namespace do.
func (d *Driver) LimitSend(n int) { d.sendLimit = n }

// AfterPart calls f after each transaction of a load in parts.
func (d *Driver) AfterPart(f func(part int)) { d.afterPart = f }

// LeaveTrials makes the driver end trials as one does that dies between the two
// transactions of it.
func (d *Driver) LeaveTrials(leave bool) { d.leaves = leave }

// Raw gives the table as the kernel holds it.
func (s *State) Raw() *ruleset.Table {
	if s.trial != nil {
		return s.trial.raw
	}
	return s.Table()
}

// RawTrial gives the state as the kernel holds it while a change is on trial, with
// the switch on or expired; nil without a trial.
func (s *State) RawTrial(on bool) *State {
	if s.trial == nil {
		return nil
	}
	t := *s.trial.raw
	t.Sets = slices.Clone(t.Sets)
	for i := range t.Sets {
		if t.Sets[i].Name != render.TrialSwitch {
			continue
		}
		elems := t.Sets[i].Elements
		t.Sets[i].Elements = nil
		for _, e := range elems {
			if e.Timeout, e.Expiration = 0, 0; on { // for good: the decoder looks at what is after it, too
				t.Sets[i].Elements = append(t.Sets[i].Elements, e)
			}
		}
	}
	return s.with(&t)
}
