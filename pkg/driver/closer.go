package driver

import "io"

// Closer is implemented by drivers that hold something between calls: connections, above
// all. Close lets go of it. It may be called more than once, and while other calls are
// under way; a driver that is used again afterwards opens anew what it needs.
type Closer = io.Closer

// Close closes a driver that is a Closer. There is nothing to do about one that fails:
// what was written to the device was read back before.
func Close(d Driver) {
	if c, ok := d.(Closer); ok {
		_ = c.Close()
	}
}
