package awstest

import (
	"fmt"
	"net/netip"
	"slices"
)

// InstanceSpec is an instance to make.
type InstanceSpec struct {
	Name        string // the tag Name
	Tags        map[string]string
	Image       string // id; one is made up if it is ""
	Type        string // "t3.micro" if it is ""
	State       string // "running" if it is ""
	Profile     string // name of its IAM instance profile, or ""
	Platform    string // "windows" or ""
	Reservation string // instances of the same one are told together; one of its own if it is ""
	Interfaces  []InterfaceSpec
}

// InterfaceSpec is an interface to make.
type InterfaceSpec struct {
	Subnet   string
	Groups   []string // the VPC's default group if nil; empty for what carries none
	Private  []string // the first is the primary; the next free one if nil
	IPv6     []string
	Prefixes []string // delegated: /28 of IPv4, /80 of IPv6
	Public   string   // of the primary address, or ""
	// PublicOf are public addresses of the private ones.
	PublicOf map[string]string

	Type        string // "interface" if it is ""
	Description string
	Requester   string // id of the service that made it; it is managed by that one then
	Tags        map[string]string
}

// AddInstance makes an instance with its interfaces.
func (r Region) AddInstance(s InstanceSpec) (id string) {
	r.change(func(t *tables) {
		if len(s.Interfaces) == 0 {
			panic("awstest: an instance has at least one interface")
		}
		o := &Instance{
			ID: r.w.newID(idInstance), Account: r.Account, Reservation: s.Reservation, Image: s.Image, Type: s.Type, State: s.State,
			Platform: s.Platform, Zone: must(t.subnets, s.Interfaces[0].Subnet).Zone, Launched: r.w.now(), Tags: named(s.Name, s.Tags),
		}
		orElse(&o.Type, "t3.micro")
		orElse(&o.State, "running")
		orElse(&o.Image, idImage+"-0"+r.w.hash("image")[:16])
		orElse(&o.Reservation, "r-0"+r.w.hash("reservation", o.ID)[:16])
		if s.Profile != "" {
			o.Profile = "arn:aws:iam::" + r.Account + ":instance-profile/" + s.Profile
		}
		t.instances[o.ID] = o
		for n, is := range s.Interfaces {
			i := r.newInterface(t, is)
			i.Instance, i.Device = o.ID, n
		}
		id = o.ID
	})
	return id
}

func orElse(s *string, v string) {
	if *s == "" {
		*s = v
	}
}

// AddInterface makes an interface of no instance: one that is not attached, or with a
// Requester one that a service holds.
func (r Region) AddInterface(s InterfaceSpec) (id string) {
	r.change(func(t *tables) {
		i := r.newInterface(t, s)
		if i.Type == "interface" && !i.RequesterManaged {
			i.Status = "available"
		}
		id = i.ID
	})
	return id
}

func (r Region) newInterface(t *tables, s InterfaceSpec) *Interface {
	sub := must(t.subnets, s.Subnet)
	i := &Interface{
		ID: r.w.newID(idInterface), Account: r.Account, VPC: sub.VPC, Subnet: sub.ID, Zone: sub.Zone, Type: s.Type,
		Description: s.Description, Requester: s.Requester, RequesterManaged: s.Requester != "", Status: "in-use",
		Public: map[netip.Addr]netip.Addr{}, Tags: named("", s.Tags),
	}
	orElse(&i.Type, "interface")
	i.MAC = r.w.mac(i.ID)
	taken := t.taken(sub.ID)
	for _, a := range s.Private {
		i.Private = append(i.Private, netip.MustParseAddr(a))
	}
	if len(i.Private) == 0 {
		a, ok := nextAddr(sub.CIDR, taken)
		if !ok {
			panic(fmt.Sprintf("awstest: subnet %s is full", sub.ID))
		}
		i.Private = []netip.Addr{a}
	}
	for _, a := range s.IPv6 {
		i.IPv6 = append(i.IPv6, netip.MustParseAddr(a))
	}
	for _, a := range slices.Concat(i.Private, i.IPv6) {
		if !sub.CIDR.Contains(a) && !(sub.IPv6.IsValid() && sub.IPv6.Contains(a)) || taken(a) {
			panic(fmt.Sprintf("awstest: %s is not to be had in subnet %s", a, sub.ID))
		}
	}
	for _, p := range s.Prefixes {
		i.Prefixes = append(i.Prefixes, netip.MustParsePrefix(p))
	}
	if s.Public != "" {
		i.Public[i.Private[0]] = netip.MustParseAddr(s.Public)
	}
	for private, public := range s.PublicOf {
		i.Public[netip.MustParseAddr(private)] = netip.MustParseAddr(public)
	}
	i.Groups = slices.Sorted(slices.Values(s.Groups))
	if s.Groups == nil {
		for _, g := range t.groups {
			if g.VPC == sub.VPC && g.Name == "default" {
				i.Groups = []string{g.ID}
			}
		}
	}
	for _, g := range i.Groups {
		if must(t.groups, g).VPC != sub.VPC {
			panic(fmt.Sprintf("awstest: group %s is of another VPC", g))
		}
	}
	t.interfaces[i.ID] = i
	return i
}

// taken gives which addresses of a subnet are in use.
func (t *tables) taken(subnet string) func(netip.Addr) bool {
	used := map[netip.Addr]bool{}
	var delegated []netip.Prefix
	for _, i := range t.interfaces {
		if i.Subnet != subnet {
			continue
		}
		for _, a := range slices.Concat(i.Private, i.IPv6) {
			used[a] = true
		}
		delegated = append(delegated, i.Prefixes...)
	}
	return func(a netip.Addr) bool {
		return used[a] || slices.ContainsFunc(delegated, func(p netip.Prefix) bool { return p.Contains(a) })
	}
}

// SetGroups replaces the groups of an interface, as somebody else would.
func (r Region) SetGroups(id string, groups ...string) {
	r.change(func(t *tables) {
		must(t.interfaces, id)
		edit(t.interfaces, id, func(i *Interface) { i.Groups = slices.Sorted(slices.Values(groups)) })
	})
}

// RemoveInterface takes an interface away.
func (r Region) RemoveInterface(id string) { r.change(func(t *tables) { delete(t.interfaces, id) }) }

// SetState sets the state of an instance; one that is terminated has no interfaces.
func (r Region) SetState(instance, state string) {
	r.change(func(t *tables) {
		must(t.instances, instance)
		edit(t.instances, instance, func(o *Instance) { o.State = state })
		if state == "terminated" {
			for _, i := range t.of(instance) {
				delete(t.interfaces, i.ID)
			}
		}
	})
}

// SetTimeouts sets how many seconds flows through an interface stay tracked; 0 is AWS's own.
func (r Region) SetTimeouts(id string, tcp, stream, udp int) {
	r.change(func(t *tables) {
		must(t.interfaces, id)
		edit(t.interfaces, id, func(i *Interface) { i.timeouts = tracking{tcp, stream, udp} })
	})
}
