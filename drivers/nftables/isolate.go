package nftables

import (
	"context"
	"errors"
	"fmt"

	"bulkhead/drivers/nftables/kernel"
	"bulkhead/drivers/nftables/render"
	"bulkhead/drivers/nftables/ruleset"
	"bulkhead/pkg/compile"
	"bulkhead/pkg/driver"
	"bulkhead/pkg/packet"
)

var _ driver.Isolator = (*Driver)(nil)

// Isolate cuts addresses off in one small transaction that reads nothing of the table
// but which sets it has. Flows that are tracked already come by the same chains.
func (d *Driver) Isolate(ctx context.Context, points []compile.Point, addrs packet.Addrs) error {
	sets, chains, err := render.Quarantine(points, addrs)
	if err != nil || len(sets) == 0 {
		return err
	}
	c, err := d.open()
	if err != nil {
		return err
	}
	defer c.Close()
	name := render.TableName(d.site)
	for range commitTries {
		gen, err := c.Generation(ctx)
		if err != nil {
			return fmt.Errorf("%w: %w", driver.ErrUnreachable, err)
		}
		have, err := c.Counts(ctx, ruleset.FamilyInet, name)
		if err != nil {
			return fmt.Errorf("%w: cannot tell which sets the table in %s has: %w", driver.ErrRefused, d.where(), err)
		}
		if _, ok := have[setHold]; !ok {
			return fmt.Errorf("%w: there is no table of ours in %s: nothing is enforced there", driver.ErrRefused, d.where())
		}
		err = c.Commit(ctx, isolation(name, sets, chains, have), gen)
		switch {
		case err == nil:
			return nil
		case !errors.Is(err, kernel.ErrGenerationMoved):
			return fmt.Errorf("cannot cut %s off in %s: %w", addrs, d.where(), err)
		}
	}
	return fmt.Errorf("%w: nf_tables of %s did not hold still for one transaction in %d tries", driver.ErrMoved, d.where(), commitTries)
}

func isolation(table string, sets []ruleset.Set, chains []ruleset.Chain, have map[string]kernel.Count) *kernel.Batch {
	b := &kernel.Batch{}
	const fam = ruleset.FamilyInet
	there := false
	for i := range sets {
		if _, ok := have[sets[i].Name]; ok {
			there = true
			b.FlushSet(fam, table, sets[i].Name)
		} else {
			b.AddSet(fam, table, &sets[i])
		}
	}
	for i := range sets {
		b.AddElements(fam, table, sets[i].Name, sets[i].Elements)
	}
	if there {
		return b // the chains came with the sets
	}
	for i := range chains {
		b.AddChain(fam, table, &chains[i])
	}
	addRules(b, table, chains)
	return b
}
