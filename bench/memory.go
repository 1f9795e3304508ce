package main

import (
	"context"
	"sync"

	"bulkhead/drivers"
	"bulkhead/drivers/nftables"
	"bulkhead/drivers/nftables/ruleset"
	"bulkhead/pkg/config"
	"bulkhead/pkg/driver"
)

// memoryDriver is the kind of devices that are simulated in memory: they speak the
// language of nftables, take every change as a whole, and tell nobody that they were
// written to, as an API or a switch does not. Nothing but reading them shows a change.
const memoryDriver = "memory"

type memoryDevice struct {
	driver.Language
	mu    sync.Mutex
	state driver.State
}

func (d *memoryDevice) Read(context.Context) (driver.State, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.state, nil
}

func (d *memoryDevice) Apply(_ context.Context, c *driver.Change) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if c.From.Fingerprint() != d.state.Fingerprint() {
		return driver.ErrMoved
	}
	d.state = c.To
	return nil
}

// memoryKind makes such devices; those of one kind are the same ones each time they
// are opened.
func memoryKind() driver.Kind {
	k := drivers.Kinds()[0]
	var mu sync.Mutex
	all := map[string]*memoryDevice{}
	return driver.Kind{
		Name: memoryDriver, Encode: k.Encode, Decode: k.Decode,
		Device: func(p *config.Point) string { return p.Name },
		Netns:  func(*config.Point) (string, bool) { return "", false },
		Open: func(site string, points []config.Point) (driver.Driver, error) {
			mu.Lock()
			defer mu.Unlock()
			d := all[points[0].Name]
			if d == nil {
				d = &memoryDevice{Language: nftables.New(nftables.Options{Site: site, Interfaces: interfaces(points)}), state: &nftables.State{Site: site, Ruleset: &ruleset.Ruleset{}}}
				all[points[0].Name] = d
			}
			return d, nil
		},
	}
}

func interfaces(points []config.Point) (out []string) {
	for i := range points {
		for _, z := range points[i].Zones {
			out = append(out, z.Interfaces...)
		}
	}
	return out
}
