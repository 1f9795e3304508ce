package lab

import (
	"fmt"
	"net/netip"
	"slices"
)

// Topology is a network to build: a gateway and the segments around it.
type Topology struct {
	// Prefix begins the names of all namespaces; "" is one that nobody else uses.
	Prefix   string
	Gateway  string // the gateway's name; "" is "gw"
	Segments []Segment
}

// Segment is one link of the gateway and the hosts behind it: a cable where there
// is one host, else a bridge.
type Segment struct {
	Name      string
	Interface string         // the gateway's, for example eth1
	Addresses []netip.Prefix // the gateway's own on it, not masked
	Bridge    bool           // a bridge even for one host
	Hosts     []Host
}

// Host is a machine with one interface, eth0. Its default routes lead to the
// gateway.
type Host struct {
	Name      string
	MAC       string // "" is the kernel's choice
	Addresses []netip.Prefix
}

// check finds what would fail half-way through building.
func (t *Topology) check() error {
	if err := t.checkNames(); err != nil {
		return err
	}
	for _, s := range t.Segments {
		for _, h := range s.Hosts {
			for _, a := range h.Addresses {
				if !slices.ContainsFunc(s.Addresses, func(g netip.Prefix) bool { return g.Masked() == a.Masked() }) {
					return fmt.Errorf("host %q: the gateway has no address in %s", h.Name, a.Masked())
				}
			}
		}
	}
	return nil
}

// checkNames finds names and addresses that two would have.
func (t *Topology) checkNames() error {
	names := map[string]bool{t.Gateway: true}
	addrs := map[netip.Addr]string{}
	ifaces := map[string]bool{}
	hold := func(who string, list []netip.Prefix) error {
		for _, a := range list {
			if other, taken := addrs[a.Addr()]; taken {
				return fmt.Errorf("address %s is held by %q and by %q", a.Addr(), other, who)
			}
			addrs[a.Addr()] = who
		}
		return nil
	}
	for _, s := range t.Segments {
		if s.Interface == "" || len(s.Interface) > 15 || ifaces[s.Interface] {
			return fmt.Errorf("segment %q needs an interface of its own, not %q", s.Name, s.Interface)
		}
		ifaces[s.Interface] = true
		if err := hold(t.Gateway, s.Addresses); err != nil {
			return err
		}
		for _, h := range s.Hosts {
			if h.Name == "" || names[h.Name] {
				return fmt.Errorf("segment %q: every host needs a name of its own, not %q", s.Name, h.Name)
			}
			names[h.Name] = true
			if err := hold(h.Name, h.Addresses); err != nil {
				return err
			}
		}
	}
	return nil
}
