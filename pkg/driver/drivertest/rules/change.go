package rules

import (
	"fmt"
	"slices"

	"bulkhead/pkg/driver"
)

// call is one write.
type call struct {
	action        driver.Action
	object        string
	before, after string
	do            func(*Config) error
}

func (c *call) op() driver.Op {
	return driver.Op{ID: string(c.action) + " " + c.object + " " + c.after, Action: c.action, Object: c.object, Before: c.before, After: c.after}
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
//  1. fill the target group, which off the port means nothing;
//  2. have it on the port beside our others: from here to 5 the rules of both states
//     hold together;
//  3. judge what the new state judges in addition: by rules that permit all that it
//     permits;
//  4. stop judging what the new state leaves alone, which passes in it;
//  5. take our other groups off the port, and the old rules out of the target.
//
// To stop judging before (4 before 3) would leave alone, for a moment, a flow from
// an address that was judged to one that will be.
func (d *Driver) calls(have, want *State) []call {
	target := d.active(want)
	var fill, strip []call
	if target != "" {
		fill, strip = d.ruleCalls(have, want, target)
		if !slices.Contains(have.Config.port(d.port).Groups, target) {
			// What an interrupted change left in a group must not come onto the port with it.
			fill, strip = append(strip, fill...), nil
		}
	}
	now := have.Config.port(d.port).Groups
	both, alone := slices.Clone(now), []string{}
	for _, name := range now {
		if g := have.group(name); g == nil || g.Owner != d.owner() {
			alone = append(alone, name)
		}
	}
	if target != "" {
		alone = append(alone, target)
		if !slices.Contains(both, target) {
			both = append(both, target)
		}
	}
	h, w := d.filters(have), d.filters(want)
	out := append(fill, d.swap(now, both)...)
	for _, f := range missing(w, h) {
		out = append(out, d.add(f))
	}
	for _, f := range missing(h, w) {
		out = append(out, d.remove(f))
	}
	out = append(append(out, d.swap(both, alone)...), strip...)
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

// swap sets the port's groups, if that changes anything.
func (d *Driver) swap(from, to []string) []call {
	if same(from, to) {
		return nil
	}
	return []call{{driver.Modify, fmt.Sprintf("groups of port %q", d.port), fmt.Sprintf("%q", from), fmt.Sprintf("%q", to),
		func(c *Config) error { return c.setGroups(d.port, to) }}}
}

func same(a, b []string) bool {
	a, b = slices.Clone(a), slices.Clone(b)
	slices.Sort(a)
	slices.Sort(b)
	return slices.Equal(a, b)
}

func (d *Driver) filters(s *State) []Filter {
	var out []Filter
	for _, f := range s.Config.port(d.port).Filters {
		if f.Owner == d.owner() {
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
