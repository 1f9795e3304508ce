package aws

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"bulkhead/pkg/aws/ec2api"
	"bulkhead/pkg/driver"
)

// Apply makes the calls one by one and stops at the first that fails: what is done then
// lies between the old state and the new one, and the next pass goes on from there.
func (d *Driver) Apply(ctx context.Context, ch *driver.Change) error {
	from, err := stateOf(ch.From)
	if err != nil {
		return err
	}
	to, err := stateOf(ch.To)
	if err != nil {
		return err
	}
	now, err := d.read(ctx)
	if err != nil {
		return fmt.Errorf("%w: %w", driver.ErrRefused, unreachable(err))
	}
	if now.Fingerprint() != from.Fingerprint() {
		return fmt.Errorf("%w: the security groups or interfaces in region %q are not as they were planned for", driver.ErrMoved, d.settings.Region)
	}
	x := &executor{d: d, now: now, to: to}
	if x.c, err = d.client(ctx); err != nil {
		return fmt.Errorf("%w: %w", driver.ErrRefused, err)
	}
	list, err := calls(now, to)
	if err != nil {
		return err
	}
	begin := 0 // of the step: what it does no later one of its calls undoes
	for i := range list {
		c := &list[i]
		if i > 0 && (list[i-1].stage != c.stage || list[i-1].hop != c.hop) {
			if err := x.seen(ctx, list[begin:i]); err != nil {
				return err
			}
		}
		if i > 0 && list[i-1].hop != c.hop {
			begin = i
		}
		if err := x.do(ctx, c); err != nil {
			err = fmt.Errorf("call %d of %d, %s of %s: %w", i+1, len(list), c.api, c.object, err)
			if i == 0 && !x.wrote && harmless(err) {
				return fmt.Errorf("%w: %w", driver.ErrRefused, err)
			}
			return err
		}
	}
	return x.finished(ctx)
}

// harmless reports whether a call that failed so has surely done nothing: AWS answered, and
// the answer is no.
func harmless(err error) bool {
	switch ec2api.KindOf(err) {
	case ec2api.Denied, ec2api.Limit, ec2api.Refused, ec2api.NotFound, ec2api.InUse, ec2api.Throttled, ec2api.Credentials:
		return true
	}
	return false
}

// executor makes the calls of one change.
type executor struct {
	d     *Driver
	c     *ec2api.Client
	now   *State // as last read: it has the IDs
	to    *State
	made  map[string]string // IDs of groups that were made, by key
	wrote bool
}

// all are the IDs of groups.
func (x *executor) all(keys []string) (ids []string, err error) {
	for _, k := range keys {
		id, err := x.id(k)
		if err != nil {
			return nil, err
		}
		ids = append(ids, id)
	}
	return ids, nil
}

// id is the ID of a group.
func (x *executor) id(key string) (string, error) {
	if id, ok := x.made[key]; ok {
		return id, nil
	}
	g := x.now.group(key)
	if g == nil {
		if slices.Contains(x.now.There, key) {
			return key, nil // somebody else's, which goes by its ID
		}
		return "", fmt.Errorf("there is no group %q", key)
	}
	return g.ID, nil
}

func (x *executor) do(ctx context.Context, c *call) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	switch {
	case c.make != nil:
		return x.create(ctx, c.make, c.of)
	case c.function != "":
		return x.moveFunction(ctx, c)
	case len(c.set) > 0:
		ids, err := x.all(c.set)
		if err != nil {
			return err
		}
		return x.patient(ctx, ec2api.NotFound, func() error { return x.c.SetGroups(ctx, c.iface, ids) })
	case c.iface != "" && c.tags != nil:
		return x.write(x.c.Tag(ctx, []string{c.iface}, c.tags))
	case c.iface != "":
		return x.write(x.c.Untag(ctx, []string{c.iface}, c.untag))
	}
	id, err := x.id(c.group)
	if err != nil {
		return err
	}
	switch {
	case c.tags != nil:
		return x.write(x.c.Tag(ctx, []string{id}, c.tags))
	case c.untag != nil:
		return x.write(x.c.Untag(ctx, []string{id}, c.untag))
	case c.action == driver.Add:
		return x.authorize(ctx, id, c)
	case len(c.rules) > 0:
		return x.revoke(ctx, id, c)
	}
	return x.patient(ctx, ec2api.InUse, func() error { return x.c.DeleteGroup(ctx, id) })
}

func (x *executor) write(err error) error {
	x.wrote = x.wrote || err == nil
	return err
}

// create makes a group and takes off the rules that it is born with. Of is the name of its
// identity group, if it is an overflow group.
func (x *executor) create(ctx context.Context, g *Group, of string) error {
	id, err := x.c.CreateGroup(ctx, ec2api.Group{Name: g.Name, Description: description(x.to.Site), VPC: g.VPC, Tags: groupTags(x.to.Site, g, of)})
	if x.write(err) != nil {
		return err
	}
	if x.made == nil {
		x.made = map[string]string{}
	}
	x.made[g.Key] = id
	born, err := x.born(ctx, id, g)
	if err != nil || len(born) == 0 {
		return err
	}
	return x.patient(ctx, ec2api.NotFound, func() error { return x.c.Revoke(ctx, id, true, born) })
}

// born finds the rules that a new group lets everything out by, one for each family of its
// VPC. A read that does not show them yet must not pass for a group without.
func (x *executor) born(ctx context.Context, id string, g *Group) ([]string, error) {
	want := 1
	for _, v := range x.now.VPCs {
		if v.ID != g.VPC {
			continue
		}
		for _, c := range v.CIDRs {
			if !c.Addr().Is4() {
				want = 2
			}
		}
	}
	var ids []string
	err := x.until(ctx, fmt.Sprintf("the first rules of new group %q", id), func() (bool, error) {
		rules, err := x.c.Rules(ctx, id)
		if err != nil {
			return false, err
		}
		ids = nil
		for _, r := range rules {
			if r.Egress {
				ids = append(ids, r.ID)
			}
		}
		return len(ids) >= want, nil
	})
	return ids, err
}

func (x *executor) authorize(ctx context.Context, id string, c *call) error {
	var rules []ec2api.Rule
	for _, r := range c.rules {
		n := ec2api.Rule{Protocol: r.Protocol, From: r.From, To: r.To, Prefix: r.Prefix, PrefixList: r.List, Description: "Bulkhead"}
		if r.Peer != "" {
			peer, err := x.id(r.Peer)
			if err != nil {
				return err
			}
			n.PeerGroup = peer
		}
		rules = append(rules, n)
	}
	return x.patient(ctx, ec2api.NotFound, func() error {
		_, err := x.c.Authorize(ctx, id, c.egress, rules, nil)
		return err
	})
}

// revoke removes rules by their IDs as they are now: by what they say they could be missed.
func (x *executor) revoke(ctx context.Context, id string, c *call) error {
	gone := whats(c.rules)
	var ids []string
	g := x.now.group(c.group)
	if g == nil {
		return fmt.Errorf("there is no group %q", c.group)
	}
	for _, r := range g.Rules {
		if gone[r.what()] {
			ids = append(ids, r.ID)
		}
	}
	if len(ids) != len(gone) {
		return fmt.Errorf("%d of the %d rules to remove are there", len(ids), len(gone))
	}
	return x.write(x.c.Revoke(ctx, id, c.egress, ids))
}

// patient tries again while AWS does not know yet what it was told.
func (x *executor) patient(ctx context.Context, while ec2api.Kind, f func() error) error {
	end := time.Now().Add(x.d.settings.patience())
	for {
		err := x.write(f())
		if err == nil || ec2api.KindOf(err) != while || !x.wrote || time.Now().After(end) {
			return err
		}
		if err := sleep(ctx, x.d.settings.pause()); err != nil {
			return err
		}
	}
}

// until looks until something is there.
func (x *executor) until(ctx context.Context, what string, there func() (bool, error)) error {
	end := time.Now().Add(x.d.settings.patience())
	for {
		ok, err := there()
		if ok || err != nil && ec2api.KindOf(err) != ec2api.NotFound {
			return err
		}
		if time.Now().After(end) {
			return fmt.Errorf("%s did not show within %s: a lagging read, or another writer", what, x.d.settings.patience())
		}
		if err := sleep(ctx, x.d.settings.pause()); err != nil {
			return err
		}
	}
}

func sleep(ctx context.Context, t time.Duration) error {
	timer := time.NewTimer(t)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// seen waits until reads show what was written so far: a rule that is not seen yet must not
// stand for the one that is about to be revoked.
func (x *executor) seen(ctx context.Context, done []call) error {
	return x.until(ctx, "what was written", func() (bool, error) {
		s, err := x.d.read(ctx)
		if err != nil {
			return false, retryable(err)
		}
		x.now = s
		return !slices.ContainsFunc(done, func(c call) bool { return !shows(s, &c) }), nil
	})
}

// retryable takes an error of reads that do not fit together for one of being too early.
func retryable(err error) error {
	if ec2api.KindOf(err) == "" && !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded) {
		return &ec2api.Error{Kind: ec2api.NotFound, Action: "read", Message: err.Error(), Err: err}
	}
	return err
}

// shows reports whether a state has what a call did.
func shows(s *State, c *call) bool {
	if c.function != "" {
		return s.showsFunction(c)
	}
	if c.iface != "" {
		n := s.iface(c.iface)
		return n == nil || len(c.set) == 0 || slices.Equal(n.Groups, c.set)
	}
	g := s.group(c.group)
	if c.api == "DeleteSecurityGroup" {
		return g == nil
	}
	if g == nil {
		return false
	}
	there := whats(g.Rules)
	for _, r := range c.rules {
		if there[r.what()] != (c.action == driver.Add) {
			return false
		}
	}
	return true
}

// finished demands that the device shows the new state.
func (x *executor) finished(ctx context.Context) error {
	want := x.to.Fingerprint()
	err := x.until(ctx, "the change", func() (bool, error) {
		s, err := x.d.read(ctx)
		if err != nil {
			return false, retryable(err)
		}
		return s.Fingerprint() == want, nil
	})
	if err != nil {
		return fmt.Errorf("cannot read back: %w", err)
	}
	return nil
}
