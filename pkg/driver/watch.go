package driver

import "context"

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
