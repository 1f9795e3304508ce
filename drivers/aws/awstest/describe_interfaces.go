package awstest

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

func addrTexts(as []netip.Addr) []string {
	out := make([]string, len(as))
	for i, a := range as {
		out[i] = a.String()
	}
	return out
}

// groupIDs is the list of groups that an interface or an instance carries, in an order
// that nobody may count on.
func groupIDs(c *call, ids []string) node {
	return set("groupSet", shuffled(ids, func(id string) string { return id }), func(id string) []node {
		name := ""
		if g := c.t.groups[id]; g != nil {
			name = g.Name
		}
		return []node{leaf("groupId", id), leaf("groupName", name)}
	})
}

// shuffled gives things in an order that is always the same and means nothing, by the
// ends of their ids: EC2 promises none, and who compares lists as they come is to find
// out here.
func shuffled[T any](of []T, id func(T) string) []T {
	end := func(o T) string { return id(o)[max(0, len(id(o))-8):] }
	return slices.SortedFunc(slices.Values(of), func(a, b T) int { return strings.Compare(end(a), end(b)) })
}

func groupNames(c *call, ids []string) (out []string) {
	for _, id := range ids {
		if g := c.t.groups[id]; g != nil {
			out = append(out, g.Name)
		}
	}
	return out
}

func describeNetworkInterfaces(c *call) (answer, error) {
	c.p.flag("IncludeManagedResources")
	out, next, err := describe(c, listing[*Interface]{
		param: "NetworkInterfaceId", prefix: idInterface, malformed: "InvalidNetworkInterfaceId.Malformed",
		missing: "InvalidNetworkInterfaceID.NotFound", what: "networkInterface ID",
		id:   func(i *Interface) string { return i.ID },
		tags: func(i *Interface) map[string]string { return i.Tags },
		filters: map[string]func(*Interface) []string{
			"network-interface-id":            func(i *Interface) []string { return one(i.ID) },
			"vpc-id":                          func(i *Interface) []string { return one(i.VPC) },
			"subnet-id":                       func(i *Interface) []string { return one(i.Subnet) },
			"availability-zone":               func(i *Interface) []string { return one(i.Zone) },
			"owner-id":                        func(i *Interface) []string { return one(i.Account) },
			"description":                     func(i *Interface) []string { return one(i.Description) },
			"interface-type":                  func(i *Interface) []string { return one(i.Type) },
			"requester-id":                    func(i *Interface) []string { return one(i.Requester) },
			"requester-managed":               func(i *Interface) []string { return one(strconv.FormatBool(i.RequesterManaged)) },
			"status":                          func(i *Interface) []string { return one(i.Status) },
			"mac-address":                     func(i *Interface) []string { return one(i.MAC) },
			"group-id":                        func(i *Interface) []string { return i.Groups },
			"group-name":                      func(i *Interface) []string { return groupNames(c, i.Groups) },
			"attachment.instance-id":          func(i *Interface) []string { return one(i.Instance) },
			"private-ip-address":              func(i *Interface) []string { return addrTexts(i.Private) },
			"addresses.private-ip-address":    func(i *Interface) []string { return addrTexts(i.Private) },
			"ipv6-addresses.ipv6-address":     func(i *Interface) []string { return addrTexts(i.IPv6) },
			"association.public-ip":           publics,
			"addresses.association.public-ip": publics,
		},
	}, ofAccount(c, c.t.interfaces, func(i *Interface) string { return i.Account }))
	if err != nil {
		return answer{}, err
	}
	return xmlAnswer(set("networkInterfaceSet", out, func(i *Interface) []node { return interfaceNodes(c, i) }), opt("nextToken", next))
}

func publics(i *Interface) (out []string) {
	for _, a := range i.Private {
		if p, ok := i.Public[a]; ok {
			out = append(out, p.String())
		}
	}
	return out
}

func interfaceNodes(c *call, i *Interface) []node {
	n := []node{
		leaf("networkInterfaceId", i.ID), leaf("subnetId", i.Subnet), leaf("vpcId", i.VPC), leaf("availabilityZone", i.Zone),
		leaf("description", i.Description), leaf("ownerId", i.Account), opt("requesterId", i.Requester),
		leaf("requesterManaged", i.RequesterManaged), leaf("status", i.Status), leaf("macAddress", i.MAC),
		leaf("interfaceType", i.Type), leaf("sourceDestCheck", true), groupIDs(c, i.Groups), tagNodes(i.Tags),
	}
	if t := i.timeouts; t != (tracking{}) {
		n = append(n, elem("connectionTrackingConfiguration", seconds("tcpEstablishedTimeout", t.tcp),
			seconds("udpStreamTimeout", t.stream), seconds("udpTimeout", t.udp)))
	}
	return append(append(n, addressNodes(c, i)...), attachment(c, i))
}

// seconds is a timeout, which is left out if it is AWS's own.
func seconds(name string, n int) node {
	if n == 0 {
		return node{}
	}
	return leaf(name, n)
}

// addressNodes is what EC2 says of the addresses of an interface, which an instance's
// description has in the same words.
func addressNodes(c *call, i *Interface) []node {
	var n []node
	if len(i.Private) > 0 {
		n = append(n, leaf("privateIpAddress", i.Private[0]), leaf("privateDnsName", dns(i.Private[0], c.region)), association(c, i, i.Private[0]))
	}
	n = append(n, set("privateIpAddressesSet", i.Private, func(a netip.Addr) []node {
		return []node{leaf("privateIpAddress", a), leaf("privateDnsName", dns(a, c.region)), leaf("primary", a == i.Private[0]), association(c, i, a)}
	}), set("ipv6AddressesSet", i.IPv6, func(a netip.Addr) []node {
		return []node{leaf("ipv6Address", a), leaf("isPrimaryIpv6", false)}
	}))
	var v4, v6 []netip.Prefix
	for _, p := range i.Prefixes {
		if p.Addr().Is4() {
			v4 = append(v4, p)
		} else {
			v6 = append(v6, p)
		}
	}
	if len(v4) > 0 {
		n = append(n, set("ipv4PrefixSet", v4, func(p netip.Prefix) []node { return []node{leaf("ipv4Prefix", p)} }))
	}
	if len(v6) > 0 {
		n = append(n, set("ipv6PrefixSet", v6, func(p netip.Prefix) []node { return []node{leaf("ipv6Prefix", p)} }))
	}
	return n
}

func dns(a netip.Addr, region string) string {
	return "ip-" + strings.ReplaceAll(a.String(), ".", "-") + "." + region + ".compute.internal"
}

func association(c *call, i *Interface, a netip.Addr) node {
	p, ok := i.Public[a]
	if !ok {
		return node{}
	}
	return elem("association", leaf("publicIp", p), leaf("ipOwnerId", i.Account), leaf("publicDnsName", ""))
}

func attachment(c *call, i *Interface) node {
	id := leaf("attachmentId", "eni-attach-0"+c.w.hash("attachment", i.ID)[:16])
	switch {
	case i.Instance != "":
		return elem("attachment", id, leaf("instanceId", i.Instance), leaf("instanceOwnerId", i.Account), leaf("deviceIndex", i.Device),
			leaf("status", "attached"), leaf("deleteOnTermination", true))
	case i.RequesterManaged:
		return elem("attachment", id, leaf("instanceOwnerId", "amazon-aws"), leaf("deviceIndex", 1), leaf("status", "attached"), leaf("deleteOnTermination", false))
	}
	return node{}
}

// of gives the interfaces of an instance in the order of their devices.
func (t *tables) of(instance string) []*Interface {
	var out []*Interface
	for _, i := range sorted(t.interfaces) {
		if i.Instance == instance {
			out = append(out, i)
		}
	}
	slices.SortStableFunc(out, func(a, b *Interface) int { return a.Device - b.Device })
	return out
}
