package live

import (
	"context"
	"fmt"
	"net/netip"

	"bulkhead/pkg/compile"
	"bulkhead/pkg/driver"
	"bulkhead/pkg/prove"
)

// place says how the device is to know an address now. Where a table lacks entries for
// its class, they are added first: nobody's flows find them before the address has its
// word.
func (s *Site) place(ctx context.Context, a netip.Addr) (compile.Placement, int, error) {
	to, err := s.tracker.Place(a)
	if err == nil {
		return to, 0, nil
	}
	mover, ok := s.mover.(driver.Amender)
	if !ok {
		return to, 0, err
	}
	ext, e := s.tracker.Extend(a)
	if e != nil {
		return to, 0, err // the first reason says more
	}
	ready, err := mover.Prepare(ext, s.at)
	if err != nil {
		return to, 0, err
	}
	touched, err := ready.Commit(ctx)
	if err != nil {
		return to, 0, err
	}
	s.tracker.Take(ext)
	to, err = s.tracker.Place(a)
	return to, touched, err
}

// proveBorn shows an address of which no other one has the groups: what it may open to
// everybody and everybody to it.
func (s *Site) proveBorn(mv *driver.Moved, id prove.Identity) error {
	mover, ok := s.mover.(driver.Amender)
	if !ok {
		return fmt.Errorf("nothing like %s was proved", mv.Addr)
	}
	if mover.Word(mv.Addr) != mv.Word {
		return fmt.Errorf("the device does not hold for %s what it was told", mv.Addr)
	}
	near, err := s.standing.Around(mv.Addr, id, s.policies(), mover)
	if err != nil {
		return err
	}
	one := []netip.Addr{mv.Addr}
	for _, w := range []prove.Witnesses{{Src: one, Dst: near.Dst}, {Src: near.Src, Dst: one}} {
		if err := s.proveFlows(mover, w, s.at, s.tracker.Hint); err != nil {
			return err
		}
	}
	return s.standing.Shown(mv.Addr, id)
}
