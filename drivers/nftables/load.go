package nftables

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	"bulkhead/drivers/nftables/kernel"
	"bulkhead/drivers/nftables/ruleset"
	"bulkhead/pkg/driver"
)

// A transaction is one datagram, and without privilege in the first user namespace
// a socket sends no more than net.core.wmem_max allows: less than a large site
// takes. Then what nothing refers to yet is loaded in several transactions, and the
// last one, which is small, makes it count: of a new table its base chains, of a
// change whatever uses the new sets. Until then the kernel judges as before.
//
// A table without a base chain judges nothing. One that is found so is what an
// interrupted load left behind; it is made anew.

// hooked reports whether packets come by a table at all.
func hooked(t *ruleset.Table) bool {
	return slices.ContainsFunc(t.Chains, func(c ruleset.Chain) bool { return c.Hook != nil })
}

// partRoom is left free in a part, so that one more operation that is no list of
// elements fits.
const partRoom = 16 << 10

// parts are the transactions of a load.
type parts struct {
	room int
	list []*kernel.Batch
	// sets are those of an existing table that the load adds; they go if it fails.
	sets []string
}

// next gives the part that the next operation goes to.
func (p *parts) next() *kernel.Batch {
	if n := len(p.list); n > 0 && p.list[n-1].Len() < p.room-partRoom {
		return p.list[n-1]
	}
	p.list = append(p.list, &kernel.Batch{})
	return p.list[len(p.list)-1]
}

func (p *parts) elements(table, set string, left []ruleset.Element) {
	for len(left) > 0 {
		left = p.next().AddElementsWithin(p.room, ruleset.FamilyInet, table, set, left)
	}
}

// inParts writes the change as transactions of at most room bytes each. It is an
// error where what must be one transaction is larger.
func (d *delta) inParts(room int) (*parts, error) {
	p := &parts{room: room}
	var last *kernel.Batch
	switch {
	case room < 2*partRoom || d.want == nil:
		last = d.batch()
	case d.have == nil || !hooked(d.have):
		last = d.loadTable(p)
	case d.rebuild:
		last = d.batch()
	default:
		last = d.loadSets(p)
	}
	if last.Len() > room {
		return nil, kernel.TooLarge(last.Len(), room)
	}
	p.list = append(p.list, last)
	return p, nil
}

// loadTable loads a new table, and returns the last part, which has the base
// chains.
func (d *delta) loadTable(p *parts) *kernel.Batch {
	const fam = ruleset.FamilyInet
	name := d.want.Name
	p.next().AddTable(fam, name, d.want.Flags, nil)
	if d.have != nil {
		p.next().DelTable(fam, name)
		p.next().AddTable(fam, name, d.want.Flags, nil)
	}
	for i := range d.want.Sets {
		p.next().AddSet(fam, name, &d.want.Sets[i])
	}
	for i := range d.want.Chains {
		if c := &d.want.Chains[i]; c.Hook == nil {
			p.next().AddChain(fam, name, c)
		}
	}
	for i := range d.want.Chains {
		if c := &d.want.Chains[i]; c.Hook == nil {
			for k := range c.Rules {
				p.next().AddRule(fam, name, c.Name, &c.Rules[k])
			}
		}
	}
	for i := range d.want.Sets {
		if !isWindow(d.want.Sets[i].Name) {
			p.elements(name, d.want.Sets[i].Name, d.want.Sets[i].Elements)
		}
	}
	last := &kernel.Batch{}
	for i := range d.want.Sets {
		if s := &d.want.Sets[i]; isWindow(s.Name) { // its time begins with the rules
			last.AddElements(fam, name, s.Name, s.Elements)
		}
	}
	for i := range d.want.Chains {
		if c := d.want.Chains[i]; c.Hook != nil {
			last.AddChain(fam, name, &c)
			addRules(last, name, []ruleset.Chain{c})
		}
	}
	return last
}

// loadSets fills the sets that the kernel's rules do not use yet: those that the
// change adds, and those that an interrupted one has added. It returns the last
// part, which is the rest of the change.
func (d *delta) loadSets(p *parts) *kernel.Batch {
	rest := *d
	rest.addSets, rest.elements = nil, nil
	loaded := map[string]bool{}
	for _, e := range d.elements {
		// No rule uses what the table remembers for us, but it must fit what is there.
		if e.set.Name == "keep" || len(e.del) > 0 || isWindow(e.set.Name) || usesSet(d.have, e.set.Name) {
			rest.elements = append(rest.elements, e)
			continue
		}
		if d.have.Set(e.set.Name) == nil {
			p.next().AddSet(ruleset.FamilyInet, d.want.Name, e.set)
			p.sets = append(p.sets, e.set.Name)
		}
		p.elements(d.want.Name, e.set.Name, e.add)
		loaded[e.set.Name] = true
	}
	for _, s := range d.addSets {
		if !loaded[s.Name] {
			rest.addSets = append(rest.addSets, s)
		}
	}
	return rest.batch()
}

// usesSet reports whether a rule of a table names a set. A name that is the end of
// another one counts, too.
func usesSet(t *ruleset.Table, set string) bool {
	name := append([]byte(set), 0)
	return slices.ContainsFunc(t.Chains, func(c ruleset.Chain) bool {
		return slices.ContainsFunc(c.Rules, func(r ruleset.Rule) bool {
			return slices.ContainsFunc(r.Exprs, func(e ruleset.Expr) bool { return bytes.Contains(e.Data, name) })
		})
	})
}

// commitParts makes a change that does not fit into one transaction.
func (d *Driver) commitParts(ctx context.Context, c *kernel.Conn, from *State, dl *delta, room int) error {
	p, err := dl.inParts(room)
	if err != nil {
		return fmt.Errorf("%w: cannot change %s: %w; nothing was changed", driver.ErrRefused, d.where(), err)
	}
	gen := from.Ruleset.Generation
	for i, b := range p.list {
		// 0 is "not known": whatever happened in between is not to go unnoticed.
		if gen == 0 && i > 0 {
			gen, err = d.unmoved(ctx, c, from)
		}
		if err == nil {
			gen, err = d.commitPart(ctx, c, from, b, gen)
		}
		if err != nil {
			if errors.Is(err, kernel.ErrUncertain) && i == len(p.list)-1 {
				return fmt.Errorf("cannot tell whether the change of %s was made: %w", d.where(), err)
			}
			return errors.Join(err, d.dropParts(c, dl, p, i))
		}
		if d.afterPart != nil {
			d.afterPart(i)
		}
	}
	return nil
}

// commitPart makes one part at a generation. If others wrote meanwhile, and left
// alone what the change was planned on, it goes on from theirs.
func (d *Driver) commitPart(ctx context.Context, c *kernel.Conn, from *State, b *kernel.Batch, gen uint32) (after uint32, err error) {
	for range commitTries {
		after, err = c.CommitAt(ctx, b, gen)
		switch {
		case err == nil:
			return after, nil
		case errors.Is(err, kernel.ErrUncertain):
			return 0, err
		case !errors.Is(err, kernel.ErrGenerationMoved):
			return 0, fmt.Errorf("%w: cannot change %s: %w", driver.ErrRefused, d.where(), err)
		}
		if gen, err = d.unmoved(ctx, c, from); err != nil {
			return 0, err
		}
	}
	return 0, fmt.Errorf("%w: nf_tables of %s did not hold still for one transaction in %d tries", driver.ErrMoved, d.where(), commitTries)
}

// unmoved gives the generation of now, if the tables of others mean what they did.
// Ours is in the making: what became of it is read when the change is proved.
func (d *Driver) unmoved(ctx context.Context, c *kernel.Conn, from *State) (uint32, error) {
	rs, err := c.Read(ctx, func(t *ruleset.Table) bool { return false })
	if err != nil {
		return 0, fmt.Errorf("%w: %w", driver.ErrRefused, err)
	}
	now := &State{Site: d.site, Ruleset: rs}
	if now.with(nil).Fingerprint() != from.with(nil).Fingerprint() {
		return 0, fmt.Errorf("%w: others wrote to nf_tables of %s between plan and apply", driver.ErrMoved, d.where())
	}
	return rs.Generation, nil
}

// dropParts takes away what was loaded before part number failed. Nothing refers
// to it.
func (d *Driver) dropParts(c *kernel.Conn, dl *delta, p *parts, failed int) error {
	if failed == 0 {
		return nil
	}
	b := &kernel.Batch{}
	if len(p.sets) == 0 {
		b.DelTable(ruleset.FamilyInet, dl.want.Name)
	}
	for _, s := range p.sets {
		// A part that failed added none of its sets; added again, they can be deleted.
		b.AddSet(ruleset.FamilyInet, dl.want.Name, dl.want.Set(s))
		b.DelSet(ruleset.FamilyInet, dl.want.Name, s)
	}
	// The context may be why it failed.
	if err := c.Commit(context.Background(), b, 0); err != nil && !errors.Is(err, kernel.ErrNotFound) {
		return fmt.Errorf("cannot take away what was loaded and is not used yet; the next apply does: %w", err)
	}
	return nil
}
