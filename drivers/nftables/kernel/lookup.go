package kernel

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"bulkhead/drivers/nftables/ruleset"
)

// Lookup is the answer for one key: its element, or that the set has none.
type Lookup struct {
	Element ruleset.Element // the zero value unless Found
	Found   bool
}

// keysPerMessage is how many keys one NFT_MSG_GETSETELEM asks for. The kernel
// stops at the first that is absent; those behind it are asked for again, one by
// one.
const keysPerMessage = 32

// answerBytes is what one answer takes of the receive queue, at most: the kernel
// makes each in a buffer of NLMSG_GOODSIZE, up to a page, and counts what it
// manages it with.
const answerBytes = 8 << 10

// ElementsByKey asks for single elements by key (NFT_MSG_GETSETELEM without a
// dump): some 3 microseconds for each, whatever the size of the set, many in
// flight at a time on a socket that is kept open. Above some 400,000 elements it
// reads a whole set faster than a dump, which is quadratic. Of keys, only Key, KeyEnd and
// the flags are looked at. The result has one entry for each key, in their order.
//
// That an element is absent is an answer; that the set is absent, was deleted
// meanwhile, or cannot be read is an error. It wraps ErrNotFound and ErrUnstable.
// In a set of plain intervals the answer is the element at which the interval
// begins that holds the key (with ElemIntervalEnd: at which it ends). Elements
// are read one after the other: compare Generation before and after where they
// must be of one moment.
func (c *Conn) ElementsByKey(ctx context.Context, family ruleset.Family, table, set string, keys []ruleset.Element) ([]Lookup, error) {
	what := fmt.Sprintf("look up %d elements of set %s of table %s %s in %s", len(keys), set, family, table, c.where())
	for i := range keys {
		if k := &keys[i]; len(k.Key) > maxData || len(k.KeyEnd) > maxData || len(k.Key) == 0 && k.Flags&ruleset.ElemCatchAll == 0 {
			return nil, fmt.Errorf("%s: key %d has %d bytes: keys have 1 to %d", what, i, len(k.Key), maxData)
		}
	}
	for range readTries {
		out := make([]Lookup, len(keys))
		err := c.withSocket(func(s *socket) error {
			return s.lookUp(ctx, &keyQuestion{family: family, table: table, set: set, keys: keys, out: out})
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

// Get is ElementsByKey with nil for what is absent.
func (c *Conn) Get(ctx context.Context, family ruleset.Family, table, set string, keys []ruleset.Element) ([]*ruleset.Element, error) {
	found, err := c.ElementsByKey(ctx, family, table, set, keys)
	if err != nil {
		return nil, err
	}
	out := make([]*ruleset.Element, len(found))
	for i := range found {
		if found[i].Found {
			out[i] = &found[i].Element
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

// keyQuestion is a read by key on its way.
type keyQuestion struct {
	family     ruleset.Family
	table, set string
	keys       []ruleset.Element
	out        []Lookup

	decoder elementDecoder
	one     []ruleset.Element // of one answer
	req     []byte
	again   []keyMessage // keys that the kernel did not come to
	err     error        // the first answer that is an error
}

// keyMessage is one message of a burst: the keys from at to end, of which the
// kernel has answered those before next.
type keyMessage struct{ at, next, end int }

// lookUp answers all keys.
func (s *socket) lookUp(ctx context.Context, q *keyQuestion) error {
	before, err := s.describe(ctx, q.family, q.table, q.set) // ENOENT is else ambiguous
	if err != nil {
		return err
	}
	room := s.answersInQueue()
	per := min(keysPerMessage, room)
	var asked []keyMessage
	for at := 0; at < len(q.keys); at += per {
		asked = append(asked, keyMessage{at: at, next: at, end: min(at+per, len(q.keys))})
	}
	for len(asked) > 0 {
		if err := s.askAll(ctx, q, asked, room); err != nil {
			return err
		}
		asked, q.again = q.again, nil
	}
	for i := range q.out {
		if q.out[i].Found {
			continue
		}
		// It may be the set that is absent, and not the element.
		after, err := s.describe(ctx, q.family, q.table, q.set)
		if err == nil && after.Handle != before.Handle {
			err = errInterrupted // another set of that name
		}
		return err
	}
	return nil
}

// askAll sends messages, as many at a time as have at most room answers.
func (s *socket) askAll(ctx context.Context, q *keyQuestion, asked []keyMessage, room int) error {
	for len(asked) > 0 {
		n, answers := 0, 0
		for n < len(asked) {
			answers += asked[n].end - asked[n].at
			if answers > room && n > 0 {
				break
			}
			n++
		}
		if err := s.askKeys(ctx, q, asked[:n]); err != nil {
			return err
		}
		asked = asked[n:]
	}
	return nil
}

// askKeys sends messages at once and takes the answers.
func (s *socket) askKeys(ctx context.Context, q *keyQuestion, asked []keyMessage) error {
	q.req, q.err = q.req[:0], nil
	first := s.seq + 1
	for _, k := range asked {
		s.seq++
		q.request(s.seq, q.keys[k.at:k.end])
	}
	if _, err := s.growSendQueue(len(q.req)); err != nil {
		return err
	}
	if err := s.send(q.req); err != nil {
		return err
	}
	for left := len(asked); left > 0; {
		data, err := s.recv(ctx)
		if err != nil {
			return err
		}
		err = split(data, func(m message) error {
			i := int(m.seq - first)
			if m.seq < first || i >= len(asked) || asked[i].next == asked[i].end {
				return nil // left from an exchange that was given up
			}
			err := q.answer(&asked[i], m)
			if asked[i].next == asked[i].end {
				left--
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	return q.err
}

// request appends one message.
func (q *keyQuestion) request(seq uint32, keys []ruleset.Element) {
	var at, list, one int
	b := q.req
	b, at = appendHeader(b, nftType|unix.NFT_MSG_GETSETELEM, unix.NLM_F_REQUEST, seq, uint8(q.family), 0)
	b = appendString(b, unix.NFTA_SET_ELEM_LIST_TABLE, q.table)
	b = appendString(b, unix.NFTA_SET_ELEM_LIST_SET, q.set)
	b, list = openNest(b, unix.NFTA_SET_ELEM_LIST_ELEMENTS)
	for i := range keys {
		b, one = openNest(b, nftaListElem)
		b = appendKey(b, &keys[i])
		closeNest(b, one)
	}
	closeNest(b, list) // cannot fail: 32 keys of at most 160 bytes
	closeMessage(b, at)
	q.req = b
}

// answer takes the answer to the next key of a message. The kernel answers keys
// in their order and stops at the first that it has no element for.
func (q *keyQuestion) answer(k *keyMessage, m message) error {
	i := k.next
	if m.typ == unix.NLMSG_ERROR {
		e, err := parseError(m)
		if err != nil {
			return err
		}
		if e.errno != unix.ENOENT && q.err == nil { // the rest of the burst is still to be drained
			q.err = e.err()
		}
		for j := i + 1; j < k.end; j++ {
			q.again = append(q.again, keyMessage{at: j, next: j, end: j + 1})
		}
		k.next = k.end
		return nil
	}
	k.next++
	var err error
	q.one, err = q.decoder.decode(m.payload, q.one[:0])
	if err != nil {
		return err
	}
	if len(q.one) != 1 {
		return fmt.Errorf("%w: %d elements for one key", errMalformed, len(q.one))
	}
	q.out[i] = Lookup{Element: q.one[0], Found: true}
	return nil
}

// answersInQueue is how many answers the receive queue holds for certain. The
// kernel answers inside sendmsg(2), before anything is received.
func (s *socket) answersInQueue() int {
	room, err := unix.GetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_RCVBUF)
	if err != nil {
		return 1
	}
	return max(1, min(room/answerBytes, 1024))
}
