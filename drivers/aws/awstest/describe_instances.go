package awstest

import (
	"fmt"
	"slices"
)

// Codes of instance states, as in InstanceState of the API's reference.
var stateCodes = map[string]int{"pending": 0, "running": 16, "shutting-down": 32, "terminated": 48, "stopping": 64, "stopped": 80}

func describeInstances(c *call) (answer, error) {
	c.p.flag("IncludeManagedResources")
	of := map[string][]*Interface{} // by instance
	for _, i := range sorted(c.t.interfaces) {
		if i.Instance != "" {
			of[i.Instance] = append(of[i.Instance], i)
		}
	}
	for _, is := range of {
		slices.SortStableFunc(is, func(a, b *Interface) int { return a.Device - b.Device })
	}
	// first reads of the primary interface, all of every one.
	first := func(f func(*Interface) string) func(*Instance) []string {
		return func(o *Instance) []string {
			if is := of[o.ID]; len(is) > 0 {
				return one(f(is[0]))
			}
			return nil
		}
	}
	all := func(f func(*Interface) []string) func(*Instance) []string {
		return func(o *Instance) (out []string) {
			for _, i := range of[o.ID] {
				out = append(out, f(i)...)
			}
			return out
		}
	}
	out, next, err := describe(c, listing[*Instance]{
		param: "InstanceId", prefix: idInstance, malformed: "InvalidInstanceID.Malformed", missing: "InvalidInstanceID.NotFound", what: "instance ID",
		id:   func(o *Instance) string { return o.ID },
		tags: func(o *Instance) map[string]string { return o.Tags },
		filters: map[string]func(*Instance) []string{
			"instance-id":                            func(o *Instance) []string { return one(o.ID) },
			"instance-state-name":                    func(o *Instance) []string { return one(o.State) },
			"instance-state-code":                    func(o *Instance) []string { return one(fmt.Sprint(stateCodes[o.State])) },
			"instance-type":                          func(o *Instance) []string { return one(o.Type) },
			"image-id":                               func(o *Instance) []string { return one(o.Image) },
			"owner-id":                               func(o *Instance) []string { return one(o.Account) },
			"availability-zone":                      func(o *Instance) []string { return one(o.Zone) },
			"iam-instance-profile.arn":               func(o *Instance) []string { return one(o.Profile) },
			"vpc-id":                                 first(func(i *Interface) string { return i.VPC }),
			"subnet-id":                              first(func(i *Interface) string { return i.Subnet }),
			"private-ip-address":                     first(func(i *Interface) string { return i.Private[0].String() }),
			"instance.group-id":                      all(func(i *Interface) []string { return i.Groups }),
			"network-interface.group-id":             all(func(i *Interface) []string { return i.Groups }),
			"network-interface.network-interface-id": all(func(i *Interface) []string { return one(i.ID) }),
			"network-interface.vpc-id":               all(func(i *Interface) []string { return one(i.VPC) }),
			"network-interface.subnet-id":            all(func(i *Interface) []string { return one(i.Subnet) }),
			"network-interface.addresses.private-ip-address": all(func(i *Interface) []string { return addrTexts(i.Private) }),
		},
	}, ofAccount(c, c.t.instances, func(o *Instance) string { return o.Account }))
	if err != nil {
		return answer{}, err
	}
	// Instances that were started together are told together.
	type reservation struct {
		id   string
		with []*Instance
	}
	var rs []*reservation
	for _, o := range out {
		i := slices.IndexFunc(rs, func(r *reservation) bool { return r.id == o.Reservation })
		if i < 0 {
			i, rs = len(rs), append(rs, &reservation{id: o.Reservation})
		}
		rs[i].with = append(rs[i].with, o)
	}
	return xmlAnswer(set("reservationSet", rs, func(r *reservation) []node {
		return []node{leaf("reservationId", r.id), leaf("ownerId", c.account), elem("groupSet"),
			set("instancesSet", r.with, func(o *Instance) []node { return instanceNodes(c, o, of[o.ID]) })}
	}), opt("nextToken", next))
}

func instanceNodes(c *call, o *Instance, is []*Interface) []node {
	n := []node{
		leaf("instanceId", o.ID), leaf("imageId", o.Image), leaf("instanceType", o.Type), leaf("launchTime", o.Launched),
		elem("instanceState", leaf("code", stateCodes[o.State]), leaf("name", o.State)),
		elem("placement", leaf("availabilityZone", o.Zone), leaf("tenancy", "default")),
		opt("platform", o.Platform), leaf("architecture", "x86_64"), tagNodes(o.Tags),
	}
	if o.Profile != "" {
		n = append(n, elem("iamInstanceProfile", leaf("arn", o.Profile), leaf("id", "AIPA0"+c.w.hash(o.Profile)[:16])))
	}
	if len(is) > 0 { // the primary interface is told twice, here and among the others
		p := is[0]
		n = append(n, leaf("vpcId", p.VPC), leaf("subnetId", p.Subnet), groupIDs(c, p.Groups), leaf("sourceDestCheck", true))
		if len(p.Private) > 0 {
			n = append(n, leaf("privateIpAddress", p.Private[0]), leaf("privateDnsName", dns(p.Private[0], c.region)))
			if a, ok := p.Public[p.Private[0]]; ok {
				n = append(n, leaf("ipAddress", a))
			}
		}
		if len(p.IPv6) > 0 {
			n = append(n, leaf("ipv6Address", p.IPv6[0]))
		}
	}
	return append(n, set("networkInterfaceSet", is, func(i *Interface) []node {
		return append([]node{
			leaf("networkInterfaceId", i.ID), leaf("subnetId", i.Subnet), leaf("vpcId", i.VPC), leaf("description", i.Description),
			leaf("ownerId", i.Account), leaf("status", i.Status), leaf("macAddress", i.MAC), leaf("interfaceType", i.Type),
			leaf("sourceDestCheck", true), groupIDs(c, i.Groups),
			elem("attachment", leaf("attachmentId", "eni-attach-0"+c.w.hash("attachment", i.ID)[:16]), leaf("deviceIndex", i.Device),
				leaf("status", "attached"), leaf("deleteOnTermination", true)),
		}, addressNodes(c, i)...)
	}))
}
