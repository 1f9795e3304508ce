package driver

import (
	"context"
	"errors"
	"time"
)

// ErrTooLate says that there is no change on trial any more: its time had run out,
// and the device is back at what it held before.
var ErrTooLate = errors.New("the change is not on trial any more")

// Trial is a change that a device has taken until somebody confirms it.
type Trial struct {
	// Left is the time until the device goes back by itself; 0 where it has gone back
	// already, and only the rest of the change is still to be tidied up.
	Left time.Duration
	// Old is what the device goes back to, nil where it does not tell, New what is on trial.
	Old, New State
}

// Trier is implemented by drivers whose devices can hold a change on trial: it is
// in force at once, and unless it is confirmed in time the device goes back to what
// it held before by itself, whether or not anybody is there.
//
// While a change is on trial Read gives the state that is in force, and Apply
// refuses.
type Trier interface {
	// Try makes the change for some time. Its errors are those of Device.Apply.
	Try(ctx context.Context, c *Change, timeout time.Duration) error
	// Trial finds the trial in a state that was read; nil if there is none.
	Trial(s State) *Trial
	// Confirm makes what is on trial permanent, if it is the state that is meant. It
	// fails with ErrTooLate, and changes nothing, where the device has gone back; with
	// ErrMoved where something else is on trial.
	Confirm(ctx context.Context, meant State) error
	// Undo goes back to the old state now, or tidies up after a trial whose time has
	// run out. Without a trial it does nothing.
	Undo(ctx context.Context) error
}

// MayTry is implemented by triers some of whose devices cannot hold a change on trial.
type MayTry interface {
	// CanTry reports whether the device can, as far as is known: it asks nobody.
	CanTry() bool
}

// TrierOf gives a driver as a Trier, if its device can hold a change on trial.
func TrierOf(d Driver) (Trier, bool) {
	t, ok := d.(Trier)
	if m, may := d.(MayTry); ok && may && !m.CanTry() {
		return nil, false
	}
	return t, ok
}
