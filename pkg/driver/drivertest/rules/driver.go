package rules

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"

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

// owner is the tag of our objects. It is compared as a whole: one site's name may
// begin with another's.
func (d *Driver) owner() string { return "bulkhead:" + d.site }

// State is what a device held when it was read.
type State struct {
	Config
	site, portName string
}

func stateOf(s driver.State) (*State, error) {
	if n, ok := s.(*State); ok && n != nil {
		return n, nil
	}
	return nil, fmt.Errorf("not a state of a rule device: %T", s)
}

// Fingerprint digests what has meaning on our port: our groups wherever they are,
// others' groups on the port, the port itself. Ids and order have none.
func (s *State) Fingerprint() string {
	var lines []string
	p := s.Config.port(s.portName)
	for _, f := range p.Filters {
		lines = append(lines, fmt.Sprintf("filter %s %v %q", f.Prefix, f.Listen, f.Owner))
	}
	for i := range s.Groups {
		g := &s.Groups[i]
		on := slices.Contains(p.Groups, g.Name)
		if !on && g.Owner != "bulkhead:"+s.site {
			continue
		}
		lines = append(lines, fmt.Sprintf("group %q of %q for %q on port %v", g.Name, g.Owner, g.Points, on))
		of := fmt.Sprintf("rule %q ", g.Name)
		for _, r := range g.Rules {
			lines = append(lines, of+r.key())
		}
	}
	slices.Sort(lines)
	return digest(lines)
}

// digest hashes length-prefixed lines, so that no two lists run together.
func digest(lines []string) string {
	var b []byte
	for _, l := range lines {
		b = append(append(append(strconv.AppendInt(b, int64(len(l)), 10), ':'), l...), '\n')
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// Read lists everything on the device.
func (d *Driver) Read(ctx context.Context) (driver.State, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	c, _, err := d.device.Read()
	if err != nil {
		// What came with the error is a part at best.
		return nil, fmt.Errorf("%w: cannot list the groups: %w", driver.ErrUnreachable, err)
	}
	return &State{Config: c, site: d.site, portName: d.port}, nil
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
	out := &driver.Change{From: h, To: w, First: d.active(h) == "" && d.active(w) != ""}
	for _, c := range d.calls(h, w) {
		out.Ops = append(out.Ops, c.op())
	}
	return out, nil
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
	// The ids of what is removed are those of now: somebody may have put a rule back.
	for i, c := range d.calls(now.(*State), to) {
		err := ctx.Err()
		if err == nil {
			err = d.device.Write(func(cfg *Config) error { return c.do(cfg) })
		}
		if err == nil {
			continue
		}
		err = fmt.Errorf("call %d, %s: %w", i+1, c.op().Object, err)
		if i == 0 && (errors.Is(err, errLimit) || errors.Is(err, errDuplicate) || errors.Is(err, errNotFound) || errors.Is(err, errInUse) || ctx.Err() != nil) {
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
