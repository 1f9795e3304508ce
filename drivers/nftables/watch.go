package nftables

import (
	"context"
	"errors"
	"fmt"

	"bulkhead/pkg/driver"
)

var (
	_ driver.Marker  = (*Driver)(nil)
	_ driver.Watcher = (*Driver)(nil)
)

// Mark is the generation of nf_tables in the namespace. It begins anew with the
// namespace, so that a mark is good for one run of one controller. What expires by
// itself does not move it.
func (d *Driver) Mark(ctx context.Context) (string, error) {
	c, err := d.open()
	if err != nil {
		return "", err
	}
	defer c.Close()
	gen, err := c.Generation(ctx)
	if err != nil {
		return "", fmt.Errorf("%w: %w", driver.ErrUnreachable, err)
	}
	return fmt.Sprint(gen), nil
}

// Watch listens to the kernel's announcements of new generations.
func (d *Driver) Watch(ctx context.Context, changed func()) error {
	c, err := d.open()
	if err != nil {
		return err
	}
	defer c.Close()
	events, err := c.Watch(ctx)
	if err != nil {
		return err
	}
	for e := range events {
		if e.Err != nil {
			return e.Err
		}
		changed()
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return errors.New("the watch of nf_tables ended by itself")
}
