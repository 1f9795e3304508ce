package estate

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"bulkhead/pkg/policy"
)

// policyPage is the file of policies in the making.
type policyPage struct {
	*page
	e *Estate
}

func (e *Estate) newPolicies() *policyPage {
	return &policyPage{newPage(policiesFile, "policies"), e}
}

// put adds a policy with its services. Empty fields get the loader's defaults.
func (p *policyPage) put(d policy.Policy, services []service) {
	for _, s := range services {
		d.Services = append(d.Services, s.name)
	}
	d.Ranges = ranges(services)
	d.Mode = policy.Enforce
	var more strings.Builder
	if d.Tier != policy.Application {
		fmt.Fprintf(&more, ", tier: %s", d.Tier)
	}
	if d.Direction != policy.Both {
		fmt.Fprintf(&more, ", direction: %s", d.Direction)
	}
	if d.Same != nil {
		fmt.Fprintf(&more, ", same: [%s]", strings.Join(d.Same, ", "))
	}
	at := p.page.put("  - {name: %s, from: %s, to: %s, services: [%s], action: %s, order: %d%s}",
		d.Name, d.From[0], d.To[0], strings.Join(d.Services, ", "), d.Action, d.Order, more.String())
	d.Pos = right(at, 4)
	p.e.Book.Policies = append(p.e.Book.Policies, d)
}

func (p *policyPage) done() { p.e.policyText[policiesFile] = p.text.String() }

// The kinds of the estate's policies.
const (
	pairPolicy     = iota // role and environment to role and environment
	sitePolicy            // from a site
	adHocPolicy           // from an ad hoc group
	anyPolicy             // any to any of the same site
	sameSitePolicy        // a pair of roles and environments, of the same site
)

// kinds says of which kind each policy is: 75 % pairs, 15 % from sites, 10 % from ad
// hoc groups. One of the pairs applies within a site only, and one of the site
// policies is the one from any to any of the same site.
func kinds(r *random, n int) []int {
	site, adHoc := n*15/100, n*10/100
	var out []int
	for i := range n {
		switch {
		case i == 0:
			out = append(out, anyPolicy)
		case i == 1:
			out = append(out, sameSitePolicy)
		case i < 1+site:
			out = append(out, sitePolicy)
		case i < 1+site+adHoc:
			out = append(out, adHocPolicy)
		default:
			out = append(out, pairPolicy)
		}
	}
	shuffle(r, out)
	return out
}

// addEstatePolicies adds the policies of the estate: of the kinds above, at random
// order values from 0 to 999, with 1 to 3 services of the catalogue each. A tenth,
// of whatever kind, are denies in tier platform; the two that ask for the same site
// are allows. Ends are drawn kind of group first, then group.
func (e *Estate) addEstatePolicies(o Options, services []service) {
	n := o.Policies
	kind := kinds(stream(o.Seed, "kinds"), n)
	deny := tenth(stream(o.Seed, "denies"), kind)
	order, chosen, ends := stream(o.Seed, "orders"), stream(o.Seed, "choices"), stream(o.Seed, "ends")
	moved := map[int]bool{}
	if o.MixedDenies {
		moved = third(stream(o.Seed, "moved"), deny)
	}
	bound := map[int]policy.Direction{}
	if o.DirectionBound {
		r := stream(o.Seed, "directions")
		for _, i := range r.sample(n, n/5) {
			bound[i] = []policy.Direction{policy.Ingress, policy.Egress}[r.below(2)]
		}
	}
	p := e.newPolicies()
	width := len(digits(n - 1))
	for i := range n {
		d := policy.Policy{Name: numbered("p", i, width), Action: policy.Allow, Tier: policy.Application, Order: order.below(1000), Direction: policy.Both}
		if deny[i] {
			d.Action = policy.Deny
			if !moved[i] {
				d.Tier = policy.Platform
			}
		}
		if b, ok := bound[i]; ok {
			d.Direction = b
		}
		from, to, same := estateEnds(ends, kind[i])
		d.From, d.To = []string{from}, []string{to}
		if same {
			d.Same = []string{"site"}
		}
		p.put(d, choose(chosen, services))
	}
	p.done()
}

// tenth draws a tenth of the policies, to be denies.
func tenth(r *random, kind []int) map[int]bool {
	out := map[int]bool{}
	for len(out) < len(kind)/10 {
		if i := r.below(len(kind)); kind[i] != anyPolicy && kind[i] != sameSitePolicy {
			out[i] = true
		}
	}
	return out
}

// third draws a third of the denies.
func third(r *random, deny map[int]bool) map[int]bool {
	list := slices.Sorted(maps.Keys(deny))
	out := map[int]bool{}
	for _, at := range r.sample(len(list), (len(list)+1)/3) {
		out[list[at]] = true
	}
	return out
}

// choose draws one to three services.
func choose(r *random, services []service) []service {
	var out []service
	for _, i := range r.sample(len(services), 1+r.below(3)) {
		out = append(out, services[i])
	}
	return out
}

// estateEnds draws the two ends of a policy.
func estateEnds(r *random, kind int) (from, to string, same bool) {
	roleEnvironment := func() string { return roleEnvironmentName(r.below(roles), r.below(environments)) }
	siteEnvironment := func() string { return siteEnvironmentName(r.below(sites), r.below(environments)) }
	adHoc := func() string {
		n := r.below(lists + slicesOf)
		if n < lists {
			return listName(n)
		}
		return sliceName(n - lists)
	}
	switch kind {
	case anyPolicy:
		return policy.GroupAny, policy.GroupAny, true
	case sitePolicy:
		from = siteEnvironment()
		if r.below(2) == 0 {
			from = siteName(r.below(sites))
		}
		switch r.below(3) {
		case 0:
			return from, roleName(r.below(roles)), false
		case 1:
			return from, roleEnvironment(), false
		}
		return from, siteEnvironment(), false
	case adHocPolicy:
		from = adHoc()
		if r.below(2) == 0 {
			return from, roleEnvironment(), false
		}
		return from, adHoc(), false
	}
	return roleEnvironment(), roleEnvironment(), kind == sameSitePolicy
}
