package live

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"bulkhead/inventory"
	"bulkhead/pkg/apply"
	"bulkhead/pkg/classify"
	"bulkhead/pkg/compile"
	"bulkhead/pkg/driver"
	"bulkhead/pkg/prove"
)

// ErrWhole says that a change cannot be followed address by address, and that nothing was
// done: it has to be planned as a whole.
var ErrWhole = errors.New("the change has to be planned as a whole")

// InStep is a device that is in step with a site.
type InStep struct {
	Driver driver.Driver
	Points []compile.Point
	In     compile.Input // what Matrix was compiled from; its assets stay as they are
	Matrix *compile.Matrix
	View   *compile.View // that Rendered was rendered from
	// Rendered is what the device has to hold, Read what it was read to hold: the same.
	Rendered, Read driver.State
	Classes        *classify.Classifier // of the rulebook in In
}

// Follower moves single addresses of a device that is in step, for somebody who plans
// everything else. Other than a Site it never does more than that. It is not safe for use
// by several goroutines.
type Follower struct{ s *Site }

// Moving is an address that may come to another class.
type Moving struct {
	Addr  netip.Addr
	Class int // of the matrix that the device is in step with
	move  driver.Move
}

// Follow proves a device and makes ready to move addresses of it. It writes nothing. An
// error that wraps ErrWhole says that the device or the site cannot be followed.
func Follow(ctx context.Context, x InStep) (*Follower, error) {
	maker, ok := x.Driver.(driver.MoverMaker)
	layout := x.View.Current()
	if !ok || layout == nil {
		return nil, fmt.Errorf("%w: the device does not move single addresses", ErrWhole)
	}
	d, err := x.Driver.Decode(x.Read)
	if err != nil {
		return nil, err
	}
	standing, results := prove.Stand(x.Matrix, x.Points, d)
	for i := range results {
		if !results[i].Proved {
			return nil, apply.NotProved(&results[i])
		}
	}
	if err := standing.ByItself(); err != nil {
		return nil, fmt.Errorf("%w: a change of one address cannot be proved by itself: %w", ErrWhole, err)
	}
	s := &Site{o: Options{Book: x.In.Book, Points: x.Points, Driver: x.Driver}, cl: x.Classes, at: x.In.Now, matrix: x.Matrix, standing: standing,
		assets: slices.Clone(x.In.Assets)}
	t, err := compile.NewTracker(x.In, layout)
	var re *compile.Recompile
	if errors.As(err, &re) {
		return nil, fmt.Errorf("%w: %w", ErrWhole, err)
	}
	if err != nil {
		return nil, err
	}
	mover, err := maker.Mover(ctx, x.Read, x.Rendered)
	if errors.Is(err, driver.ErrRefused) || errors.Is(err, driver.ErrMoved) {
		return nil, fmt.Errorf("%w: %w", ErrWhole, err)
	}
	if err != nil {
		return nil, err
	}
	s.tracker, s.mover = t, mover
	if by, ok := mover.(driver.Amender); ok {
		standing.By(by)
	}
	return &Follower{s}, nil
}

// Close lets the device go. It keeps what it holds.
func (f *Follower) Close() error { return f.s.Close() }

// Unchanged reports whether nobody has written to the device.
func (f *Follower) Unchanged(ctx context.Context) (bool, error) { return f.s.Unchanged(ctx) }

// Plan works out which addresses changes of assets concern, and to which classes these
// come. The device is not asked. After an error, or where the moves are not made, the
// follower is good for nothing but Close.
func (f *Follower) Plan(changed []*inventory.Asset, gone []string) ([]Moving, error) {
	s := f.s
	all := map[netip.Addr]bool{}
	note := func(addrs []netip.Addr, err error) error {
		if err != nil {
			return fmt.Errorf("%w: %w", ErrWhole, err)
		}
		for _, a := range addrs {
			all[a] = true
		}
		return nil
	}
	for _, id := range gone { // first: what they held may be another's now
		i, ok := s.find(id)
		if !ok {
			return nil, fmt.Errorf("%w: there is no asset %q", ErrWhole, id)
		}
		s.assets, s.index = slices.Delete(s.assets, i, i+1), nil
		if err := note(s.tracker.Remove(id)); err != nil {
			return nil, err
		}
	}
	for _, a := range changed {
		if err := note(s.tracker.Set(s.put(*a), s.cl.Reclassify(a).Groups)); err != nil {
			return nil, err
		}
	}
	var out []Moving
	for _, a := range slices.SortedFunc(maps.Keys(all), netip.Addr.Compare) {
		class, ok := s.tracker.Class(a)
		if !ok {
			return nil, fmt.Errorf("%w: no address has had the groups of %s before", ErrWhole, a)
		}
		to, err := s.tracker.Place(a)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrWhole, err)
		}
		out = append(out, Moving{a, class, driver.Move{Addr: a, To: to}})
	}
	return out, nil
}

// Move makes planned moves in one transaction, ends the live flows that the addresses may
// no longer have, and proves the device by what was touched. It returns how many native
// objects were touched. With an error that wraps ErrWhole nothing was done; after any
// other the device may hold the moves, and has to be planned.
func (f *Follower) Move(ctx context.Context, moves []Moving) (touched int, err error) {
	list := make([]driver.Move, len(moves))
	for i := range moves {
		list[i] = moves[i].move
	}
	touched, err = f.s.mover.Move(ctx, list)
	if errors.Is(err, driver.ErrMoved) || errors.Is(err, driver.ErrRefused) {
		return 0, fmt.Errorf("%w: %w", ErrWhole, err)
	}
	if err != nil {
		return 0, err
	}
	if err := f.s.mover.Settle(ctx); err != nil {
		return touched, fmt.Errorf("addresses were moved, and their flows could not be ended: %v", err)
	}
	if _, err := f.s.proveMoved(ctx); err != nil {
		return touched, fmt.Errorf("addresses were moved, and that is not proved: %v", err)
	}
	return touched, nil
}
