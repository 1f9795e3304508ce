package daemon_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"bulkhead/drivers/nftables"
	"bulkhead/drivers/nftables/ruleset"
	"bulkhead/pkg/config"
	"bulkhead/pkg/driver"
)

// simDevice is a device in memory that speaks the language of nftables, keeps its
// promises about trials, and breaks in every way that a real one may.
type simDevice struct {
	*nftables.Driver
	mu    sync.Mutex
	rng   *rand.Rand
	rate  float64 // of calls that fail
	state driver.State
	saved driver.State // what it boots with
	trial *simTrial
	mark  int
	tell  func()
	each  func(s driver.State) // sees every state that is in force
	lies  bool
	hangs atomic.Bool // no call ends before its caller gives up
}

// hang is what a call waits for on a device that hangs.
func (d *simDevice) hang(ctx context.Context) error {
	if !d.hangs.Load() {
		return nil
	}
	<-ctx.Done()
	return fmt.Errorf("%w: %w", driver.ErrUnreachable, ctx.Err())
}

type simTrial struct {
	old, new driver.State
	until    time.Time
}

var errLost = errors.New("the connection was lost")

// fault draws what becomes of a call: before or after its effect, or nothing.
func (d *simDevice) fault() (before, after error) {
	switch x := d.rng.Float64(); {
	case x < d.rate/3:
		return fmt.Errorf("%w: %w", driver.ErrUnreachable, errLost), nil
	case x < d.rate/2:
		return driver.ErrRefused, nil
	case x < d.rate:
		return nil, errLost
	}
	return nil, nil
}

func (d *simDevice) set(s driver.State) {
	d.state = s
	d.mark++
	d.each(s)
	if d.tell != nil {
		d.tell()
	}
}

// tick lets a trial run out.
func (d *simDevice) tick() {
	if d.trial != nil && !time.Now().Before(d.trial.until) && d.state != d.trial.old {
		d.state = d.trial.old // no event, and no other mark: as the kernel does it
		d.each(d.state)
	}
}

func (d *simDevice) Read(ctx context.Context) (driver.State, error) {
	if err := d.hang(ctx); err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.tick()
	if before, after := d.fault(); before != nil || after != nil {
		return nil, driver.ErrUnreachable
	}
	return d.state, nil
}

func (d *simDevice) Mark(ctx context.Context) (string, error) {
	if err := d.hang(ctx); err != nil {
		return "", err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.tick()
	return strconv.Itoa(d.mark), nil
}

func (d *simDevice) Watch(ctx context.Context, changed func()) error {
	d.mu.Lock()
	d.tell = func() { go changed() }
	d.mu.Unlock()
	<-ctx.Done()
	return ctx.Err()
}

func (d *simDevice) moved(c *driver.Change) error {
	if c.From.Fingerprint() != d.state.Fingerprint() {
		return driver.ErrMoved
	}
	return nil
}

func (d *simDevice) Apply(ctx context.Context, c *driver.Change) error {
	if err := d.hang(ctx); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.tick()
	if d.trial != nil && time.Now().Before(d.trial.until) {
		return driver.ErrRefused
	}
	before, after := d.fault()
	if before != nil {
		return before
	}
	if err := d.moved(c); err != nil {
		return err
	}
	d.trial = nil
	d.set(d.taken(c.To))
	d.saved = c.To
	return after
}

// taken is what the device makes of a state: sometimes it leaves something out and
// says nothing.
func (d *simDevice) taken(s driver.State) driver.State {
	if !d.lies || d.rng.Float64() > 0.2 {
		return s
	}
	return broken(s)
}

func broken(s driver.State) driver.State {
	n := s.(*nftables.State)
	if n.Table() == nil {
		return s
	}
	t := *n.Table()
	t.Sets = slices.Clone(t.Sets)
	for i := range t.Sets {
		if t.Sets[i].Name == "svc" && len(t.Sets[i].Elements) > 0 {
			t.Sets[i].Elements = t.Sets[i].Elements[:len(t.Sets[i].Elements)-1]
		}
	}
	return &nftables.State{Site: n.Site, Own: n.Own, Ruleset: &ruleset.Ruleset{Tables: []ruleset.Table{t}}}
}

func (d *simDevice) Try(ctx context.Context, c *driver.Change, timeout time.Duration) error {
	if err := d.hang(ctx); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.tick()
	if d.trial != nil && time.Now().Before(d.trial.until) {
		return driver.ErrRefused
	}
	before, after := d.fault()
	if before != nil {
		return before
	}
	if err := d.moved(c); err != nil {
		return err
	}
	d.trial = &simTrial{d.state, d.taken(c.To), time.Now().Add(timeout)}
	d.set(d.trial.new)
	return after
}

func (d *simDevice) Trial(driver.State) *driver.Trial {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.tick()
	if d.trial == nil {
		return nil
	}
	return &driver.Trial{Left: max(0, time.Until(d.trial.until)), Old: d.trial.old, New: d.trial.new}
}

func (d *simDevice) Confirm(ctx context.Context, meant driver.State) error {
	if err := d.hang(ctx); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.tick()
	before, after := d.fault()
	if before != nil {
		return before
	}
	if d.trial == nil || !time.Now().Before(d.trial.until) {
		return driver.ErrTooLate
	}
	if meant.Fingerprint() != d.state.Fingerprint() {
		return driver.ErrMoved
	}
	d.trial, d.saved = nil, d.state
	d.mark++
	return after
}

func (d *simDevice) Undo(ctx context.Context) error {
	if err := d.hang(ctx); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.tick()
	before, after := d.fault()
	if before != nil {
		return before
	}
	if d.trial != nil {
		old := d.trial.old
		d.trial = nil
		d.set(old)
	}
	return after
}

// reboot loads what was saved; what was on trial is gone.
func (d *simDevice) reboot() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.trial = nil
	d.set(d.saved)
}

// tamper is somebody else.
func (d *simDevice) tamper() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.trial == nil {
		d.set(broken(d.state))
	}
}

func (d *simDevice) faults(rate float64, lies bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.rate, d.lies = rate, lies
}

// plainDevice is one that cannot go back by itself: what is on trial there has to be put
// back by a controller.
type plainDevice struct{ d *simDevice }

func (p plainDevice) Capabilities() driver.Capabilities { return p.d.Capabilities() }
func (p plainDevice) Render(w driver.Desired, have driver.State) (*driver.Rendered, error) {
	return p.d.Render(w, have)
}
func (p plainDevice) Diff(have, want driver.State) (*driver.Change, error) {
	return p.d.Diff(have, want)
}
func (p plainDevice) Decode(s driver.State) (*driver.Decoded, error) { return p.d.Decode(s) }
func (p plainDevice) Read(ctx context.Context) (driver.State, error) { return p.d.Read(ctx) }
func (p plainDevice) Apply(ctx context.Context, c *driver.Change) error {
	return p.d.Apply(ctx, c)
}
func (p plainDevice) Mark(ctx context.Context) (string, error) { return p.d.Mark(ctx) }
func (p plainDevice) Watch(ctx context.Context, changed func()) error {
	return p.d.Watch(ctx, changed)
}

func simKind(devices map[string]*simDevice, plain bool, encode func(driver.State) ([]byte, error), decode func([]byte) (driver.State, error)) driver.Kind {
	return driver.Kind{Name: "sim",
		Device: func(p *config.Point) string { return "device of " + p.Name },
		Netns:  func(*config.Point) (string, bool) { return "", false },
		Open: func(_ string, points []config.Point) (driver.Driver, error) {
			if d := devices[points[0].Name]; !plain || points[0].Name == "gw-a" {
				return d, nil
			}
			return plainDevice{devices[points[0].Name]}, nil
		},
		Encode: encode, Decode: decode}
}
