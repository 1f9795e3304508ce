package reconcile

import (
	"slices"

	"bulkhead/pkg/driver"
)

// Close lets go of what the drivers of devices hold. Whoever has called Devices calls it
// when he is done, also after an error: a daemon opens devices for every look at the site,
// and each that stays open keeps its connections.
func Close(devices []*Device) { CloseBut(devices, nil) }

// CloseBut is Close, and leaves alone the drivers that others still use, see Keep.
func CloseBut(devices, used []*Device) {
	for _, d := range devices {
		if d.Driver != nil && !slices.ContainsFunc(used, func(u *Device) bool { return u.Driver == d.Driver }) {
			driver.Close(d.Driver)
		}
	}
}
