package awstest

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
)

// AddVPC makes a VPC, and its default group as EC2 does. The first network is the
// primary one; networks are of either family, IPv4 first.
func (r Region) AddVPC(name string, cidrs ...string) (id string) { return r.addVPC(name, false, cidrs) }

// AddDefaultVPC makes the account's default VPC of the region, in which some calls
// behave as they did before there were VPCs.
func (r Region) AddDefaultVPC(cidr string) (id string) { return r.addVPC("", true, []string{cidr}) }

func (r Region) addVPC(name string, isDefault bool, cidrs []string) (id string) {
	r.change(func(t *tables) {
		v := &VPC{ID: r.w.newID(idVPC), Account: r.Account, Default: isDefault, Tags: named(name, nil)}
		for _, c := range cidrs {
			if p := netip.MustParsePrefix(c).Masked(); p.Addr().Is4() {
				v.CIDRs = append(v.CIDRs, p)
			} else {
				v.IPv6 = append(v.IPv6, p)
			}
		}
		if len(v.CIDRs) == 0 {
			panic("awstest: a VPC has at least one network of IPv4")
		}
		t.vpcs[v.ID] = v
		g := r.newGroup(v, "default", "default VPC security group")
		self := Rule{ID: r.w.newID(idRule), Protocol: "-1", From: -1, To: -1, Group: g.ID, GroupAccount: r.Account}
		g.Rules = append([]Rule{self}, g.Rules...)
		t.groups[g.ID] = g
		id = v.ID
	})
	return id
}

// newGroup makes a group as CreateSecurityGroup leaves one: nothing comes in, and
// everything may go out.
func (r Region) newGroup(v *VPC, name, description string) *Group {
	g := &Group{ID: r.w.newID(idGroup), Account: r.Account, VPC: v.ID, Name: name, Description: description, Tags: map[string]string{}}
	anywhere := []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")}
	if len(v.IPv6) > 0 {
		anywhere = append(anywhere, netip.MustParsePrefix("::/0"))
	}
	for _, p := range anywhere {
		g.Rules = append(g.Rules, Rule{ID: r.w.newID(idRule), Egress: true, Protocol: "-1", From: -1, To: -1, CIDR: p})
	}
	return g
}

// DefaultGroup gives the id of a VPC's default group.
func (r Region) DefaultGroup(vpc string) string {
	for _, g := range r.look().groups {
		if g.VPC == vpc && g.Name == "default" {
			return g.ID
		}
	}
	panic(fmt.Sprintf("awstest: there is no VPC %q", vpc))
}

// AddSubnet makes a subnet in a zone, as "eu-central-1a"; ipv6 is its network of IPv6,
// or "".
func (r Region) AddSubnet(vpc, zone, cidr, ipv6 string) (id string) {
	r.change(func(t *tables) {
		must(t.vpcs, vpc)
		s := &Subnet{ID: r.w.newID(idSubnet), Account: r.Account, VPC: vpc, Zone: zone, CIDR: netip.MustParsePrefix(cidr).Masked(), Tags: map[string]string{}}
		if ipv6 != "" {
			s.IPv6 = netip.MustParsePrefix(ipv6).Masked()
		}
		t.subnets[s.ID] = s
		id = s.ID
	})
	return id
}

// AddPeering joins a VPC of this region and account with one of another, or of the
// same. Its status is "active" until SetPeering says otherwise.
func (r Region) AddPeering(vpc string, with Region, peer string) (id string) {
	mine, theirs := must(r.look().vpcs, vpc), must(with.look().vpcs, peer)
	r.change(func(t *tables) {
		p := &Peering{
			ID: r.w.newID(idPeering), Status: "active", Tags: map[string]string{},
			Requester: vpc, RequesterAccount: r.Account, RequesterRegion: r.Name, RequesterCIDRs: mine.CIDRs, RequesterIPv6s: mine.IPv6,
			Accepter: peer, AccepterAccount: with.Account, AccepterRegion: with.Name, AccepterCIDRs: theirs.CIDRs, AccepterIPv6s: theirs.IPv6,
		}
		t.peerings[p.ID] = p
		r.w.regions[with.Name].t.peerings[p.ID] = p
		id = p.ID
	})
	return id
}

// SetPeering sets the status of a peering: "active", "deleted", "pending-acceptance".
func (r Region) SetPeering(id, status string) {
	defer r.w.lock()()
	for _, in := range r.w.regions {
		if in.t.peerings[id] == nil {
			continue
		}
		t := in.t.clone()
		edit(t.peerings, id, func(p *Peering) { p.Status = status })
		in.t = t
	}
}

// GroupSpec is a security group to make.
type GroupSpec struct {
	VPC, Name, Description string // Description is "test" if it is ""
	Tags                   map[string]string
	Ingress                []RuleSpec
	Egress                 []RuleSpec // nil: everything, as EC2 makes it; empty: nothing
}

// RuleSpec is a rule to make: one of CIDR, Group and PrefixList is set.
type RuleSpec struct {
	Protocol                string // "tcp", ..., "-1" or "" for all
	From, To                int    // of tcp and udp: To is From if it is 0
	CIDR, Group, PrefixList string
	Description             string
}

// AddGroup makes a security group.
func (r Region) AddGroup(s GroupSpec) (id string) {
	r.change(func(t *tables) {
		if s.Description == "" {
			s.Description = "test"
		}
		g := r.newGroup(must(t.vpcs, s.VPC), s.Name, s.Description)
		g.Tags = named("", s.Tags)
		if s.Egress != nil {
			g.Rules = nil
		}
		t.groups[g.ID] = g
		g.Rules = append(g.Rules, r.rules(t, g, true, s.Egress)...)
		g.Rules = append(g.Rules, r.rules(t, g, false, s.Ingress)...)
		id = g.ID
	})
	return id
}

// AddRules adds rules to a group, as somebody else would in the console.
func (r Region) AddRules(group string, egress bool, specs ...RuleSpec) (ids []string) {
	r.change(func(t *tables) {
		edit(t.groups, group, func(g *Group) {
			more := r.rules(t, g, egress, specs)
			g.Rules = append(slices.Clone(g.Rules), more...)
			for _, m := range more {
				ids = append(ids, m.ID)
			}
		})
	})
	return ids
}

// RemoveRules takes rules away from a group, as somebody else would.
func (r Region) RemoveRules(group string, ids ...string) {
	r.change(func(t *tables) {
		edit(t.groups, group, func(g *Group) {
			g.Rules = slices.DeleteFunc(slices.Clone(g.Rules), func(x Rule) bool { return slices.Contains(ids, x.ID) })
		})
	})
}

func (r Region) rules(t *tables, g *Group, egress bool, specs []RuleSpec) []Rule {
	var out []Rule
	for _, s := range specs {
		x := Rule{ID: r.w.newID(idRule), Egress: egress, Protocol: s.Protocol, From: s.From, To: s.To, PrefixList: s.PrefixList, Group: s.Group, Description: s.Description}
		if x.Protocol == "" {
			x.Protocol = "-1"
		}
		if !portsMatter(x.Protocol) {
			x.From, x.To = -1, -1
		} else if x.To == 0 {
			x.To = x.From
		}
		if s.CIDR != "" {
			x.CIDR = netip.MustParsePrefix(s.CIDR).Masked()
		}
		if s.Group != "" {
			to := must(t.groups, s.Group)
			x.GroupAccount = to.Account
			if to.VPC != g.VPC {
				x.GroupVPC, x.Peering = to.VPC, t.peeringOf(g.VPC, to.VPC)
			}
		}
		out = append(out, x)
	}
	return out
}

// peeringOf finds the active peering of two VPCs of the region, or "".
func (t *tables) peeringOf(a, b string) string {
	for _, p := range sorted(t.peerings) {
		if p.Status == "active" && p.RequesterRegion == p.AccepterRegion &&
			(p.Requester == a && p.Accepter == b || p.Requester == b && p.Accepter == a) {
			return p.ID
		}
	}
	return ""
}

// RemoveGroup deletes a group with no question asked, as if its owner had made sure.
func (r Region) RemoveGroup(id string) { r.change(func(t *tables) { delete(t.groups, id) }) }

// SetTags replaces the tags of an object of EC2's, as somebody else would.
func (r Region) SetTags(id string, tags map[string]string) {
	r.change(func(t *tables) {
		if !t.retag(id, func(map[string]string) map[string]string { return maps.Clone(tags) }) {
			panic(fmt.Sprintf("awstest: there is no %q", id))
		}
	})
}

// retag changes the tags of an object; it reports false if there is none.
func (t *tables) retag(id string, f func(map[string]string) map[string]string) bool {
	switch {
	case t.vpcs[id] != nil:
		edit(t.vpcs, id, func(o *VPC) { o.Tags = f(o.Tags) })
	case t.subnets[id] != nil:
		edit(t.subnets, id, func(o *Subnet) { o.Tags = f(o.Tags) })
	case t.instances[id] != nil:
		edit(t.instances, id, func(o *Instance) { o.Tags = f(o.Tags) })
	case t.interfaces[id] != nil:
		edit(t.interfaces, id, func(o *Interface) { o.Tags = f(o.Tags) })
	case t.groups[id] != nil:
		edit(t.groups, id, func(o *Group) { o.Tags = f(o.Tags) })
	case t.prefixLists[id] != nil:
		edit(t.prefixLists, id, func(o *PrefixList) { o.Tags = f(o.Tags) })
	case t.peerings[id] != nil:
		edit(t.peerings, id, func(o *Peering) { o.Tags = f(o.Tags) })
	default:
		for _, g := range t.groups {
			i := slices.IndexFunc(g.Rules, func(r Rule) bool { return r.ID == id })
			if i < 0 {
				continue
			}
			edit(t.groups, g.ID, func(o *Group) {
				o.Rules = slices.Clone(o.Rules)
				o.Rules[i].Tags = f(o.Rules[i].Tags)
			})
			return true
		}
		return false
	}
	return true
}
