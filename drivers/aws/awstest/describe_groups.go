package awstest

import (
	"slices"
	"strconv"
)

// More groups than these are not told in one answer.
const mostWideGroups = 5000

func describeSecurityGroups(c *call) (answer, error) {
	all := ofAccount(c, c.t.groups, func(g *Group) string { return g.Account })
	// By name means: of the default VPC.
	if names := c.p.texts("GroupName"); len(names) > 0 {
		var out []*Group
		for _, n := range names {
			i := slices.IndexFunc(all, func(g *Group) bool { return g.Name == n && c.t.vpcs[g.VPC].Default })
			if i < 0 {
				return answer{}, refuse("InvalidGroup.NotFound", "The security group '%s' does not exist in default VPC", n)
			}
			out = append(out, all[i])
		}
		all = out
	}
	if c.wide() && len(all) > mostWideGroups {
		return answer{}, refuse("OperationNotPermitted", "More than %d security groups need pagination", mostWideGroups)
	}
	out, next, err := describe(c, listing[*Group]{
		param: "GroupId", prefix: idGroup, malformed: "InvalidGroupId.Malformed", missing: "InvalidGroup.NotFound", what: "security group",
		id:   func(g *Group) string { return g.ID },
		tags: func(g *Group) map[string]string { return g.Tags },
		filters: map[string]func(*Group) []string{
			"group-id":                            func(g *Group) []string { return one(g.ID) },
			"group-name":                          func(g *Group) []string { return one(g.Name) },
			"description":                         func(g *Group) []string { return one(g.Description) },
			"owner-id":                            func(g *Group) []string { return one(g.Account) },
			"vpc-id":                              func(g *Group) []string { return one(g.VPC) },
			"ip-permission.group-id":              ruleFilter(false, func(r Rule) string { return r.Group }),
			"ip-permission.prefix-list-id":        ruleFilter(false, func(r Rule) string { return r.PrefixList }),
			"ip-permission.cidr":                  ruleFilter(false, func(r Rule) string { return r.network(false) }),
			"ip-permission.ipv6-cidr":             ruleFilter(false, func(r Rule) string { return r.network(true) }),
			"ip-permission.protocol":              ruleFilter(false, func(r Rule) string { return r.Protocol }),
			"egress.ip-permission.group-id":       ruleFilter(true, func(r Rule) string { return r.Group }),
			"egress.ip-permission.prefix-list-id": ruleFilter(true, func(r Rule) string { return r.PrefixList }),
			"egress.ip-permission.cidr":           ruleFilter(true, func(r Rule) string { return r.network(false) }),
			"egress.ip-permission.ipv6-cidr":      ruleFilter(true, func(r Rule) string { return r.network(true) }),
			"egress.ip-permission.protocol":       ruleFilter(true, func(r Rule) string { return r.Protocol }),
		},
	}, all)
	if err != nil {
		return answer{}, err
	}
	return xmlAnswer(set("securityGroupInfo", out, func(g *Group) []node {
		return []node{
			leaf("ownerId", g.Account), leaf("groupId", g.ID), leaf("groupName", g.Name), leaf("groupDescription", g.Description),
			leaf("vpcId", g.VPC), leaf("securityGroupArn", groupARN(c, g)),
			permissionNodes(c, "ipPermissions", g, false), permissionNodes(c, "ipPermissionsEgress", g, true), tagNodes(g.Tags),
		}
	}), opt("nextToken", next))
}

func groupARN(c *call, g *Group) string {
	return "arn:aws:ec2:" + c.region + ":" + g.Account + ":security-group/" + g.ID
}

func ruleFilter(egress bool, f func(Rule) string) func(*Group) []string {
	return func(g *Group) (out []string) {
		for _, r := range g.Rules {
			if v := f(r); r.Egress == egress && v != "" {
				out = append(out, v)
			}
		}
		return out
	}
}

// network is the network that a rule names, if it is of the family.
func (r Rule) network(v6 bool) string {
	if !r.CIDR.IsValid() || r.CIDR.Addr().Is6() != v6 {
		return ""
	}
	return r.CIDR.String()
}

// permission is EC2's older way to tell rules: all those of one protocol and one range
// of ports are one.
type permission struct {
	protocol string
	from, to int
	rules    []Rule
}

func permissions(rules []Rule) []*permission {
	var out []*permission
	for _, r := range rules {
		i := slices.IndexFunc(out, func(p *permission) bool { return p.protocol == r.Protocol && p.from == r.From && p.to == r.To })
		if i < 0 {
			i, out = len(out), append(out, &permission{protocol: r.Protocol, from: r.From, to: r.To})
		}
		out[i].rules = append(out[i].rules, r)
	}
	return out
}

func permissionNodes(c *call, name string, g *Group, egress bool) node {
	var rules []Rule
	for _, r := range g.Rules {
		if r.Egress == egress {
			rules = append(rules, r)
		}
	}
	rules = shuffled(rules, func(r Rule) string { return r.ID })
	return set(name, permissions(rules), func(p *permission) []node { return permissionKids(c, p, g.VPC) })
}

func permissionKids(c *call, p *permission, vpc string) []node {
	groups, v4, v6, lists := node{name: "groups"}, node{name: "ipRanges"}, node{name: "ipv6Ranges"}, node{name: "prefixListIds"}
	for _, r := range p.rules {
		d := opt("description", r.Description)
		switch {
		case r.Group != "":
			groups.kids = append(groups.kids, elem("item", append(referenceNodes(c, r), d)...))
		case r.PrefixList != "":
			lists.kids = append(lists.kids, elem("item", leaf("prefixListId", r.PrefixList), d))
		case r.CIDR.Addr().Is4():
			v4.kids = append(v4.kids, elem("item", leaf("cidrIp", r.CIDR), d))
		default:
			v6.kids = append(v6.kids, elem("item", leaf("cidrIpv6", r.CIDR), d))
		}
	}
	n := []node{leaf("ipProtocol", p.protocol)}
	if portsMatter(p.protocol) {
		n = append(n, leaf("fromPort", p.from), leaf("toPort", p.to))
	}
	return append(n, groups, v4, v6, lists)
}

// referenceNodes is a reference to a group as it is now: of a peer's group that is
// gone, or that no active peering leads to, EC2 still tells what the rule says.
func referenceNodes(c *call, r Rule) []node {
	n := []node{leaf("groupId", r.Group)}
	if c.t.groups[r.Group] != nil { // of one that is gone the account is not told
		n = append(n, leaf("userId", r.GroupAccount))
	}
	if r.Peering == "" {
		return n
	}
	status := "deleted"
	if p := c.t.peerings[r.Peering]; p != nil {
		status = p.Status
	}
	return append(n, leaf("vpcId", r.GroupVPC), leaf("vpcPeeringConnectionId", r.Peering), leaf("peeringStatus", status))
}

// ruleIn is a rule with the group that it is of.
type ruleIn struct {
	Rule
	of *Group
}

func describeSecurityGroupRules(c *call) (answer, error) {
	var all []ruleIn
	for _, g := range ofAccount(c, c.t.groups, func(g *Group) string { return g.Account }) {
		for _, r := range g.Rules {
			all = append(all, ruleIn{r, g})
		}
	}
	slices.SortFunc(all, func(a, b ruleIn) int {
		if a.ID < b.ID {
			return -1
		}
		return 1
	})
	out, next, err := describe(c, listing[ruleIn]{
		param: "SecurityGroupRuleId", prefix: idRule, malformed: "InvalidSecurityGroupRuleId.Malformed",
		missing: "InvalidSecurityGroupRuleId.NotFound", what: "security group rule ID",
		id:   func(r ruleIn) string { return r.ID },
		tags: func(r ruleIn) map[string]string { return r.Tags },
		filters: map[string]func(ruleIn) []string{
			"group-id":               func(r ruleIn) []string { return one(r.of.ID) },
			"security-group-rule-id": func(r ruleIn) []string { return one(r.ID) },
		},
	}, all)
	if err != nil {
		return answer{}, err
	}
	return xmlAnswer(set("securityGroupRuleSet", out, func(r ruleIn) []node { return ruleNodes(c, r.of, r.Rule) }), opt("nextToken", next))
}

func ruleNodes(c *call, g *Group, r Rule) []node {
	n := []node{
		leaf("securityGroupRuleId", r.ID), leaf("groupId", g.ID), leaf("groupOwnerId", g.Account), leaf("isEgress", strconv.FormatBool(r.Egress)),
		leaf("ipProtocol", r.Protocol), leaf("fromPort", r.From), leaf("toPort", r.To), opt("description", r.Description),
		leaf("securityGroupRuleArn", "arn:aws:ec2:"+c.region+":"+g.Account+":security-group-rule/"+r.ID), tagNodes(r.Tags),
	}
	switch {
	case r.Group != "":
		n = append(n, elem("referencedGroupInfo", referenceNodes(c, r)...))
	case r.PrefixList != "":
		n = append(n, leaf("prefixListId", r.PrefixList))
	case r.CIDR.Addr().Is4():
		n = append(n, leaf("cidrIpv4", r.CIDR))
	default:
		n = append(n, leaf("cidrIpv6", r.CIDR))
	}
	return n
}
