// Package ovs is a switch for tests, with a dataplane that forwards real packets: Open
// vSwitch in userspace, in a network namespace of its own, with a host behind each port.
//
// There are two bridges. "l2" learns addresses and keeps VLANs, as Open vSwitch does by
// itself. "acl" stands between it and the ports: all that comes in by a port meets the
// port's list of that direction first, and all that goes out by one meets the other
// list. So a filter of output needs no forwarding of our own, and both directions of all
// ports are in one table that is replaced in one transaction.
//
//	host - swp1 -+-----+- up1 ... port1 -+----+
//	             | acl |                 | l2 |
//	host - swp2 -+-----+- up2 ... port2 -+----+
//
// A list says of its packets what a stateless list of a switch says: the first entry
// that matches decides. Fragments are seen as a switch sees them, one by one: in a later
// one there are no ports.
//
// ServeSNMP adds an SNMP agent: net-snmp's snmpd, with a sub-agent of our own for VLANs
// and learned addresses, of which there is no other one for Open vSwitch. Follow takes the
// lists from whoever keeps a configuration of RFC 8519.
//
// It needs root: a bridge of Open vSwitch's has a tap device.
package ovs
