package aws

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"bulkhead/pkg/driver"
	"bulkhead/pkg/packet"
)

// State is what an account holds in a region, as far as it concerns a site. All of it is
// data: the keys of our own groups are their names, since a group that is still to be made
// has no ID.
type State struct {
	Site   string
	Limits Limits
	VPCs   []VPC
	// Active are the pairs of VPCs that an active peering joins within the region, smaller
	// ID first: groups of the one may name groups of the other.
	Active     [][2]string
	Interfaces []Interface // of the whole region, in order of ID
	Functions  []Function  // in order of ARN; none where none is ours to change
	Groups     []Group     // ours, and those of others that interfaces in scope carry, in order of Key
	Lists      []List      // that rules of these groups name
	// Names are the names of all groups, ours and others', by VPC, in lower case: what a new
	// group must not be called.
	Names map[string][]string
	There []string // IDs of all groups, sorted
	// Launches are what new instances are started from; nil where nobody asked. They mean
	// nothing for what is enforced, and are not written down.
	Launches *Launches         `json:"-"`
	vpcOf    map[string]string // of all groups, by ID
	named    map[string]bool   // IDs of groups that rules of any group name; nil where nobody asked
}

// Limits are the account's quotas, which no call of EC2 tells, and what the settings say
// about whose groups may be taken off.
type Limits struct {
	Rules     int // of one group, in each direction and family
	Groups    int // of one interface
	Exclusive bool
}

// VPC is a network.
type VPC struct {
	ID      string
	CIDRs   []netip.Prefix
	Primary netip.Prefix // invalid if it is not known
	Group   string       // ID of its default group, which is always there
}

// Interface is a network interface.
type Interface struct {
	ID, VPC string
	Subnet  string
	Addrs   []netip.Prefix // single addresses and delegated prefixes, sorted
	Groups  []string       // keys of Groups; what is in none is the ID of a group of somebody else's
	// Before are the IDs of the groups that the interface carried before it was taken over,
	// as its tag says.
	Before []string
	// Out says why its groups are not ours to change: whose it is, or that it lies outside of
	// the scope; "" if they are.
	Out string
	// Service is the service of AWS that the interface belongs to, if one.
	Service string
	// Function is the ARN of the function that has the interface to itself, and a group of
	// ours by which it is judged.
	Function string
	// Tracking are timeouts of its own. They are no part of what the state enforces.
	Tracking Timeouts
}

// Timeouts are how long flows that are silent stay tracked; 0 is AWS's default.
type Timeouts struct{ TCP, UDP, Stream time.Duration }

// Group is a security group.
type Group struct {
	Key, ID, Name, VPC string
	Ours               bool
	Of                 string   // of an overflow group of ours: the key of its identity group
	Points             []string // of an identity group of ours: for whom it is there, sorted
	Function           string   // of a group that a function has to itself: its ARN
	Before             []string // of such a group: IDs of the groups that the function had before
	Kept               string   // of somebody else's: why it is never taken off; "" if it may be
	Rules              []Rule
}

// Rule is one rule. One of Prefix, List and Peer is set.
type Rule struct {
	ID     string // given by AWS; no part of what a rule is
	Egress bool
	// Protocol is "tcp", "udp", "icmp", "icmpv6", a number, or "-1".
	Protocol string
	From, To int // ports; ICMP type and code; -1 is every one
	Prefix   netip.Prefix
	List     string
	Peer     string // key of a group
	PeerVPC  string // where that is another one
	// Unknown says why nobody here can tell what Peer or List stands for.
	Unknown string
}

// List is what a prefix list holds.
type List struct {
	ID, Name string
	IPv6     bool
	Entries  []netip.Prefix
	Weight   int
	Unread   string // why its entries are not known; "" if they are
}

// what is the rule without what is no part of it.
func (r Rule) what() Rule {
	r.ID, r.Unknown = "", ""
	return r
}

func (r Rule) String() string {
	peer := r.Prefix.String()
	switch {
	case r.Peer != "":
		peer = "group " + r.Peer
	case r.List != "":
		peer = "prefix list " + r.List
	}
	way := "from"
	if r.Egress {
		way = "to"
	}
	what := r.Protocol
	switch {
	case r.Protocol == "-1":
		what = "everything"
	case r.From == -1 && r.To == -1:
	case strings.HasPrefix(r.Protocol, "icmp"):
		what += fmt.Sprintf("/%d:%d", r.From, r.To)
	case r.From == r.To:
		what += fmt.Sprintf("/%d", r.From)
	default:
		what += fmt.Sprintf("/%d-%d", r.From, r.To)
	}
	return what + " " + way + " " + peer
}

func (r Rule) compare(o Rule) int {
	dir := func(r Rule) int {
		if r.Egress {
			return 1
		}
		return 0
	}
	return cmp.Or(dir(r)-dir(o), r.Prefix.Compare(o.Prefix), strings.Compare(r.Peer, o.Peer), strings.Compare(r.List, o.List),
		strings.Compare(r.Protocol, o.Protocol), cmp.Compare(r.From, o.From), cmp.Compare(r.To, o.To))
}

func stateOf(s driver.State) (*State, error) {
	if n, ok := s.(*State); ok && n != nil {
		return n, nil
	}
	return nil, fmt.Errorf("not a state of security groups: %T", s)
}

func (s *State) group(key string) *Group {
	i, ok := slices.BinarySearchFunc(s.Groups, key, func(g Group, key string) int { return strings.Compare(g.Key, key) })
	if !ok {
		return nil
	}
	return &s.Groups[i]
}

func (s *State) iface(id string) *Interface {
	i, ok := slices.BinarySearchFunc(s.Interfaces, id, func(n Interface, id string) int { return strings.Compare(n.ID, id) })
	if !ok {
		return nil
	}
	return &s.Interfaces[i]
}

// ours splits the groups of an interface.
func (s *State) ours(n *Interface) (ours, foreign []string) {
	for _, key := range n.Groups {
		if g := s.group(key); g != nil && g.Ours {
			ours = append(ours, key)
		} else {
			foreign = append(foreign, key)
		}
	}
	return ours, foreign
}

// identity is our identity group on an interface; "" if it bears none and so is not judged.
func (s *State) identity(n *Interface) string {
	for _, key := range n.Groups {
		if g := s.group(key); g != nil && g.Ours && g.Of == "" && !g.staged() {
			return key
		}
	}
	return ""
}

func (n *Interface) set() packet.Addrs { return packet.AddrsOf(n.Addrs...) }

// clone copies what rendering changes.
func (s *State) clone() *State {
	out := *s
	out.Interfaces = slices.Clone(s.Interfaces)
	out.Groups = slices.Clone(s.Groups)
	return &out
}

// Fingerprint digests what has meaning for the site: our groups, the interfaces in scope
// and those that bear our groups, the groups of others on them with whatever their rules
// name. IDs of our groups and rules, and order, have none.
func (s *State) Fingerprint() string {
	lines := []string{fmt.Sprintf("limits %+v", s.Limits)}
	peers, lists, named := map[string]bool{}, map[string]bool{}, map[string]bool{}
	for i := range s.Interfaces {
		n := &s.Interfaces[i]
		mine := s.identity(n) != ""
		if n.Out != "" && !mine || n.Function != "" && !mine {
			continue
		}
		named[n.VPC] = true
		lines = append(lines, fmt.Sprintf("interface %s %s %v %q %q %q", n.ID, n.VPC, n.Addrs, n.Groups, n.Before, n.Out))
		for _, key := range n.Groups {
			if g := s.group(key); mine && g != nil && !g.Ours {
				lines = append(lines, s.groupLines(g, peers, lists)...)
			}
		}
	}
	lines = append(lines, s.functionLines()...)
	for i := range s.Groups {
		if g := &s.Groups[i]; g.Ours && !g.staged() {
			lines = append(lines, s.groupLines(g, peers, lists)...)
		}
	}
	for i := range s.Interfaces {
		n := &s.Interfaces[i]
		for _, key := range n.Groups {
			if peers[key] {
				lines = append(lines, fmt.Sprintf("member %q %s %v", key, n.ID, n.Addrs))
			}
		}
	}
	if len(peers) > 0 {
		lines = append(lines, fmt.Sprintf("peerings %v", s.Active))
	}
	for _, l := range s.Lists {
		if lists[l.ID] {
			lines = append(lines, fmt.Sprintf("list %s %v %v %q %d", l.ID, l.IPv6, l.Entries, l.Unread, l.Weight))
		}
	}
	for _, v := range s.VPCs {
		if named[v.ID] {
			lines = append(lines, fmt.Sprintf("vpc %s %v %s", v.ID, v.CIDRs, v.Primary))
		}
	}
	slices.Sort(lines)
	return digest(slices.Compact(lines))
}

func (s *State) groupLines(g *Group, peers, lists map[string]bool) []string {
	out := []string{fmt.Sprintf("group %q %s of %q for %q kept %q", g.Key, g.VPC, g.Of, g.Points, g.Kept)}
	for _, r := range g.Rules {
		out = append(out, fmt.Sprintf("rule %q %v %s %d-%d %s %q %q %q %q", g.Key, r.Egress, r.Protocol, r.From, r.To, r.Prefix, r.List, r.Peer, r.PeerVPC, r.Unknown))
		if r.Peer != "" {
			peers[r.Peer] = true
		}
		if r.List != "" {
			lists[r.List] = true
		}
	}
	return out
}

// digest hashes length-prefixed lines, so that no two lists run together.
func digest(lines []string) string {
	var b []byte
	for _, l := range lines {
		b = append(append(append(strconv.AppendInt(b, int64(len(l)), 10), ':'), l...), '\n')
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}
