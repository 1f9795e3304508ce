package kernel

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"bulkhead/drivers/nftables/ruleset"
)

// Elements reads the elements of one set, dynamic ones too, with their counters.
// The elements of a dynamic set come and go under the reader; of any other set
// the dump is of one moment or an error. It wraps ErrNotFound and ErrUnstable.
func (c *Conn) Elements(ctx context.Context, family ruleset.Family, table, set string) ([]ruleset.Element, error) {
	what := fmt.Sprintf("read the elements of set %s of table %s in %s", set, table, c.where())
	for range readTries {
		var el []ruleset.Element
		err := c.withSocket(func(s *socket) error {
			info, err := s.describe(ctx, family, table, set)
			if err == nil {
				el, err = s.elementsOf(ctx, family, table, &info)
			}
			return err
		})
		if err == nil {
			return el, nil
		}
		if !errors.Is(err, errInterrupted) {
			return nil, explain(what, "nf_tables", err)
		}
	}
	return nil, fmt.Errorf("%s: %w", what, ErrUnstable)
}

// elements dumps one set, sorted.
func (s *socket) elements(ctx context.Context, family ruleset.Family, table, set string, room int) ([]ruleset.Element, error) {
	var out []ruleset.Element
	if room > 0 {
		out = make([]ruleset.Element, 0, min(room+1, 1<<21))
	}
	req := appendString(nil, unix.NFTA_SET_ELEM_LIST_TABLE, table)
	req = appendString(req, unix.NFTA_SET_ELEM_LIST_SET, set)
	var d elementDecoder
	err := s.requestBorrowed(ctx, nftType|unix.NFT_MSG_GETSETELEM, unix.NLM_F_DUMP, uint8(family), 0, req, func(m message) (err error) {
		out, err = d.decode(m.payload, out)
		return err
	})
	if err != nil {
		return nil, err
	}
	sortElements(out)
	return out, nil
}

// elementsOf reads the elements of a set that was described by the kernel. A
// hash table that the kernel resizes during the dump can show an element twice or
// not at all, and no flag says so: what looks wrong is read again, and believed
// only if it is the same.
func (s *socket) elementsOf(ctx context.Context, family ruleset.Family, table string, set *ruleset.Set) ([]ruleset.Element, error) {
	el, err := s.elements(ctx, family, table, set.Name, int(set.Count))
	if err != nil {
		return nil, err
	}
	same := func(a, b ruleset.Element) bool { return compareElements(&a, &b) == 0 }
	if set.Dynamic() { // rules add to it all the time
		return slices.CompactFunc(el, same), nil
	}
	if complete(set, el) && !doubled(el) {
		return el, nil
	}
	again, err := s.elements(ctx, family, table, set.Name, len(el))
	if err != nil {
		return nil, err
	}
	if doubled(again) || !slices.EqualFunc(el, again, same) {
		return nil, errInterrupted
	}
	return again, nil
}

// complete holds elements against the kernel's own count (NFTA_SET_COUNT, Linux
// 6.16), where there is one and it means the same: interval sets count otherwise,
// elements with a timeout leave whenever they like, and the catch-all is not
// counted.
func complete(s *ruleset.Set, el []ruleset.Element) bool {
	if !s.Counted || s.Flags&(ruleset.SetInterval|ruleset.SetTimeout) != 0 {
		return true
	}
	n := uint32(len(el))
	if n > 0 && el[0].Flags&ruleset.ElemCatchAll != 0 { // it has no key and sorts first
		n--
	}
	return n == s.Count
}

// doubled reports whether sorted elements hold one twice.
func doubled(el []ruleset.Element) bool {
	for i := 1; i < len(el); i++ {
		if compareElements(&el[i-1], &el[i]) == 0 {
			return true
		}
	}
	return false
}
