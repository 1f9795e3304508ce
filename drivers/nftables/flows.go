package nftables

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"bulkhead/drivers/nftables/kernel"
	"bulkhead/drivers/nftables/render"
	"bulkhead/drivers/nftables/ruleset"
	"bulkhead/pkg/driver"
	"bulkhead/pkg/packet"
)

var (
	_ driver.FlowReader   = (*Driver)(nil)
	_ driver.FlowFollower = (*Driver)(nil)
)

// labels reads what each verdict id of our table is called, with its counter.
func (d *Driver) labels(ctx context.Context, c *kernel.Conn) (map[uint32]string, []driver.Counter, error) {
	names := map[uint32]string{}
	var counters []driver.Counter
	for _, set := range []string{"permit", "permit_timed", "deny"} {
		es, err := c.Elements(ctx, ruleset.FamilyInet, render.TableName(d.site), set)
		if errors.Is(err, kernel.ErrNotFound) {
			return names, nil, nil // nothing installed: nothing counted
		}
		if err != nil {
			return nil, nil, fmt.Errorf("cannot read the verdicts of %s: %w", d.where(), err)
		}
		for i := range es {
			id := binary.NativeEndian.Uint32(es[i].Key)
			names[id] = es[i].Comment()
			if id&render.VerdictMask == render.ReversedBase && es[i].Packets == 0 {
				continue
			}
			counters = append(counters, driver.Counter{Label: es[i].Comment(), Permit: set != "deny", Packets: es[i].Packets, Bytes: es[i].Bytes})
		}
	}
	slices.SortFunc(counters, func(a, b driver.Counter) int { return strings.Compare(a.Label, b.Label) })
	return names, counters, nil
}

// Counters lists what each verdict has counted.
func (d *Driver) Counters(ctx context.Context) ([]driver.Counter, error) {
	c, err := d.open()
	if err != nil {
		return nil, err
	}
	defer c.Close()
	_, counters, err := d.labels(ctx, c)
	return counters, err
}

// Drops lists the flows that the kernel remembers as dropped. It remembers each
// for a day, and a bounded number of them.
func (d *Driver) Drops(ctx context.Context) ([]driver.Drop, error) {
	c, err := d.open()
	if err != nil {
		return nil, err
	}
	defer c.Close()
	names, _, err := d.labels(ctx, c)
	if err != nil {
		return nil, err
	}
	var out []driver.Drop
	for _, name := range render.DropSets() {
		es, err := c.Elements(ctx, ruleset.FamilyInet, render.TableName(d.site), name)
		if errors.Is(err, kernel.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("cannot read what %s dropped: %w", d.where(), err)
		}
		for i := range es {
			if drop, id, ok := dropOf(&es[i]); ok {
				drop.Label = names[id]
				out = append(out, drop)
			}
		}
	}
	slices.SortFunc(out, func(a, b driver.Drop) int {
		if c := a.Src.Compare(b.Src); c != 0 {
			return c
		}
		if c := a.Dst.Compare(b.Dst); c != 0 {
			return c
		}
		return int(a.Service) - int(b.Service)
	})
	return out, nil
}

// dropOf takes an element's key apart: two addresses, protocol, perhaps a number,
// and the verdict id.
func dropOf(e *ruleset.Element) (d driver.Drop, id uint32, ok bool) {
	n := 4
	if len(e.Key) >= 40 {
		n = 16
	}
	if len(e.Key) < 2*n+8 {
		return d, 0, false
	}
	d.Src, _ = netip.AddrFromSlice(e.Key[:n])
	d.Dst, _ = netip.AddrFromSlice(e.Key[n : 2*n])
	proto, rest := e.Key[2*n], e.Key[2*n+4:]
	num := uint16(0)
	if len(rest) == 8 {
		num, rest = binary.BigEndian.Uint16(rest), rest[4:]
	}
	d.Service = packet.Point(proto, num)
	d.Packets, d.Bytes = e.Packets, e.Bytes
	return d, binary.NativeEndian.Uint32(rest), true
}

// Follow hands on the packets that the kernel reports. It reports a bounded
// number a second; the counts of Drops are complete, this is a sample.
func (d *Driver) Follow(ctx context.Context, each func(driver.FlowEvent)) error {
	r, err := kernel.Subscribe(ctx, d.netns, render.LogGroup, 96)
	if err != nil {
		return fmt.Errorf("cannot listen to the log of %s: %w", d.where(), err)
	}
	defer r.Close()
	c, err := d.open()
	if err != nil {
		return err
	}
	defer c.Close()
	names, _, err := d.labels(ctx, c)
	if err != nil {
		return err
	}
	for {
		p, err := r.Next(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("cannot read the log of %s: %w", d.where(), err)
		}
		h, err := kernel.ParsePacket(p.Payload)
		if err != nil {
			continue // a packet too short to say anything about
		}
		if _, known := names[p.Mark]; !known {
			// A verdict that came after we began to listen.
			if names, _, err = d.labels(ctx, c); err != nil {
				return err
			}
		}
		each(driver.FlowEvent{Time: p.Time, What: strings.TrimSpace(strings.TrimPrefix(p.Prefix, "bulkhead ")),
			Src: h.Src, Dst: h.Dst, Service: packet.Point(h.Proto, h.Service), Label: names[p.Mark]})
	}
}
