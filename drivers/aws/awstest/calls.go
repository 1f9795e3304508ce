package awstest

import (
	"slices"
	"time"
)

// Call is one call that was made, as the log has it.
type Call struct {
	N               int // from 1
	At              time.Time
	Service, Action string
	Account, Region string
	Principal       string // ARN of who called
	Mutating        bool
	DryRun          bool
	Params          map[string]string // as they came
	Code            string            // of the refusal; "" if it was done
	Lost            bool              // done or not, it was not answered
}

// RequestLost is the code in the log of a call that never arrived.
const RequestLost = "RequestLost"

// Calls gives the calls since the world began, or since ResetCalls.
func (w *World) Calls() []Call {
	defer w.lock()()
	return slices.Clone(w.calls)
}

// Mutations gives the mutating calls that were done.
func (w *World) Mutations() []Call {
	return slices.DeleteFunc(w.Calls(), func(c Call) bool { return !c.Mutating || c.Code != "" || c.DryRun })
}

// CountCalls gives how many calls of an action were made, of any outcome.
func (w *World) CountCalls(action string) (n int) {
	for _, c := range w.Calls() {
		if c.Action == action {
			n++
		}
	}
	return n
}

// ResetCalls empties the log.
func (w *World) ResetCalls() {
	defer w.lock()()
	w.calls = nil
}
