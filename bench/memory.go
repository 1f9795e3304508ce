package main

import (
	"sync"

	"bulkhead/pkg/config"
	"bulkhead/pkg/driver"
	"bulkhead/pkg/driver/drivertest/rules"
)

// memoryDriver is the kind of devices that are simulated in memory: ports with lists
// of stateful rules, as a cloud has them. They tell nobody that they were written to:
// nothing but reading them shows a change.
const memoryDriver = "memory"

// maxRules is what a group has room for.
const maxRules = 10_000

// memoryKind makes such devices. They are the same ones each time they are opened.
func memoryKind() driver.Kind {
	var mu sync.Mutex
	all := map[string]*rules.Device{}
	return driver.Kind{
		Name:   memoryDriver,
		Device: func(p *config.Point) string { return p.Name },
		Netns:  func(*config.Point) (string, bool) { return "", false },
		Open: func(site string, points []config.Point) (driver.Driver, error) {
			mu.Lock()
			defer mu.Unlock()
			name := points[0].Name
			if all[name] == nil {
				all[name] = rules.NewDevice(maxRules, name)
			}
			return rules.New(all[name], site, name), nil
		},
	}
}
