package acl

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"

	"bulkhead/pkg/driver"
)

// Driver programs one port of a device for one site.
type Driver struct {
	device *Device
	site   string
	port   string
}

// New makes a driver. It keeps nothing between calls but what it is told here.
func New(d *Device, site, port string) *Driver { return &Driver{device: d, site: site, port: port} }

var _ driver.Driver = (*Driver)(nil)

// Capabilities of the device.
func (d *Driver) Capabilities() driver.Capabilities { return driver.Capabilities{Stateful: true} }

// name is our list of a direction. Quoted, so that no site and port can spell
// another's.
func (d *Driver) name(direction string) string {
	return fmt.Sprintf("bulkhead %q %q %s", d.site, d.port, direction)
}

func (d *Driver) ours(name string) bool { return name == d.name(In) || name == d.name(Out) }

// State is what a device held when it was read.
type State struct {
	Config
	d Driver
}

func stateOf(s driver.State) (*State, error) {
	if n, ok := s.(*State); ok && n != nil {
		return n, nil
	}
	return nil, fmt.Errorf("not a state of a list device: %T", s)
}

// Fingerprint digests what has meaning on our port: our lists, bound or not, and
// whatever is bound there.
func (s *State) Fingerprint() string {
	p := s.Config.port(s.d.port)
	lines := []string{fmt.Sprintf("in %q out %q", p.In, p.Out)}
	for i := range s.Lists {
		l := &s.Lists[i]
		if !s.d.ours(l.Name) && l.Name != p.In && l.Name != p.Out {
			continue
		}
		text := fmt.Sprintf("list %q for %q", l.Name, l.Remark)
		for _, e := range l.Entries {
			text += "; " + e.String()
		}
		lines = append(lines, text)
	}
	slices.Sort(lines)
	h := sha256.New()
	for _, l := range lines {
		fmt.Fprintf(h, "%d:%s\n", len(l), l)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// Read gets the whole configuration.
func (d *Driver) Read(ctx context.Context) (driver.State, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	c, _, err := d.device.Read()
	if err != nil {
		return nil, fmt.Errorf("%w: cannot get the configuration: %w", driver.ErrUnreachable, err)
	}
	return &State{Config: c, d: *d}, nil
}

// Diff gives the change from one state to another, in the order of the calls.
func (d *Driver) Diff(have, want driver.State) (*driver.Change, error) {
	h, err := stateOf(have)
	if err != nil {
		return nil, err
	}
	w, err := stateOf(want)
	if err != nil {
		return nil, err
	}
	out := &driver.Change{From: h, To: w, First: !d.bound(h) && d.bound(w)}
	for _, c := range d.calls(h, w) {
		out.Ops = append(out.Ops, c.op)
	}
	return out, nil
}

// bound reports whether a list of ours applies.
func (d *Driver) bound(s *State) bool {
	p := s.Config.port(d.port)
	return d.ours(p.In) || d.ours(p.Out)
}

// Apply makes the calls one by one and stops at the first that fails.
func (d *Driver) Apply(ctx context.Context, ch *driver.Change) error {
	from, err := stateOf(ch.From)
	if err != nil {
		return err
	}
	to, err := stateOf(ch.To)
	if err != nil {
		return err
	}
	now, err := d.Read(ctx)
	if err != nil {
		return fmt.Errorf("%w: %w", driver.ErrRefused, err)
	}
	if now.Fingerprint() != from.Fingerprint() {
		return fmt.Errorf("%w: port %q is not as it was planned for", driver.ErrMoved, d.port)
	}
	for i, c := range d.calls(from, to) {
		if ctx.Err() != nil && i == 0 {
			return fmt.Errorf("%w: %w", driver.ErrRefused, ctx.Err())
		}
		err := ctx.Err()
		if err == nil {
			err = d.device.Write(c.do)
		}
		if err == nil {
			continue
		}
		err = fmt.Errorf("call %d, %s: %w", i+1, c.op.Object, err)
		if i == 0 && (errors.Is(err, errLimit) || errors.Is(err, errNotFound) || errors.Is(err, errInUse) || errors.Is(err, errSequence)) {
			return fmt.Errorf("%w: %w", driver.ErrRefused, err)
		}
		return err
	}
	after, err := d.Read(ctx)
	if err != nil {
		return fmt.Errorf("cannot read back: %w", err)
	}
	if after.Fingerprint() != to.Fingerprint() {
		return fmt.Errorf("port %q does not show the change: a lagging read, or another writer", d.port)
	}
	return nil
}

// call is one write.
type call struct {
	op driver.Op
	do func(*Config) error
}

func op(a driver.Action, object, before, after string) driver.Op {
	return driver.Op{ID: string(a) + " " + object, Action: a, Object: object, Before: before, After: after}
}

// calls orders the writes: lists before they are bound, and unbound before they
// are deleted. A list that is bound already takes effect as it is put. Each call
// moves one direction from its old meaning to its new one at once, and the other
// stays as it is.
func (d *Driver) calls(have, want *State) []call {
	var put, bind, del []call
	for _, dir := range []string{In, Out} {
		h, w := have.list(d.name(dir)), want.list(d.name(dir))
		object := fmt.Sprintf("list %q", d.name(dir))
		switch {
		case w == nil && h != nil:
			del = append(del, call{op(driver.Remove, object, describe(h), ""), func(c *Config) error { return c.remove(h.Name) }})
		case w != nil && h == nil:
			put = append(put, call{op(driver.Add, object, "", describe(w)), func(c *Config) error { return c.put(w.clone()) }})
		case w != nil && !w.equal(h):
			put = append(put, call{op(driver.Modify, object, describe(h), describe(w)), func(c *Config) error { return c.put(w.clone()) }})
		}
		from, to := *have.Config.port(d.port).bound(dir), *want.Config.port(d.port).bound(dir)
		if from != to {
			bind = append(bind, call{op(driver.Modify, fmt.Sprintf("%s of port %q", dir, d.port), from, to), func(c *Config) error { return c.bind(d.port, dir, to) }})
		}
	}
	return slices.Concat(put, bind, del)
}

func (l *List) clone() List {
	return List{Name: l.Name, Remark: slices.Clone(l.Remark), Entries: slices.Clone(l.Entries)}
}

func describe(l *List) string { return fmt.Sprintf("%d entries for %q", len(l.Entries), l.Remark) }
