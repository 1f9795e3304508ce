package driver

import (
	"context"
	"net/netip"
	"slices"
	"time"

	"bulkhead/pkg/compile"
	"bulkhead/pkg/packet"
)

// Move is an address that is to be treated as another class of the layout that the
// device's state was rendered from.
type Move struct {
	Addr netip.Addr
	To   compile.Placement
}

// Moved says what a device holds for an address that was moved, as read back. Word
// stands for all that its lookup tables see of the address (Table.SeeSrc).
type Moved struct {
	Addr netip.Addr
	Word uint32
	// By names the native map that gives the word; "" if none does. From names all
	// that were asked.
	By   string
	From []string
}

// SeenBy reports whether lookups that have their word from these maps see this one.
func (m *Moved) SeenBy(words []string) bool {
	if m.By != "" && !slices.Contains(words, m.By) {
		return false
	}
	return !slices.ContainsFunc(words, func(w string) bool { return !slices.Contains(m.From, w) })
}

// Mover keeps one device in step with single addresses, from a state that was
// rendered, applied, read back and proved. It is not safe for use by several
// goroutines.
type Mover interface {
	// Move makes the moves in one transaction, and returns how many native objects it
	// touched, those included that hold live flows until Settle. With ErrMoved somebody
	// else wrote to the device, with ErrRefused the moves do not fit it as it is:
	// nothing was done, and the device has to be planned anew.
	Move(ctx context.Context, moves []Move) (touched int, err error)
	// Settle ends the live flows of the addresses that were moved which they may no
	// longer have.
	Settle(ctx context.Context) error
	// Check reads back what was touched since the last Check, and compares the device
	// with what it must be besides. An error that wraps ErrMoved says that it is not
	// what this Mover made of it.
	Check(ctx context.Context) ([]Moved, error)
	// Unchanged reports whether nobody has written to the device: the look for drift
	// that costs next to nothing.
	Unchanged(ctx context.Context) (bool, error)
	Close() error
}

// MoverMaker is implemented by drivers that can move single addresses.
type MoverMaker interface {
	// Mover starts from the state that the device holds now, and the one that was
	// rendered for it.
	Mover(ctx context.Context, now, rendered State) (Mover, error)
}

// Amender is implemented by movers that can change what policies say between classes,
// of a device whose layout takes the change as it stands.
type Amender interface {
	Mover
	// Prepare works out what the device has to hold, and does nothing yet. An error that
	// wraps ErrRefused says that the device cannot take the change so. After an error, or
	// where what was prepared is not made, the mover is good for nothing but Close.
	Prepare(a *compile.Amendment, now time.Time) (Amending, error)
	// Hosts calls f with the word of every single address that the device knows by
	// itself, Runs with that of every run of addresses, which covers the single addresses
	// in it.
	Hosts(f func(a netip.Addr, word uint32))
	Runs(f func(r packet.Range, word uint32))
	// Word is the word of one address.
	Word(a netip.Addr) uint32
	// Fate is the same for two pairs of words only if the device finds the same for flows
	// between both wherever it looks, their isolation included.
	Fate(src, dst uint32) string
	// Decode gives what the device has to hold its meaning, a prepared change included, as
	// far as flows from some addresses to others can tell: of others it says nothing.
	Decode(src, dst []netip.Addr) (*Decoded, error)
}

// Amending is a change of policies that was prepared.
type Amending interface {
	// Concerns reports whether an entry that changes is looked up for sources of a word,
	// and for destinations.
	Concerns(word uint32) (src, dst bool)
	// Commit makes the change in one transaction, and returns how many native objects it
	// touched. Live flows are held until the mover's Settle. The mover's next Check
	// reads back what was touched. Errors are those of Move.
	Commit(ctx context.Context) (touched int, err error)
}
