package ec2api

import (
	"net/netip"
	"time"
)

// Interface is an elastic network interface. Its security groups judge what goes in
// and out of its addresses.
type Interface struct {
	ID, VPC, Subnet, Zone string
	Owner                 string // the account that it is in
	Type                  string // "interface", "lambda", "vpc_endpoint", ...
	Status                string // "available": attached to nothing; "in-use", ...
	Description           string // by what services write here they are told apart
	MAC                   string
	Primary               netip.Addr     // the primary private IPv4 address; invalid in a subnet without IPv4
	Addresses             []netip.Addr   // private IPv4 and IPv6, the primary one included, sorted
	Prefixes              []netip.Prefix // delegated ones, sorted
	Public                []netip.Addr   // IPv4 addresses that AWS translates to private ones, sorted
	Groups                []string       // security group IDs, sorted
	Instance              string         // what it is attached to, if that is an instance
	InstanceOwner         string
	DeleteOnTermination   bool // it goes with its instance
	DeviceIndex           int
	SourceDestCheck       bool   // false: it forwards for others
	Requester             string // who made it on the account's behalf
	RequesterManaged      bool   // a service made it: its groups are the service's to change
	Operator              string // the service that manages it, where AWS says so
	Tracking              Tracking
	Tags                  map[string]string
}

// Tracking is how long a silent flow stays tracked, and so passes whatever becomes of the
// rule that let it in; 0 is AWS's default (EC2 API reference,
// ConnectionTrackingSpecificationRequest).
type Tracking struct {
	TCPEstablished time.Duration // default 432,000 s
	UDPStream      time.Duration // of flows with more than one request; default 180 s
	UDP            time.Duration // default 30 s
}

// Instance is an EC2 instance, its interfaces as it names them itself: without Zone,
// Requester and Tags.
type Instance struct {
	ID, VPC, Subnet, Zone string
	Owner                 string
	State                 string // "pending", "running", "shutting-down", "stopping", "stopped", "terminated"
	Image, Type           string
	Platform              string // "Linux/UNIX", "Windows", ...
	Architecture          string
	Profile               string // ARN of the instance profile, which holds a role; "" if there is none
	PrivateDNS            string
	Launched              time.Time
	Interfaces            []Interface
	Tags                  map[string]string
}

// Image is an AMI.
type Image struct {
	ID, Name, Owner string
}

// VPC is a virtual network.
type VPC struct {
	ID, Owner string
	CIDRs     []netip.Prefix // both families, associated ones only, sorted
	Primary   netip.Prefix   // the IPv4 network that it was made with: DNS is at its base plus two
	Default   bool
	Tags      map[string]string
}

// Subnet is a part of a VPC in one availability zone.
type Subnet struct {
	ID, VPC, Zone, Owner string
	CIDRs                []netip.Prefix // both families, sorted
	Tags                 map[string]string
}

// Peering joins two VPCs. Security groups of the one may name those of the other
// while Status is "active" and both are in one region.
type Peering struct {
	ID, Status          string
	Requester, Accepter PeerVPC
}

// PeerVPC is one side of a Peering.
type PeerVPC struct {
	VPC, Owner, Region string
	CIDRs              []netip.Prefix // sorted; none until the peering is active
}

// Group is a security group, without its rules.
type Group struct {
	ID, Name, Description, VPC, Owner string
	Tags                              map[string]string
}

// Rule is one rule of a security group. Exactly one of Prefix, PrefixList and
// PeerGroup is set.
type Rule struct {
	ID, Group string
	Egress    bool
	// Protocol is "tcp", "udp", "icmp", "icmpv6", a number, or "-1" for every one.
	Protocol string
	// From and To are ports; of icmp and icmpv6 From is the type and To the code; -1 is all.
	From, To    int
	Prefix      netip.Prefix
	PrefixList  string
	PeerGroup   string
	PeerOwner   string // of PeerGroup, where that is another account's
	PeerVPC     string // of PeerGroup, where that is another one
	PeerStatus  string // of the peering that PeerGroup is reached by
	Description string
	Tags        map[string]string
}

// PrefixList is a managed prefix list.
type PrefixList struct {
	ID, Name, Owner, State string
	IPv6                   bool // it holds IPv6 prefixes, otherwise IPv4
	MaxEntries             int  // see Weight; 0 for a list of AWS
	Version                int64
	Tags                   map[string]string
}

// Function is a Lambda function that is attached to a VPC. It has no interface of its
// own: Lambda keeps one for each combination of subnet and security groups, and
// functions with the same share it.
type Function struct {
	ARN, Name, Owner, VPC string
	Subnets, Groups       []string // sorted
	IPv6                  bool     // it may use IPv6 in subnets that have both families
	Runtime, Role         string
	State, UpdateStatus   string            // "Active", "Pending", ...; "Successful", "InProgress", "Failed". Filled by Client.Function alone
	Reason                string            // why the last update failed, likewise
	Revision              string            // of its configuration, see SetFunctionGroups
	Tags                  map[string]string // filled by FunctionTags
}

// TemplateVersion is one version of a launch template, which instances are started from.
type TemplateVersion struct {
	Template, Name string
	Version        int64
	Default        bool // what a launch takes that names no version
	// Interfaces are the groups of each interface that an instance starts with, sorted;
	// none is those of the VPC's default group, or of what whoever launches says.
	Interfaces [][]string
	Groups     []string // of all of them, sorted
}

// ScalingGroup is an Auto Scaling group.
type ScalingGroup struct {
	Name string
	// Templates are all that it may launch from; Configuration is a launch configuration,
	// where it has one in their place.
	Templates     []TemplateUse
	Configuration string
}

// TemplateUse names a version of a launch template: "$Default", "$Latest", or a number.
// AWS tells the ID, the name or both.
type TemplateUse struct{ Template, Name, Version string }
