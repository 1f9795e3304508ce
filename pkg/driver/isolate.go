package driver

import (
	"context"

	"bulkhead/pkg/compile"
	"bulkhead/pkg/packet"
)

// Isolator is implemented by drivers that can cut addresses off without a plan.
type Isolator interface {
	// Isolate makes the points that enforce let nothing pass to or from the addresses but
	// what is essential, live flows included, and from others as before. The addresses
	// take the place of those of an earlier call. The next state that is rendered of a
	// matrix with policy.GroupQuarantined takes it over.
	Isolate(ctx context.Context, points []compile.Point, addrs packet.Addrs) error
}
