package awstest

import (
	"fmt"
	"slices"
	"strings"
)

// group finds the group of the account that a call is about, by id or, in the default
// VPC, by name.
func (c *call) group(p params) (*Group, error) {
	id, name := p.str("GroupId"), p.str("GroupName")
	switch {
	case id != "" && name != "":
		return nil, refuse("InvalidParameterCombination", "The parameter groupName cannot be used with the parameter groupId")
	case id == "" && name == "":
		return nil, refuse("MissingParameter", "The request must contain the parameter groupName or groupId")
	case id != "":
		return c.groupByID(id)
	}
	for _, g := range sorted(c.t.groups) {
		if g.Account == c.account && g.Name == name && c.t.vpcs[g.VPC].Default {
			return g, nil
		}
	}
	return nil, refuse("InvalidGroup.NotFound", "The security group '%s' does not exist in default VPC", name)
}

// groupOf finds the group whose rules a call is about. Egress has been there for VPCs
// alone, and so goes by id alone.
func (c *call) groupOf(egress bool) (*Group, error) {
	if egress {
		return c.groupByID(c.p.need("GroupId"))
	}
	return c.group(c.p)
}

func (c *call) groupByID(id string) (*Group, error) {
	if !wellFormed(idGroup, id) {
		return nil, refuse("InvalidGroupId.Malformed", "Invalid id: \"%s\" (expecting \"sg-...\")", id)
	}
	g := c.t.groups[id]
	if g == nil || g.Account != c.account || c.w.hides(id) {
		return nil, refuse("InvalidGroup.NotFound", "The security group '%s' does not exist", id)
	}
	return g, nil
}

// resolve finds what a rule of a group refers to.
func (c *call) resolve(g *Group, r Rule) (Rule, error) {
	switch {
	case r.PrefixList != "":
		l := c.t.prefixLists[r.PrefixList]
		if l == nil || l.Account != c.account && l.Account != AWSAccount {
			return r, refuse("InvalidPrefixListID.NotFound", "The prefix list ID '%s' does not exist", r.PrefixList)
		}
		if l.lag > 0 {
			return r, refuse("IncorrectState", "prefix list (%s) is in state %s", l.ID, l.State)
		}
		return r, nil
	case r.Group == "":
		return r, nil
	case !wellFormed(idGroup, r.Group):
		return r, refuse("InvalidGroupId.Malformed", "Invalid id: \"%s\" (expecting \"sg-...\")", r.Group)
	}
	to := c.t.groups[r.Group]
	owner := r.GroupAccount
	if owner == "" {
		owner = c.account // a group of somebody else's must be named with its owner
	}
	if to == nil || to.Account != owner || c.w.hides(r.Group) {
		return r, refuse("InvalidGroup.NotFound", "The security group '%s' does not exist", r.Group)
	}
	vpc, peering := r.GroupVPC, r.Peering
	r.GroupAccount, r.GroupVPC, r.Peering = to.Account, "", ""
	if to.VPC != g.VPC {
		r.GroupVPC, r.Peering = to.VPC, c.t.peeringOf(g.VPC, to.VPC)
		if r.Peering == "" {
			return r, refuse("InvalidGroup.NotFound", "You have specified two resources that belong to different networks.")
		}
	}
	if vpc != "" && vpc != to.VPC || peering != "" && peering != r.Peering {
		return r, refuse("InvalidParameterValue", "The security group '%s' is not of %s, or not reached by %s", r.Group, vpc, peering)
	}
	return r, nil
}

// told is a rule as EC2's errors word one.
func (r Rule) told() string {
	peer := r.CIDR.String()
	switch {
	case r.Group != "":
		peer = r.Group
	case r.PrefixList != "":
		peer = r.PrefixList
	}
	if r.Protocol == "-1" {
		return fmt.Sprintf("peer: %s, ALL, ALLOW", peer)
	}
	return fmt.Sprintf("peer: %s, %s, from port: %d, to port: %d, ALLOW", peer, strings.ToUpper(r.Protocol), r.From, r.To)
}

func authorizeRules(egress bool) func(*call) (answer, error) {
	return func(c *call) (answer, error) {
		rules := given(c.p, egress)
		tags := c.p.tagSpecs("security-group-rule")
		g, err := c.groupOf(egress)
		if e := c.p.done(); e != nil {
			return answer{}, e
		}
		if err != nil {
			return answer{}, err
		}
		for i, r := range rules {
			if r, err = c.resolve(g, r); err != nil {
				return answer{}, err
			}
			if slices.ContainsFunc(g.Rules, r.same) {
				return answer{}, refuse("InvalidPermission.Duplicate", "the specified rule \"%s\" already exists", r.told())
			}
			r.ID, r.Tags = c.w.newID(idRule), tags
			rules[i] = r
		}
		next := *g
		next.Rules = slices.Concat(g.Rules, rules)
		if err := c.room(&next); err != nil {
			return answer{}, err
		}
		c.t.groups[g.ID] = &next
		return xmlAnswer(leaf("return", true), set("securityGroupRuleSet", rules, func(r Rule) []node { return ruleNodes(c, g, r) }))
	}
}

func revokeRules(egress bool) func(*call) (answer, error) {
	return func(c *call) (answer, error) {
		ids := c.p.texts("SecurityGroupRuleId")
		var rules []Rule
		switch {
		case len(ids) == 0:
			rules = given(c.p, egress)
		case c.p.has("IpPermissions"):
			return answer{}, refuse("InvalidParameterCombination", "The parameter ipPermissions cannot be used with the parameter securityGroupRuleIds")
		}
		g, err := c.groupOf(egress)
		if e := c.p.done(); e != nil {
			return answer{}, e
		}
		if err != nil {
			return answer{}, err
		}
		next := *g
		next.Rules = slices.Clone(g.Rules)
		var gone, unknown []Rule
		for _, id := range ids {
			if !wellFormed(idRule, id) {
				return answer{}, refuse("InvalidSecurityGroupRuleId.Malformed", "Invalid id: \"%s\" (expecting \"sgr-...\")", id)
			}
			i := slices.IndexFunc(next.Rules, func(r Rule) bool { return r.ID == id && r.Egress == egress })
			if i < 0 {
				return answer{}, refuse("InvalidSecurityGroupRuleId.NotFound", "The security group rule ID '%s' does not exist", id)
			}
			gone = append(gone, next.Rules[i])
			next.Rules = slices.Delete(next.Rules, i, i+1)
		}
		for _, r := range rules {
			i := slices.IndexFunc(next.Rules, r.same)
			switch {
			case i >= 0:
				gone = append(gone, next.Rules[i])
				next.Rules = slices.Delete(next.Rules, i, i+1)
			case c.t.vpcs[g.VPC].Default: // as before there were VPCs: what is not there is no error
				unknown = append(unknown, r)
			default:
				return answer{}, refuse("InvalidPermission.NotFound", "The specified rule does not exist in this security group.")
			}
		}
		c.t.groups[g.ID] = &next
		return xmlAnswer(leaf("return", true), set("revokedSecurityGroupRuleSet", gone, func(r Rule) []node { return revokedNodes(g, r) }),
			set("unknownIpPermissionSet", permissions(unknown), func(p *permission) []node { return permissionKids(c, p, g.VPC) }))
	}
}

func revokedNodes(g *Group, r Rule) []node {
	n := []node{leaf("securityGroupRuleId", r.ID), leaf("groupId", g.ID), leaf("isEgress", r.Egress), leaf("ipProtocol", r.Protocol),
		leaf("fromPort", r.From), leaf("toPort", r.To), opt("description", r.Description), opt("prefixListId", r.PrefixList), opt("referencedGroupId", r.Group)}
	switch {
	case !r.CIDR.IsValid():
	case r.CIDR.Addr().Is4():
		n = append(n, leaf("cidrIpv4", r.CIDR))
	default:
		n = append(n, leaf("cidrIpv6", r.CIDR))
	}
	return n
}

// modified reads what a rule is to become: all of it, with the source of one kind.
func modified(p params, egress bool) Rule {
	r := Rule{Egress: egress, Protocol: protocol(p, "IpProtocol"), PrefixList: p.str("PrefixListId"), Group: p.str("ReferencedGroupId")}
	r.From, r.To = ports(p, r.Protocol)
	kinds, allowed := 0, plainText
	if p.has("CidrIpv4") {
		kinds++
		r.CIDR = cidr(p, "CidrIpv4", false)
		matching(p, r.Protocol, false)
	}
	if p.has("CidrIpv6") {
		kinds++
		r.CIDR = cidr(p, "CidrIpv6", true)
		matching(p, r.Protocol, true)
	}
	for _, v := range []string{r.PrefixList, r.Group} {
		if v != "" {
			kinds++
			allowed = strictText
		}
	}
	r.Description = description(p, allowed)
	if kinds != 1 {
		p.fail("InvalidParameterValue", "A rule has exactly one of CidrIpv4, CidrIpv6, PrefixListId and ReferencedGroupId, and %s has %d", p.path, kinds)
	}
	return r
}

// kind tells rules apart that no call can make one of the other.
func (r Rule) kind() string {
	switch {
	case r.Group != "":
		return "group"
	case r.PrefixList != "":
		return "prefix list"
	case r.CIDR.Addr().Is4():
		return "IPv4"
	}
	return "IPv6"
}

func modifySecurityGroupRules(c *call) (answer, error) {
	g, err := c.groupByID(c.p.need("GroupId"))
	var ids []string
	var to []Rule
	for _, p := range c.p.list("SecurityGroupRule") {
		id := p.need("SecurityGroupRuleId")
		egress := false
		if g != nil {
			if i := slices.IndexFunc(g.Rules, func(r Rule) bool { return r.ID == id }); i >= 0 {
				egress = g.Rules[i].Egress
			}
		}
		ids = append(ids, id)
		to = append(to, modified(p.at("SecurityGroupRule"), egress))
	}
	if len(ids) == 0 {
		c.p.fail("MissingParameter", "The request must contain the parameter SecurityGroupRules")
	}
	if e := c.p.done(); e != nil {
		return answer{}, e
	}
	if err != nil {
		return answer{}, err
	}
	next := *g
	next.Rules = slices.Clone(g.Rules)
	for n, id := range ids {
		i := slices.IndexFunc(g.Rules, func(r Rule) bool { return r.ID == id })
		if i < 0 {
			return answer{}, refuse("InvalidSecurityGroupRuleId.NotFound", "The security group rule ID '%s' does not exist", id)
		}
		r, err := c.resolve(g, to[n])
		if err != nil {
			return answer{}, err
		}
		if slices.Contains(ids[:n], id) || r.kind() != g.Rules[i].kind() {
			return answer{}, refuse("InvalidParameterValue", "The rule '%s' is given twice, or its source is of another kind (%s, and not %s)", id, r.kind(), g.Rules[i].kind())
		}
		r.ID, r.Tags = id, g.Rules[i].Tags
		// Neither what others are nor what they become: in which order EC2 goes through
		// the rules is not known.
		for j := range g.Rules {
			if j != i && (g.Rules[j].same(r) || next.Rules[j].same(r)) {
				return answer{}, refuse("InvalidPermission.Duplicate", "the specified rule \"%s\" already exists", r.told())
			}
		}
		next.Rules[i] = r
	}
	if err := c.room(&next); err != nil {
		return answer{}, err
	}
	c.t.groups[g.ID] = &next
	return done()
}
