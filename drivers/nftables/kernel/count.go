package kernel

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"bulkhead/drivers/nftables/ruleset"
)

// Count is how many elements the kernel says that a set has.
type Count struct {
	// Elements is NFTA_SET_COUNT (Linux 6.16): without the catch-all; in a set of
	// plain intervals half of the elements (a range has two), in others a range is
	// one. Elements that have expired count until the kernel collects them.
	Elements uint32
	// Known is false where the kernel does not say. Elements is 0 then and means
	// nothing: such a set may be full.
	Known bool
}

// Counts asks for the counts of all sets of a table, in one dump of the sets
// without their elements. A commit that is under way is counted as it goes:
// compare Generation before and after. It wraps ErrNotFound and ErrUnstable.
func (c *Conn) Counts(ctx context.Context, family ruleset.Family, table string) (map[string]Count, error) {
	sets, err := c.setsOf(ctx, family, table)
	if err != nil {
		return nil, fmt.Errorf("count the elements of the sets: %w", err)
	}
	out := make(map[string]Count, len(sets))
	for i := range sets {
		out[sets[i].Name] = Count{Elements: sets[i].Count, Known: sets[i].Counted}
	}
	return out, nil
}

// setsOf describes the sets of one table without their elements.
func (c *Conn) setsOf(ctx context.Context, family ruleset.Family, table string) ([]ruleset.Set, error) {
	what := fmt.Sprintf("list the sets of table %s %s in %s", family, table, c.where())
	req := appendString(nil, unix.NFTA_SET_TABLE, table)
	for range readTries {
		var out []ruleset.Set
		err := c.withSocket(func(s *socket) error {
			return s.request(ctx, nftType|unix.NFT_MSG_GETSET, unix.NLM_F_DUMP, uint8(family), 0, req, func(m message) error {
				o, set, err := decodeSet(m.payload)
				if err == nil && o.family == family && o.table == table {
					set.NotRead = true
					out = append(out, set)
				}
				return err
			})
		})
		if err == nil {
			return out, nil
		}
		if !errors.Is(err, errInterrupted) {
			return nil, explain(what, "nf_tables", err)
		}
	}
	return nil, fmt.Errorf("%s: %w", what, ErrUnstable)
}
