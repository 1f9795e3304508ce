package reconcile

import (
	"context"
	"time"

	"bulkhead/inventory"
	"bulkhead/pkg/config"
)

// SetPatience makes ears give up sooner.
func (e *Ears) SetPatience(d time.Duration) { e.patience = d }

// Hear is what a load asks.
func (e *Ears) Hear(ctx context.Context, src *config.Source) []inventory.Heard {
	return e.hear(ctx, src)
}

// Opened says that a first load is done.
func (e *Ears) Opened() { e.opened() }
