package neighbor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

const (
	attempts      = 8 // at a dump that the kernel interrupts
	pause         = 20 * time.Millisecond
	socketTimeout = 10 * time.Second // a dump of a full table takes well under one
)

// errMoved says that an interface appeared between two dumps.
var errMoved = errors.New("the interfaces changed during the read")

// Read reads the neighbour tables, routes and addresses of a network namespace:
// a name under /run/netns, a path, or "" for the one that the caller is in.
// Entering another one takes CAP_SYS_ADMIN. A read that the kernel says changed
// under it is repeated a few times, and then an error, as is any other failure.
func Read(ctx context.Context, ns string) (*Snapshot, error) {
	h, err := open(ns)
	if err != nil {
		return nil, err
	}
	defer h.Close()
	if err := h.SetSocketTimeout(socketTimeout); err != nil {
		return nil, fmt.Errorf("set a timeout on rtnetlink: %w", err)
	}
	s, err := retry(ctx, func() (*Snapshot, error) { return snapshot(h) })
	if err != nil && ns != "" {
		return nil, fmt.Errorf("in network namespace %q: %w", ns, err)
	}
	return s, err
}

func open(ns string) (*netlink.Handle, error) {
	if ns == "" {
		h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
		if err != nil {
			return nil, fmt.Errorf("open rtnetlink: %w", err)
		}
		return h, nil
	}
	at, err := handleOf(ns)
	if err != nil {
		return nil, err
	}
	defer at.Close()
	h, err := netlink.NewHandleAt(at, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open rtnetlink in network namespace %q: %w", ns, err)
	}
	return h, nil
}

// handleOf opens a network namespace by its name or path.
func handleOf(ns string) (netns.NsHandle, error) {
	get := netns.GetFromName
	if strings.Contains(ns, "/") {
		get = netns.GetFromPath
	}
	at, err := get(ns)
	if err != nil {
		return at, fmt.Errorf("open network namespace %q: %w", ns, err)
	}
	return at, nil
}

// retry repeats read while what it reads changes under it.
func retry[T any](ctx context.Context, read func() (T, error)) (T, error) {
	var none T
	var err error
	for range attempts {
		if ctx.Err() != nil {
			return none, ctx.Err()
		}
		var v T
		if v, err = read(); err == nil {
			return v, nil
		}
		if !errors.Is(err, netlink.ErrDumpInterrupted) && !errors.Is(err, errMoved) {
			return none, err
		}
		select {
		case <-ctx.Done():
			return none, ctx.Err()
		case <-time.After(pause):
		}
	}
	return none, fmt.Errorf("after %d attempts: %w", attempts, err)
}

// kernel is the part of a netlink.Handle that a snapshot needs.
type kernel interface {
	LinkList() ([]netlink.Link, error)
	NeighList(link, family int) ([]netlink.Neigh, error)
	RouteListFiltered(family int, filter *netlink.Route, mask uint64) ([]netlink.Route, error)
	AddrList(link netlink.Link, family int) ([]netlink.Addr, error)
}

// reader turns dumps into a snapshot.
type reader struct {
	names map[int]string // interfaces by index
	out   Snapshot
}

func snapshot(k kernel) (*Snapshot, error) {
	links, err := k.LinkList()
	if err != nil {
		return nil, fmt.Errorf("list interfaces: %w", err)
	}
	r := &reader{names: map[int]string{}}
	for _, l := range links {
		r.names[l.Attrs().Index] = l.Attrs().Name
	}
	for _, f := range []struct {
		number int
		name   string
	}{{netlink.FAMILY_V4, "IPv4"}, {netlink.FAMILY_V6, "IPv6"}} {
		if err := r.family(k, f.number); err != nil {
			return nil, fmt.Errorf("%s: %w", f.name, err)
		}
	}
	r.out.sort()
	return &r.out, nil
}

func (r *reader) family(k kernel, family int) error {
	neighs, err := k.NeighList(0, family)
	if err != nil {
		return fmt.Errorf("list neighbours: %w", err)
	}
	// An unspecified table asks for every table, not for the main one alone.
	routes, err := k.RouteListFiltered(family, &netlink.Route{Table: unix.RT_TABLE_UNSPEC}, netlink.RT_FILTER_TABLE)
	if err != nil {
		return fmt.Errorf("list routes: %w", err)
	}
	addrs, err := k.AddrList(nil, family)
	if err != nil {
		return fmt.Errorf("list addresses: %w", err)
	}
	for i := range neighs {
		if err := r.neighbour(&neighs[i]); err != nil {
			return err
		}
	}
	for i := range routes {
		if err := r.route(&routes[i], family); err != nil {
			return err
		}
	}
	for i := range addrs {
		if err := r.local(&addrs[i]); err != nil {
			return err
		}
	}
	return nil
}

func (r *reader) name(index int) (string, error) {
	if n, ok := r.names[index]; ok {
		return n, nil
	}
	return "", fmt.Errorf("interface %d: %w", index, errMoved)
}

func (r *reader) neighbour(n *netlink.Neigh) error {
	addr, ok := netip.AddrFromSlice(n.IP)
	if !ok {
		return nil // a bridge's forwarding entry has none
	}
	name, err := r.name(n.LinkIndex)
	if err != nil {
		return err
	}
	out := Neighbour{
		Addr: addr.Unmap(), Interface: name, State: stateOf(n.State), Router: n.Flags&unix.NTF_ROUTER != 0,
	}
	if len(n.HardwareAddr) == 6 {
		out.MAC = n.HardwareAddr.String()
	}
	r.out.Neighbours = append(r.out.Neighbours, out)
	return nil
}

func stateOf(nud int) State {
	states := []struct {
		bit  int
		name State
	}{
		{netlink.NUD_PERMANENT, Permanent}, {netlink.NUD_NOARP, NoARP}, {netlink.NUD_REACHABLE, Reachable},
		{netlink.NUD_STALE, Stale}, {netlink.NUD_DELAY, Delay}, {netlink.NUD_PROBE, Probe},
		{netlink.NUD_FAILED, Failed}, {netlink.NUD_INCOMPLETE, Incomplete},
	}
	for _, s := range states {
		if nud&s.bit != 0 {
			return s.name
		}
	}
	return None
}

func (r *reader) route(rt *netlink.Route, family int) error {
	if rt.Type != unix.RTN_UNICAST || rt.Table == unix.RT_TABLE_LOCAL {
		return nil
	}
	prefix, err := prefixOf(rt.Dst, family)
	if err != nil {
		return err
	}
	add := func(index int, gw net.IP) error {
		name, err := r.name(index)
		if err != nil {
			return fmt.Errorf("route %s: %w", prefix, err)
		}
		out := Route{Prefix: prefix, Interface: name, Default: prefix.Bits() == 0, Table: rt.Table, Metric: rt.Priority}
		if a, ok := netip.AddrFromSlice(gw); ok {
			out.Gateway = a.Unmap()
		}
		r.out.Routes = append(r.out.Routes, out)
		return nil
	}
	if len(rt.MultiPath) == 0 {
		return add(rt.LinkIndex, rt.Gw)
	}
	for _, hop := range rt.MultiPath {
		if err := add(hop.LinkIndex, hop.Gw); err != nil {
			return err
		}
	}
	return nil
}

func prefixOf(n *net.IPNet, family int) (netip.Prefix, error) {
	if n == nil {
		if family == netlink.FAMILY_V4 {
			return netip.PrefixFrom(netip.IPv4Unspecified(), 0), nil
		}
		return netip.PrefixFrom(netip.IPv6Unspecified(), 0), nil
	}
	addr, ok := netip.AddrFromSlice(n.IP)
	bits, size := n.Mask.Size()
	if family == netlink.FAMILY_V4 {
		addr = addr.Unmap()
	}
	if !ok || size != addr.BitLen() {
		return netip.Prefix{}, fmt.Errorf("the kernel gave a prefix that makes no sense: %v", n)
	}
	return netip.PrefixFrom(addr, bits).Masked(), nil
}

func (r *reader) local(a *netlink.Addr) error {
	name, err := r.name(a.LinkIndex)
	if err != nil {
		return err
	}
	if a.IPNet == nil {
		return nil
	}
	addr, ok := netip.AddrFromSlice(a.IP)
	bits, _ := a.Mask.Size()
	if !ok {
		return fmt.Errorf("the kernel gave an address that makes no sense on %q: %v", name, a.IPNet)
	}
	r.out.Local = append(r.out.Local, LocalAddr{Prefix: netip.PrefixFrom(addr.Unmap(), bits), Interface: name})
	return nil
}
