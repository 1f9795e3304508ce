package netconf

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"time"

	"bulkhead/drivers/netconf/session"
	"bulkhead/pkg/driver"
	"bulkhead/pkg/driver/portacl"
)

// pending is a change that this driver put on trial.
type pending struct {
	id   string
	to   *State
	both *State // what runs while it waits
	// only is the session without which it goes back; nil if another can confirm it.
	only *session.Session
}

// CanTry reports whether the switch can go back by itself, as far as is known. It is
// driver.MayTry.
func (d *Driver) CanTry() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.settings.Direct {
		return false
	}
	if d.caps == nil {
		return true
	}
	ok, _ := d.caps.ConfirmedCommit()
	return ok && d.caps.Candidate()
}

// Try commits a change until it is confirmed.
func (d *Driver) Try(ctx context.Context, ch *driver.Change, timeout time.Duration) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	from, to, err := ends(ch)
	if err != nil {
		return err
	}
	if _, err := d.open(ctx); err != nil {
		return fmt.Errorf("%w: %w", driver.ErrRefused, err)
	}
	ok, persist := d.caps.ConfirmedCommit()
	if !ok || !d.candidate() {
		return fmt.Errorf("%w: %q has no confirmed commit: with the setting %q it takes changes at once, and a controller puts back what nobody confirms", driver.ErrRefused, d.settings.Session.Address, "commit: direct")
	}
	if _, _, on := from.onTrial(); on {
		return fmt.Errorf("%w: a change is on trial on %q", driver.ErrRefused, d.settings.Session.Address)
	}
	random := make([]byte, 6)
	_, _ = rand.Read(random)
	id := hex.EncodeToString(random)
	if timeout < time.Second {
		return fmt.Errorf("%w: %s are too few to confirm a change in", driver.ErrRefused, timeout)
	}
	both := to.with(to.own())
	both.Config.Lists = append(union(&from.Config, &to.Config), mark(d.site, d.now().Add(timeout), id, d.settings.Dialect.Limits().OneList))
	both.Config.Sort()
	how := session.Commit{Confirmed: true, Timeout: timeout}
	p := &pending{id: id, to: to, both: both}
	if persist {
		how.Persist = id
	} else {
		p.only = d.conn
	}
	if err := d.commit(ctx, from, both, how, true); err != nil {
		return err
	}
	d.pending = p
	return nil
}

// Trial finds the mark of a trial. What the switch goes back to it does not tell.
func (d *Driver) Trial(s driver.State) *driver.Trial {
	st, err := stateOf(s)
	if err != nil {
		return nil
	}
	until, _, on := st.onTrial()
	if !on {
		return nil
	}
	return &driver.Trial{Left: max(0, until.Sub(d.now())), New: st}
}

// Confirm takes the old lists and the mark away, in the commit that makes what is on trial
// permanent.
func (d *Driver) Confirm(ctx context.Context, meant driver.State) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	m, err := stateOf(meant)
	if err != nil {
		return err
	}
	if _, err := d.open(ctx); err != nil {
		return err
	}
	p, now := d.pending, (*State)(nil)
	if p == nil || !d.locked || p.only != nil && p.only != d.conn {
		now, err = d.lock(ctx, nil)
		if waits(err) {
			return d.confirmUnlocked(ctx, m)
		}
		if err != nil {
			return err
		}
		if p, err = d.found(now); err != nil {
			d.unlock(ctx)
			return err
		}
	} else {
		now = p.both // it was locked since
	}
	if !same(p.to, m) {
		d.unlock(ctx)
		return fmt.Errorf("%w: another change is on trial on %q", driver.ErrMoved, d.settings.Session.Address)
	}
	want := now.with(m.own())
	if err = d.edit(ctx, &now.Config, &want.Config); err == nil {
		how := session.Commit{PersistID: p.id}
		if p.only != nil {
			how.PersistID = ""
		}
		err = d.finish(ctx, how, false)
	}
	if errors.Is(err, driver.ErrRefused) {
		return d.notConfirmed(ctx, p, err)
	}
	if err != nil {
		return err
	}
	d.pending = nil
	return d.save(ctx)
}

// notConfirmed says why a server refused to confirm.
func (d *Driver) notConfirmed(ctx context.Context, p *pending, err error) error {
	// The server does not know what is to be confirmed, or something else is wrong.
	if after, bad := d.read(ctx); bad == nil {
		if _, id, on := after.onTrial(); !on || id != p.id {
			d.pending = nil
			return fmt.Errorf("%w: %q has gone back: %w", driver.ErrTooLate, d.settings.Session.Address, err)
		}
	}
	return fmt.Errorf("what is on trial on %q cannot be confirmed: %w", d.settings.Session.Address, err)
}

// confirmUnlocked confirms in two commits, on a server that lets nobody lock the candidate while
// a change waits (netconfd): the first makes what is on trial permanent as it is, the second
// takes the old lists and the mark away. The first would commit what somebody has edited in the
// candidate, too, so there must be nothing.
func (d *Driver) confirmUnlocked(ctx context.Context, m *State) error {
	at := d.settings.Session.Address
	now, err := d.read(ctx)
	if err != nil {
		return err
	}
	p, err := d.found(now)
	if err != nil {
		return err
	}
	if !same(p.to, m) {
		return fmt.Errorf("%w: another change is on trial on %q", driver.ErrMoved, at)
	}
	c, err := d.open(ctx)
	if err != nil {
		return err
	}
	edited, err := c.GetConfig(ctx, session.Candidate, nil)
	if err != nil {
		return fmt.Errorf("what is on trial on %q cannot be confirmed: %w", at, err)
	}
	running, err := c.GetConfig(ctx, session.Running, nil)
	if err != nil {
		return fmt.Errorf("what is on trial on %q cannot be confirmed: %w", at, err)
	}
	if !bytes.Equal(edited, running) {
		return fmt.Errorf("%w: somebody has edited the candidate of %q and not committed it: it is theirs to commit or to discard", driver.ErrRefused, at)
	}
	if err := d.finish(ctx, session.Commit{PersistID: p.id}, false); err != nil {
		if errors.Is(err, driver.ErrRefused) {
			return d.notConfirmed(ctx, p, err)
		}
		return err
	}
	if now, err = d.lock(ctx, nil); err != nil {
		return fmt.Errorf("what was on trial on %q is permanent, and its old lists are still there: %w", at, err)
	}
	if _, id, on := now.onTrial(); !on || id != p.id {
		d.unlock(ctx)
		return fmt.Errorf("%w: the lists of %q are not as they were on trial", driver.ErrMoved, at)
	}
	want := now.with(m.own())
	if err = d.edit(ctx, &now.Config, &want.Config); err == nil {
		err = d.finish(ctx, session.Commit{}, false)
	}
	if err != nil {
		return fmt.Errorf("what was on trial on %q is permanent, and its old lists are still there: %w", at, err)
	}
	d.pending = nil
	return d.save(ctx)
}

// waits reports whether a lock was refused because a confirmed commit waits.
func waits(err error) bool {
	var refused *session.RefusedError
	return errors.As(err, &refused) && slices.ContainsFunc(refused.Errors, func(e *session.RPCError) bool { return e.AppTag == "outstanding-confirmed-commit" })
}

// found makes out of what a switch holds what is on trial there.
func (d *Driver) found(now *State) (*pending, error) {
	_, id, on := now.onTrial()
	if !on {
		return nil, fmt.Errorf("%w: %q has gone back", driver.ErrTooLate, d.settings.Session.Address)
	}
	next := now.own()
	loose := now.loose()
	next.Lists = slices.DeleteFunc(next.Lists, func(l portacl.List) bool { return slices.Contains(loose, l.Name) })
	return &pending{id: id, to: now.with(next), both: now}, nil
}

// same reports whether two states hold the same of ours.
func same(a, b *State) bool {
	x, y := State{Config: a.own(), site: a.site}, State{Config: b.own(), site: b.site}
	return x.Fingerprint() == y.Fingerprint()
}

// Undo cancels what is on trial. Where its time has run out there is nothing to do: the switch
// went back as a whole.
func (d *Driver) Undo(ctx context.Context) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	now, err := d.read(ctx)
	if err != nil {
		return err
	}
	_, id, on := now.onTrial()
	p := d.pending
	d.pending = nil
	d.unlock(ctx)
	if !on {
		return nil
	}
	if p != nil && p.only != nil {
		_ = d.drop() // it goes back with its session
	} else if _, err = d.open(ctx); err == nil {
		err = d.conn.CancelCommit(ctx, id)
	}
	// A server notices in its own time that a session is over. It is not asked too often:
	// netconfd does nothing of the kind while it is.
	for end := time.Now().Add(goneBack); ; {
		after, bad := d.read(ctx)
		if bad != nil {
			return bad
		}
		until, still, on := after.onTrial()
		if !on || still != id || !until.After(d.now()) {
			// What is left after its time was confirmed by somebody else's commit, and is put
			// back like any other state.
			return nil
		}
		var refused *session.RefusedError
		if errors.As(err, &refused) {
			return d.unmark(ctx, err)
		}
		if time.Now().After(end) || err != nil {
			return fmt.Errorf("%q still holds what was on trial: %w", d.settings.Session.Address, cmp.Or(err, errors.New("it answered that it had taken it back")))
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(look):
		}
	}
}

// unmark takes the mark of a trial away that is none any more: somebody else's commit made it
// permanent, or ours did and could not tidy up. What is left is put back like any other state;
// with its mark nobody could change it until its time is up.
func (d *Driver) unmark(ctx context.Context, why error) error {
	now, err := d.lock(ctx, nil)
	if err != nil {
		return fmt.Errorf("%q still holds what was on trial: %w; %w", d.settings.Session.Address, why, err)
	}
	want := now.Config.Clone()
	want.Lists = slices.DeleteFunc(want.Lists, func(l portacl.List) bool { _, _, is := readMark(d.site, l.Name); return is })
	if err := d.edit(ctx, &now.Config, &want); err != nil {
		return err
	}
	return d.finish(ctx, session.Commit{}, false)
}

const (
	// goneBack is how long a switch may take to go back once it is told to.
	goneBack = 20 * time.Second
	// look is the pause between two looks whether it has.
	look = 2 * time.Second
)
