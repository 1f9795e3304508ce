package rows

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"

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

// owner is what our rows bear. It is compared as a whole.
func (d *Driver) owner() string { return "bulkhead:" + d.site }

func (d *Driver) ours(r *Row) bool { return r.Owner == d.owner() && r.Port == d.port }

// State is what a device held when it was read.
type State struct {
	Config
	d Driver
}

func stateOf(s driver.State) (*State, error) {
	if n, ok := s.(*State); ok && n != nil {
		return n, nil
	}
	return nil, fmt.Errorf("not a state of a row device: %T", s)
}

// Fingerprint digests what has meaning on our port: our rows, half made ones too,
// and every active row. Indexes belong to it, because a change names them.
func (s *State) Fingerprint() string {
	h := sha256.New()
	for i := range s.Rows {
		r := &s.Rows[i]
		if s.d.ours(r) || r.Active && r.Port == s.d.port {
			line := fmt.Sprintf("%s owner %q tag %q active %v", r, r.Owner, r.Tag, r.Active)
			fmt.Fprintf(h, "%d:%s\n", len(line), line)
		}
	}
	return hex.EncodeToString(h.Sum(nil))
}

// Read walks the whole table.
func (d *Driver) Read(ctx context.Context) (driver.State, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	c, _, err := d.device.Read()
	if err != nil {
		return nil, fmt.Errorf("%w: cannot walk the table: %w", driver.ErrUnreachable, err)
	}
	return &State{Config: c, d: *d}, nil
}

// Diff gives the change from one state to another: one operation for each row.
func (d *Driver) Diff(have, want driver.State) (*driver.Change, error) {
	h, err := stateOf(have)
	if err != nil {
		return nil, err
	}
	w, err := stateOf(want)
	if err != nil {
		return nil, err
	}
	steps := d.steps(h, w)
	out := &driver.Change{From: h, To: w, First: !d.any(h) && d.any(w)}
	for i := range steps {
		out.Ops = append(out.Ops, steps[i].op())
	}
	return out, nil
}

// any reports whether a row of ours is active.
func (d *Driver) any(s *State) bool {
	for i := range s.Rows {
		if d.ours(&s.Rows[i]) && s.Rows[i].Active {
			return true
		}
	}
	return false
}

// Apply sets row after row and column after column, and stops at the first set
// that fails.
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
	steps := d.steps(from, to)
	if k, taken := d.taken(now.(*State), steps); taken {
		return fmt.Errorf("%w: somebody took row %d of %s", driver.ErrMoved, k.Index, k.Direction)
	}
	first := true
	for _, s := range steps {
		for _, set := range d.sets(s) {
			err := ctx.Err()
			if err == nil {
				err = d.device.Write(set)
			}
			if err == nil {
				first = false
				continue
			}
			err = fmt.Errorf("%s: %w", s.op().Object, err)
			if first && (refused(err) || ctx.Err() != nil) {
				return fmt.Errorf("%w: %w", driver.ErrRefused, err)
			}
			return err
		}
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

// taken finds a row of somebody else where one of ours is to be. Such a row means
// nothing to us, until it is in the way.
func (d *Driver) taken(now *State, steps []step) (Key, bool) {
	for _, s := range steps {
		if r := now.row(s.row.Key); s.action == driver.Add && r != nil && !d.ours(r) {
			return s.row.Key, true
		}
	}
	return Key{}, false
}

func refused(err error) bool {
	return errors.Is(err, errResource) || errors.Is(err, errInconsistent) || errors.Is(err, errWrong) || errors.Is(err, errNoSuch)
}
