package nftables

import (
	"context"
	"errors"
	"fmt"
	"time"

	"bulkhead/drivers/nftables/kernel"
	"bulkhead/drivers/nftables/render"
	"bulkhead/pkg/driver"
	"bulkhead/pkg/packet"
)

var _ driver.Trier = (*Driver)(nil)

// Try puts the change on trial in the kernel: see stage. It costs the memory of
// what the change touches a second time until it is confirmed or undone.
func (d *Driver) Try(ctx context.Context, ch *driver.Change, timeout time.Duration) error {
	from, to, err := d.ends(ch)
	if err != nil {
		return err
	}
	if compare(from.Table(), to.Table()).empty() {
		return nil
	}
	c, err := d.open()
	if err != nil {
		return err
	}
	defer c.Close()
	if from, err = d.tidied(ctx, c, from); err != nil {
		return err
	}
	have, want := from.Table(), to.Table()
	if want == nil && (have == nil || !hooked(have)) {
		return fmt.Errorf("%w: there is nothing to put on trial", driver.ErrRefused)
	}
	if have != nil && !hooked(have) {
		have = nil
	}
	if have == nil {
		// As for any first load: marks that outlived a table must not be taken for ours.
		if err := d.clearMarks(ctx, c); err != nil {
			return fmt.Errorf("%w: %w", driver.ErrRefused, err)
		}
	}
	s := stage(have, want)
	s.have = from.Table()
	batch := s.batch(timeout)
	confirm, rest := (&trial{raw: s.table(), old: have, new: want, left: timeout}).confirmation()
	for _, b := range []*kernel.Batch{batch, confirm, rest} {
		if b == nil {
			continue
		}
		if room := c.Room(b.Len()); b.Len() > room {
			return fmt.Errorf("%w: %w; a change on trial and its confirmation are no more than one transaction each", driver.ErrRefused, kernel.TooLarge(b.Len(), room))
		}
	}
	if err := d.commitWhole(ctx, c, from, batch); err != nil {
		return err
	}
	if want == nil {
		return nil
	}
	// Live flows that the old state permitted and the new one does not.
	if err := d.sweep(ctx, c, newJudge(want), to.Own, packet.AllAddrs()); err != nil {
		return err
	}
	return d.releaseAs(ctx, c, want.Name, render.TrialPrefix)
}

func (d *Driver) ends(ch *driver.Change) (from, to *State, err error) {
	if from, err = stateOf(ch.From); err != nil {
		return nil, nil, err
	}
	if to, err = stateOf(ch.To); err != nil {
		return nil, nil, err
	}
	return from, to.shorter(ch.Age), nil
}

// tidied takes away what an expired trial has left in the state that a change was
// planned on, and gives the state as it is then. A change on trial is nobody's to
// change.
func (d *Driver) tidied(ctx context.Context, c *kernel.Conn, from *State) (*State, error) {
	switch {
	case from.trial == nil:
		return from, nil
	case from.trial.left > 0:
		return nil, fmt.Errorf("%w: a change of %s is on trial: confirm it or undo it first", driver.ErrRefused, d.where())
	}
	if err := d.undo(ctx, c, from); err != nil {
		return nil, err
	}
	now, err := d.read(ctx, c)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", driver.ErrRefused, err)
	}
	// Flows that were held until somebody went through them are let go by that.
	if now.trial != nil || !compare(now.Table(), from.Table()).same() || now.with(nil).Fingerprint() != from.with(nil).Fingerprint() {
		return nil, fmt.Errorf("%w: others wrote to nf_tables of %s between plan and apply", driver.ErrMoved, d.where())
	}
	return now, nil
}

// commitWhole makes one transaction of a change that was planned on a state.
func (d *Driver) commitWhole(ctx context.Context, c *kernel.Conn, from *State, b *kernel.Batch) error {
	gen := from.Ruleset.Generation
	for range commitTries {
		err := c.Commit(ctx, b, gen)
		switch {
		case err == nil:
			return nil
		case errors.Is(err, kernel.ErrUncertain):
			return fmt.Errorf("cannot tell whether the change of %s was made: %w", d.where(), err)
		case !errors.Is(err, kernel.ErrGenerationMoved):
			return fmt.Errorf("%w: cannot change %s: %w", driver.ErrRefused, d.where(), err)
		}
		now, err := d.read(ctx, c)
		if err != nil {
			return fmt.Errorf("%w: %w", driver.ErrRefused, err)
		}
		if now.trial != nil || now.Fingerprint() != from.Fingerprint() {
			return fmt.Errorf("%w: others wrote to nf_tables of %s between plan and apply", driver.ErrMoved, d.where())
		}
		gen = now.Ruleset.Generation
	}
	return fmt.Errorf("%w: nf_tables of %s did not hold still for one transaction in %d tries", driver.ErrMoved, d.where(), commitTries)
}

// Trial finds the trial in a state that was read.
func (d *Driver) Trial(s driver.State) *driver.Trial {
	st, err := stateOf(s)
	if err != nil || st.trial == nil || st.trial.idle {
		return nil
	}
	return &driver.Trial{Left: st.trial.left, Old: st.with(st.trial.old), New: st.with(st.trial.new)}
}

// Confirm folds what is on trial into the table's own chains and sets, in one
// transaction that fails if the switch has expired. From then on it is confirmed, also
// where what stood on trial cannot be taken away: the next change does that.
func (d *Driver) Confirm(ctx context.Context, meant driver.State) error {
	m, err := stateOf(meant)
	if err != nil {
		return err
	}
	c, err := d.open()
	if err != nil {
		return err
	}
	defer c.Close()
	for range commitTries {
		now, err := d.read(ctx, c)
		if err != nil {
			return fmt.Errorf("%w: %w", driver.ErrRefused, err)
		}
		x := now.trial
		if x == nil || x.left <= 0 {
			return fmt.Errorf("%w: %s is back at what it held before, or nothing was on trial", driver.ErrTooLate, d.where())
		}
		if !compare(x.new, m.Table()).same() {
			return fmt.Errorf("%w: what is on trial in %s is not what is to be confirmed", driver.ErrMoved, d.where())
		}
		b, rest := x.confirmation()
		if room := c.Room(b.Len()); b.Len() > room {
			return fmt.Errorf("%w: cannot confirm the change of %s: %w", driver.ErrRefused, d.where(), kernel.TooLarge(b.Len(), room))
		}
		err = c.Commit(ctx, b, now.Ruleset.Generation)
		switch {
		case err == nil:
			_ = d.tidy(ctx, c, rest, now.Ruleset.Generation+1)
			return d.confirmed(ctx, c, x)
		case errors.Is(err, kernel.ErrUncertain):
			return fmt.Errorf("cannot tell whether the change of %s was confirmed: %w", d.where(), err)
		case errors.Is(err, kernel.ErrNotFound):
			return fmt.Errorf("%w: %s went back to what it held before in this moment", driver.ErrTooLate, d.where())
		case !errors.Is(err, kernel.ErrGenerationMoved):
			return fmt.Errorf("%w: cannot confirm the change of %s: %w", driver.ErrRefused, d.where(), err)
		}
	}
	return fmt.Errorf("%w: nf_tables of %s did not hold still for one transaction in %d tries", driver.ErrMoved, d.where(), commitTries)
}

// confirmed lets flows go by their marks. Those that were there when the trial began
// were gone through then, and those that came since were judged by what is confirmed;
// if the controller died before it was done with the first, they stay held, and the
// next apply goes through them.
func (d *Driver) confirmed(ctx context.Context, c *kernel.Conn, x *trial) error {
	if x.new == nil {
		return d.clearMarks(ctx, c)
	}
	if anyHeld(x.new) {
		return nil
	}
	return d.release(ctx, c, x.new.Name)
}

// Undo goes back to the old state.
func (d *Driver) Undo(ctx context.Context) error {
	c, err := d.open()
	if err != nil {
		return err
	}
	defer c.Close()
	for range commitTries {
		now, err := d.read(ctx, c)
		if err != nil {
			return err
		}
		if now.trial == nil {
			return nil
		}
		if err := d.undo(ctx, c, now); !errors.Is(err, driver.ErrMoved) {
			return err
		}
	}
	return fmt.Errorf("%w: nf_tables of %s did not hold still for one transaction in %d tries", driver.ErrMoved, d.where(), commitTries)
}

// undo takes the trial off the table, and ends the flows that the old state does
// not permit. They are held until that is done, as they were after a fall back.
func (d *Driver) undo(ctx context.Context, c *kernel.Conn, now *State) error {
	x, gen := now.trial, now.Ruleset.Generation
	stop, rest := x.removal()
	if !x.idle {
		err := c.Commit(ctx, stop, gen)
		switch {
		case err == nil:
			gen++
		case errors.Is(err, kernel.ErrGenerationMoved):
			return fmt.Errorf("%w: others wrote to nf_tables of %s", driver.ErrMoved, d.where())
		case errors.Is(err, kernel.ErrUncertain):
			return fmt.Errorf("cannot tell whether the trial in %s was undone: %w", d.where(), err)
		default:
			return fmt.Errorf("%w: cannot undo the trial in %s: %w", driver.ErrRefused, d.where(), err)
		}
	}
	tidyErr := d.tidy(ctx, c, rest, gen)
	if x.old == nil || !hooked(x.old) {
		return errors.Join(d.clearMarks(ctx, c), tidyErr)
	}
	// Flows that bear no mark of ours were not judged by what was on trial, or were
	// denied by it: the old chains judge their next packet as they always did.
	if err := d.sweep(ctx, c, newJudge(x.old), packet.AllAddrs(), packet.AllAddrs()); err != nil {
		return errors.Join(err, tidyErr)
	}
	return errors.Join(d.release(ctx, c, x.old.Name), tidyErr)
}

// tidy takes away what is left of a trial for which no base chain asks, when no packet
// is under way there. gen is the generation that was made last; 0 if that is not known.
func (d *Driver) tidy(ctx context.Context, c *kernel.Conn, rest *kernel.Batch, gen uint32) (err error) {
	if rest == nil || d.leaves {
		return nil
	}
	kernel.AwaitPackets()
	for range commitTries {
		if gen == 0 {
			now, err := d.read(ctx, c)
			switch {
			case err != nil:
				return err
			case now.trial == nil:
				return nil
			case !now.trial.idle:
				return fmt.Errorf("%w: another change of %s is on trial", driver.ErrMoved, d.where())
			}
			_, rest = now.trial.removal()
			gen = now.Ruleset.Generation
		}
		if err = c.Commit(ctx, rest, gen); err == nil {
			return nil
		}
		if !errors.Is(err, kernel.ErrGenerationMoved) {
			break
		}
		gen = 0
	}
	return fmt.Errorf("cannot take away what is left of a trial in %s: %w", d.where(), err)
}
