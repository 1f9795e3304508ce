package aws

import (
	"fmt"

	"bulkhead/pkg/driver"
)

// weight is what rules count in the quota of a group: by direction, then by family. A
// network counts in its own family, a reference in both (VPC user guide, "Security group
// quotas").
type weight [2][2]int

func (w *weight) add(r Rule) {
	way := 0
	if r.Egress {
		way = 1
	}
	switch {
	case r.Peer != "" || r.List != "":
		w[way][0]++
		w[way][1]++
	case r.Prefix.Addr().Is4():
		w[way][0]++
	default:
		w[way][1]++
	}
}

func weigh(rules []Rule) (w weight) {
	for _, r := range rules {
		w.add(r)
	}
	return w
}

func (w weight) most() int { return max(w[0][0], w[0][1], w[1][0], w[1][1]) }

func (w weight) String() string {
	return fmt.Sprintf("inbound %d of IPv4 and %d of IPv6, outbound %d and %d", w[0][0], w[0][1], w[1][0], w[1][1])
}

// room holds rules against what a group may have.
type room struct {
	limit int
	used  weight
}

func (r *room) fits(x Rule) bool {
	next := r.used
	next.add(x)
	return next.most() <= r.limit
}

// tooMuch refuses a unit that needs more than its interfaces may carry.
func tooMuch(u *unit, w weight, groups, limit int) error {
	id := u.members[0].ID
	return fmt.Errorf("%w: the %d interfaces like %q in %s need rules that weigh %s; %d groups of %d rules have room for %d in each direction and family. "+
		"Fewer and larger prefixes help, and policies without holes; so does a higher quota of rules per group or groups per interface (Service Quotas, \"VPC\"), told by the settings %q and %q",
		driver.ErrRefused, len(u.members), id, u.vpc, w, groups, limit, groups*limit, "rules_per_group", "groups_per_interface")
}

// callTimes are AWS's own buckets of mutating calls: how many at once, and how many a second
// (EC2 developer guide, "Request throttling").
var callTimes = map[string][2]int{"ModifyNetworkInterfaceAttribute": {100, 5}, "CreateTags": {100, 10}, "DeleteTags": {100, 10},
	// Lambda's own: all calls of its control plane share it (Lambda quotas, "API requests").
	"UpdateFunctionConfiguration": {15, 15}}

// counted counts calls by action, as AWS does: a group that is made takes one more call, by
// which it loses the rules that it is born with (executor.create).
func counted(list []call) map[string]int {
	out := map[string]int{}
	for i := range list {
		out[list[i].api]++
		if list[i].make != nil {
			out["RevokeSecurityGroupEgress"]++
		}
	}
	return out
}

// seconds is how long AWS's throttles make some calls take at least.
func seconds(count map[string]int) int {
	longest := 0
	for action, n := range count {
		b, ok := callTimes[action]
		if !ok {
			b = [2]int{50, 5}
		}
		if n > b[0] {
			longest = max(longest, (n-b[0]+b[1]-1)/b[1])
		}
	}
	return longest
}

// usage tells how full the groups are, and what a change costs.
func usage(s *State, have *State, limit int, groups int) ([]driver.Usage, error) {
	list, err := calls(have, s)
	if err != nil {
		return nil, err
	}
	most, on := 0, 0
	for i := range s.Interfaces {
		n := &s.Interfaces[i]
		ours, _ := s.ours(n)
		if len(ours) == 0 {
			continue
		}
		on = max(on, len(n.Groups))
		var w weight
		for _, k := range ours {
			for _, r := range s.group(k).Rules {
				w.add(r)
			}
		}
		most = max(most, w.most())
	}
	ours := 0
	for _, g := range s.Groups {
		if g.Ours {
			ours++
		}
	}
	count := counted(list)
	all := 0
	for _, n := range count {
		all += n
	}
	return []driver.Usage{
		{Resource: "rules per interface, direction and family", Used: most, Limit: limit * groups},
		{Resource: "groups per interface", Used: on, Limit: groups},
		{Resource: "security groups of ours", Used: ours},
		{Resource: "api calls of this change", Used: all},
		{Resource: "seconds that these calls take by AWS's throttles", Used: seconds(count)},
	}, nil
}
