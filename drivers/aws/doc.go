// Package aws programs the security groups of one account in one region.
//
// Every interface that a point protects carries one identity group, which it shares with
// the interfaces of its VPC whose addresses policy treats alike, and overflow groups where
// one group has no room for all the rules. A group allows and never denies; denials are
// compiled away by subtracting sets, exactly. What does not fit is refused before anything
// is written, and is never rounded.
//
// # What a group means
//
// A flow passes if some egress rule of the sender's groups lets it out, and some ingress
// rule of the receiver's groups lets it in; replies pass by state (VPC user guide,
// "Security group rules"). An interface without an identity group of ours is none of our
// business: its side lets everything pass, as far as this driver is concerned.
//
// Some traffic passes whatever groups say (the same guide, "Security groups"): what goes to
// 169.254.169.253, .254 and .123 and to fd00:ec2::253, ::254 and ::123, DNS to the VPC's
// resolver at its base address plus two, requests to the VPC's DHCP servers, and neighbour
// discovery. Where policy denies it, it is residue of kind "provider-link-local".
//
// A VPC carries no multicast, but by a transit gateway's multicast domain. What goes to a
// group address, and IGMP and MLD, which serve nothing else, are decoded as dropped and are
// residue of kind "no-multicast" where policy or the point's essential traffic would let
// them pass. To decode them as passing would be the mistake that matters: a proof would say
// that listeners are reached. To spend rules on them would cost five of the sixty that a
// group has. ICMP in packets of IPv6, and ICMPv6 in those of IPv4, EC2 refuses to be told of
// ("icmp-family"). The three kinds are inherent to AWS; a site accepts them by accept_inexact.
//
// Rules know neither source ports ("source-port": DHCP between machines, answers of failsafe
// flows) nor the ports of SCTP, DCCP and UDP-Lite ("protocol-ports").
//
// # The order of a change
//
// Rules name peers by prefixes, so that what a group permits does not depend on who carries
// other groups. Both ends of a flow have the same rule for it. So a flow is permitted as
// before, as after, or by both, at every moment, if each interface's own rules are the old
// ones, the new ones, or both together. For that
//
//   - a group that stays either keeps its rules, and then any interface may come or go, or
//     keeps its interfaces, and then its rules are added before others are removed;
//   - every other class gets a group of its own that is complete before an interface
//     carries it, by one call with the final set;
//   - interfaces that are judged from now on come first, those that no longer are last.
//
// Functions move by Lambda's own call, and to an address that nobody knows before: see
// functions.go.
//
// With the setting references, rules name the groups of peers where AWS can resolve them, and
// what such a rule permits changes with the call that moves an interface. Two interfaces that
// change class at once would for a moment be one in its new class and one in its old; one that
// is judged first would be cut off from peers that do not carry their group yet. So a change
// by one step is looked at first (movers.go), and where it is not safe it goes by way of states
// in which nobody who is named moves (hops.go). Every state on the way needs its room; what
// has none is refused.
package aws
