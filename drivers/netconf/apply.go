package netconf

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"bulkhead/drivers/netconf/session"
	"bulkhead/pkg/driver"
	"bulkhead/pkg/driver/portacl"
)

// Apply makes a change for good.
func (d *Driver) Apply(ctx context.Context, ch *driver.Change) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	from, to, err := ends(ch)
	if err != nil {
		return err
	}
	if _, err := d.open(ctx); err != nil {
		return fmt.Errorf("%w: %w", driver.ErrRefused, err)
	}
	if d.candidate() {
		err = d.commit(ctx, from, to, session.Commit{}, false)
	} else {
		err = d.direct(ctx, from, to)
	}
	if err != nil {
		return err
	}
	return d.settled(ctx, to)
}

func ends(ch *driver.Change) (from, to *State, err error) {
	if from, err = stateOf(ch.From); err != nil {
		return nil, nil, err
	}
	if to, err = stateOf(ch.To); err != nil {
		return nil, nil, err
	}
	return from, to, nil
}

// candidate reports whether changes go through the candidate.
func (d *Driver) candidate() bool { return !d.settings.Direct && d.caps.Candidate() }

// settled reads back what was written, and saves it where a restart would begin with something
// else.
func (d *Driver) settled(ctx context.Context, to *State) error {
	after, err := d.read(ctx)
	if err != nil {
		return fmt.Errorf("cannot read back: %w", err)
	}
	if after.Fingerprint() != to.Fingerprint() {
		return fmt.Errorf("%q answered that it took the change and does not show it: a server that only says so, a read that lags, or another writer", d.settings.Session.Address)
	}
	return d.save(ctx)
}

// save copies what runs to what the switch starts with, where these are two.
func (d *Driver) save(ctx context.Context) error {
	if !d.caps.Startup() {
		return nil
	}
	c, err := d.open(ctx)
	if err == nil {
		err = c.CopyConfig(ctx, session.Startup, session.Running)
	}
	if err != nil {
		return fmt.Errorf("what runs on %q is right and is not saved, so that a restart would lose it: %w", d.settings.Session.Address, err)
	}
	return nil
}

// lock locks the candidate and holds what runs against what was planned for. An error means
// that nothing was done and nothing is locked.
func (d *Driver) lock(ctx context.Context, from *State) (now *State, err error) {
	c, err := d.open(ctx)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", driver.ErrRefused, err)
	}
	if !d.locked {
		if err := c.Lock(ctx, session.Candidate); err != nil {
			return nil, d.notLocked(err)
		}
		d.locked = true
	}
	if now, err = d.readOnce(ctx); err != nil {
		d.unlock(ctx)
		return nil, fmt.Errorf("%w: %w", driver.ErrRefused, err)
	}
	if from != nil && now.Fingerprint() != from.Fingerprint() {
		d.unlock(ctx)
		return nil, fmt.Errorf("%w: the lists of %q are not as they were planned for", driver.ErrMoved, d.settings.Session.Address)
	}
	return now, nil
}

// notLocked says who has the candidate. What somebody else has edited there is neither thrown
// away nor committed with ours.
func (d *Driver) notLocked(err error) error {
	at := d.settings.Session.Address
	if holder, ok := session.LockHolder(err); ok {
		who := "session " + holder
		if holder == "0" || holder == "" {
			who = "somebody who is no NETCONF session, at its command line perhaps"
		}
		return fmt.Errorf("%w: the candidate of %q is locked by %s: %w", driver.ErrRefused, at, who, err)
	}
	if waits(err) {
		return fmt.Errorf("%w: a change is on trial on %q: confirm it or take it back: %w", driver.ErrRefused, at, err)
	}
	if session.HasTag(err, "resource-denied") || session.HasTag(err, "in-use") {
		return fmt.Errorf("%w: somebody has edited the candidate of %q and not committed it: it is theirs to commit or to discard: %w", driver.ErrRefused, at, err)
	}
	return fmt.Errorf("%w: the candidate of %q cannot be locked: %w", driver.ErrRefused, at, err)
}

// unlock gives the candidate back. A session that cannot do that ends, which gives it back.
func (d *Driver) unlock(ctx context.Context) {
	if !d.locked || d.conn == nil {
		return
	}
	if err := d.conn.Unlock(context.WithoutCancel(ctx), session.Candidate); err != nil {
		_ = d.drop()
	}
	d.locked = false
}

// discard throws our edit of the candidate away.
func (d *Driver) discard(ctx context.Context) {
	if d.conn != nil && d.conn.Discard(context.WithoutCancel(ctx)) != nil {
		_ = d.drop()
	}
	d.unlock(ctx)
}

// commit edits the candidate and commits it. hold keeps it locked after that.
func (d *Driver) commit(ctx context.Context, from, to *State, how session.Commit, hold bool) error {
	now, err := d.lock(ctx, from)
	if err != nil {
		return err
	}
	if until, _, on := now.onTrial(); on && !how.Confirmed && until.After(d.now()) {
		d.unlock(ctx)
		return fmt.Errorf("%w: a change is on trial on %q until %s: confirm it or take it back", driver.ErrRefused, d.settings.Session.Address, until.Format("15:04:05"))
	}
	if err := d.edit(ctx, &now.Config, &to.Config); err != nil {
		return err
	}
	return d.finish(ctx, how, hold)
}

// edit edits the candidate, which is locked. An error means that nothing runs of it, and
// nothing is locked.
func (d *Driver) edit(ctx context.Context, have, want *portacl.Config) error {
	xml, err := d.settings.Dialect.Edit(have, want)
	if err != nil {
		d.unlock(ctx)
		return fmt.Errorf("%w: %w", driver.ErrRefused, err)
	}
	if err := d.conn.EditConfig(ctx, d.editOf(session.Candidate, xml)); err != nil {
		d.discard(ctx)
		return fmt.Errorf("%w: %q does not take the lists: %w", driver.ErrRefused, d.settings.Session.Address, err)
	}
	return nil
}

func (d *Driver) editOf(target string, xml []byte) session.Edit {
	e := session.Edit{Target: target, Config: xml}
	if d.caps.Validate() {
		// A validate by itself makes some servers' next commit do nothing.
		e.TestOption = session.TestThenSet
	}
	if d.caps.RollbackOnError() {
		e.ErrorOption = session.RollbackOnError
	}
	return e
}

// finish commits what was edited.
func (d *Driver) finish(ctx context.Context, how session.Commit, hold bool) error {
	err := d.conn.Commit(ctx, how)
	var refused *session.RefusedError
	switch {
	case errors.As(err, &refused):
		d.discard(ctx)
		return fmt.Errorf("%w: %q does not commit the lists: %w", driver.ErrRefused, d.settings.Session.Address, err)
	case err != nil:
		_ = d.drop()
		return fmt.Errorf("commit on %q: %w", d.settings.Session.Address, err)
	}
	if !hold {
		d.unlock(ctx)
	}
	return nil
}

// direct edits what runs, in three steps after each of which a port has its old lists or its
// new ones, whole: new lists, bindings, and what no port has any more.
func (d *Driver) direct(ctx context.Context, from, to *State) error {
	if !d.caps.WritableRunning() {
		return fmt.Errorf("%w: the running configuration of %q cannot be written, and there is no candidate, or %q is %q", driver.ErrRefused, d.settings.Session.Address, "commit", "direct")
	}
	if err := d.conn.Lock(ctx, session.Running); err != nil {
		return fmt.Errorf("%w: %w", driver.ErrRefused, err)
	}
	defer func() {
		if d.conn != nil && d.conn.Unlock(context.WithoutCancel(ctx), session.Running) != nil {
			_ = d.drop()
		}
	}()
	now, err := d.readOnce(ctx)
	if err != nil {
		return fmt.Errorf("%w: %w", driver.ErrRefused, err)
	}
	if now.Fingerprint() != from.Fingerprint() {
		return fmt.Errorf("%w: the lists of %q are not as they were planned for", driver.ErrMoved, d.settings.Session.Address)
	}
	at := &now.Config
	for i, next := range steps(&now.Config, &to.Config) {
		xml, err := d.settings.Dialect.Edit(at, &next)
		if err == nil && len(ops(at, &next)) > 0 {
			err = d.conn.EditConfig(ctx, d.editOf(session.Running, xml))
		}
		if err != nil {
			err = fmt.Errorf("step %d of 3 on %q: %w", i+1, d.settings.Session.Address, err)
			var refused *session.RefusedError
			if i == 0 && (errors.As(err, &refused) && d.caps.RollbackOnError() || errors.Is(err, session.ErrInvalid) || errors.Is(err, session.ErrClosed)) {
				return fmt.Errorf("%w: %w", driver.ErrRefused, err)
			}
			return err
		}
		at = &next
	}
	return nil
}

// steps are the configurations on the way.
func steps(have, want *portacl.Config) []portacl.Config {
	both := have.Clone()
	both.Lists = union(have, want)
	both.Sort()
	bound := want.Clone()
	bound.Lists = slices.Clone(both.Lists)
	return []portacl.Config{both, bound, *want}
}

// union is the lists of two configurations; of those of one name the second's.
func union(a, b *portacl.Config) []portacl.List {
	out := slices.Clone(b.Lists)
	for _, l := range a.Lists {
		if b.List(l.Name) == nil {
			out = append(out, l)
		}
	}
	return out
}
