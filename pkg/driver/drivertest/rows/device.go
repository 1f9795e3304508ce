package rows

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"bulkhead/pkg/driver/drivertest/sim"
)

// Directions of a port.
const (
	In  = "in"
	Out = "out"
)

// maxIndex bounds the index of a row.
const maxIndex = 1 << 30

// Match is what a row's columns say.
type Match struct {
	SrcLo, SrcHi         netip.Addr
	DstLo, DstHi         netip.Addr
	ProtoLo, ProtoHi     uint8
	NumLo, NumHi         uint16 // ports, type<<8|code, or everything
	SrcPortLo, SrcPortHi uint16
	Permit               bool
}

// Key is what a row is created with: it cannot be changed afterwards.
type Key struct {
	Direction string
	Index     int
}

// Row is one row of the table.
type Row struct {
	Key
	Port   string
	Owner  string
	Tag    string // names of the points it is for
	Active bool
	Match
	set []string // columns that have been set
}

func (r *Row) String() string {
	action := "deny"
	if r.Permit {
		action = "permit"
	}
	out := fmt.Sprintf("%s row %d %s proto %d-%d %d-%d from %s-%s to %s-%s", r.Direction, r.Index, action,
		r.ProtoLo, r.ProtoHi, r.NumLo, r.NumHi, r.SrcLo, r.SrcHi, r.DstLo, r.DstHi)
	if r.SrcPortLo != 0 || r.SrcPortHi != 65535 {
		out += fmt.Sprintf(" source port %d-%d", r.SrcPortLo, r.SrcPortHi)
	}
	return out
}

func (m *Match) matches(proto uint8, num, srcPort uint16) bool {
	return m.ProtoLo <= proto && proto <= m.ProtoHi && m.NumLo <= num && num <= m.NumHi && m.SrcPortLo <= srcPort && srcPort <= m.SrcPortHi
}

func between(lo, a, hi netip.Addr) bool {
	return lo.Is4() == a.Is4() && !a.Less(lo) && !hi.Less(a)
}

// Config is all that the device holds. Rows are in order.
type Config struct {
	Limit int // rows of one direction
	Ports []string
	Rows  []Row
}

func (c Config) clone() Config {
	return Config{Limit: c.Limit, Ports: slices.Clone(c.Ports), Rows: slices.Clone(c.Rows)}
}

// half is what arrives when a walk of the table is cut short.
func (c Config) half() Config {
	c.Rows = c.Rows[:len(c.Rows)/2]
	return c
}

// Judge says which first packets between two addresses pass, row by row, as the
// device would.
func (c *Config) Judge(port, direction string, src, dst netip.Addr) func(proto uint8, num, srcPort uint16) bool {
	var deciding []Match
	for i := range c.Rows {
		r := &c.Rows[i]
		if r.Active && r.Port == port && r.Direction == direction && between(r.SrcLo, src, r.SrcHi) && between(r.DstLo, dst, r.DstHi) {
			deciding = append(deciding, r.Match)
		}
	}
	return func(proto uint8, num, srcPort uint16) bool {
		for i := range deciding {
			if m := &deciding[i]; m.matches(proto, num, srcPort) {
				return m.Permit
			}
		}
		return true
	}
}

func (c *Config) row(k Key) *Row {
	for i := range c.Rows {
		if c.Rows[i].Key == k {
			return &c.Rows[i]
		}
	}
	return nil
}

// The device's own refusals, named as SNMP does.
var (
	errResource     = errors.New("resourceUnavailable")
	errInconsistent = errors.New("inconsistentValue")
	errWrong        = errors.New("wrongValue")
	errNoSuch       = errors.New("noSuchName")
)

// Device is a simulated device.
type Device struct{ *sim.Memory[Config] }

// NewDevice makes a device with the given ports and room for limit rows in each
// direction.
func NewDevice(limit int, ports ...string) *Device {
	return &Device{sim.NewMemory(Config{Limit: limit, Ports: ports}, Config.clone, Config.half)}
}

// create makes a row that is not ready. Port, owner and tag come in the same set:
// a row that is left half made must be known as ours by who finds it.
func (c *Config) create(k Key, port, owner, tag string) error {
	n := 0
	for i := range c.Rows {
		if c.Rows[i].Direction == k.Direction {
			n++
		}
	}
	switch {
	case k.Index < 1 || k.Index > maxIndex:
		return fmt.Errorf("%w: index %d", errWrong, k.Index)
	case c.row(k) != nil:
		return fmt.Errorf("%w: row %d is there", errInconsistent, k.Index)
	case n >= c.Limit:
		return fmt.Errorf("%w: %d rows", errResource, n)
	}
	c.Rows = append(c.Rows, Row{Key: k, Port: port, Owner: owner, Tag: tag})
	Sort(c.Rows)
	return nil
}

// Sort puts rows into the order of the table.
func Sort(rs []Row) {
	slices.SortFunc(rs, func(a, b Row) int {
		return cmp.Or(strings.Compare(a.Direction, b.Direction), cmp.Compare(a.Index, b.Index))
	})
}

// The columns of a row; all must be set before it can become active.
func columns() []string { return []string{"source", "destination", "service", "source port", "action"} }

// column sets one column of a row that is not active.
func (c *Config) column(k Key, name string, m Match) error {
	r := c.row(k)
	switch {
	case r == nil:
		return fmt.Errorf("%w: row %d", errNoSuch, k.Index)
	case r.Active:
		return fmt.Errorf("%w: row %d is active", errInconsistent, k.Index)
	}
	switch name {
	case "source":
		r.SrcLo, r.SrcHi = m.SrcLo, m.SrcHi
	case "destination":
		r.DstLo, r.DstHi = m.DstLo, m.DstHi
	case "service":
		r.ProtoLo, r.ProtoHi, r.NumLo, r.NumHi = m.ProtoLo, m.ProtoHi, m.NumLo, m.NumHi
	case "source port":
		r.SrcPortLo, r.SrcPortHi = m.SrcPortLo, m.SrcPortHi
	case "action":
		r.Permit = m.Permit
	default:
		return fmt.Errorf("%w: column %q", errNoSuch, name)
	}
	if !slices.Contains(r.set, name) {
		r.set = append(slices.Clone(r.set), name)
	}
	return nil
}

func (c *Config) activate(k Key) error {
	r := c.row(k)
	if r == nil {
		return fmt.Errorf("%w: row %d", errNoSuch, k.Index)
	}
	if len(r.set) != len(columns()) {
		return fmt.Errorf("%w: row %d is not ready", errInconsistent, k.Index)
	}
	r.Active = true
	return nil
}

func (c *Config) destroy(k Key) error {
	n := len(c.Rows)
	c.Rows = slices.DeleteFunc(c.Rows, func(r Row) bool { return r.Key == k })
	if len(c.Rows) == n {
		return fmt.Errorf("%w: row %d", errNoSuch, k.Index)
	}
	return nil
}
