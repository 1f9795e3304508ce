package estate

import (
	"fmt"
	"slices"
	"strings"

	"bulkhead/pkg/policy"
)

// Peers generates the case that policy generators are compared by: 200 groups of
// 50 IPv4 hosts strewn over the address space, so that no prefixes can stand for a
// group; 5,000 policies from group to group of 1 to 3 TCP ports; everything
// else denied.
func Peers() *Estate {
	const groups, size, policies = 200, 50, 5000
	e := newEstate("peers", Seed, groups*size, false)
	// Every group gets 50 hosts exactly: deal them out.
	deal := make([]uint16, len(e.hosts))
	for i := range deal {
		deal[i] = uint16(i % groups)
	}
	shuffle(stream(Seed, "deal"), deal)
	l := label{name: "group"}
	for g := range groups {
		l.values = append(l.values, numbered("g", g, 3))
	}
	e.labels = []label{l}
	for i := range e.hosts {
		e.hosts[i].values = []uint16{deal[i]}
	}
	p := e.newGroups()
	for g := range groups {
		p.equal(l.values[g], map[int]uint16{0: uint16(g)})
	}
	p.done(true)

	r := stream(Seed, "peers")
	out := e.newPolicies()
	for i := range policies {
		var services []service
		for _, port := range r.sample(maxPort, 1+r.below(3)) {
			services = append(services, literal("tcp", tcp, port+1))
		}
		out.put(policy.Policy{
			Name: numbered("p", i, 4), From: []string{l.values[r.below(groups)]}, To: []string{l.values[r.below(groups)]},
			Action: policy.Allow, Tier: policy.Application, Order: 100, Direction: policy.Both,
		}, services)
	}
	out.done()
	return e.finish()
}

// Million generates 1,000,000 addresses in 500 classes, with 160 groups and 1,000
// policies.
func Million() *Estate { return shared("million", 1_000_000, 160, 500, 1000) }

// Addresses100k generates 100,000 addresses in 300 classes, with 100 groups and
// 1,000 policies: what packets are timed on.
func Addresses100k() *Estate { return shared("100k", 100_000, 100, 300, 1000) }

// Small is like Addresses100k with as many addresses as one likes, 300 at least.
func Small(addresses int) *Estate { return shared("small", addresses, 100, 300, 1000) }

// shared generates a site whose groups overlap, while no more than a given number
// of memberships occur: every host has one of so many classes, and every class is in
// one to three groups, no two of them in the same ones. A fifth of the hosts
// have IPv6 addresses. Policies are of 1 to 3 TCP or UDP ports; a tenth are denies,
// in tier platform.
func shared(name string, addresses, groups, classes, policies int) *Estate {
	e := newEstate(name, Seed, addresses, true)
	e.label(stream(Seed, "classes"), "class", "c", classes)
	in := memberships(stream(Seed, "memberships"), groups, classes)
	p := e.newGroups()
	names := make([]string, groups)
	for g := range groups {
		names[g] = numbered("g", g, 3)
		values := make([]string, len(in[g]))
		for i, c := range in[g] {
			values[i] = fmt.Sprintf("%q", e.labels[0].values[c])
		}
		p.where(names[g], fmt.Sprintf("labels.class in [%s]", strings.Join(values, ", ")), map[int][]uint16{0: in[g]})
	}
	p.done(false)

	r := stream(Seed, "policies")
	deny := stream(Seed, "denies").sample(policies, policies/10)
	out := e.newPolicies()
	for i := range policies {
		d := policy.Policy{
			Name: numbered("p", i, len(digits(policies-1))), From: []string{names[r.below(groups)]}, To: []string{names[r.below(groups)]},
			Action: policy.Allow, Tier: policy.Application, Order: r.below(1000), Direction: policy.Both,
		}
		if _, denies := slices.BinarySearch(deny, i); denies {
			d.Action, d.Tier = policy.Deny, policy.Platform
		}
		var services []service
		for _, port := range r.sample(maxPort, 1+r.below(3)) {
			if r.below(2) == 0 {
				services = append(services, literal("tcp", tcp, port+1))
			} else {
				services = append(services, literal("udp", udp, port+1))
			}
		}
		out.put(d, services)
	}
	out.done()
	return e.finish()
}

// memberships lists the classes of each group. The first group of a class goes round,
// so that no group is empty.
func memberships(r *random, groups, classes int) [][]uint16 {
	out := make([][]uint16, groups)
	taken := map[string]bool{}
	for c := range classes {
		var in []int
		for {
			in = append(r.sample(groups, r.below(3)), c%groups)
			slices.Sort(in)
			in = slices.Compact(in)
			if key := fmt.Sprint(in); !taken[key] {
				taken[key] = true
				break
			}
		}
		for _, g := range in {
			out[g] = append(out[g], uint16(c))
		}
	}
	return out
}
