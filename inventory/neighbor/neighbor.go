// Package neighbor reads what one Linux machine knows of the networks around it:
// its neighbour tables (ARP, RFC 826, and neighbour discovery, RFC 4861), its
// routes and its own addresses, of both families, over rtnetlink(7).
//
// Anybody on a segment can make a neighbour table say anything, so what is read
// here is evidence: see inventory.Trust. A read is complete or it is an error; a
// dump that the kernel marks as interrupted is repeated, and never half used.
package neighbor

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	"bulkhead/inventory"
)

// State is how much the kernel trusts a neighbour entry (NUD_* of neighbour.h).
type State string

// The states.
const (
	Incomplete State = "incomplete"
	Reachable  State = "reachable"
	Stale      State = "stale"
	Delay      State = "delay"
	Probe      State = "probe"
	Failed     State = "failed"
	NoARP      State = "noarp"
	Permanent  State = "permanent"
	None       State = "none"
)

// Known reports whether somebody answered for the address, sooner or later.
func (s State) Known() bool {
	switch s {
	case Reachable, Stale, Delay, Probe, Permanent:
		return true
	}
	return false
}

// Neighbour is one entry of a neighbour table.
type Neighbour struct {
	Addr      netip.Addr
	MAC       string // lower case with colons; "" if nobody answered
	Interface string
	State     State
	Router    bool // it says of itself that it is one (RFC 4861, the R flag)
}

// Route is one unicast route. A route over several interfaces is listed once
// for each.
type Route struct {
	Prefix    netip.Prefix
	Interface string
	Gateway   netip.Addr // invalid if the prefix is on the link
	Default   bool       // the prefix is everything
	Table     int        // 254 is the main one
	Metric    int
}

// LocalAddr is one of the machine's own addresses, with the length of the
// prefix that it is in.
type LocalAddr struct {
	Prefix    netip.Prefix // not masked: Addr is the machine's
	Interface string
}

// Snapshot is everything that one read gave, each list in order.
type Snapshot struct {
	Neighbours []Neighbour
	Routes     []Route
	Local      []LocalAddr
}

// What to Watch.
type What struct {
	Neighbours bool
	Routes     bool // routes, and the machine's own addresses
}

// MainTable is the number of the main routing table.
const MainTable = 254

// LocalOf returns the machine's own addresses on one interface.
func (s *Snapshot) LocalOf(iface string) []netip.Addr {
	var out []netip.Addr
	for _, l := range s.Local {
		if l.Interface == iface {
			out = append(out, l.Prefix.Addr())
		}
	}
	return out
}

// RoutesOf returns what lies behind one interface by the main routing table, and
// whether a default route does. Link-local and multicast prefixes, which are on
// every interface, are left out.
func (s *Snapshot) RoutesOf(iface string) (prefixes []netip.Prefix, isDefault bool) {
	for _, r := range s.Routes {
		switch {
		case r.Interface != iface || r.Table != MainTable:
		case r.Default:
			isDefault = true
		case r.Prefix.Addr().IsLinkLocalUnicast() || r.Prefix.Addr().IsMulticast():
		default:
			prefixes = append(prefixes, r.Prefix)
		}
	}
	slices.SortFunc(prefixes, inventory.ComparePrefix)
	return slices.Compact(prefixes), isDefault
}

// Report turns the neighbour table into a report of the named source: one entry
// for each MAC, with every address that it answers for. Link-local addresses are
// left out: they mean nothing beyond their link.
func (s *Snapshot) Report(source string, trust inventory.Trust, seen time.Time) inventory.Report {
	byMAC := map[string]*inventory.Asset{}
	var macs []string
	for _, n := range s.Neighbours {
		if n.MAC == "" || !n.State.Known() {
			continue
		}
		if _, err := inventory.ParseMAC(n.MAC); err != nil {
			continue // a tunnel's far end, or a multicast mapping
		}
		a := byMAC[n.MAC]
		if a == nil {
			a = &inventory.Asset{ID: "mac-" + n.MAC, MACs: []string{n.MAC}}
			byMAC[n.MAC] = a
			macs = append(macs, n.MAC)
		}
		if !n.Addr.IsLinkLocalUnicast() && !n.Addr.IsMulticast() {
			a.Addresses = append(a.Addresses, inventory.HostPrefix(n.Addr))
		}
		if at := (inventory.Attachment{Interface: n.Interface}); !slices.Contains(a.Attachments, at) {
			a.Attachments = append(a.Attachments, at)
		}
	}
	slices.Sort(macs)
	r := inventory.Report{Source: source, Trust: trust, Seen: seen, Assets: []inventory.Asset{}}
	for _, m := range macs {
		r.Assets = append(r.Assets, *byMAC[m])
	}
	return r
}

// sort puts a snapshot into its one order.
func (s *Snapshot) sort() {
	slices.SortFunc(s.Neighbours, func(a, b Neighbour) int {
		return cmp.Or(a.Addr.Compare(b.Addr), cmp.Compare(a.Interface, b.Interface), cmp.Compare(a.MAC, b.MAC))
	})
	slices.SortFunc(s.Routes, func(a, b Route) int {
		return cmp.Or(cmp.Compare(a.Table, b.Table), inventory.ComparePrefix(a.Prefix, b.Prefix), cmp.Compare(a.Metric, b.Metric),
			cmp.Compare(a.Interface, b.Interface), a.Gateway.Compare(b.Gateway))
	})
	slices.SortFunc(s.Local, func(a, b LocalAddr) int {
		return cmp.Or(cmp.Compare(a.Interface, b.Interface), inventory.ComparePrefix(a.Prefix, b.Prefix))
	})
}
