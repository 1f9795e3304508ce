package netconf

import (
	"context"
	"errors"
	"fmt"

	"bulkhead/drivers/netconf/session"
	"bulkhead/pkg/driver"
)

// Read gets the running configuration of lists and bindings, whole.
func (d *Driver) Read(ctx context.Context) (driver.State, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	s, err := d.read(ctx)
	if err != nil {
		return nil, err
	}
	return s, nil
}

// read reads, once more in a new session where the old one turns out to be over: switches end
// those that are idle.
func (d *Driver) read(ctx context.Context) (*State, error) {
	fresh := d.conn == nil
	s, err := d.readOnce(ctx)
	if err != nil && !fresh && ctx.Err() == nil && (errors.Is(err, session.ErrClosed) || errors.Is(err, session.ErrLost)) {
		return d.readOnce(ctx)
	}
	return s, err
}

func (d *Driver) readOnce(ctx context.Context) (*State, error) {
	c, err := d.open(ctx)
	if err != nil {
		return nil, err
	}
	data, err := c.GetConfig(ctx, session.Running, d.settings.Dialect.Filter())
	if err != nil {
		return nil, fmt.Errorf("%w: cannot read the lists of %q: %w", driver.ErrUnreachable, d.settings.Session.Address, err)
	}
	config, err := d.settings.Dialect.Read(data)
	if err != nil {
		return nil, fmt.Errorf("%w: cannot read the lists of %q: %w", driver.ErrUnreachable, d.settings.Session.Address, err)
	}
	return newState(d.site, *config), nil
}
