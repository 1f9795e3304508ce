package aws

import (
	"context"
	"sync"

	"bulkhead/pkg/aws/ec2api"
	"bulkhead/pkg/driver"
)

// Driver programs one account in one region for one site. It keeps nothing of the device
// between calls.
type Driver struct {
	site     string
	settings Settings

	mu  sync.Mutex
	api *ec2api.Client
}

// New makes a driver. Nothing is asked of AWS before the first Read.
func New(site string, s Settings) (*Driver, error) {
	if err := s.Check(); err != nil {
		return nil, err
	}
	return &Driver{site: site, settings: s}, nil
}

var (
	_ driver.Driver = (*Driver)(nil)
	_ driver.Closer = (*Driver)(nil)
)

// Capabilities of security groups: replies pass by state, and nothing else is known of flows.
func (d *Driver) Capabilities() driver.Capabilities { return driver.Capabilities{Stateful: true} }

func (d *Driver) limits() Limits { return d.settings.limits() }

// client opens the way to AWS once; a credentials error may be gone the next time.
func (d *Driver) client(ctx context.Context) (*ec2api.Client, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.api != nil {
		return d.api, nil
	}
	s := &d.settings
	c, err := ec2api.Open(ctx, ec2api.Options{Region: s.Region, Role: s.Role, ExternalID: s.ExternalID, Profile: s.Profile, Endpoint: s.Endpoint, HTTP: s.HTTP, MaxBackoff: s.MaxBackoff})
	if err == nil {
		d.api = c
	}
	return c, err
}

// Close ends the idle connections to AWS; the next call opens others. It is driver.Closer.
func (d *Driver) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.api != nil {
		d.api.Close()
	}
	return nil
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
	out := &driver.Change{From: h, To: w, First: len(installed(h)) == 0 && len(installed(w)) > 0}
	list, err := calls(h, w)
	if err != nil {
		return nil, err
	}
	for _, c := range list {
		out.Ops = append(out.Ops, c.op())
	}
	return out, nil
}
