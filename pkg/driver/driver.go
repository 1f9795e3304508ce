package driver

import (
	"context"
	"errors"
	"net/netip"
	"time"

	"bulkhead/pkg/compile"
)

// Errors that callers tell apart. Drivers wrap them.
var (
	// ErrMoved says that somebody else changed the device between reading and
	// applying, in a way that concerns us: read again and plan anew.
	ErrMoved = errors.New("the device changed since it was read")
	// ErrUnreachable says that the device could not be read or written at all.
	ErrUnreachable = errors.New("the device cannot be reached")
	// ErrRefused says that the device or the driver refused a change as a whole, and
	// that nothing of it was done.
	ErrRefused = errors.New("the change was refused")
)

// Capabilities says what a device of this kind can do.
type Capabilities struct {
	// Atomic devices take a change as a whole or not at all.
	Atomic bool
	// Stateful devices let replies of a permitted flow pass by themselves.
	Stateful bool
	// ObservePoint devices can count what they would drop without dropping it.
	ObservePoint bool
	// Expires devices end a timed permit by themselves.
	Expires bool
	// EndsFlows devices stop live flows that a change denies.
	EndsFlows bool
}

// Desired is what a device must enforce.
type Desired struct {
	Site string
	// Points share the device. None means that our objects are to be taken off.
	Points []compile.Point
	// View is the part of the matrix that the points see; nil if there are none.
	View *compile.View
	Now  time.Time
	// Enforced says that the device has enforced before, so that nothing has to be
	// learnt before it drops.
	Enforced map[string]bool
	// Inexact says, by point, which way a verdict goes that the device cannot express.
	// It is Refuse where nothing is said.
	Inexact map[string]Inexact
	// Asked is how often a daemon asks, at most, the sources that tell of new machines in a
	// cloud; 0 if there are none.
	Asked time.Duration
	// Budget bounds the resources that a device may use, by name; 0 or absent is the
	// driver's own bound.
	Budget map[string]int
}

// State is a device's native state. Only its driver looks into it.
type State interface {
	// Fingerprint is equal for two states exactly if our own objects, and the
	// foreign ones that matter to us, mean the same. It is stable across reads.
	Fingerprint() string
}

// Usage is one of a device's resources.
type Usage struct {
	Resource string `json:"resource"`
	Used     int    `json:"used"`
	Limit    int    `json:"limit"` // 0: none known
}

// Rendered is a native state that enforces what is desired.
type Rendered struct {
	State   State
	Residue []Residue
	Usage   []Usage
	// Essential lists the traffic that passes whatever policy says.
	Essential []string
	// Notes are what an operator should know besides, in sentences: what the change cannot
	// end, what is about to come. They say nothing of what the state enforces.
	Notes []string
}

// Action is what an operation does to a native object.
type Action string

// The actions, with the glyphs that plans show.
const (
	Add    Action = "+"
	Remove Action = "-"
	Modify Action = "~"
)

// Op is one native change, for people and for JSON.
type Op struct {
	ID     string `json:"id"` // stable: equal for the same change of the same object
	Action Action `json:"action"`
	Object string `json:"object"`
	Before string `json:"before,omitempty"`
	After  string `json:"after,omitempty"`
	Cause  string `json:"cause,omitempty"`
}

// Change leads from one native state to another.
type Change struct {
	From, To State
	Ops      []Op
	// First is set for the first enforcement on the device.
	First bool
	// Age is how long ago the time was that To was rendered for (Desired.Now), when the
	// change is made: what is timed in it has that much less. It took time to prove the
	// plan, and an operator may have thought about it for an hour.
	Age time.Duration
}

// Empty reports whether there is nothing to do.
func (c *Change) Empty() bool { return len(c.Ops) == 0 }

// Language is the pure half of a driver: no I/O, no clock, the same input gives
// the same bytes.
type Language interface {
	Capabilities() Capabilities
	// Render gives the native state that enforces what is desired. It takes over the
	// ids that have already uses, so that a change touches only what changed; a nil
	// have is a device that holds nothing.
	Render(want Desired, have State) (*Rendered, error)
	// Diff gives the change from one state to another.
	Diff(have, want State) (*Change, error)
	// Decode gives a state its meaning. What it does not understand it reports as a
	// finding.
	Decode(s State) (*Decoded, error)
}

// Device is the half of a driver that talks to the device.
type Device interface {
	// Read returns the complete native state, or an error: never a part, and never
	// an empty state because something failed.
	Read(ctx context.Context) (State, error)
	// Apply makes the change. When it returns an error that is ErrRefused or
	// ErrMoved, nothing was done; after any other the state is unknown and must be
	// read.
	Apply(ctx context.Context, c *Change) error
}

// Driver programs one device.
type Driver interface {
	Language
	Device
}

// Counter is what one verdict on a device has counted so far.
type Counter struct {
	Label   string `json:"label"` // "allow NAME", "deny NAME", "default deny"
	Permit  bool   `json:"permit"`
	Packets uint64 `json:"packets"`
	Bytes   uint64 `json:"bytes"`
}

// Drop is a flow that a device dropped, or would have dropped where it only
// observes, as far as the device remembers.
type Drop struct {
	Src     netip.Addr `json:"src"`
	Dst     netip.Addr `json:"dst"`
	Service uint32     `json:"service"` // on the 24-bit line
	Label   string     `json:"label"`   // the verdict's own name
	Packets uint64     `json:"packets"`
	Bytes   uint64     `json:"bytes"`
}

// FlowReader is implemented by drivers whose devices remember what they dropped.
type FlowReader interface {
	Drops(ctx context.Context) ([]Drop, error)
	Counters(ctx context.Context) ([]Counter, error)
}

// FlowEvent is one packet that a device reported as it happened.
type FlowEvent struct {
	Time    time.Time  `json:"time"`
	What    string     `json:"what"` // "deny", "permit", "observed", "spoof", with the point
	Src     netip.Addr `json:"src"`
	Dst     netip.Addr `json:"dst"`
	Service uint32     `json:"service"`
	Label   string     `json:"label"`
}

// FlowFollower is implemented by drivers whose devices report packets live.
type FlowFollower interface {
	Follow(ctx context.Context, each func(FlowEvent)) error
}
