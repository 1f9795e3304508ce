package netconf

import (
	"context"
	"fmt"

	"bulkhead/drivers/netconf/session"
	"bulkhead/pkg/driver"
)

var _ driver.Watcher = (*Driver)(nil)

// changeEvent is what a server tells of a change of its configuration (RFC 6470 section 2).
const changeEvent = "netconf-config-change"

// Watch hears of changes of the switch's configuration, in a session of its own: some servers
// take nothing else in one that has a subscription. Where the switch tells nothing it waits
// until ctx ends, and polling finds what changes.
func (d *Driver) Watch(ctx context.Context, changed func()) error {
	s, err := session.Dial(ctx, d.settings.Session)
	if err != nil {
		return fmt.Errorf("%w: %w", driver.ErrUnreachable, err)
	}
	if !s.Capabilities().Notification() {
		_ = s.Close()
		<-ctx.Done()
		return ctx.Err()
	}
	defer s.Close()
	events, err := s.Subscribe(ctx)
	if err != nil {
		return fmt.Errorf("changes of %q cannot be heard of: %w", d.settings.Session.Address, err)
	}
	changed() // what happened before the subscription
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case e, ok := <-events:
			if !ok {
				return fmt.Errorf("changes of %q are not heard of any more: %w", d.settings.Session.Address, s.Err())
			}
			if e.Name.Local == changeEvent || e.Missed > 0 {
				changed()
			}
		}
	}
}
