package awstest

import "strings"

func createSecurityGroup(c *call) (answer, error) {
	name, description, vpc := strings.TrimRight(c.p.need("GroupName"), " "), c.p.need("GroupDescription"), c.p.str("VpcId")
	tags := c.p.tagSpecs("security-group")
	switch {
	case name == "":
		c.p.fail("MissingParameter", "The request must contain the parameter GroupName")
	case len(name) > maxText || !plainText.MatchString(name):
		c.p.fail("InvalidParameterValue", "Value (%s) for parameter GroupName is invalid. Character sets beyond ASCII are not supported.", name)
	case strings.HasPrefix(strings.ToLower(name), "sg-"):
		c.p.fail("InvalidParameterValue", "Value (%s) for parameter GroupName is invalid. Group names may not be in the format sg-*.", name)
	case len(description) > maxText || !plainText.MatchString(description):
		c.p.fail("InvalidParameterValue", "Value (%s) for parameter GroupDescription is invalid. Character sets beyond ASCII are not supported.", description)
	}
	if err := c.p.done(); err != nil {
		return answer{}, err
	}
	if vpc == "" {
		for _, v := range sorted(c.t.vpcs) {
			if v.Account == c.account && v.Default {
				vpc = v.ID
			}
		}
		if vpc == "" {
			return answer{}, refuse("VPCIdNotSpecified", "No default VPC for this user")
		}
	}
	v := c.t.vpcs[vpc]
	switch {
	case !wellFormed(idVPC, vpc):
		return answer{}, refuse("InvalidVpcID.Malformed", "Invalid id: \"%s\" (expecting \"vpc-...\")", vpc)
	case v == nil || v.Account != c.account:
		return answer{}, refuse("InvalidVpcID.NotFound", "The vpc ID '%s' does not exist", vpc)
	case strings.EqualFold(name, "default"):
		return answer{}, refuse("InvalidParameterValue", "Cannot use reserved security group name: default")
	}
	n := 0
	for _, g := range c.t.groups {
		if g.VPC == vpc && strings.EqualFold(g.Name, name) {
			return answer{}, refuse("InvalidGroup.Duplicate", "The security group '%s' already exists for VPC '%s'", name, vpc)
		}
		if g.Account == c.account {
			n++
		}
	}
	if n >= c.w.quotas(c.account, c.region).GroupsPerRegion {
		return answer{}, refuse("SecurityGroupLimitExceeded", "The maximum number of security groups has been reached.")
	}
	g := Region{c.w, c.account, c.region}.newGroup(v, name, description)
	g.Tags = tags
	c.t.groups[g.ID] = g
	if c.w.faults.hideNew > 0 && !c.seen.DryRun {
		c.w.faults.hidden[g.ID] = c.w.faults.hideNew
	}
	return xmlAnswer(leaf("return", true), leaf("groupId", g.ID), leaf("securityGroupArn", groupARN(c, g)), tagNodes(tags))
}

func deleteSecurityGroup(c *call) (answer, error) {
	g, err := c.group(c.p)
	if e := c.p.done(); e != nil {
		return answer{}, e
	}
	if err != nil {
		return answer{}, err
	}
	if g.Name == "default" {
		return answer{}, refuse("CannotDelete", "the specified group: \"%s\" name: \"default\" cannot be deleted by a user", g.ID)
	}
	if c.t.inUse(g) || take(c.w.faults.detaching, g.ID) {
		return answer{}, refuse("DependencyViolation", "resource %s has a dependent object", g.ID)
	}
	delete(c.t.groups, g.ID)
	return xmlAnswer(leaf("return", true), leaf("groupId", g.ID))
}

// inUse reports whether an interface carries a group, or another group of its VPC
// refers to it. References from another VPC go stale instead, and its own to itself go
// with it.
func (t *tables) inUse(g *Group) bool {
	for _, i := range t.interfaces {
		for _, id := range i.Groups {
			if id == g.ID {
				return true
			}
		}
	}
	for _, o := range t.groups {
		if o.ID == g.ID || o.VPC != g.VPC {
			continue
		}
		for _, r := range o.Rules {
			if r.Group == g.ID {
				return true
			}
		}
	}
	return false
}
