package reconcile

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"slices"

	"bulkhead/inventory"
	"bulkhead/pkg/classify"
	"bulkhead/pkg/compile"
	"bulkhead/pkg/config"
	"bulkhead/pkg/diag"
	"bulkhead/pkg/driver"
	"bulkhead/pkg/live"
	"bulkhead/pkg/packet"
	"bulkhead/pkg/plan"
)

// A few assets that change on a large site are moved on its devices ahead of the plan
// (Footing, Move). Nothing may be moved that a plan would not do by itself: every brake,
// every policy test and every reason to hold a plan is looked at here for the assets that
// change, or keeps the site from being moved at all. Whatever is in doubt waits for the
// plan.

// MoveAtMost bounds the assets that are moved ahead of a plan.
const MoveAtMost = 32

// ErrWait says why a change waits for a plan; nothing was done.
var ErrWait = errors.New("it waits for the plan")

func wait(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrWait, fmt.Sprintf(format, args...))
}

// Footing is what assets of a device that is in step with a site are moved from.
type Footing struct {
	// At is the inventory that the device is in step with.
	At *inventory.Inventory

	s      *Site // that the device was brought to as a whole
	now    *Site // with what has moved since
	d      *Device
	follow *live.Follower
	groups *classify.Classifier
	named  []netip.Addr
	moved  map[netip.Addr]int // since s -> class of its matrix

	// By what the brakes compare with:
	ids  int                 // assets at the last apply
	gone int                 // of them
	had  map[string]int      // group -> its assets at the last apply
	lost map[string]int      // group -> how many of those left it since
	of   map[string][]string // asset that moved since now -> its groups

	nearly packet.Addrs // see nearlyAll
	tight  bool         // there are such groups
}

// movedAtMost bounds the addresses that have moved since a device was brought to a site as
// a whole.
const movedAtMost = 1 << 10

// Movable reports whether assets of the site may be moved ahead of a plan at all.
func (s *Site) Movable() error {
	set := &s.Config.Settings
	switch {
	case len(s.Quarantined) > 0:
		return wait("somebody is in quarantine")
	case set.Approval == config.ApprovalRequired:
		return wait("plans need approval")
	case len(set.Probes) > 0:
		return wait("the site has probes, which are run around a change that can be taken back")
	case slices.ContainsFunc(set.Points, func(p config.Point) bool { return p.Protects != "" }):
		return wait("a point chooses what it protects by what assets are")
	}
	return current(s.Sources)
}

// current says whether what all sources said counts as they said it.
func current(sources []inventory.Standing) error {
	for i := range sources {
		if sources[i].State != inventory.SourceCurrent {
			return wait("%s", sources[i].String())
		}
	}
	return nil
}

// Footing proves a device that is in step with the site and makes ready to move assets.
// last is what the brakes compare with. It reads the device and writes nothing.
func (s *Site) Footing(ctx context.Context, d *Device, enforced map[string]bool, last *Baseline) (*Footing, error) {
	if err := s.Movable(); err != nil {
		return nil, err
	}
	if _, ok := d.Driver.(driver.MoverMaker); !ok || d.Err != nil || len(d.residue) > 0 {
		return nil, wait("%s does not move single addresses, or does not enforce exactly what policy says", d.Name)
	}
	have, err := d.Read(ctx)
	if err != nil {
		return nil, err
	}
	f := &Footing{At: s.Inventory, s: s, now: s, d: d, moved: map[netip.Addr]int{}}
	s.Matrix.Exclusive(func() { err = f.stand(ctx, have, enforced) })
	if err != nil {
		return nil, err
	}
	if err := f.Compare(last); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// Take notes that the site which is in force now is the one that the moves were planned
// for, or one that says the same.
func (f *Footing) Take(s *Site) { f.At, f.now, f.of = s.Inventory, s, map[string][]string{} }

func (f *Footing) stand(ctx context.Context, have driver.State, enforced map[string]bool) error {
	s, d := f.s, f.d
	want := s.desired(d, d.Points, enforced)
	r, err := d.Driver.Render(want, have)
	if err != nil {
		return err
	}
	ch, err := d.Driver.Diff(have, r.State)
	if err != nil {
		return err
	}
	if !ch.Empty() {
		return wait("%s is not in step", d.Name)
	}
	var diags *diag.List
	if f.groups, diags = classify.Compile(s.Config.Book, nil); diags.HasErrors() {
		return wait("the groups' expressions cannot be compiled")
	}
	f.follow, err = live.Follow(ctx, live.InStep{Driver: d.Driver, Points: d.Points, Matrix: s.Matrix, View: want.View, Rendered: r.State, Read: have, Classes: f.groups,
		In: compile.Input{Assets: s.Inventory.Assets, Book: s.Config.Book, Where: s.Members.Matches, Now: s.Now}})
	if errors.Is(err, live.ErrWhole) {
		return fmt.Errorf("%w: %w", ErrWait, err)
	}
	f.named = s.namedAddrs()
	f.nearly, f.tight = nearlyAll(s)
	return err
}

// Compare notes what groups have lost since the last apply. A site of which a brake would
// hold any plan is not moved.
func (f *Footing) Compare(last *Baseline) error {
	if last == nil {
		return wait("no apply of all points has been confirmed yet")
	}
	var now *Baseline
	f.now.Matrix.Exclusive(func() { now = f.now.baseline() })
	var held error
	assetsLost(last, now, f.now.Config.Settings.Limits.AssetsLostPercent, func(_, format string, args ...any) { held = wait(format, args...) })
	for _, c := range f.now.Inventory.Conflicts {
		if c.Kind == inventory.AddressHeldTwice {
			held = wait("%s", c.String())
		}
	}
	if held != nil {
		return held
	}
	there := map[string]bool{}
	for _, id := range now.IDs {
		there[id] = true
	}
	f.ids, f.gone, f.had, f.lost, f.of = len(last.IDs), 0, map[string]int{}, map[string]int{}, map[string][]string{}
	for _, id := range last.IDs {
		if !there[id] {
			f.gone++
		}
	}
	for name, g := range last.Groups {
		f.had[name] = len(g.Members)
		in := map[string]bool{}
		for _, i := range now.Groups[name].Members {
			in[now.IDs[i]] = true
		}
		for _, i := range g.Members {
			if !in[last.IDs[i]] {
				f.lost[name]++
			}
		}
	}
	return nil
}

// InStep reports whether nobody has written to the device since it was looked at.
func (f *Footing) InStep(ctx context.Context) bool {
	same, err := f.follow.Unchanged(ctx)
	return err == nil && same
}

// Close lets the device go.
func (f *Footing) Close() error {
	if f.follow == nil {
		return nil
	}
	return f.follow.Close()
}

// Coming is a site that is about to be worked out: all that it will be made from.
type Coming struct {
	Config      *config.Site
	Inventory   *inventory.Inventory
	Sources     []inventory.Standing
	Quarantined []Quarantine
}

// Differs lists the assets in which a coming site differs from this one, if that is all in
// which they differ, and they are few.
func (s *Site) Differs(x *Coming) (changed []*inventory.Asset, gone []string, err error) {
	switch {
	case len(x.Quarantined) > 0:
		return nil, nil, wait("somebody is in quarantine")
	case !reflect.DeepEqual(x.Config.Book, s.Config.Book) || !reflect.DeepEqual(x.Config.Settings, s.Config.Settings) || !reflect.DeepEqual(x.Config.Tests, s.Config.Tests):
		return nil, nil, wait("more than assets has changed")
	case !reflect.DeepEqual(x.Inventory.Conflicts, s.Inventory.Conflicts):
		return nil, nil, wait("sources disagree otherwise than before")
	}
	if err := current(x.Sources); err != nil {
		return nil, nil, err
	}
	changed, gone, ok := inventory.Changes(s.Inventory, x.Inventory, MoveAtMost)
	if !ok {
		return nil, nil, wait("more than %d assets have changed", MoveAtMost)
	}
	return changed, gone, nil
}

// Moves are planned moves of assets on one device.
type Moves struct {
	f    *Footing
	list []live.Moving
	at   *inventory.Inventory
}

// Plan works out what changes of assets come to on the device, and whether that may be
// done ahead of a plan. After an error the footing is good for nothing but Close.
func (f *Footing) Plan(x *Coming, changed []*inventory.Asset, gone []string) (*Moves, error) {
	if err := f.brakes(changed, gone); err != nil {
		return nil, err
	}
	list, err := f.follow.Plan(changed, gone)
	if errors.Is(err, live.ErrWhole) {
		return nil, fmt.Errorf("%w: %w", ErrWait, err)
	}
	if err != nil {
		return nil, err
	}
	addrs := make([]netip.Addr, len(list))
	for i := range list {
		if addrs[i] = list[i].Addr; f.nearly.Contains(addrs[i]) {
			return nil, wait("%s may be all that a group lacks to be every address", addrs[i])
		}
		f.moved[addrs[i]] = list[i].Class
	}
	if len(f.moved) > movedAtMost {
		return nil, wait("more than %d addresses have moved since the device was last planned for as a whole", movedAtMost)
	}
	f.s.Matrix.Exclusive(func() {
		if share := plan.PartShare(f.s.Matrix, f.d.Points, f.named, addrs); share != nil && share.Percent > float64(f.s.Config.Settings.Limits.NewlyDeniedPercent) {
			err = wait("the assets have a part in about %.1f %% of all flows that %s permits", share.Percent, f.d.Name)
			return
		}
		err = f.tests(x, list)
	})
	if err != nil {
		return nil, err
	}
	return &Moves{f, list, x.Inventory}, nil
}

// Addresses lists the addresses that may come to another class.
func (m *Moves) Addresses() (out []netip.Addr) {
	for i := range m.list {
		out = append(out, m.list[i].Addr)
	}
	return out
}

// Make makes the moves and proves them. With an error that wraps ErrWait nothing was done.
func (m *Moves) Make(ctx context.Context) (touched int, err error) {
	touched, err = m.f.follow.Move(ctx, m.list)
	if errors.Is(err, live.ErrWhole) {
		return 0, fmt.Errorf("%w: %w", ErrWait, err)
	}
	if err == nil {
		m.f.At = m.at
		if m.f.tight {
			m.f.nearly = m.f.nearly.Union(hosts(m.Addresses()...))
		}
	}
	return touched, err
}
