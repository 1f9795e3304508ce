package lab

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Net is a topology that stands.
type Net struct {
	Gateway *Namespace
	top     Topology
	hosts   map[string]*Namespace
	bridges []*Namespace
	segment map[string]string     // host -> its segment
	owner   map[netip.Addr]string // address -> the host that has it
	star    bool                  // hosts around one namespace, and fences pass
	lease   *lease
}

// Build lays a topology out. What an earlier run left behind when it was killed
// is removed first. On an error nothing is left.
func Build(t Topology) (*Net, error) {
	t.Gateway = cmp.Or(t.Gateway, "gw")
	if err := t.check(); err != nil {
		return nil, err
	}
	n, err := newNet(t)
	if err != nil {
		return nil, err
	}
	if err := n.build(); err != nil {
		return nil, errors.Join(err, n.Close())
	}
	return n, nil
}

// newNet claims a name for a topology, and builds nothing.
func newNet(t Topology) (*Net, error) {
	l, err := newLease(t.Prefix)
	if err != nil {
		return nil, err
	}
	t.Prefix = l.prefix
	return &Net{top: t, hosts: map[string]*Namespace{}, segment: map[string]string{}, owner: map[netip.Addr]string{}, lease: l}, nil
}

// Dir makes a directory for files of whatever serves the network. It goes when the
// network is closed, or swept away.
func (n *Net) Dir() (string, error) {
	dir := filepath.Join(leaseDir, n.lease.prefix+filesSuffix)
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return "", fmt.Errorf("make a place for the lab's files: %w", err)
	}
	return dir, nil
}

// Close removes everything.
func (n *Net) Close() error {
	var errs []error
	all := append(slices.Collect(maps.Values(n.hosts)), n.bridges...)
	for _, ns := range append(all, n.Gateway) {
		if ns != nil {
			errs = append(errs, ns.remove())
		}
	}
	n.Gateway, n.hosts, n.bridges = nil, nil, nil
	return errors.Join(append(errs, n.lease.end())...)
}

func (n *Net) build() (err error) {
	if n.Gateway, err = n.namespace(n.top.Gateway, gatewaySysctls()); err != nil {
		return err
	}
	for i := range n.top.Segments {
		s := &n.top.Segments[i]
		if err := n.buildSegment(s); err != nil {
			return fmt.Errorf("build segment %q: %w", s.Name, err)
		}
	}
	return nil
}

// namespace makes a namespace with its loopback up.
func (n *Net) namespace(name string, settings []sysctl) (*Namespace, error) {
	ns, err := newNamespace(n.top.Prefix + name)
	if err != nil {
		return nil, err
	}
	err = ns.Do(func() error { return setAll(settings) })
	if err == nil {
		err = ns.up("lo")
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("set up namespace %q: %w", ns.Name, err), ns.remove())
	}
	return ns, nil
}

func (n *Net) buildSegment(s *Segment) error {
	for i := range s.Hosts {
		if _, err := n.addHost(s.Name, &s.Hosts[i]); err != nil {
			return err
		}
	}
	var err error
	if len(s.Hosts) == 1 && !s.Bridge {
		err = n.Gateway.cable(s.Interface, "", n.hosts[s.Hosts[0].Name], "eth0", s.Hosts[0].MAC)
	} else {
		err = n.buildBridge(s)
	}
	if err != nil {
		return err
	}
	if err := n.Gateway.give(s.Interface, s.Addresses); err != nil {
		return err
	}
	for i := range s.Hosts {
		if err := n.hosts[s.Hosts[i].Name].join(s.Hosts[i].Addresses, s.Addresses); err != nil {
			return fmt.Errorf("host %q: %w", s.Hosts[i].Name, err)
		}
	}
	return nil
}

// addHost makes the namespace of a host.
func (n *Net) addHost(segment string, h *Host) (*Namespace, error) {
	ns, err := n.namespace(h.Name, hostSysctls())
	if err != nil {
		return nil, err
	}
	n.hosts[h.Name] = ns
	n.segment[h.Name] = segment
	for _, a := range h.Addresses {
		n.owner[a.Addr()] = h.Name
	}
	return ns, nil
}

// buildBridge joins the gateway and the hosts in a namespace that holds nothing
// but the bridge, as a switch would.
func (n *Net) buildBridge(s *Segment) error {
	sw, err := n.namespace("sw-"+s.Name, bridgeSysctls())
	if err != nil {
		return err
	}
	n.bridges = append(n.bridges, sw)
	off := false // or the bridge forgets neighbour discovery until it has seen reports
	br := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "br0"}, MulticastSnooping: &off}
	if err := sw.link.LinkAdd(br); err != nil {
		return fmt.Errorf("make a bridge: %w", err)
	}
	if err := sw.up("br0"); err != nil {
		return err
	}
	ports := []string{"up0"}
	if err := n.Gateway.cable(s.Interface, "", sw, "up0", ""); err != nil {
		return err
	}
	for i := range s.Hosts {
		port := fmt.Sprintf("swp%d", i+1)
		if err := n.hosts[s.Hosts[i].Name].cable("eth0", s.Hosts[i].MAC, sw, port, ""); err != nil {
			return err
		}
		ports = append(ports, port)
	}
	for _, p := range ports {
		port, err := sw.link.LinkByName(p)
		if err == nil {
			err = sw.link.LinkSetMaster(port, br)
		}
		if err != nil {
			return fmt.Errorf("plug %q into the bridge: %w", p, err)
		}
	}
	return nil
}

// Hosts lists the hosts' names in the order of the topology.
func (n *Net) Hosts() []string {
	var out []string
	for _, s := range n.top.Segments {
		for _, h := range s.Hosts {
			out = append(out, h.Name)
		}
	}
	return out
}

// Host returns a host's namespace, nil if there is none of that name.
func (n *Net) Host(name string) *Namespace { return n.hosts[name] }

// Owner returns the host that has an address, "" if none has.
func (n *Net) Owner(a netip.Addr) string { return n.owner[a] }

// Addr returns a host's first address of a family; it is invalid if there is none.
func (n *Net) Addr(host string, four bool) netip.Addr {
	for _, s := range n.top.Segments {
		for _, h := range s.Hosts {
			for _, a := range h.Addresses {
				if h.Name == host && a.Addr().Is4() == four {
					return a.Addr()
				}
			}
		}
	}
	return netip.Addr{}
}

// Crosses reports whether packets from one host to the other pass the gateway.
func (n *Net) Crosses(a, b string) bool { return n.segment[a] != n.segment[b] }

// lease marks a prefix of namespace names as in use for as long as this process
// lives: the kernel drops the lock with the process, however it ends.
type lease struct {
	prefix string
	file   *os.File
}

const leaseDir = "/run/bulkhead-lab"

// filesSuffix ends the name of the directory that goes with a lease.
const filesSuffix = ".files"

func newLease(prefix string) (*lease, error) {
	if err := os.MkdirAll(leaseDir, 0o700); err != nil {
		return nil, forbidden("make "+leaseDir, err)
	}
	sweep()
	for i := 0; ; i++ {
		l := &lease{prefix: prefix}
		if prefix == "" {
			l.prefix = fmt.Sprintf("bhlab%d-%d-", os.Getpid(), i)
		}
		f, err := os.OpenFile(filepath.Join(leaseDir, l.prefix), os.O_CREATE|os.O_RDWR, 0o600)
		if err != nil {
			return nil, fmt.Errorf("claim the prefix %q: %w", l.prefix, err)
		}
		if err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err == nil {
			l.file = f
			return l, nil
		}
		f.Close()
		if prefix != "" {
			return nil, fmt.Errorf("another lab with prefix %q is running: %w", prefix, err)
		}
	}
}

func (l *lease) end() error {
	if l == nil || l.file == nil {
		return nil
	}
	err := errors.Join(os.RemoveAll(l.file.Name()+filesSuffix), os.Remove(l.file.Name()))
	return errors.Join(err, l.file.Close())
}

// sweep removes the namespaces of labs whose process is gone. It does what it
// can; what it cannot remove is somebody else's.
func sweep() {
	leases, _ := os.ReadDir(leaseDir)
	for _, e := range leases {
		path := filepath.Join(leaseDir, e.Name())
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			continue
		}
		if unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil {
			names, _ := os.ReadDir(netnsDir)
			for _, ns := range names {
				if strings.HasPrefix(ns.Name(), e.Name()) {
					removeName(filepath.Join(netnsDir, ns.Name()))
				}
			}
			os.RemoveAll(path + filesSuffix)
			os.Remove(path)
		}
		f.Close()
	}
}

// parseMAC reads a MAC; "" is nil, the kernel's choice.
func parseMAC(s string) (net.HardwareAddr, error) {
	if s == "" {
		return nil, nil
	}
	return net.ParseMAC(s)
}
