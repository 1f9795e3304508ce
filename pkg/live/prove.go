package live

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"bulkhead/inventory"
	"bulkhead/pkg/apply"
	"bulkhead/pkg/compile"
	"bulkhead/pkg/driver"
	"bulkhead/pkg/policy"
	"bulkhead/pkg/prove"
)

// Proof says how a device was proved.
type Proof struct {
	// Addresses counts those that were shown by themselves.
	Addresses int
	// Whole says why the whole device was read and proved; "" where it was not.
	Whole   string
	Results []prove.Result // of the whole proof
}

// Settle ends the live flows that addresses may no longer have.
func (s *Site) Settle(ctx context.Context) error {
	if s.mover == nil {
		return nil
	}
	return s.mover.Settle(ctx)
}

// Unchanged reports whether nobody has written to the device: the look for drift
// that costs next to nothing. A device that is not in step is not unchanged.
func (s *Site) Unchanged(ctx context.Context) (bool, error) {
	if s.mover == nil {
		return false, nil
	}
	return s.mover.Unchanged(ctx)
}

// Prove shows that the device enforces what policy says: of the addresses that
// have moved since the last proof, by reading back what was touched; and whole
// where that does not suffice, or where nothing was proved yet. An error that
// wraps apply.ErrNotProved says that the device does not; the next change is made
// whole then.
func (s *Site) Prove(ctx context.Context) (Proof, error) {
	if s.mover == nil || s.standing == nil {
		return s.proveWhole(ctx, "nothing was proved of it yet")
	}
	if age := s.o.Now().Sub(s.wholly); age < 0 || age >= s.o.ReadAfter {
		// What is wrong without anybody having written is found by this alone.
		return s.proveWhole(ctx, fmt.Sprintf("it was last read whole at %s", s.wholly.UTC().Format(time.RFC3339)))
	}
	n, err := s.proveMoved(ctx)
	if err != nil {
		return s.proveWhole(ctx, err.Error())
	}
	return Proof{Addresses: n}, nil
}

// proveMoved reads back what was touched since the last proof, and shows the addresses
// among it by themselves. After an error nothing stands but a proof of the whole.
func (s *Site) proveMoved(ctx context.Context) (addresses int, err error) {
	moved, err := s.mover.Check(ctx)
	if err != nil {
		return 0, err
	}
	s.standing.Moving(moved)
	for i := range moved {
		id, err := s.identity(moved[i].Addr)
		if err != nil {
			return 0, err
		}
		if err := s.standing.Moved(&moved[i], id); err != nil && s.proveBorn(&moved[i], id) != nil {
			return 0, err
		}
	}
	return len(moved), nil
}

// identity asks the reference evaluator what an address is to policy. Only assets
// that hold the address can make a difference to that.
func (s *Site) identity(a netip.Addr) (prove.Identity, error) {
	var holders []inventory.Asset
	for i := range s.assets {
		for _, p := range s.assets[i].Addresses {
			if p.Contains(a) {
				holders = append(holders, s.assets[i])
				break
			}
		}
	}
	machines := 0
	for i := range holders {
		for _, p := range holders[i].Addresses {
			if p.IsSingleIP() && p.Addr() == a && holders[i].Kind.ClaimsMachine() {
				machines++
			}
		}
	}
	if machines > 1 {
		return prove.Identity{}, fmt.Errorf("several machines claim %s", a)
	}
	w := policy.World{Assets: holders, Book: s.o.Book, Where: s.cl.Classify(holders).Matches, Now: s.at}
	id := prove.Identity{Groups: w.GroupsOf(a), Labels: map[string][]string{}}
	for _, label := range s.matrix.Compared() {
		if values := w.ValuesOf(a, label); len(values) > 0 {
			id.Labels[label] = values
		}
	}
	return id, nil
}

// proveWhole compiles the site as it is, reads the device and proves all of it.
func (s *Site) proveWhole(ctx context.Context, why string) (Proof, error) {
	out := Proof{Whole: why}
	// What was touched may have been taken for looked at already: if this proof cannot be
	// finished, nothing stands.
	s.standing = nil
	m, err := s.compiled()
	if err != nil {
		return out, err
	}
	have, err := s.o.Driver.Read(ctx)
	if err != nil {
		return out, err
	}
	d, err := s.o.Driver.Decode(have)
	if err != nil {
		return out, err
	}
	s.standing, out.Results = prove.Stand(m, s.o.Points, d)
	for i := range out.Results {
		if !out.Results[i].Proved {
			// Whatever this site believes of the device, it is not so.
			s.drop()
			return out, apply.NotProved(&out.Results[i])
		}
	}
	s.wholly = s.o.Now()
	if by, ok := s.mover.(driver.Amender); ok {
		s.standing.By(by)
	}
	if s.mover == nil {
		return out, nil
	}
	if _, err := s.mover.Check(ctx); err != nil {
		s.drop() // proved, and not in step: the next change is made whole
	}
	return out, nil
}

// compiled is the matrix of the site as it is now.
func (s *Site) compiled() (*compile.Matrix, error) {
	if !s.moved {
		return s.matrix, nil
	}
	m, err := compile.Compile(compile.Input{Assets: s.assets, Book: s.o.Book, Where: s.cl.Classify(s.assets).Matches, Now: s.at})
	if err != nil {
		return nil, err
	}
	if s.amended {
		s.tracker.Hint(m)
	} else {
		m.Hint(s.matrix)
	}
	return m, nil
}

func (s *Site) drop() {
	s.standing = nil
	if s.mover != nil {
		s.mover.Close() // it is given up: there is nothing left to do about an error
		s.mover = nil
	}
}
