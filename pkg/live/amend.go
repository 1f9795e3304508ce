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

// stand proves the device by the policies that it has, if nothing was proved of it yet
// and the tables take those that are to be as they stand: that costs less than to do the
// change whole. Where it fails, the change is done whole and says so.
func (s *Site) stand(ctx context.Context, b *policy.Rulebook) {
	if _, ok := s.mover.(driver.Amender); !ok || s.standing != nil {
		return
	}
	if _, err := s.tracker.Amend(b, s.o.Now()); err == nil {
		_, _ = s.proveWhole(ctx, "policies change") // amend sees what became of it
	}
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
	s.standing.Amended()
	s.at, s.moved, s.amended = now, true, true
	if _, err := mover.Check(ctx); err != nil {
		return Step{}, err
	}
	return Step{Touched: touched, Amended: true}, mover.Settle(ctx)
}

// proveAmendment proves what the device would hold, of addresses that stand for all
// that the change concerns.
func (s *Site) proveAmendment(a *compile.Amendment, mover driver.Amender, ready driver.Amending, now time.Time) error {
	w, err := s.standing.Witnesses(a.Changed, mover, ready.Concerns)
	if err != nil || len(w.Src) == 0 || len(w.Dst) == 0 {
		return err // where it concerns nobody, no entry changes that anybody's packets find
	}
	// Each family by itself: a device's tables do not tell families apart, and would have
	// entries for pairs that only the other one has.
	for _, four := range []bool{true, false} {
		if err := s.proveFlows(mover, w.Of(four), now, a.Hint); err != nil {
			return fmt.Errorf("nothing was changed: %w", err)
		}
	}
	return nil
}

// proveFlows proves flows from some addresses to others, of one family.
func (s *Site) proveFlows(mover driver.Amender, w prove.Witnesses, now time.Time, hint func(*compile.Matrix)) error {
	if len(w.Src) == 0 || len(w.Dst) == 0 {
		return nil
	}
	m, err := s.part(w, now)
	if err != nil {
		return err
	}
	hint(m)
	d, err := mover.Decode(w.Src, w.Dst)
	if err != nil {
		return err
	}
	for _, res := range prove.Device(m, s.o.Points, d) {
		if !res.Proved {
			return apply.NotProved(&res)
		}
	}
	return nil
}

// part compiles what policy says of some addresses from nothing. Only assets that hold
// one of them can make a difference to that.
func (s *Site) part(w prove.Witnesses, now time.Time) (*compile.Matrix, error) {
	among := make(map[netip.Addr]bool, len(w.Src)+len(w.Dst))
	set := func(addrs []netip.Addr) packet.Addrs {
		runs := make([]packet.Range, len(addrs))
		for i, a := range addrs {
			runs[i], among[a] = packet.Range{From: a, To: a}, true
		}
		return packet.AddrRanges(runs)
	}
	src, dst := set(w.Src), set(w.Dst)
	holds := func(p netip.Prefix) bool {
		if p.IsSingleIP() {
			return among[p.Addr()]
		}
		all := packet.AddrsOf(p)
		return src.Overlaps(all) || dst.Overlaps(all)
	}
	var assets []inventory.Asset
	for i := range s.assets {
		if slices.ContainsFunc(s.assets[i].Addresses, holds) {
			assets = append(assets, s.assets[i])
		}
	}
	return compile.Part(compile.Input{Assets: assets, Book: s.o.Book, Where: s.cl.Classify(assets).Matches, Now: now}, src, dst)
}
