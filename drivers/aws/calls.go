package aws

import (
	"fmt"
	"slices"
	"strings"

	"bulkhead/pkg/aws/ec2api"
	"bulkhead/pkg/driver"
)

// stage is when in a change a call is made. What a stage wrote is seen before the next
// begins.
type stage int

// The stages. After each call every interface's own rules are its old ones, its new ones,
// or both together.
const (
	prepare stage = iota // groups that no interface carries are filled; they mean nothing yet
	extend               // rules are added to groups that keep their interfaces
	move                 // interfaces that are judged get their final set
	free                 // interfaces that no longer are get theirs
	shrink               // rules are removed, of groups that keep their interfaces
	retire               // groups that no interface carries are deleted, tags are put right
)

// call is one write.
type call struct {
	hop           int // of several steps, which one; see hops.go
	stage         stage
	api           string // EC2's name of it
	action        driver.Action
	object        string
	before, after string

	group    string // key
	make     *Group // CreateSecurityGroup
	of       string // of an overflow group that is made: the name of its identity group
	egress   bool
	rules    []Rule // of Authorize and Revoke, without IDs
	iface    string
	function string            // ARN
	set      []string          // UpdateFunctionConfiguration, ModifyNetworkInterfaceAttribute: keys
	tags     map[string]string // CreateTags
	untag    []string          // DeleteTags
}

func (c *call) op() driver.Op {
	at := fmt.Sprint(int(c.stage))
	if c.hop > 0 {
		at = fmt.Sprintf("%d.%d", c.hop, c.stage)
	}
	return driver.Op{ID: fmt.Sprintf("%s %s %s %s", at, c.api, c.object, digest([]string{c.before, c.after})[:12]), Action: c.action, Object: c.object, Before: c.before, After: c.after}
}

// calls orders the writes that lead from one state to another: in one step, or where rules
// name groups and that would not be safe, by way of others. It refuses where there is no
// room for those.
func calls(have, want *State) ([]call, error) {
	if !have.names() && !want.names() {
		return step(have, want), nil
	}
	moving := movers(have, want)
	if direct(have, want, moving) {
		return step(have, want), nil
	}
	way, err := hops(have, want, moving)
	if err != nil {
		return nil, err
	}
	var out []call
	for i, s := range append(way, want) {
		list := step(have, s)
		for k := range list {
			list[k].hop = i + 1
		}
		out, have = append(out, list...), s
	}
	return out, nil
}

// step orders the writes of one step.
func step(have, want *State) []call {
	p := &planner{have: have, want: want}
	for i := range want.Groups {
		if g := &want.Groups[i]; g.Ours {
			p.group(g)
		}
	}
	for i := range want.Interfaces {
		p.iface(&want.Interfaces[i])
	}
	for i := range want.Functions {
		p.function(&want.Functions[i])
	}
	var gone []*Group
	for i := range have.Groups {
		// Lambda keeps a function's old interface for a while; a later change finds the group free.
		if g := &have.Groups[i]; g.Ours && want.group(g.Key) == nil && (g.Function == "" || !carried(have, g.Key)) {
			gone = append(gone, g)
		}
	}
	p.remove(gone)
	named := want.names() // then rules may name any group that is made in the same stage
	slices.SortStableFunc(p.out, func(a, b call) int {
		if a.stage != b.stage || !named {
			return int(a.stage - b.stage)
		}
		return a.order() - b.order()
	})
	return p.out
}

// order is 0 for groups that are made, 1 for all else.
func (c *call) order() int {
	if c.make != nil {
		return 0
	}
	return 1
}

// remove deletes groups. AWS keeps one that a rule of another names, so that those who name
// go before those who are named; where they name each other in a circle, rules go first.
func (p *planner) remove(gone []*Group) {
	left := slices.Clone(gone)
	names := func(by, g *Group) bool {
		return by != g && slices.ContainsFunc(by.Rules, func(r Rule) bool { return r.Peer == g.Key })
	}
	for len(left) > 0 {
		i := slices.IndexFunc(left, func(g *Group) bool {
			return !slices.ContainsFunc(left, func(by *Group) bool { return names(by, g) })
		})
		if i < 0 {
			i = 0
			for k, by := range left {
				if !names(by, left[0]) {
					continue
				}
				n := *by
				n.Rules = slices.DeleteFunc(slices.Clone(by.Rules), func(r Rule) bool { return r.Peer == left[0].Key })
				_, rules := differ(by.Rules, n.Rules)
				p.revoke(retire, fmt.Sprintf("security group %q in %s", by.Name, by.VPC), by.Key, rules)
				left[k] = &n
			}
		}
		g := left[i]
		p.out = append(p.out, call{stage: retire, api: "DeleteSecurityGroup", action: driver.Remove, object: fmt.Sprintf("security group %q in %s", g.Name, g.VPC),
			before: fmt.Sprintf("%d rules", len(g.Rules)), group: g.Key})
		left = slices.Delete(left, i, i+1)
	}
}

type planner struct {
	have, want *State
	out        []call
}

// carried reports whether an interface carries a group.
func carried(s *State, key string) bool {
	return slices.ContainsFunc(s.Interfaces, func(n Interface) bool { return slices.Contains(n.Groups, key) })
}

func (p *planner) group(w *Group) {
	name := fmt.Sprintf("security group %q in %s", w.Name, w.VPC)
	h := p.have.group(w.Key)
	var there []Rule
	if h == nil {
		after, of := fmt.Sprintf("for %q", w.Points), ""
		if w.Of != "" {
			after = "more rules of " + w.Of
			if g := p.want.group(w.Of); g != nil {
				of = g.Name
			}
		}
		if w.staged() {
			after = "for function " + w.Function
		}
		p.out = append(p.out, call{stage: prepare, api: "CreateSecurityGroup", action: driver.Add, object: name, after: after, group: w.Key, make: w, of: of})
	} else {
		there = h.Rules
		p.retag(name, h, w)
	}
	add, remove := differ(there, w.Rules)
	added, removed := extend, shrink
	if !carried(p.have, w.Key) {
		// What an interrupted change left in it must not come onto an interface with it.
		added, removed = prepare, prepare
		p.revoke(removed, name, w.Key, remove)
		p.authorize(added, name, w.Key, add)
		return
	}
	p.authorize(added, name, w.Key, add)
	p.revoke(removed, name, w.Key, remove)
}

func (p *planner) retag(name string, h, w *Group) {
	if slices.Equal(h.Points, w.Points) {
		return
	}
	tags, old := pointTags(w.Points), pointTags(h.Points)
	if len(tags) > 0 {
		p.out = append(p.out, call{stage: retire, api: "CreateTags", action: driver.Modify, object: "tags of " + name, before: fmt.Sprintf("for %q", h.Points), after: fmt.Sprintf("for %q", w.Points), group: w.Key, tags: tags})
	}
	var gone []string
	for k := range old {
		if _, ok := tags[k]; !ok {
			gone = append(gone, k)
		}
	}
	if slices.Sort(gone); len(gone) > 0 {
		p.out = append(p.out, call{stage: retire, api: "DeleteTags", action: driver.Modify, object: "further tags of " + name, before: strings.Join(gone, " "), group: w.Key, untag: gone})
	}
}

// differ gives the rules to add and to remove, in order.
func differ(have, want []Rule) (add, remove []Rule) {
	h, w := whats(have), whats(want)
	for _, r := range want {
		if !h[r.what()] {
			add = append(add, r.what())
		}
	}
	for _, r := range have {
		if !w[r.what()] {
			remove = append(remove, r.what())
		}
	}
	slices.SortFunc(add, Rule.compare)
	slices.SortFunc(remove, Rule.compare)
	return add, remove
}

var directions = []struct {
	egress bool
	name   string
}{{false, "Ingress"}, {true, "Egress"}}

func (p *planner) authorize(at stage, name, key string, rules []Rule) {
	p.chunks(at, "AuthorizeSecurityGroup", driver.Add, name, key, rules)
}

func (p *planner) revoke(at stage, name, key string, rules []Rule) {
	p.chunks(at, "RevokeSecurityGroup", driver.Remove, name, key, rules)
}

// chunks makes one call for a direction, and more only where AWS takes no more rules in one.
func (p *planner) chunks(at stage, api string, action driver.Action, name, key string, rules []Rule) {
	for _, d := range directions {
		var mine []Rule
		for _, r := range rules {
			if r.Egress == d.egress {
				mine = append(mine, r)
			}
		}
		n := 0
		for some := range slices.Chunk(mine, ec2api.MaxRules) {
			n++
			c := call{stage: at, api: api + d.name, action: action, group: key, egress: d.egress, rules: some}
			c.object = fmt.Sprintf("%s rules of %s", strings.ToLower(d.name), name)
			if n > 1 {
				c.object += fmt.Sprintf(" (part %d)", n)
			}
			if action == driver.Add {
				c.after = told(some)
			} else {
				c.before = told(some)
			}
			p.out = append(p.out, c)
		}
	}
}

func told(rules []Rule) string {
	var out []string
	for _, r := range rules {
		out = append(out, r.String())
	}
	return strings.Join(out, "; ")
}

func (p *planner) iface(w *Interface) {
	h := p.have.iface(w.ID)
	if h == nil {
		return // it is gone, and no call can bring it back
	}
	name := fmt.Sprintf("interface %s", w.ID)
	if !slices.Equal(h.Before, w.Before) && len(w.Before) > 0 {
		v, _ := beforeTag(p.want.Site, w.Before)
		p.out = append(p.out, call{stage: prepare, api: "CreateTags", action: driver.Modify, object: "tag of " + name, after: "carried " + strings.Join(w.Before, " ") + " before", iface: w.ID, tags: map[string]string{tagBefore: v}})
	}
	if !slices.Equal(h.Groups, w.Groups) {
		at := move
		if p.want.identity(w) == "" {
			at = free
		}
		p.out = append(p.out, call{stage: at, api: "ModifyNetworkInterfaceAttribute", action: driver.Modify, object: "groups of " + name,
			before: strings.Join(h.Groups, " "), after: strings.Join(w.Groups, " "), iface: w.ID, set: w.Groups})
	}
	if len(h.Before) > 0 && len(w.Before) == 0 {
		p.out = append(p.out, call{stage: retire, api: "DeleteTags", action: driver.Modify, object: "tag of " + name, before: "carried " + strings.Join(h.Before, " ") + " before", iface: w.ID, untag: []string{tagBefore}})
	}
}
