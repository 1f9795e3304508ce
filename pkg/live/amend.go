package live

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"bulkhead/inventory"
	"bulkhead/pkg/apply"
	"bulkhead/pkg/compile"
	"bulkhead/pkg/driver"
	"bulkhead/pkg/packet"
	"bulkhead/pkg/policy"
	"bulkhead/pkg/prove"
)

// policies are those that the device was last brought to.
func (s *Site) policies() []policy.Policy {
	if s.amended && s.mover != nil {
		return s.tracker.Policies()
	}
	return s.matrix.Policies
}

// amend brings the device to other policies by the entries that they concern, or else
// whole. What it would hold is proved before, as far as the change concerns it; what it
// then holds is read back and must be the same; and live flows are judged again.
func (s *Site) amend(ctx context.Context, why string) (Step, error) {
	amender, ok := s.mover.(driver.Amender)
	if !ok {
		return s.all(ctx, why)
	}
	st, err := s.amendBy(ctx, amender)
	if err == nil {
		return st, nil
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		s.drop()
		return st, err
	}
	return s.all(ctx, why+", and "+err.Error())
}

func (s *Site) amendBy(ctx context.Context, mover driver.Amender) (Step, error) {
	now := s.o.Now()
	a, err := s.tracker.Amend(s.o.Book, now)
	if err != nil {
		return Step{}, err
	}
	if s.standing == nil {
		return Step{}, errors.New("nothing was proved of the device yet")
	}
	if _, err := s.proveMoved(ctx); err != nil {
		s.standing = nil
		return Step{}, err
	}
	ready, err := mover.Prepare(a, now)
	if err != nil {
		return Step{}, err
	}
	if err := s.proveAmendment(a, mover, ready, now); err != nil {
		return Step{}, err
	}
	touched, err := ready.Commit(ctx)
	if err != nil {
		return Step{}, err
	}
	s.tracker.Take(a)
	s.standing.Amended(mover)
	s.at, s.moved, s.amended = now, true, true
	if _, err := mover.Check(ctx); err != nil {
		return Step{Touched: touched}, err
	}
	return Step{Touched: touched}, mover.Settle(ctx)
}

// proveAmendment proves what the device would hold, of addresses that stand for all
// that the change concerns.
func (s *Site) proveAmendment(a *compile.Amendment, mover driver.Amender, ready driver.Amending, now time.Time) error {
	addrs, err := s.standing.Witnesses(a.Changed, mover, ready.Concerns)
	if err != nil || len(addrs) == 0 {
		return err // where it concerns nobody, no entry changes that anybody's packets find
	}
	m, err := s.part(addrs, now)
	if err != nil {
		return err
	}
	a.Hint(m)
	d, err := ready.Decode(addrs)
	if err != nil {
		return err
	}
	for _, res := range prove.Device(m, s.o.Points, d) {
		if !res.Proved {
			return fmt.Errorf("nothing was changed: %w", apply.NotProved(&res))
		}
	}
	return nil
}

// part compiles what policy says of some addresses from nothing. Only assets that hold
// one of them can make a difference to that.
func (s *Site) part(addrs []netip.Addr, now time.Time) (*compile.Matrix, error) {
	runs := make([]packet.Range, len(addrs))
	among := make(map[netip.Addr]bool, len(addrs))
	for i, a := range addrs {
		runs[i], among[a] = packet.Range{From: a, To: a}, true
	}
	keep := packet.AddrRanges(runs)
	holds := func(p netip.Prefix) bool {
		if p.IsSingleIP() {
			return among[p.Addr()]
		}
		return keep.Overlaps(packet.AddrsOf(p))
	}
	var assets []inventory.Asset
	for i := range s.assets {
		if slices.ContainsFunc(s.assets[i].Addresses, holds) {
			assets = append(assets, s.assets[i])
		}
	}
	return compile.Part(compile.Input{Assets: assets, Book: s.o.Book, Where: s.cl.Classify(assets).Matches, Now: now}, keep)
}
