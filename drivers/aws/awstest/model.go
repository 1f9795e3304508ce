package awstest

import (
	"maps"
	"net/netip"
	"slices"
	"time"
)

// Kind is a kind of object that reads can lag behind in: see World.StaleReads.
type Kind string

// The kinds of objects that calls write.
const (
	KindGroups      Kind = "security groups" // and their rules
	KindInterfaces  Kind = "network interfaces"
	KindInstances   Kind = "instances"
	KindPrefixLists Kind = "prefix lists"
	KindNetworks    Kind = "networks" // VPCs, subnets, peerings
	KindFunctions   Kind = "functions"
)

// VPC is a network of one account in one region.
type VPC struct {
	ID, Account string
	CIDRs       []netip.Prefix // IPv4; the first is the primary
	IPv6        []netip.Prefix
	Default     bool // the account's default VPC of the region
	Tags        map[string]string
}

// Subnet is a part of a VPC in one availability zone.
type Subnet struct {
	ID, Account, VPC, Zone string
	CIDR                   netip.Prefix
	IPv6                   netip.Prefix // the zero value: IPv4 alone
	Tags                   map[string]string
}

// Peering joins two VPCs. The account that asked for it owns it; both see it.
type Peering struct {
	ID                                string
	Requester, Accepter               string // VPC ids
	RequesterAccount, AccepterAccount string
	RequesterRegion, AccepterRegion   string
	RequesterCIDRs, AccepterCIDRs     []netip.Prefix
	RequesterIPv6s, AccepterIPv6s     []netip.Prefix
	Status                            string // "active", "pending-acceptance", "deleted", ...
	Tags                              map[string]string
}

// Instance is a virtual machine. Its interfaces are objects of their own.
type Instance struct {
	ID, Account, Reservation string
	Image, Type, State       string
	Profile                  string // ARN of the IAM instance profile, or ""
	Platform                 string // "windows", or "" as EC2 has it for all else
	Zone                     string
	Launched                 time.Time
	Tags                     map[string]string
}

// Interface is a network interface.
type Interface struct {
	ID, Account, VPC, Subnet, Zone string
	Groups                         []string     // security group ids, sorted
	Private                        []netip.Addr // IPv4; the first is the primary
	IPv6                           []netip.Addr
	Prefixes                       []netip.Prefix            // delegated: /28 of IPv4, /80 of IPv6
	Public                         map[netip.Addr]netip.Addr // by private address
	Type                           string                    // "interface", "lambda", "nat_gateway", ...
	Description, Requester, Status string
	RequesterManaged               bool
	Instance                       string // "" if attached to none that is seen
	Device                         int
	timeouts                       tracking
	MAC                            string
	Tags                           map[string]string
}

// Holds reports whether packets of the interface bear the address inside of the VPC:
// a private address, one of IPv6, or one of a delegated prefix.
func (i *Interface) Holds(a netip.Addr) bool {
	if slices.Contains(i.Private, a) || slices.Contains(i.IPv6, a) {
		return true
	}
	return slices.ContainsFunc(i.Prefixes, func(p netip.Prefix) bool { return p.Contains(a) })
}

// Group is a security group with its rules.
type Group struct {
	ID, Account, VPC, Name, Description string
	Rules                               []Rule // in the order they came to be
	Tags                                map[string]string
}

// Rule is one rule: one peer, one protocol, one range of ports.
type Rule struct {
	ID     string
	Egress bool
	// Protocol is as EC2 echoes it: tcp, udp, icmp, icmpv6, -1 for all, or a number.
	Protocol string
	// From and To are ports, or ICMP type and code; -1 is any.
	From, To int

	// Exactly one of these is set.
	CIDR       netip.Prefix
	PrefixList string
	Group      string

	GroupAccount string // of Group
	GroupVPC     string // of Group if it is in another VPC
	Peering      string // by which Group is reached if it is in another VPC

	Description string
	Tags        map[string]string
}

// same reports whether two rules cannot both be of one group: the description is no
// part of what a rule is.
func (r Rule) same(o Rule) bool {
	return r.Egress == o.Egress && r.Protocol == o.Protocol && r.From == o.From && r.To == o.To &&
		r.CIDR == o.CIDR && r.PrefixList == o.PrefixList && r.Group == o.Group
}

// Entry is one network of a prefix list.
type Entry struct {
	CIDR        netip.Prefix
	Description string
}

// PrefixList is a managed prefix list.
type PrefixList struct {
	ID, Account, Name string // AWS's own are of account "AWS"
	IPv6              bool
	MaxEntries        int
	// Weight is what a rule that names the list counts: MaxEntries of a list of the
	// customer's, and of AWS's what AWS says.
	Weight   int
	Version  int
	Versions map[int][]Entry // what each version held
	State    string          // "create-complete", "modify-in-progress", ...
	Message  string          // why the last change failed, or ""
	lag      int             // reads until what is in progress is complete
	next     *PrefixList     // what it is then; nil if the change will fail, or there is none
	Tags     map[string]string
}

// Entries gives what the list holds now.
func (l *PrefixList) Entries() []Entry { return l.Versions[l.Version] }

// Image is a machine image.
type Image struct {
	ID, Account, Name, Platform string // Platform is "windows" or ""
	Public                      bool
	Tags                        map[string]string
}

// LaunchTemplate is what instances are started from. The versions count from 1.
type LaunchTemplate struct {
	ID, Account, Name string
	Default           int
	Versions          []LaunchVersion
	Tags              map[string]string
}

// LaunchVersion is one version of a launch template.
type LaunchVersion struct {
	Image, Type, Profile string
	Groups               []string          // ids, of the template as a whole
	InterfaceGroups      []string          // ids, of its first interface
	InstanceTags         map[string]string // what instances are tagged with
}

// Function is a Lambda function. Interfaces of its VPC are shared by all functions
// that have the subnet and the set of groups in common.
type Function struct {
	Account, Name, Runtime string
	VPC                    string // "" if it is in none
	Subnets, Groups        []string
	Updating               bool // an update was taken and is not done
	lag                    int  // reads until it is
	was                    place
	Tags                   map[string]string
}

// place is where a function runs until an update of it is done.
type place struct{ subnets, groups []string }

// runs gives where the function's calls come from now.
func (f *Function) runs() place {
	if f.Updating {
		return f.was
	}
	return place{f.Subnets, f.Groups}
}

// tables hold the objects of one region, of all accounts. An object in a table is
// never changed: a write puts a new one in its place, so that a copy of the maps is
// a picture of the region.
type tables struct {
	vpcs        map[string]*VPC
	subnets     map[string]*Subnet
	peerings    map[string]*Peering
	instances   map[string]*Instance
	interfaces  map[string]*Interface
	groups      map[string]*Group
	prefixLists map[string]*PrefixList
	images      map[string]*Image
	templates   map[string]*LaunchTemplate
	functions   map[string]*Function     // by ARN
	scaling     map[string]*ScalingGroup // by account and name
}

func newTables() *tables {
	return &tables{
		vpcs: map[string]*VPC{}, subnets: map[string]*Subnet{}, peerings: map[string]*Peering{},
		instances: map[string]*Instance{}, interfaces: map[string]*Interface{}, groups: map[string]*Group{},
		prefixLists: map[string]*PrefixList{}, images: map[string]*Image{}, templates: map[string]*LaunchTemplate{},
		functions: map[string]*Function{}, scaling: map[string]*ScalingGroup{},
	}
}

func (t *tables) clone() *tables {
	return &tables{
		vpcs: maps.Clone(t.vpcs), subnets: maps.Clone(t.subnets), peerings: maps.Clone(t.peerings),
		instances: maps.Clone(t.instances), interfaces: maps.Clone(t.interfaces), groups: maps.Clone(t.groups),
		prefixLists: maps.Clone(t.prefixLists), images: maps.Clone(t.images), templates: maps.Clone(t.templates),
		functions: maps.Clone(t.functions), scaling: maps.Clone(t.scaling),
	}
}

// with gives the tables with those of one kind taken from another picture.
func (t *tables) with(k Kind, from *tables) *tables {
	c := *t
	switch k {
	case KindGroups:
		c.groups = from.groups
	case KindInterfaces:
		c.interfaces = from.interfaces
	case KindInstances:
		c.instances = from.instances
	case KindPrefixLists:
		c.prefixLists = from.prefixLists
	case KindNetworks:
		c.vpcs, c.subnets, c.peerings = from.vpcs, from.subnets, from.peerings
	case KindFunctions:
		c.functions = from.functions
	}
	return &c
}

// edit replaces an object by a changed copy of it.
func edit[T any](m map[string]*T, id string, change func(*T)) {
	c := *m[id]
	change(&c)
	m[id] = &c
}

func sorted[T any](m map[string]*T) []*T {
	out := make([]*T, 0, len(m))
	for _, id := range slices.Sorted(maps.Keys(m)) {
		out = append(out, m[id])
	}
	return out
}
