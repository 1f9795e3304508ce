package awstest

import (
	"maps"
	"net/netip"
	"slices"
	"strings"
)

// Bounds of prefix lists.
const (
	maxEntries        = 1000
	maxEntriesPerCall = 100
)

// idempotent is what a client token stands for.
type idempotent struct{ id, asked string }

// entries reads NAME.N.Cidr. Whether EC2 clears the bits of the host here as it does
// in rules is not known: it is refused.
func entries(p params, name string, v6 bool, described bool) []Entry {
	var out []Entry
	for _, q := range p.list(name) {
		v := q.need("Cidr")
		n, err := netip.ParsePrefix(v)
		switch {
		case err != nil || n.Addr().Is6() != v6 || n.Addr().Is4In6() || n.Masked() != n:
			p.fail("InvalidParameterValue", "The CIDR '%s' is invalid for a prefix list of %s.", v, family(v6))
		case slices.ContainsFunc(out, func(e Entry) bool { return e.CIDR == n }):
			p.fail("InvalidParameterValue", "The CIDR '%s' is given twice.", v)
		}
		e := Entry{CIDR: n}
		if described {
			e.Description = description(q, plainText)
		}
		out = append(out, e)
	}
	if len(out) > maxEntriesPerCall {
		p.fail("InvalidParameterValue", "A call may give %d entries, and this one gives %d", maxEntriesPerCall, len(out))
	}
	return out
}

func listName(p params, v string) {
	if len(v) > maxText || strings.HasPrefix(v, "com.amazonaws") {
		p.fail("InvalidParameterValue", "Invalid prefix list name '%s'", v)
	}
}

func createPrefixList(c *call) (answer, error) {
	name, fam, token := c.p.need("PrefixListName"), c.p.need("AddressFamily"), c.p.str("ClientToken")
	listName(c.p, name)
	most, given := c.p.number("MaxEntries")
	if !given || most < 1 || most > maxEntries {
		c.p.fail("InvalidParameterValue", "MaxEntries must be given, between 1 and %d", maxEntries)
	}
	if fam != "IPv4" && fam != "IPv6" {
		c.p.fail("InvalidParameterValue", "Invalid address family '%s'", fam)
	}
	es := entries(c.p, "Entry", fam == "IPv6", true)
	tags := c.p.tagSpecs("prefix-list")
	if len(es) > most {
		c.p.fail("PrefixListMaxEntriesExceeded", "You've reached the maximum number of entries for the prefix list.")
	}
	if err := c.p.done(); err != nil {
		return answer{}, err
	}
	asked := c.w.hash(name, fam, most, es, tags)
	key := c.account + " " + c.region + " " + token
	if was, ok := c.w.tokens[key]; ok && token != "" {
		l := c.t.prefixLists[was.id]
		if was.asked != asked || l == nil {
			return answer{}, refuse("IdempotentParameterMismatch", "The client token was used with other parameters")
		}
		return xmlAnswer(elem("prefixList", prefixListNodes(c, l)...))
	}
	mine := ofAccount(c, c.t.prefixLists, func(l *PrefixList) string { return l.Account })
	if len(mine) >= c.w.quotas(c.account, c.region).PrefixLists {
		return answer{}, refuse("PrefixListLimitExceeded", "You've reached the maximum number of prefix lists.")
	}
	l := PrefixList{ID: c.w.newID(idList), Account: c.account, Name: name, IPv6: fam == "IPv6", MaxEntries: most, Weight: most, Version: 1,
		Versions: map[int][]Entry{1: es}, Tags: tags}
	if token != "" && !c.seen.DryRun {
		c.w.tokens[key] = idempotent{id: l.ID, asked: asked}
	}
	return c.begin(l, "create")
}

// begin puts a list into its table with a change in progress, for as many reads as the
// world says, and gives what there is to tell of it.
func (c *call) begin(l PrefixList, what string) (answer, error) {
	l.State, l.lag = what+"-in-progress", c.w.faults.listLag
	c.t.prefixLists[l.ID] = &l
	nodes := prefixListNodes(c, &l)
	if l.lag == 0 {
		c.t.complete(l.ID)
	}
	return xmlAnswer(elem("prefixList", nodes...))
}

// ownList finds a list that the account may change.
func (c *call) ownList(id string) (*PrefixList, error) {
	l := c.t.prefixLists[id]
	switch {
	case !wellFormed(idList, id):
		return nil, refuse("InvalidPrefixListId.Malformed", "Invalid id: \"%s\" (expecting \"pl-...\")", id)
	case l == nil || l.Account != c.account && l.Account != AWSAccount:
		return nil, refuse("InvalidPrefixListID.NotFound", "The prefix list ID '%s' does not exist", id)
	case l.Account == AWSAccount:
		return nil, refuse("UnauthorizedOperation", "You are not authorized to perform this operation: AWS manages the prefix list.")
	case l.lag > 0:
		return nil, refuse("IncorrectState", "prefix list (%s) is in state %s", id, l.State)
	}
	return l, nil
}

func modifyPrefixList(c *call) (answer, error) {
	id := c.p.need("PrefixListId")
	l, err := c.ownList(id)
	v6 := l != nil && l.IPv6
	name := c.p.str("PrefixListName")
	listName(c.p, name)
	version, versioned := c.p.number("CurrentVersion")
	most, resized := c.p.number("MaxEntries")
	if err != nil { // the parameters could not be read without knowing the family
		return answer{}, err
	}
	add, remove := entries(c.p, "AddEntry", v6, true), entries(c.p, "RemoveEntry", v6, false)
	moved := len(add)+len(remove) > 0
	switch {
	case resized && moved:
		c.p.fail("InvalidParameterCombination", "You cannot modify the entries of a prefix list and modify the size of a prefix list at the same time.")
	case moved && !versioned:
		c.p.fail("MissingParameter", "The request must contain the parameter CurrentVersion")
	case !moved && !resized && name == "":
		c.p.fail("MissingParameter", "There is nothing to modify")
	case resized && (most < 1 || most > maxEntries):
		c.p.fail("InvalidParameterValue", "MaxEntries must be between 1 and %d", maxEntries)
	}
	if err := c.p.done(); err != nil {
		return answer{}, err
	}
	if versioned && version != l.Version {
		return answer{}, refuse("PrefixListVersionMismatch", "The prefix list has the incorrect version number. Current version is %d", l.Version)
	}
	next := *l
	if name != "" {
		next.Name = name
	}
	if moved {
		es, err := l.amended(add, remove)
		if err != nil {
			return answer{}, err
		}
		next.Versions = maps.Clone(l.Versions)
		next.Version++
		next.Versions[next.Version] = es
	}
	if resized {
		next.MaxEntries, next.Weight = most, most
	}
	if len(next.Entries()) > next.MaxEntries {
		return answer{}, refuse("PrefixListMaxEntriesExceeded", "You've reached the maximum number of entries for the prefix list.")
	}
	now := *l
	now.next, now.Message = &next, ""
	next.Message = ""
	if blocked := c.blocked(l, &next); blocked != "" {
		// It is not the call that fails: who does not look at the state is never told.
		now.next, now.Message = nil, "The following resources do not support the new maximum size: "+blocked
	}
	return c.begin(now, "modify")
}

// blocked gives the groups that a list's new size is too much for, or "".
func (c *call) blocked(l, next *PrefixList) string {
	with := *c.t
	with.prefixLists = maps.Clone(c.t.prefixLists)
	with.prefixLists[l.ID] = next
	bigger := *c
	bigger.t = &with
	var ids []string
	for _, g := range sorted(c.t.groups) {
		if next.Weight > l.Weight && g.names(l.ID) && bigger.room(g) != nil && len(ids) < 10 {
			ids = append(ids, g.ID)
		}
	}
	return strings.Join(ids, ", ")
}

// amended gives the entries of the next version.
func (l *PrefixList) amended(add, remove []Entry) ([]Entry, error) {
	has := func(in []Entry, e Entry) bool {
		return slices.ContainsFunc(in, func(o Entry) bool { return o.CIDR == e.CIDR })
	}
	for _, e := range remove {
		if !has(l.Entries(), e) || has(add, e) {
			return nil, refuse("InvalidParameterValue", "The CIDR '%s' is not in the prefix list, or is to be added too.", e.CIDR)
		}
	}
	for _, e := range add {
		if has(l.Entries(), e) {
			return nil, refuse("InvalidParameterValue", "The CIDR '%s' is in the prefix list already.", e.CIDR)
		}
	}
	kept := slices.DeleteFunc(slices.Clone(l.Entries()), func(e Entry) bool { return has(remove, e) })
	return append(kept, add...), nil
}

// names reports whether a rule of the group refers to a prefix list.
func (g *Group) names(list string) bool {
	return slices.ContainsFunc(g.Rules, func(r Rule) bool { return r.PrefixList == list })
}

func deletePrefixList(c *call) (answer, error) {
	id := c.p.need("PrefixListId")
	if err := c.p.done(); err != nil {
		return answer{}, err
	}
	l, err := c.ownList(id)
	if err != nil {
		return answer{}, err
	}
	for _, g := range c.t.groups {
		if g.names(id) {
			return answer{}, refuse("DependencyViolation", "The prefix list '%s' is in use by %s", id, g.ID)
		}
	}
	return c.begin(*l, "delete")
}
