package awstest

import (
	"net/netip"
	"regexp"
	"slices"
	"strconv"
)

// The characters of names and descriptions, by the reference of CreateSecurityGroup and
// IpRange. Descriptions of references and of prefix lists may not have the ampersand.
var (
	plainText  = regexp.MustCompile(`^[a-zA-Z0-9 ._\-:/()#,@\[\]+=&;{}!$*]*$`)
	strictText = regexp.MustCompile(`^[a-zA-Z0-9 ._\-:/()#,@\[\]+=;{}!$*]*$`)
)

// The longest name of a group, and the longest description of a group or a rule.
const maxText = 255

// Rules that one call may give.
const maxRulesPerCall = 1000

// protocol gives a protocol as EC2 echoes it.
func protocol(p params, name string) string {
	v := p.need(name)
	switch v {
	case "tcp", "udp", "icmp", "icmpv6", "-1":
		return v
	}
	n, err := strconv.Atoi(v)
	if err != nil || n < 0 || n > 255 || strconv.Itoa(n) != v {
		p.fail("InvalidParameterValue", "Invalid value '%s' for IP protocol. Unknown protocol.", v)
	}
	switch n {
	case 1:
		return "icmp"
	case 6:
		return "tcp"
	case 17:
		return "udp"
	case 58:
		return "icmpv6"
	}
	return v
}

// ports reads the ports of a protocol, or the type and code of ICMP.
func ports(p params, proto string) (from, to int) {
	from, hasFrom := p.number("FromPort")
	to, hasTo := p.number("ToPort")
	both := hasFrom && hasTo
	switch proto {
	case "tcp", "udp":
		switch {
		case !both:
			p.fail("InvalidParameterValue", "Invalid value 'Must specify both from and to ports with TCP/UDP.' for portRange.")
		case from < 0 || to < 0 || from > 65535 || to > 65535:
			p.fail("InvalidParameterValue", "Invalid value '%d-%d' for portRange. TCP/UDP port out of range", from, to)
		case from > to:
			p.fail("InvalidParameterValue", "Invalid TCP/UDP port range (%d-%d)", from, to)
		}
		return from, to
	case "icmp", "icmpv6":
		switch {
		case proto == "icmpv6" && !hasFrom && !hasTo:
			return -1, -1
		case !both:
			p.fail("InvalidParameterValue", "Invalid value 'Must specify both type and code with ICMP.' for portRange.")
		case from < -1 || to < -1 || from > 255 || to > 255:
			p.fail("InvalidParameterValue", "Invalid value '%d-%d' for ICMP type and code.", from, to)
		case from == -1 && to != -1:
			p.fail("InvalidParameterValue", "Invalid ICMP code %d: all types mean all codes", to)
		}
		return from, to
	}
	return -1, -1 // of all others ports are ignored, whatever they are
}

// cidr reads a network of one family, with the bits of the host cleared as EC2 does.
func cidr(p params, name string, v6 bool) netip.Prefix {
	v := p.need(name)
	n, err := netip.ParsePrefix(v)
	if err != nil || n.Addr().Is6() != v6 || n.Addr().Is4In6() {
		p.fail("InvalidParameterValue", "CIDR block %s is malformed", v)
		return netip.Prefix{}
	}
	return n.Masked()
}

func description(p params, allowed *regexp.Regexp) string {
	v := p.str("Description")
	if len(v) > maxText || !allowed.MatchString(v) {
		p.fail("InvalidParameterValue", "Invalid rule description. Valid descriptions are strings less than 256 characters from the following set: a-zA-Z0-9. _-:/()#,@[]+=&;{}!$*")
	}
	return v
}

// matching refuses ICMP of one family with a network of the other. Whether EC2 does is
// not known; such a rule matches nothing.
func matching(p params, proto string, v6 bool) {
	if proto == "icmp" && v6 || proto == "icmpv6" && !v6 {
		p.fail("InvalidParameterValue", "Invalid value '%s' for IP protocol: it is not of the family of the network", proto)
	}
}

// rulesOf reads IpPermissions.N of a group's direction. References are only read: see
// resolve for what they lead to.
func rulesOf(p params, egress bool) []Rule {
	var out []Rule
	for _, perm := range p.list("IpPermissions") {
		proto := protocol(perm, "IpProtocol")
		from, to := ports(perm, proto)
		base := Rule{Egress: egress, Protocol: proto, From: from, To: to}
		had := len(out)
		add := func(r Rule) { out = append(out, r) }
		for _, q := range perm.list("IpRanges") {
			r := base
			r.CIDR, r.Description = cidr(q, "CidrIp", false), description(q, plainText)
			matching(q, proto, false)
			add(r)
		}
		for _, q := range perm.list("Ipv6Ranges") {
			r := base
			r.CIDR, r.Description = cidr(q, "CidrIpv6", true), description(q, plainText)
			matching(q, proto, true)
			add(r)
		}
		for _, q := range perm.list("PrefixListIds") {
			r := base
			r.PrefixList, r.Description = q.need("PrefixListId"), description(q, strictText)
			add(r)
		}
		for _, q := range perm.list("Groups") {
			r := base
			r.Group, r.Description = q.need("GroupId"), description(q, strictText)
			r.GroupAccount, r.GroupVPC, r.Peering = q.str("UserId"), q.str("VpcId"), q.str("VpcPeeringConnectionId")
			q.str("PeeringStatus")
			if q.has("GroupName") {
				q.fail("InvalidParameterValue", "groups of a VPC are named by id")
			}
			add(r)
		}
		if perm.has("Groups") && (perm.has("IpRanges") || perm.has("Ipv6Ranges")) {
			// The reference says so. Tools are seen to do it all the same.
			perm.fail("InvalidParameterCombination", "a source security group and a CIDR cannot be in the same set of permissions")
		}
		if len(out) == had {
			perm.fail("InvalidParameterValue", "Either a CIDR, a prefix list or a security group must be given with %s", perm.path)
		}
	}
	return out
}

// shorthand reads the one rule that ingress calls may give without IpPermissions.
func shorthand(p params) []Rule {
	if !p.has("CidrIp") {
		return nil
	}
	if p.has("IpPermissions") {
		p.fail("InvalidParameterCombination", "The parameter ipPermissions cannot be used with the parameter cidrIp")
	}
	proto := protocol(p, "IpProtocol")
	from, to := ports(p, proto)
	return []Rule{{Protocol: proto, From: from, To: to, CIDR: cidr(p, "CidrIp", false)}}
}

// given reads the rules of a call, which there must be.
func given(p params, egress bool) []Rule {
	rules := rulesOf(p, egress)
	if !egress {
		rules = append(rules, shorthand(p)...)
	}
	switch {
	case len(rules) == 0:
		p.fail("MissingParameter", "The request must contain the parameter ipPermissions")
	case len(rules) > maxRulesPerCall:
		p.fail("InvalidParameterValue", "A call may give %d rules, and this one gives %d", maxRulesPerCall, len(rules))
	}
	for i, r := range rules {
		if slices.ContainsFunc(rules[:i], r.same) {
			p.fail("InvalidParameterValue", "The same permission must not appear multiple times")
		}
	}
	return rules
}
