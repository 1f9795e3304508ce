package lab

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// cable lays a pair of interfaces from this namespace to another and sets both
// ends up.
func (n *Namespace) cable(name, mac string, far *Namespace, farName, farMAC string) error {
	near, err := parseMAC(mac)
	if err != nil {
		return fmt.Errorf("MAC of %q: %w", name, err)
	}
	peer, err := parseMAC(farMAC)
	if err != nil {
		return fmt.Errorf("MAC of %q: %w", farName, err)
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.HardwareAddr = name, near
	v := &netlink.Veth{LinkAttrs: attrs, PeerName: farName, PeerHardwareAddr: peer, PeerNamespace: netlink.NsFd(far.file.Fd())}
	if err := n.link.LinkAdd(v); err != nil {
		return fmt.Errorf("lay a cable from %q of %s to %q of %s: %w", name, n.Name, farName, far.Name, err)
	}
	return errors.Join(n.up(name), far.up(farName))
}

func (n *Namespace) up(name string) error {
	l, err := n.link.LinkByName(name)
	if err == nil {
		err = n.link.LinkSetUp(l)
	}
	if err != nil {
		return fmt.Errorf("set %q of %s up: %w", name, n.Name, err)
	}
	return nil
}

// give puts addresses on an interface, without waiting for duplicates (RFC 4862,
// 5.4): there are none.
func (n *Namespace) give(name string, list []netip.Prefix) error {
	l, err := n.link.LinkByName(name)
	if err != nil {
		return fmt.Errorf("find %q of %s: %w", name, n.Name, err)
	}
	for _, p := range list {
		a := &netlink.Addr{IPNet: ipNet(p)}
		if p.Addr().Is6() {
			a.Flags = unix.IFA_F_NODAD
		}
		if err := n.link.AddrAdd(l, a); err != nil {
			return fmt.Errorf("give %s to %q of %s: %w", p, name, n.Name, err)
		}
	}
	return nil
}

// join gives a host its addresses, and a default route of each family by the
// gateway's address in the same prefix.
func (n *Namespace) join(own, gateway []netip.Prefix) error {
	if err := n.give("eth0", own); err != nil {
		return err
	}
	l, err := n.link.LinkByName("eth0")
	if err != nil {
		return err
	}
	done := map[bool]bool{}
	for _, a := range own {
		four := a.Addr().Is4()
		for _, g := range gateway {
			if done[four] || g.Masked() != a.Masked() {
				continue
			}
			done[four] = true
			all := netip.PrefixFrom(netip.IPv6Unspecified(), 0)
			if four {
				all = netip.PrefixFrom(netip.IPv4Unspecified(), 0)
			}
			r := &netlink.Route{LinkIndex: l.Attrs().Index, Dst: ipNet(all), Gw: g.Addr().AsSlice()}
			if err := n.link.RouteAdd(r); err != nil {
				return fmt.Errorf("route by %s: %w", g.Addr(), err)
			}
		}
	}
	return nil
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

// sysctl is a setting below /proc/sys/net.
type sysctl struct{ name, value string }

// quietSysctls let addresses be used at once and keep the kernel from guessing.
func quietSysctls() []sysctl {
	var out []sysctl
	for _, c := range []string{"all", "default"} {
		out = append(out,
			sysctl{"ipv6/conf/" + c + "/accept_dad", "0"},
			sysctl{"ipv6/conf/" + c + "/dad_transmits", "0"},
			sysctl{"ipv6/conf/" + c + "/accept_ra", "0"},
			sysctl{"ipv6/conf/" + c + "/router_solicitations", "0"},
			// A false source address is for the rules under test to find.
			sysctl{"ipv4/conf/" + c + "/rp_filter", "0"})
	}
	return out
}

func hostSysctls() []sysctl { return quietSysctls() }

func gatewaySysctls() []sysctl {
	return append(quietSysctls(),
		sysctl{"ipv4/ip_forward", "1"},
		sysctl{"ipv6/conf/all/forwarding", "1"},
		sysctl{"ipv6/conf/default/forwarding", "1"},
		sysctl{"ipv4/conf/all/send_redirects", "0"},
		sysctl{"ipv4/conf/default/send_redirects", "0"})
}

// bridgeSysctls keep a bridge from taking part in what it carries.
func bridgeSysctls() []sysctl {
	return []sysctl{{"ipv6/conf/all/disable_ipv6", "1"}, {"ipv6/conf/default/disable_ipv6", "1"}}
}

// setAll writes settings of the calling thread's namespace. One that the kernel
// does not have is not needed.
func setAll(list []sysctl) error {
	for _, s := range list {
		err := os.WriteFile("/proc/sys/net/"+s.name, []byte(s.value), 0)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("set net/%s to %s: %w", s.name, s.value, err)
		}
	}
	return nil
}
