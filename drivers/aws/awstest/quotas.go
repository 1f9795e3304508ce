package awstest

// portsMatter reports whether rules of a protocol, as EC2 echoes it, have ports.
func portsMatter(protocol string) bool {
	switch protocol {
	case "tcp", "udp", "icmp", "icmpv6":
		return true
	}
	return false
}

// Weight is what rules count in the quota of a group's direction, by family: a network
// one in its own, a prefix list its weight in its own, and a reference one in both.
func (r Region) Weight(group string, egress bool) (v4, v6 int) {
	t := r.look()
	return t.weight(must(t.groups, group), egress)
}

func (t *tables) weight(g *Group, egress bool) (v4, v6 int) {
	for _, r := range g.Rules {
		switch {
		case r.Egress != egress:
		case r.Group != "":
			v4++
			v6++
		case r.PrefixList != "":
			switch l := t.prefixLists[r.PrefixList]; {
			case l == nil:
			case l.IPv6:
				v6 += l.Weight
			default:
				v4 += l.Weight
			}
		case r.CIDR.Addr().Is4():
			v4++
		default:
			v6++
		}
	}
	return v4, v6
}

// room refuses a group whose rules are more than its account may have.
func (c *call) room(g *Group) error {
	most := c.w.quotas(g.Account, c.region).RulesPerGroup
	for _, egress := range []bool{false, true} {
		if v4, v6 := c.t.weight(g, egress); v4 > most || v6 > most {
			return refuse("RulesPerSecurityGroupLimitExceeded", "The maximum number of rules per security group has been reached.")
		}
	}
	return nil
}

// hides reports whether a group is so new that a call that names it does not find it,
// and counts the call.
func (w *World) hides(group string) bool {
	if w.faults.hidden[group] == 0 {
		return false
	}
	w.faults.hidden[group]--
	return true
}
