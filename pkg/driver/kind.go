package driver

import (
	"context"
	"time"

	"bulkhead/pkg/config"
)

// Kind makes drivers for one kind of device. The list of kinds is handed to those
// who need it, so that nothing above has to import a driver.
type Kind struct {
	Name string
	// Device names what a point shares with others: points with one name are
	// planned and applied together.
	Device func(p *config.Point) string
	// Settings are those that a point of the kind may have; nil leaves them to Open.
	Settings []config.SettingKey
	// Open makes the driver of one device.
	Open func(site string, points []config.Point) (Driver, error)
	// Ports says how a point of a device that judges at its ports is plugged in; nil for kinds
	// that do not judge at ports.
	Ports func(p *config.Point) Plug
	// Netns gives the network namespace whose routes and addresses the point has;
	// ok is false for devices that have none.
	Netns func(p *config.Point) (ns string, ok bool)
	// Encode writes down what of a state is ours, so that Decode, perhaps in another
	// process, makes one of it that Diff and Apply take for the same. It fails rather
	// than write down something else. Kinds that cannot have neither.
	Encode func(s State) ([]byte, error)
	Decode func(b []byte) (State, error)
	// Aged gives a state that was written down some time ago as it may be loaded after a
	// reboot: without what has expired meanwhile. A negative time is not to be believed.
	// nil where the device keeps its state over a reboot itself.
	Aged func(s State, by time.Duration) State
	// Enrol asks the device of a point for the key by which it is known, and neither logs
	// in nor writes anything. nil where devices are known by something else.
	Enrol func(ctx context.Context, p *config.Point) (*Enrolment, error)
}

// Plug is how assets hang on a device that judges at its ports.
type Plug struct {
	// Device is the name by which attachments of assets mean it.
	Device string
	// Port is what it calls a port that they name: a member of a link aggregate is judged at
	// the aggregate.
	Port func(name string) string
	// SendsOnly is set where it judges what devices send, and not what they receive.
	SendsOnly bool
}
