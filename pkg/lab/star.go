package lab

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Star is hosts that are cabled to one namespace, each to an interface of its own: swp1,
// swp2 and so on in the order of the hosts. What joins the interfaces is for the caller
// to put there, for example a switch; until then nothing passes.
type Star struct {
	// Prefix begins the names of all namespaces; "" is one that nobody else uses.
	Prefix string
	Center string // the name of what stands in the middle; "" is "sw"
	// Hosts need not be in one prefix: all addresses are on the link for all of them. A
	// MAC that is "" is 02:00:00:00 and the number of the port.
	Hosts []Host
	// Resolve lets hosts ask for each other by ARP and neighbour discovery, as real ones
	// do. Otherwise each knows all the others, and a packet is lost to nothing but what
	// stands in the middle.
	Resolve bool
}

// Port names the interface that a star has for its host i, from 0.
func Port(i int) string { return fmt.Sprintf("swp%d", i+1) }

// BuildStar lays a star out. The namespace in the middle is the Gateway of what it
// returns. Whoever probes it must see to it that frames of FenceType pass from each port
// to every other one, whatever else is filtered.
func BuildStar(s Star) (*Net, error) {
	t := Topology{Prefix: s.Prefix, Gateway: cmp.Or(s.Center, "sw"), Segments: []Segment{{Name: "star", Interface: Port(0)}}}
	for i, h := range s.Hosts {
		h.MAC = cmp.Or(h.MAC, fmt.Sprintf("02:00:00:00:%02x:%02x", (i+1)>>8, (i+1)&0xff))
		t.Segments[0].Hosts = append(t.Segments[0].Hosts, h)
	}
	if err := t.checkNames(); err != nil {
		return nil, err
	}
	n, err := newNet(t)
	if err != nil {
		return nil, err
	}
	n.star = true
	if err := n.buildStar(s.Resolve); err != nil {
		return nil, errors.Join(err, n.Close())
	}
	return n, nil
}

func (n *Net) buildStar(resolve bool) (err error) {
	if n.Gateway, err = n.namespace(n.top.Gateway, bridgeSysctls()); err != nil {
		return err
	}
	hosts := n.top.Segments[0].Hosts
	for i := range hosts {
		h := &hosts[i]
		ns, err := n.addHost("star", h)
		if err != nil {
			return err
		}
		if err := ns.cable("eth0", h.MAC, n.Gateway, Port(i), ""); err != nil {
			return err
		}
		// A checksum that is left to hardware never comes to be where a program, and no
		// driver, takes the packet up.
		if err := ns.Do(func() error { return checksumHere("eth0") }); err != nil {
			return fmt.Errorf("host %q: %w", h.Name, err)
		}
		if err := ns.give("eth0", h.Addresses); err != nil {
			return err
		}
		if err := ns.onLink("eth0"); err != nil {
			return fmt.Errorf("host %q: %w", h.Name, err)
		}
	}
	if resolve {
		return nil
	}
	for i := range hosts {
		for j := range hosts {
			if i == j {
				continue
			}
			if err := n.hosts[hosts[i].Name].know("eth0", hosts[j].MAC, hosts[j].Addresses); err != nil {
				return fmt.Errorf("host %q: %w", hosts[i].Name, err)
			}
		}
	}
	return nil
}

// onLink makes every address one that is on an interface's link.
func (n *Namespace) onLink(name string) error {
	l, err := n.link.LinkByName(name)
	if err != nil {
		return fmt.Errorf("find %q of %s: %w", name, n.Name, err)
	}
	for _, all := range []netip.Addr{netip.IPv4Unspecified(), netip.IPv6Unspecified()} {
		r := &netlink.Route{LinkIndex: l.Attrs().Index, Dst: ipNet(netip.PrefixFrom(all, 0)), Scope: netlink.SCOPE_LINK}
		if err := n.link.RouteAdd(r); err != nil {
			return fmt.Errorf("route everything to %q: %w", name, err)
		}
	}
	return nil
}

// know tells a host who has some addresses, for good.
func (n *Namespace) know(name, mac string, list []netip.Prefix) error {
	l, err := n.link.LinkByName(name)
	if err != nil {
		return fmt.Errorf("find %q of %s: %w", name, n.Name, err)
	}
	hw, err := parseMAC(mac)
	if err != nil {
		return fmt.Errorf("MAC %q: %w", mac, err)
	}
	for _, p := range list {
		e := &netlink.Neigh{LinkIndex: l.Attrs().Index, State: netlink.NUD_PERMANENT, IP: p.Addr().AsSlice(), HardwareAddr: hw}
		if err := n.link.NeighSet(e); err != nil {
			return fmt.Errorf("make %s known at %q: %w", p.Addr(), name, err)
		}
	}
	return nil
}

// linkPatience is how long the kernel may take to see that a link came up or went down.
const linkPatience = time.Minute

// SetLink sets the port of a star's host up or down, as a switch does that is told to,
// and waits until the host's own interface has noticed.
func (n *Net) SetLink(ctx context.Context, host string, up bool) error {
	port, err := n.port(host)
	if err != nil {
		return err
	}
	set, word := n.Gateway.link.LinkSetDown, "down"
	if up {
		set, word = n.Gateway.link.LinkSetUp, "up"
	}
	if err := set(port); err != nil {
		return fmt.Errorf("set the port of %q %s: %w", host, word, err)
	}
	for limit := time.Now().Add(linkPatience); ; {
		l, err := n.hosts[host].link.LinkByName("eth0")
		if err != nil {
			return fmt.Errorf("look at the interface of %q: %w", host, err)
		}
		if l.Attrs().RawFlags&unix.IFF_RUNNING != 0 == up {
			return nil
		}
		if time.Now().After(limit) {
			return fmt.Errorf("the interface of %q does not notice within %s that its port is %s", host, linkPatience, word)
		}
		if err := pause(ctx, 2*time.Millisecond); err != nil {
			return err
		}
	}
}

// PortIndex is the ifIndex of the interface for a star's host i, from 0.
func (n *Net) PortIndex(i int) (int, error) {
	l, err := n.Gateway.link.LinkByName(Port(i))
	if err != nil {
		return 0, fmt.Errorf("find %q of %s: %w", Port(i), n.Gateway.Name, err)
	}
	return l.Attrs().Index, nil
}

// linked reports whether the cable of a star's host carries something. It is what the
// kernel knows at once; that an interface runs it says later.
func (n *Net) linked(host string) (bool, error) {
	port, err := n.port(host)
	if err != nil {
		return false, err
	}
	const both = unix.IFF_UP | unix.IFF_LOWER_UP
	return port.Attrs().RawFlags&both == both, nil
}

func (n *Net) port(host string) (netlink.Link, error) {
	if !n.star {
		return nil, fmt.Errorf("host %q is at no port: the network is no star", host)
	}
	for i, h := range n.top.Segments[0].Hosts {
		if h.Name == host {
			l, err := n.Gateway.link.LinkByName(Port(i))
			if err != nil {
				return nil, fmt.Errorf("find the port of %q: %w", host, err)
			}
			return l, nil
		}
	}
	return nil, fmt.Errorf("there is no host %q", host)
}
