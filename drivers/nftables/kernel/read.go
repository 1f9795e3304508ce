package kernel

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"bulkhead/drivers/nftables/ruleset"
)

// readTries is how often Read begins again before it gives up. Other programs
// (Docker, fail2ban) commit in bursts of some milliseconds.
const readTries = 12

// Read reads the whole ruleset as it was at one moment. The elements of sets are
// read in tables for which ours is true, except for dynamic sets (NFT_SET_EVAL);
// all other sets have NotRead. Elements are sorted by key, so that one state has
// one value. It wraps ErrUnstable where the ruleset changed under every try.
func (c *Conn) Read(ctx context.Context, ours func(t *ruleset.Table) bool) (*ruleset.Ruleset, error) {
	for try := 0; try < readTries; try++ {
		r := reader{ctx: ctx, ours: ours, index: map[owner]int{}}
		err := c.withSocket(func(s *socket) error {
			r.s = s
			return r.read()
		})
		if err == nil {
			return &r.out, nil
		}
		// A set or table that vanished between two dumps is a change like any other.
		if !errors.Is(err, errInterrupted) && !errors.Is(err, unix.ENOENT) {
			return nil, explain("read the ruleset of "+c.where(), "nf_tables", err)
		}
		if err := pause(ctx, time.Duration(try)*5*time.Millisecond); err != nil {
			return nil, fmt.Errorf("read the ruleset of %s: %w", c.where(), err)
		}
	}
	return nil, fmt.Errorf("read the ruleset of %s: %w (%d tries)", c.where(), ErrUnstable, readTries)
}

// pause waits, or until ctx ends.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// reader is one try of Read.
type reader struct {
	ctx   context.Context
	s     *socket
	ours  func(t *ruleset.Table) bool
	out   ruleset.Ruleset
	index map[owner]int // table to its place in out.Tables; with a chain, to its place in Chains
}

func (r *reader) read() error {
	before, err := r.s.generation(r.ctx)
	if err != nil {
		return err
	}
	r.out.Generation = before
	for _, d := range []struct {
		msg uint16
		f   func(m message) error
	}{
		{unix.NFT_MSG_GETTABLE, r.table}, {unix.NFT_MSG_GETCHAIN, r.chain}, {unix.NFT_MSG_GETRULE, r.rule},
		{unix.NFT_MSG_GETSET, r.set}, {unix.NFT_MSG_GETOBJ, r.object}, {nftMsgGetFlowtable, r.flowtable},
	} {
		if err := r.s.request(r.ctx, nftType|d.msg, unix.NLM_F_DUMP, unix.AF_UNSPEC, 0, nil, d.f); err != nil {
			return err
		}
	}
	if err := r.elements(); err != nil {
		return err
	}
	after, err := r.s.generation(r.ctx)
	if err != nil {
		return err
	}
	if after != before {
		return errInterrupted
	}
	return nil
}

func (r *reader) table(m message) error {
	t, err := decodeTable(m.payload)
	if err != nil {
		return err
	}
	r.index[owner{family: t.Family, table: t.Name}] = len(r.out.Tables)
	r.out.Tables = append(r.out.Tables, t)
	return nil
}

// in finds the table of o; that it is absent means that it was added meanwhile.
func (r *reader) in(o owner, err error) (*ruleset.Table, error) {
	if err != nil {
		return nil, err
	}
	i, ok := r.index[owner{family: o.family, table: o.table}]
	if !ok {
		return nil, errInterrupted
	}
	return &r.out.Tables[i], nil
}

func (r *reader) chain(m message) error {
	o, c, err := decodeChain(m.payload)
	t, err := r.in(o, err)
	if err != nil {
		return err
	}
	o.chain = c.Name
	r.index[o] = len(t.Chains)
	t.Chains = append(t.Chains, c)
	return nil
}

func (r *reader) rule(m message) error {
	o, rule, err := decodeRule(m.payload)
	t, err := r.in(o, err)
	if err != nil {
		return err
	}
	i, ok := r.index[o]
	if !ok || o.chain == "" {
		return errInterrupted
	}
	t.Chains[i].Rules = append(t.Chains[i].Rules, rule)
	return nil
}

func (r *reader) set(m message) error {
	o, set, err := decodeSet(m.payload)
	t, err := r.in(o, err)
	if err != nil {
		return err
	}
	t.Sets = append(t.Sets, set)
	return nil
}

func (r *reader) object(m message) error {
	o, obj, err := decodeObject(m.payload)
	t, err := r.in(o, err)
	if err != nil {
		return err
	}
	t.Objects = append(t.Objects, obj)
	return nil
}

func (r *reader) flowtable(m message) error {
	o, name, err := decodeFlowtable(m.payload)
	t, err := r.in(o, err)
	if err != nil {
		return err
	}
	t.Flows = append(t.Flows, name)
	return nil
}

// elements reads the elements of all sets that are wanted.
func (r *reader) elements() error {
	for i := range r.out.Tables {
		t := &r.out.Tables[i]
		wanted := r.ours(t)
		for j := range t.Sets {
			set := &t.Sets[j]
			if !wanted || set.Dynamic() {
				set.NotRead = true
				continue
			}
			el, err := r.s.elementsOf(r.ctx, t.Family, t.Name, set)
			if err != nil {
				return err
			}
			set.Elements = el
		}
	}
	return nil
}
