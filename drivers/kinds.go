// Package drivers lists the drivers that there are. The list is explicit: a
// driver is here, or it does not exist.
package drivers

import (
	"time"

	"bulkhead/drivers/aws"
	"bulkhead/drivers/netconf"
	"bulkhead/drivers/nftables"
	"bulkhead/pkg/config"
	"bulkhead/pkg/driver"
)

// Kinds returns every kind of driver, in order of name.
func Kinds() []driver.Kind {
	return []driver.Kind{aws.Kind(), netconf.Kind(), nftablesKind()}
}

// Find returns the kind of a name; nil if there is none.
func Find(name string) *driver.Kind {
	for _, k := range Kinds() {
		if k.Name == name {
			return &k
		}
	}
	return nil
}

// nftablesKind programs the kernel of the machine that Bulkhead runs on: all
// points of one network namespace share one table.
func nftablesKind() driver.Kind {
	return driver.Kind{
		Name: "nftables",
		Device: func(p *config.Point) string {
			if p.NetNS == "" {
				return "nftables of this host"
			}
			return "nftables of netns " + p.NetNS
		},
		Netns:    func(p *config.Point) (string, bool) { return p.NetNS, true },
		Settings: []config.SettingKey{}, // none
		Open: func(site string, points []config.Point) (driver.Driver, error) {
			o := nftables.Options{Site: site, Netns: points[0].NetNS}
			for _, p := range points {
				for _, z := range p.Zones {
					o.Interfaces = append(o.Interfaces, z.Interfaces...)
				}
			}
			return nftables.New(o), nil
		},
		Encode: encodeNftables,
		Decode: decodeNftables,
		Aged:   func(s driver.State, by time.Duration) driver.State { return s.(*nftables.State).Aged(by) },
	}
}

// Names lists the names of the drivers.
func Names() []string {
	var out []string
	for _, k := range Kinds() {
		out = append(out, k.Name)
	}
	return out
}
