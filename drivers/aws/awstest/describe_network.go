package awstest

import (
	"maps"
	"net/netip"
	"slices"
	"strconv"
)

func tagNodes(tags map[string]string) node {
	return set("tagSet", slices.Sorted(maps.Keys(tags)), func(k string) []node {
		return []node{leaf("key", k), leaf("value", tags[k])}
	})
}

func one(s string) []string { return []string{s} }

func prefixTexts(ps []netip.Prefix) []string {
	out := make([]string, len(ps))
	for i, p := range ps {
		out[i] = p.String()
	}
	return out
}

// ofAccount keeps what the calling account owns.
func ofAccount[T any](c *call, all map[string]*T, account func(*T) string) []*T {
	return slices.DeleteFunc(sorted(all), func(o *T) bool { return account(o) != c.account })
}

func describeRegions(c *call) (answer, error) {
	names := c.p.texts("RegionName")
	all := c.p.flag("AllRegions")
	filters := c.filters()
	if err := c.p.done(); err != nil {
		return answer{}, err
	}
	type region struct{ name, status string }
	var out []region
	off := c.w.accounts[c.account].disabled
	for _, n := range slices.Sorted(maps.Keys(c.w.regions)) {
		switch {
		case !off[n]:
			out = append(out, region{n, "opt-in-not-required"})
		case all:
			out = append(out, region{n, "not-opted-in"})
		}
	}
	for _, n := range names {
		if !slices.ContainsFunc(out, func(r region) bool { return r.name == n }) {
			return answer{}, refuse("InvalidParameterValue", "Invalid region(s): %s", n)
		}
	}
	if len(names) > 0 {
		out = slices.DeleteFunc(out, func(r region) bool { return !slices.Contains(names, r.name) })
	}
	l := listing[region]{filters: map[string]func(region) []string{
		"region-name":   func(r region) []string { return one(r.name) },
		"opt-in-status": func(r region) []string { return one(r.status) },
		"endpoint":      func(r region) []string { return one("ec2." + r.name + ".amazonaws.com") },
	}}
	for _, f := range filters {
		var err error
		if out, err = l.filter(f, out); err != nil {
			return answer{}, err
		}
	}
	return xmlAnswer(set("regionInfo", out, func(r region) []node {
		return []node{leaf("regionName", r.name), leaf("regionEndpoint", "ec2."+r.name+".amazonaws.com"), leaf("optInStatus", r.status)}
	}))
}

func describeVpcs(c *call) (answer, error) {
	out, next, err := describe(c, listing[*VPC]{
		param: "VpcId", prefix: idVPC, malformed: "InvalidVpcID.Malformed", missing: "InvalidVpcID.NotFound", what: "vpc ID",
		id:   func(v *VPC) string { return v.ID },
		tags: func(v *VPC) map[string]string { return v.Tags },
		filters: map[string]func(*VPC) []string{
			"vpc-id":                            func(v *VPC) []string { return one(v.ID) },
			"owner-id":                          func(v *VPC) []string { return one(v.Account) },
			"cidr":                              func(v *VPC) []string { return one(v.CIDRs[0].String()) },
			"cidr-block-association.cidr-block": func(v *VPC) []string { return prefixTexts(v.CIDRs) },
			"is-default":                        func(v *VPC) []string { return one(strconv.FormatBool(v.Default)) },
			"state":                             func(*VPC) []string { return one("available") },
		},
	}, ofAccount(c, c.t.vpcs, func(v *VPC) string { return v.Account }))
	if err != nil {
		return answer{}, err
	}
	return xmlAnswer(set("vpcSet", out, func(v *VPC) []node {
		return []node{
			leaf("vpcId", v.ID), leaf("ownerId", v.Account), leaf("state", "available"), leaf("cidrBlock", v.CIDRs[0]),
			set("cidrBlockAssociationSet", v.CIDRs, func(p netip.Prefix) []node {
				return []node{leaf("cidrBlock", p), leaf("associationId", "vpc-cidr-assoc-0"+c.w.hash(v.ID, p)[:16]), elem("cidrBlockState", leaf("state", "associated"))}
			}),
			set("ipv6CidrBlockAssociationSet", v.IPv6, func(p netip.Prefix) []node {
				return []node{leaf("ipv6CidrBlock", p), leaf("associationId", "vpc-cidr-assoc-0"+c.w.hash(v.ID, p)[:16]), leaf("networkBorderGroup", c.region),
					leaf("ipv6Pool", "Amazon"), elem("ipv6CidrBlockState", leaf("state", "associated"))}
			}),
			leaf("dhcpOptionsId", "dopt-0"+c.w.hash("dopt", v.Account)[:16]), leaf("instanceTenancy", "default"),
			leaf("isDefault", v.Default), tagNodes(v.Tags),
		}
	}), opt("nextToken", next))
}

func describeSubnets(c *call) (answer, error) {
	out, next, err := describe(c, listing[*Subnet]{
		param: "SubnetId", prefix: idSubnet, malformed: "InvalidSubnetID.Malformed", missing: "InvalidSubnetID.NotFound", what: "subnet ID",
		id:   func(s *Subnet) string { return s.ID },
		tags: func(s *Subnet) map[string]string { return s.Tags },
		filters: map[string]func(*Subnet) []string{
			"subnet-id":         func(s *Subnet) []string { return one(s.ID) },
			"vpc-id":            func(s *Subnet) []string { return one(s.VPC) },
			"owner-id":          func(s *Subnet) []string { return one(s.Account) },
			"availability-zone": func(s *Subnet) []string { return one(s.Zone) },
			"cidr-block":        func(s *Subnet) []string { return one(s.CIDR.String()) },
			"state":             func(*Subnet) []string { return one("available") },
		},
	}, ofAccount(c, c.t.subnets, func(s *Subnet) string { return s.Account }))
	if err != nil {
		return answer{}, err
	}
	return xmlAnswer(set("subnetSet", out, func(s *Subnet) []node {
		var v6 []netip.Prefix
		if s.IPv6.IsValid() {
			v6 = append(v6, s.IPv6)
		}
		return []node{
			leaf("subnetId", s.ID), leaf("subnetArn", "arn:aws:ec2:"+c.region+":"+s.Account+":subnet/"+s.ID),
			leaf("ownerId", s.Account), leaf("vpcId", s.VPC), leaf("state", "available"), leaf("cidrBlock", s.CIDR),
			set("ipv6CidrBlockAssociationSet", v6, func(p netip.Prefix) []node {
				return []node{leaf("ipv6CidrBlock", p), leaf("associationId", "subnet-cidr-assoc-0"+c.w.hash(s.ID, p)[:16]), elem("ipv6CidrBlockState", leaf("state", "associated"))}
			}),
			leaf("availabilityZone", s.Zone), leaf("availabilityZoneId", s.Zone+"-id"), leaf("defaultForAz", false),
			leaf("mapPublicIpOnLaunch", false), leaf("assignIpv6AddressOnCreation", false), tagNodes(s.Tags),
		}
	}), opt("nextToken", next))
}

func describePeerings(c *call) (answer, error) {
	all := slices.DeleteFunc(sorted(c.t.peerings), func(p *Peering) bool {
		return p.RequesterAccount != c.account && p.AccepterAccount != c.account
	})
	out, next, err := describe(c, listing[*Peering]{
		param: "VpcPeeringConnectionId", prefix: idPeering, malformed: "InvalidVpcPeeringConnectionId.Malformed",
		missing: "InvalidVpcPeeringConnectionID.NotFound", what: "vpcPeeringConnection ID",
		id:   func(p *Peering) string { return p.ID },
		tags: func(p *Peering) map[string]string { return p.Tags },
		filters: map[string]func(*Peering) []string{
			"vpc-peering-connection-id":   func(p *Peering) []string { return one(p.ID) },
			"status-code":                 func(p *Peering) []string { return one(p.Status) },
			"requester-vpc-info.vpc-id":   func(p *Peering) []string { return one(p.Requester) },
			"requester-vpc-info.owner-id": func(p *Peering) []string { return one(p.RequesterAccount) },
			"accepter-vpc-info.vpc-id":    func(p *Peering) []string { return one(p.Accepter) },
			"accepter-vpc-info.owner-id":  func(p *Peering) []string { return one(p.AccepterAccount) },
		},
	}, all)
	if err != nil {
		return answer{}, err
	}
	return xmlAnswer(set("vpcPeeringConnectionSet", out, func(p *Peering) []node {
		return []node{
			leaf("vpcPeeringConnectionId", p.ID),
			elem("requesterVpcInfo", peerNodes(p.Requester, p.RequesterAccount, p.RequesterRegion, p.RequesterCIDRs, p.RequesterIPv6s)...),
			elem("accepterVpcInfo", peerNodes(p.Accepter, p.AccepterAccount, p.AccepterRegion, p.AccepterCIDRs, p.AccepterIPv6s)...),
			elem("status", leaf("code", p.Status), leaf("message", p.Status)), tagNodes(p.Tags),
		}
	}), opt("nextToken", next))
}

func peerNodes(vpc, account, region string, v4, v6 []netip.Prefix) []node {
	return []node{
		leaf("ownerId", account), leaf("vpcId", vpc), leaf("region", region), leaf("cidrBlock", v4[0]),
		set("cidrBlockSet", v4, func(p netip.Prefix) []node { return []node{leaf("cidrBlock", p)} }),
		set("ipv6CidrBlockSet", v6, func(p netip.Prefix) []node { return []node{leaf("ipv6CidrBlock", p)} }),
	}
}
