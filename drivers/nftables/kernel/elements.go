package kernel

import (
	"bytes"
	"cmp"
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
	s, err := c.dial()
	if err != nil {
		return nil, err
	}
	defer s.close()
	for range readTries {
		info, err := s.describe(ctx, family, table, set)
		if err == nil {
			var el []ruleset.Element
			if el, err = s.elementsOf(ctx, family, table, &info); err == nil {
				return el, nil
			}
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
	err := s.request(ctx, nftType|unix.NFT_MSG_GETSETELEM, unix.NLM_F_DUMP, uint8(family), 0, req, func(m message) (err error) {
		out, err = decodeElements(m.payload, out)
		return err
	})
	if err != nil {
		return nil, err
	}
	slices.SortFunc(out, compareElements)
	return out, nil
}

// compareElements orders by key; where one interval ends and the next begins at
// the same key, the end comes first.
func compareElements(a, b ruleset.Element) int {
	if c := bytes.Compare(a.Key, b.Key); c != 0 {
		return c
	}
	if c := bytes.Compare(a.KeyEnd, b.KeyEnd); c != 0 {
		return c
	}
	return -cmp.Compare(a.Flags&ruleset.ElemIntervalEnd, b.Flags&ruleset.ElemIntervalEnd)
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
	same := func(a, b ruleset.Element) bool { return compareElements(a, b) == 0 }
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
	if s.Count == 0 || s.Flags&(ruleset.SetInterval|ruleset.SetTimeout) != 0 {
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
		if compareElements(el[i-1], el[i]) == 0 {
			return true
		}
	}
	return false
}

// getBurst is how many keys one send asks for: as many answers fit the queue.
const getBurst = 128

// Get asks for single elements by key (NFT_MSG_GETSETELEM, some microseconds
// each, also of sets with a million). Of keys, only Key, KeyEnd and the flags
// are looked at. The result has one entry for each key, nil where the set has no
// such element. It wraps ErrNotFound where there is no such set.
func (c *Conn) Get(ctx context.Context, family ruleset.Family, table, set string, keys []ruleset.Element) ([]*ruleset.Element, error) {
	what := fmt.Sprintf("look up %d elements of set %s of table %s in %s", len(keys), set, table, c.where())
	s, err := c.dial()
	if err != nil {
		return nil, err
	}
	defer s.close()
	if _, err := s.describe(ctx, family, table, set); err != nil { // ENOENT is else ambiguous
		return nil, explain(what, "nf_tables", err)
	}
	out := make([]*ruleset.Element, len(keys))
	for at := 0; at < len(keys); at += getBurst {
		end := min(at+getBurst, len(keys))
		if err := s.getSome(ctx, family, table, set, keys[at:end], out[at:end]); err != nil {
			return nil, explain(what, "nf_tables", err)
		}
	}
	return out, nil
}

// describe asks for one set without its elements (NFT_MSG_GETSET).
func (s *socket) describe(ctx context.Context, family ruleset.Family, table, set string) (out ruleset.Set, err error) {
	req := appendString(appendString(nil, unix.NFTA_SET_TABLE, table), unix.NFTA_SET_NAME, set)
	err = s.request(ctx, nftType|unix.NFT_MSG_GETSET, 0, uint8(family), 0, req, func(m message) (err error) {
		_, out, err = decodeSet(m.payload)
		return err
	})
	return out, err
}

// getSome sends one message for each key. Each gets exactly one answer: the
// element or an error.
func (s *socket) getSome(ctx context.Context, family ruleset.Family, table, set string, keys []ruleset.Element,
	out []*ruleset.Element) error {
	first := s.seq + 1
	var b []byte
	for i := range keys {
		s.seq++
		var at, list, one int
		b, at = appendHeader(b, nftType|unix.NFT_MSG_GETSETELEM, unix.NLM_F_REQUEST, s.seq, uint8(family), 0)
		b = appendString(b, unix.NFTA_SET_ELEM_LIST_TABLE, table)
		b = appendString(b, unix.NFTA_SET_ELEM_LIST_SET, set)
		b, list = openNest(b, unix.NFTA_SET_ELEM_LIST_ELEMENTS)
		b, one = openNest(b, nftaListElem)
		b = appendKey(b, &keys[i])
		closeNest(b, one)
		closeNest(b, list)
		closeMessage(b, at)
	}
	if err := s.send(b); err != nil {
		return err
	}
	answered := make([]bool, len(keys))
	for left := len(keys); left > 0; {
		data, err := s.recv(ctx)
		if err != nil {
			return err
		}
		err = split(bytes.Clone(data), func(m message) error {
			i := int(m.seq - first)
			if m.seq < first || i >= len(keys) || answered[i] {
				return nil
			}
			answered[i] = true
			left--
			return oneElement(m, &out[i])
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// oneElement takes the answer to the question for one key.
func oneElement(m message, out **ruleset.Element) error {
	if m.typ == unix.NLMSG_ERROR {
		e, err := parseError(m)
		if err != nil || e.errno == unix.ENOENT {
			return err
		}
		return e.err()
	}
	el, err := decodeElements(m.payload, nil)
	if err != nil {
		return err
	}
	if len(el) != 1 {
		return fmt.Errorf("%w: %d elements for one key", errMalformed, len(el))
	}
	*out = &el[0]
	return nil
}
