package rules

import (
	"fmt"
	"slices"

	"bulkhead/pkg/driver"
	"bulkhead/pkg/packet"
)

// call is one write.
type call struct {
	action        driver.Action
	object        string
	before, after string
	do            func(*Config) error
}

func (c *call) op() driver.Op {
	return driver.Op{ID: string(c.action) + " " + c.object, Action: c.action, Object: c.object, Before: c.before, After: c.after}
}

// mine lists our groups.
func (d *Driver) mine(s *State) []*Group {
	var out []*Group
	for i := range s.Groups {
		if s.Groups[i].Owner == d.owner() {
			out = append(out, &s.Groups[i])
		}
	}
	return out
}

// active names our group on the port; "" if there is none.
func (d *Driver) active(s *State) string {
	for _, name := range s.Config.port(d.port).Groups {
		if g := s.group(name); g != nil && g.Owner == d.owner() {
			return name
		}
	}
	return ""
}

// calls orders the writes so that after each of them no flow is permitted that
// neither the old nor the new state permits, and none is dropped that both permit:
//
//  1. fill the target group: while it is off the port that means nothing, and on it
//     it adds permits of the new state;
//  2. stop judging what the new state does not judge: that flow passes in it;
//  3. put the target group on the port, alone of ours: the one moment at which
//     permits of the old state go, if the group was filled aside;
//  4. start judging what the new state judges in addition;
//  5. remove the old permits of the target, and our other groups.
func (d *Driver) calls(have, want *State) []call {
	var out []call
	target := d.active(want)
	var fill, strip []call
	if target != "" {
		fill, strip = d.ruleCalls(have, want, target)
		if !slices.Contains(have.Config.port(d.port).Groups, target) {
			// What an interrupted change left in a group must not come onto the port with it.
			fill, strip = append(strip, fill...), nil
		}
	}
	out = append(out, fill...)
	narrow, widen := d.filterCalls(have, want)
	out = append(out, narrow...)
	out = append(out, d.swap(have, target)...)
	out = append(out, widen...)
	out = append(out, strip...)
	for _, g := range d.mine(have) {
		if g.Name != target {
			out = append(out, call{driver.Remove, fmt.Sprintf("group %q", g.Name), fmt.Sprintf("%d rules", len(g.Rules)), "",
				func(c *Config) error { return c.deleteGroup(g.Name) }})
		}
	}
	return out
}

func (d *Driver) ruleCalls(have, want *State, target string) (fill, strip []call) {
	w, h := want.group(target), have.group(target)
	if h == nil {
		fill = append(fill, call{driver.Add, fmt.Sprintf("group %q", target), "", fmt.Sprintf("for %q", w.Points),
			func(c *Config) error { return c.createGroup(target, d.owner(), w.Points) }})
		h = &Group{Points: w.Points}
	}
	if !slices.Equal(h.Points, w.Points) {
		fill = append(fill, call{driver.Modify, fmt.Sprintf("tag of group %q", target), fmt.Sprintf("%q", h.Points), fmt.Sprintf("%q", w.Points),
			func(c *Config) error { return c.tagGroup(target, w.Points) }})
	}
	there, wanted := map[Rule]bool{}, map[Rule]bool{}
	for _, r := range h.Rules {
		there[r.what()] = true
	}
	for _, r := range w.Rules {
		wanted[r.what()] = true
		if !there[r.what()] {
			fill = append(fill, call{driver.Add, fmt.Sprintf("rule of group %q: %s", target, r), "", r.String(),
				func(c *Config) error { return c.addRule(target, r) }})
		}
	}
	for _, r := range h.Rules {
		if !wanted[r.what()] {
			strip = append(strip, call{driver.Remove, fmt.Sprintf("rule of group %q: %s", target, r), r.String(), "",
				func(c *Config) error { return c.removeRule(target, r.ID) }})
		}
	}
	return fill, strip
}

// swap puts the target on the port in the place of our other groups.
func (d *Driver) swap(have *State, target string) []call {
	now := have.Config.port(d.port).Groups
	var next []string
	for _, name := range now {
		if g := have.group(name); g == nil || g.Owner != d.owner() {
			next = append(next, name)
		}
	}
	if target != "" {
		next = append(next, target)
	}
	if same(now, next) {
		return nil
	}
	return []call{{driver.Modify, fmt.Sprintf("groups of port %q", d.port), fmt.Sprintf("%q", now), fmt.Sprintf("%q", next),
		func(c *Config) error { return c.setGroups(d.port, next) }}}
}

func same(a, b []string) bool {
	a, b = slices.Clone(a), slices.Clone(b)
	slices.Sort(a)
	slices.Sort(b)
	return slices.Equal(a, b)
}

// filterCalls goes by way of the filters that both states have: a prefix that is
// cut smaller must not be unjudged for a moment, so its part that stays is added
// before the whole is removed.
func (d *Driver) filterCalls(have, want *State) (narrow, widen []call) {
	for _, listen := range []bool{false, true} {
		h, w := d.filters(have, listen), d.filters(want, listen)
		var old, next packet.Addrs
		for _, f := range h {
			old = old.Union(packet.AddrsOf(f.Prefix))
		}
		for _, f := range w {
			next = next.Union(packet.AddrsOf(f.Prefix))
		}
		var both []Filter
		if old.Equal(next) {
			both = w // the same addresses in other words
		} else {
			for _, p := range old.Intersect(next).Prefixes() {
				both = append(both, Filter{Prefix: p, Listen: listen, Owner: d.owner()})
			}
		}
		for _, f := range missing(both, h) {
			narrow = append(narrow, d.add(f))
		}
		for _, f := range missing(h, both) {
			narrow = append(narrow, d.remove(f))
		}
		for _, f := range missing(w, both) {
			widen = append(widen, d.add(f))
		}
		for _, f := range missing(both, w) {
			widen = append(widen, d.remove(f))
		}
	}
	return narrow, widen
}

func (d *Driver) filters(s *State, listen bool) []Filter {
	var out []Filter
	for _, f := range s.Config.port(d.port).Filters {
		if f.Owner == d.owner() && f.Listen == listen {
			out = append(out, f)
		}
	}
	return out
}

func missing(want, from []Filter) []Filter {
	var out []Filter
	for _, f := range want {
		if !slices.Contains(from, f) {
			out = append(out, f)
		}
	}
	return out
}

func (f Filter) String() string {
	if f.Listen {
		return "listening filter " + f.Prefix.String()
	}
	return "filter " + f.Prefix.String()
}

func (d *Driver) add(f Filter) call {
	return call{driver.Add, fmt.Sprintf("%s of port %q", f, d.port), "", f.Prefix.String(), func(c *Config) error { return c.addFilter(d.port, f) }}
}

func (d *Driver) remove(f Filter) call {
	return call{driver.Remove, fmt.Sprintf("%s of port %q", f, d.port), f.Prefix.String(), "", func(c *Config) error { return c.removeFilter(d.port, f) }}
}
