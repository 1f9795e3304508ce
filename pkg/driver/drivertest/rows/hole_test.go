package rows_test

import (
	"context"
	"slices"
	"testing"

	"bulkhead/pkg/driver/drivertest"
	"bulkhead/pkg/driver/drivertest/rows"
)

// A device that has lost every row which looks at source ports tells source ports
// apart no more; the comparison must do it for the device, or the loss of DHCP and
// of the failsafe's answers is proved right.
func TestLostSourcePortsAreFound(t *testing.T) {
	for _, p := range []drivertest.Placement{drivertest.Leased(), drivertest.Managed()} {
		dev := rows.NewDevice(3000, "p1")
		d := rows.New(dev, drivertest.Site, "p1")
		if text := drivertest.Bring(t, d, p); text != "" {
			t.Fatalf("%s: %s", p.Name, text)
		}
		dev.Poke(func(c *rows.Config) {
			c.Rows = slices.DeleteFunc(c.Rows, func(r rows.Row) bool { return r.SrcPortLo != 0 || r.SrcPortHi != 65535 })
		})
		_, _ = d.Read(context.Background())
		t.Logf("%s: %q", p.Name, drivertest.Wrong(t, d, p))
	}
}
