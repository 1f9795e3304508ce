package config

import (
	"maps"
	"slices"
)

// The protocols that the service line divides further.
const (
	protoICMP    = 1
	protoTCP     = 6
	protoUDP     = 17
	protoDCCP    = 33
	protoICMPv6  = 58
	protoSCTP    = 132
	protoUDPLite = 136
)

// protocols names protocols as IANA's registry does, in lower case.
func protocols() map[string]uint8 {
	return map[string]uint8{
		"icmp": protoICMP, "igmp": 2, "ipip": 4, "tcp": protoTCP, "udp": protoUDP, "dccp": protoDCCP,
		"gre": 47, "esp": 50, "ah": 51, "icmpv6": protoICMPv6, "ospf": 89, "pim": 103, "vrrp": 112,
		"l2tp": 115, "sctp": protoSCTP, "udplite": protoUDPLite,
	}
}

func protocolNumber(name string) (uint8, bool) {
	n, ok := protocols()[name]
	return n, ok
}

func protocolNames() []string {
	return slices.Sorted(maps.Keys(protocols()))
}

// HasPorts reports whether a protocol's part of the service line is ports.
func HasPorts(proto uint8) bool {
	switch proto {
	case protoTCP, protoUDP, protoDCCP, protoSCTP, protoUDPLite:
		return true
	}
	return false
}

// HasTypes reports whether a protocol's part of the service line is types and codes.
func HasTypes(proto uint8) bool { return proto == protoICMP || proto == protoICMPv6 }

func icmpTypes(proto uint8) map[string]uint8 {
	if proto == protoICMPv6 {
		return icmpv6TypeNames()
	}
	return icmpTypeNames()
}

// icmpTypeNames names the ICMP types of RFC 792, 950, 1256 and 8335.
func icmpTypeNames() map[string]uint8 {
	return map[string]uint8{
		"echo-reply": 0, "destination-unreachable": 3, "source-quench": 4, "redirect": 5, "echo-request": 8,
		"router-advertisement": 9, "router-solicitation": 10, "time-exceeded": 11, "parameter-problem": 12,
		"timestamp-request": 13, "timestamp-reply": 14, "info-request": 15, "info-reply": 16,
		"address-mask-request": 17, "address-mask-reply": 18, "extended-echo-request": 42, "extended-echo-reply": 43,
	}
}

// icmpv6TypeNames names the ICMPv6 types of RFC 4443, 2710, 4861, 4620, 3122,
// 3810, 6275, 3971, 4286 and 8335, with the names that nft uses where they differ.
func icmpv6TypeNames() map[string]uint8 {
	return map[string]uint8{
		"destination-unreachable": 1, "packet-too-big": 2, "time-exceeded": 3, "parameter-problem": 4,
		"echo-request": 128, "echo-reply": 129, "mld-listener-query": 130, "mld-listener-report": 131,
		"mld-listener-done": 132, "nd-router-solicit": 133, "nd-router-advert": 134, "nd-neighbor-solicit": 135,
		"nd-neighbor-advert": 136, "nd-redirect": 137, "router-renumbering": 138,
		"router-solicitation": 133, "router-advertisement": 134, "neighbor-solicitation": 135,
		"neighbor-advertisement": 136, "redirect": 137, "node-information-query": 139, "node-information-reply": 140,
		"ind-neighbor-solicit": 141, "ind-neighbor-advert": 142, "mld2-listener-report": 143,
		"home-agent-discovery-request": 144, "home-agent-discovery-reply": 145, "mobile-prefix-solicitation": 146,
		"mobile-prefix-advertisement": 147, "certification-path-solicitation": 148,
		"certification-path-advertisement": 149, "multicast-router-advertisement": 151,
		"multicast-router-solicitation": 152, "multicast-router-termination": 153,
		"extended-echo-request": 160, "extended-echo-reply": 161,
	}
}
