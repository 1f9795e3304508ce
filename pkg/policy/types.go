// Package policy holds groups, services and policies as values, and the
// reference evaluator that says what they mean.
//
// Decide is written to be read: it walks the policies one by one for one flow.
// The compiler in pkg/compile must agree with it for every flow, and shares no
// code with it; tests hold the two against each other.
package policy

import (
	"net/netip"
	"sort"
	"time"

	"bulkhead/pkg/diag"
)

// The built-in groups.
const (
	GroupAny          = "any"          // every address of both families
	GroupUnknown      = "unknown"      // every address that no asset holds
	GroupUnidentified = "unidentified" // every address held by networks and externals at most
)

// GroupQuarantined holds the assets that were put in quarantine. It is there only
// while there are any, and no site can name it.
const GroupQuarantined = "bulkhead/quarantined"

// OrderQuarantine is in front of every order that a site's policy can have.
const OrderQuarantine = -1

// AnyService is every protocol and every number.
func AnyService() []Range {
	out := make([]Range, 256)
	for p := range out {
		out[p] = Range{Proto: uint8(p), Lo: 0, Hi: 65535}
	}
	return out
}

// BuiltIn reports whether name is a built-in group. Its members are fixed; a
// site may only isolate it.
func BuiltIn(name string) bool {
	return name == GroupAny || name == GroupUnknown || name == GroupUnidentified
}

// Isolation says on which sides a group drops what no policy allowed.
type Isolation string

// The isolations.
const (
	IsolateNone    Isolation = "none"
	IsolateIngress Isolation = "ingress"
	IsolateEgress  Isolation = "egress"
	IsolateBoth    Isolation = "both"
)

// Ingress reports whether flows into the group are dropped by default.
func (i Isolation) Ingress() bool { return i == IsolateIngress || i == IsolateBoth }

// Egress reports whether flows out of the group are dropped by default.
func (i Isolation) Egress() bool { return i == IsolateEgress || i == IsolateBoth }

// Group is a named set of addresses: the union of what Where, Members, Prefixes
// and Groups give, less the addresses in the Except fields. A group that gives
// nothing is empty, which is never "any".
type Group struct {
	Name           string
	Where          string // CEL over one asset; "" if the group has none
	Members        []string
	Prefixes       []netip.Prefix
	Groups         []string
	ExceptGroups   []string
	ExceptAssets   []string
	ExceptPrefixes []netip.Prefix
	Isolate        Isolation
	Pos            diag.Pos
	WherePos       diag.Pos
}

// Range is a run of the service space: for TCP, UDP, SCTP, DCCP and UDP-Lite
// destination ports Lo to Hi; for ICMP and ICMPv6 type<<8|code from Lo to Hi;
// for any other protocol always 0 to 65535.
type Range struct {
	Proto  uint8
	Lo, Hi uint16
}

// Service is a named set of ranges.
type Service struct {
	Name   string
	Ranges []Range
	Pos    diag.Pos
}

// Action is what a policy does with a flow that it matches.
type Action string

// The actions.
const (
	Allow Action = "allow"
	Deny  Action = "deny"
	Pass  Action = "pass" // skip to the next tier, for this side
)

// Tier is the coarse order of policies.
type Tier int

// The tiers, in the order in which a side walks them.
const (
	Emergency Tier = iota
	Platform
	Application
	Baseline
)

// Tiers names the tiers in order.
var tierNames = [...]string{"emergency", "platform", "application", "baseline"}

func (t Tier) String() string { return tierNames[t] }

// ParseTier is the inverse of Tier.String.
func ParseTier(s string) (Tier, bool) {
	for i, n := range tierNames {
		if n == s {
			return Tier(i), true
		}
	}
	return 0, false
}

// TierNames lists the tiers in order.
func TierNames() []string { return append([]string(nil), tierNames[:]...) }

// Direction limits a policy to one side's judgement.
type Direction string

// The directions.
const (
	Both    Direction = "both"
	Ingress Direction = "ingress"
	Egress  Direction = "egress"
)

// Mode says whether a policy is enforced or only evaluated and reported.
type Mode string

// The modes.
const (
	Enforce Mode = "enforce"
	Observe Mode = "observe"
)

// Policy is one rule: from groups, to groups, services, action.
type Policy struct {
	Name      string
	From, To  []string // groups; never empty after loading
	Services  []string // as written: names or literals
	Ranges    []Range  // what Services stand for
	Action    Action
	Tier      Tier
	Order     int
	Direction Direction
	Mode      Mode
	Same      []string // labels
	Differ    []string // labels
	Log       bool
	Expires   time.Time // zero: never
	Owner     string
	Ticket    string
	Reason    string
	Pos       diag.Pos
}

// Rulebook is everything that a site says about who may talk to whom. Groups
// are in order of name and include the built-in ones; Policies are in the order
// in which a side walks them.
type Rulebook struct {
	Groups   []Group
	Services []Service
	Policies []Policy
}

// SortPolicies puts policies into the order in which a side walks them: tier,
// order, then the bytes of the name.
func SortPolicies(ps []Policy) {
	sort.SliceStable(ps, func(i, j int) bool {
		a, b := &ps[i], &ps[j]
		if a.Tier != b.Tier {
			return a.Tier < b.Tier
		}
		if a.Order != b.Order {
			return a.Order < b.Order
		}
		return a.Name < b.Name
	})
}
