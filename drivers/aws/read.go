package aws

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"bulkhead/pkg/aws/ec2api"
	"bulkhead/pkg/driver"
)

// Read reads everything that can matter: some ten calls, and one for each page and each prefix
// list that a rule names. Only what new instances are started from may be missing.
func (d *Driver) Read(ctx context.Context) (driver.State, error) {
	s, err := d.read(ctx)
	if err != nil {
		return nil, unreachable(err)
	}
	s.Launches = d.launches(ctx)
	if ctx.Err() != nil {
		return nil, unreachable(ctx.Err())
	}
	return s, nil
}

// unreachable marks errors that say nothing of what the device holds.
func unreachable(err error) error {
	if errors.Is(err, driver.ErrUnreachable) {
		return err
	}
	return fmt.Errorf("%w: %w", driver.ErrUnreachable, err)
}

func (d *Driver) read(ctx context.Context) (*State, error) {
	c, err := d.client(ctx)
	if err != nil {
		return nil, err
	}
	r := &reader{d: d, s: &State{Site: d.site, Limits: d.limits(), Names: map[string][]string{}}}
	vpcs, err := c.VPCs(ctx)
	if err != nil {
		return nil, err
	}
	if err := r.vpcs(vpcs); err != nil {
		return nil, err
	}
	peerings, err := c.Peerings(ctx)
	if err != nil {
		return nil, err
	}
	r.peerings(peerings)
	ifaces, err := c.Interfaces(ctx)
	if err != nil {
		return nil, err
	}
	groups, err := c.Groups(ctx)
	if err != nil {
		return nil, err
	}
	if err := r.functions(ctx, c, groups); err != nil {
		return nil, err
	}
	if err := r.groups(groups, ifaces); err != nil {
		return nil, err
	}
	if len(r.ids) > 0 {
		rules, err := c.Rules(ctx, r.ids...)
		if err != nil {
			return nil, err
		}
		r.rules(rules)
	}
	if err := r.lists(ctx, c); err != nil {
		return nil, err
	}
	r.done()
	return r.s, nil
}

// reader makes a state of answers.
type reader struct {
	d    *Driver
	s    *State
	own  map[string]string // key by ID, of all groups that are seen
	ids  []string          // of the groups whose rules are wanted
	used map[string]bool   // prefix lists that rules name
}

func (r *reader) vpcs(list []ec2api.VPC) error {
	for _, id := range r.d.settings.VPCs {
		if !slices.ContainsFunc(list, func(v ec2api.VPC) bool { return v.ID == id }) {
			return fmt.Errorf("there is no VPC %q in region %q; is it of another account?", id, r.d.settings.Region)
		}
	}
	for _, v := range list {
		r.s.VPCs = append(r.s.VPCs, VPC{ID: v.ID, CIDRs: v.CIDRs, Primary: v.Primary})
	}
	return nil
}

func (r *reader) peerings(list []ec2api.Peering) {
	for _, p := range list {
		if p.Status == "active" && p.Requester.Region == p.Accepter.Region {
			r.s.Active = append(r.s.Active, [2]string{min(p.Requester.VPC, p.Accepter.VPC), max(p.Requester.VPC, p.Accepter.VPC)})
		}
	}
	slices.SortFunc(r.s.Active, func(a, b [2]string) int { return strings.Compare(a[0]+" "+a[1], b[0]+" "+b[1]) })
	r.s.Active = slices.Compact(r.s.Active)
}

func (r *reader) groups(groups []ec2api.Group, ifaces []ec2api.Interface) error {
	r.own, r.s.vpcOf = map[string]string{}, map[string]string{}
	byID := map[string]*Group{}
	for _, g := range groups {
		n := Group{Key: g.ID, ID: g.ID, Name: g.Name, VPC: g.VPC, Kept: keptGroup(g.Tags)}
		if g.Tags[tagSite] == r.d.site {
			n = Group{Key: key(g.VPC, g.Name), ID: g.ID, Name: g.Name, VPC: g.VPC, Ours: true, Points: pointsOf(g.Tags)}
			if of, ok := g.Tags[tagOf]; ok {
				n.Of = key(g.VPC, of)
			}
			if n.Function = g.Tags[tagFunction]; n.Function != "" {
				n.Before = beforeOf(r.d.site, g.Tags[tagBefore])
			}
		}
		r.own[g.ID], byID[g.ID], r.s.vpcOf[g.ID] = n.Key, &n, g.VPC
		r.s.Names[g.VPC] = append(r.s.Names[g.VPC], strings.ToLower(g.Name))
		r.s.There = append(r.s.There, g.ID)
		if i := slices.IndexFunc(r.s.VPCs, func(v VPC) bool { return v.ID == g.VPC }); i >= 0 && g.Name == "default" {
			r.s.VPCs[i].Group = g.ID
		}
	}
	want := map[string]bool{}
	r.adopted(want)
	for i := range ifaces {
		n := r.iface(&ifaces[i])
		for _, id := range ifaces[i].Groups {
			if g := byID[id]; g != nil && g.Function != "" {
				r.adopts(&n, g.Function, g.Key)
			}
		}
		for _, id := range ifaces[i].Groups {
			if byID[id] == nil && n.Out == "" {
				// The two were read one after the other, or a read lags. A group without its rules
				// would be decoded as one that permits nothing.
				return fmt.Errorf("interface %q carries group %q, which is not among the groups; the reads do not fit together, try again", n.ID, id)
			}
			k, ok := r.own[id]
			if !ok {
				k = id
			}
			n.Groups = append(n.Groups, k)
			if byID[id] != nil && (n.Out == "" || byID[id].Ours) {
				want[id] = true
			}
		}
		if slices.ContainsFunc(ifaces[i].Groups, func(id string) bool { return byID[id] != nil && byID[id].Ours }) {
			for _, id := range ifaces[i].Groups {
				want[id] = true
			}
		}
		slices.Sort(n.Groups)
		r.s.Interfaces = append(r.s.Interfaces, n)
	}
	for id, g := range byID {
		if g.Ours || want[id] {
			r.s.Groups = append(r.s.Groups, *g)
			r.ids = append(r.ids, id)
		}
	}
	slices.SortFunc(r.s.Groups, func(a, b Group) int { return strings.Compare(a.Key, b.Key) })
	slices.Sort(r.ids)
	return nil
}

func (r *reader) iface(x *ec2api.Interface) Interface {
	n := Interface{ID: x.ID, VPC: x.VPC, Subnet: x.Subnet, Before: beforeOf(r.d.site, x.Tags[tagBefore]),
		Tracking: Timeouts{x.Tracking.TCPEstablished, x.Tracking.UDP, x.Tracking.UDPStream}}
	for _, a := range x.Addresses {
		n.Addrs = append(n.Addrs, netip.PrefixFrom(a, a.BitLen()))
	}
	n.Addrs = append(n.Addrs, x.Prefixes...)
	slices.SortFunc(n.Addrs, netip.Prefix.Compare)
	n.Out, n.Service = r.d.outside(x)
	return n
}

func (r *reader) rules(list []ec2api.Rule) {
	r.used = map[string]bool{}
	by := map[string][]Rule{}
	for _, x := range list {
		n := Rule{ID: x.ID, Egress: x.Egress, Protocol: x.Protocol, From: x.From, To: x.To, Prefix: x.Prefix, List: x.PrefixList}
		if x.Protocol == "-1" || !portsOf(x.Protocol) {
			n.From, n.To = -1, -1 // EC2 ignores what it was told, and answers with this or that
		}
		if x.PeerGroup != "" {
			n.Peer = x.PeerGroup
			if k, ok := r.own[x.PeerGroup]; ok {
				n.Peer = k
			} else {
				n.Unknown = fmt.Sprintf("group %q is of another account, or was deleted", x.PeerGroup)
			}
			n.PeerVPC = x.PeerVPC
		}
		if n.List != "" {
			r.used[n.List] = true
		}
		by[x.Group] = append(by[x.Group], n)
	}
	for i := range r.s.Groups {
		g := &r.s.Groups[i]
		g.Rules = by[g.ID]
		for k := range g.Rules {
			if g.Rules[k].PeerVPC == g.VPC {
				g.Rules[k].PeerVPC = ""
			}
		}
		slices.SortFunc(g.Rules, Rule.compare)
	}
}

func portsOf(protocol string) bool {
	switch protocol {
	case "tcp", "udp", "icmp", "icmpv6":
		return true
	}
	return false
}

// lists reads the prefix lists that rules name. One that cannot be read is no reason to
// know nothing: the point is not proved then.
func (r *reader) lists(ctx context.Context, c *ec2api.Client) error {
	if len(r.used) == 0 {
		return nil
	}
	all, err := c.PrefixLists(ctx)
	if err != nil {
		return err
	}
	known := map[string]bool{}
	for i := range all {
		x := &all[i]
		if !r.used[x.ID] {
			continue
		}
		known[x.ID] = true
		n := List{ID: x.ID, Name: x.Name, IPv6: x.IPv6}
		n.Weight, _ = x.Weight()
		n.Entries, err = c.PrefixListEntries(ctx, x.ID)
		switch {
		case err != nil && (ctx.Err() != nil || ec2api.KindOf(err) == ec2api.Unreachable || ec2api.KindOf(err) == ec2api.Throttled):
			return err
		case err != nil:
			n.Unread = err.Error()
		}
		r.s.Lists = append(r.s.Lists, n)
	}
	for id := range r.used {
		if !known[id] {
			r.s.Lists = append(r.s.Lists, List{ID: id, Unread: "it is not among the prefix lists of the account"})
		}
	}
	slices.SortFunc(r.s.Lists, func(a, b List) int { return strings.Compare(a.ID, b.ID) })
	return nil
}

func (r *reader) done() {
	for vpc := range r.s.Names {
		slices.Sort(r.s.Names[vpc])
	}
	slices.Sort(r.s.There)
}
