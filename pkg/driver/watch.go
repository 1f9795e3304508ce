package driver

import (
	"context"
	"time"

	"bulkhead/pkg/compile"
)

// Marker is implemented by drivers that can tell at next to no cost whether a device's
// configuration may have been written to.
type Marker interface {
	// Mark gives a value that is another one after every write to the device's
	// configuration, ours included. It may be another one without any.
	Mark(ctx context.Context) (string, error)
}

// Watcher is implemented by drivers whose devices tell of writes as they happen.
type Watcher interface {
	// Watch calls changed after each write to the device, ours included, until ctx ends
	// or the watch fails; it may call it too often. A watch that fails leaves polling.
	Watch(ctx context.Context, changed func()) error
}

// Resumer is implemented by drivers whose states hold more than configuration: time
// that runs, and what a device needs to take up its work again.
type Resumer interface {
	// Resume gives a state that was read some time ago while its points were at work, as
	// it is to be put back on a device that holds now: it begins nothing anew that is
	// over, and finds the live flows of points whose rules were lost.
	Resume(known, now State, points []compile.Point, age time.Duration) (State, error)
}
