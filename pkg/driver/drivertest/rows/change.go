package rows

import (
	"fmt"
	"slices"

	"bulkhead/pkg/driver"
)

// step makes one row or takes one away.
type step struct {
	action driver.Action
	row    Row
}

func (s *step) op() driver.Op {
	o := driver.Op{Action: s.action, Object: fmt.Sprintf("%s row %d", s.row.Direction, s.row.Index)}
	o.ID = string(s.action) + " " + s.row.String()
	if s.action == driver.Add {
		o.After = s.row.String()
	} else {
		o.Before = s.row.String()
	}
	return o
}

// steps orders the change: first rows that mean nothing go, because they take up
// room and indexes; then new rows come, from the first to the last; then old rows
// go, from the last to the first. The package comment says why that is safe.
func (d *Driver) steps(have, want *State) []step {
	var dead, add, remove []step
	for i := range have.Rows {
		h := &have.Rows[i]
		switch w := want.row(h.Key); {
		case !d.ours(h):
		case !h.Active:
			dead = append(dead, step{driver.Remove, *h})
		case w == nil || !same(h, w):
			remove = append(remove, step{driver.Remove, *h})
		}
	}
	for i := range want.Rows {
		w := &want.Rows[i]
		if h := have.row(w.Key); d.ours(w) && (h == nil || !h.Active || !same(h, w)) {
			add = append(add, step{driver.Add, *w})
		}
	}
	slices.Reverse(remove)
	return slices.Concat(dead, add, remove)
}

func same(a, b *Row) bool {
	return a.Key == b.Key && a.Port == b.Port && a.Owner == b.Owner && a.Tag == b.Tag && a.Match == b.Match
}

// sets are the writes of one step.
func (d *Driver) sets(s step) []func(*Config) error {
	k := s.row.Key
	if s.action == driver.Remove {
		return []func(*Config) error{func(c *Config) error { return c.destroy(k) }}
	}
	out := []func(*Config) error{func(c *Config) error { return c.create(k, d.port, d.owner(), s.row.Tag) }}
	for _, name := range columns() {
		out = append(out, func(c *Config) error { return c.column(k, name, s.row.Match) })
	}
	return append(out, func(c *Config) error { return c.activate(k) })
}
