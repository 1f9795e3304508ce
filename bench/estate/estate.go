package estate

import (
	"cmp"
	"net/netip"
	"slices"

	"bulkhead/inventory"
	"bulkhead/pkg/policy"
)

// Seed is the published seed. Every figure in the documentation is of it unless
// it names another one.
const Seed = 20_260_301

// Estate is a generated site.
type Estate struct {
	Name string
	// Assets are what the merge of sources gives for the site's own files: in order
	// of ID, one address each.
	Assets []inventory.Asset
	Book   *policy.Rulebook

	hosts      []host
	labels     []label // in the order of the columns
	groups     map[string]*members
	policyText map[string]string // the files but the assets'
}

// host is what an asset is made of.
type host struct {
	id     string
	addr   netip.Addr
	values []uint16 // of each label, an index into its values
}

// label is a label that all hosts carry.
type label struct {
	name   string
	values []string
}

// members says who is in a group, for the sampling of flows: those whose labels
// have given values, or those listed.
type members struct {
	want map[int][]uint16 // label -> any of these values; all labels must fit
	list []int            // hosts, if want is nil
	set  []uint64         // one bit a host; made when first asked for
}

// newEstate strews hosts over the address space.
func newEstate(name string, seed uint64, n int, mixed bool) *Estate {
	e := &Estate{Name: name, Book: &policy.Rulebook{}, groups: map[string]*members{}, policyText: map[string]string{settingsFile: settings}}
	e.hosts = make([]host, n)
	width := len(digits(n - 1))
	for i, a := range addresses(stream(seed, "addresses"), n, mixed) {
		e.hosts[i] = host{id: numbered("h", i, width), addr: a}
	}
	return e
}

// finish makes assets of the hosts, and puts policies into walking order.
func (e *Estate) finish() *Estate {
	e.Assets = e.assets()
	slices.SortFunc(e.Book.Groups, func(a, b policy.Group) int { return cmp.Compare(a.Name, b.Name) })
	policy.SortPolicies(e.Book.Policies)
	return e
}

// Options chooses a variant of the estate. The zero value is the estate itself.
type Options struct {
	Seed      uint64 // 0 is Seed
	Addresses int    // 0 is 100,000; fewer for a quick try
	Policies  int    // 0 is 2,000
	// DirectionBound binds a fifth of the policies to one side, ingress or egress.
	DirectionBound bool
	// MixedDenies moves a third of the denies from tier platform into tier
	// application, where their order puts them among the allows.
	MixedDenies bool
}

// Scale is the estate with fewer addresses and policies, in the same proportions.
func Scale(addresses int) Options {
	return Options{Addresses: addresses, Policies: max(10, 2000*addresses/100_000)}
}

// The labels of the estate, and how many values each has.
const (
	sites, environments, roles = 50, 4, 25
	lists, slicesOf            = 61, 60 // ad hoc groups
	listSize, sliceSize        = 50, 256
)

// The labels' places among an estate's labels.
const (
	bySite = iota
	byEnvironment
	byRole
)

// New generates the estate: 100,000 addresses, a fifth of them IPv6, each with a
// site, an environment and a role that do not depend on each other; 500 groups,
// every one isolated on both sides; 2,000 policies at random order values. See
// addEstateGroups and addEstatePolicies for what they are.
func New(o Options) *Estate {
	o.Seed = cmp.Or(o.Seed, Seed)
	o.Addresses = cmp.Or(o.Addresses, 100_000)
	o.Policies = cmp.Or(o.Policies, 2000)
	name := "estate"
	if o.DirectionBound {
		name += ", a fifth direction-bound"
	}
	if o.MixedDenies {
		name += ", a third of the denies among the allows"
	}
	e := newEstate(name, o.Seed, o.Addresses, true)
	e.label(stream(o.Seed, "labels"), "site", "s", sites)
	e.label(stream(o.Seed, "environments"), "env", "e", environments)
	e.label(stream(o.Seed, "roles"), "role", "r", roles)
	services := catalogue(stream(o.Seed, "services"))
	e.addServices(services)
	e.addEstateGroups(o.Seed)
	e.addEstatePolicies(o, services)
	return e.finish()
}

// label gives every host a label with a random value.
func (e *Estate) label(r *random, name, prefix string, n int) {
	l := label{name: name}
	for v := range n {
		l.values = append(l.values, numbered(prefix, v, len(digits(n-1))))
	}
	e.labels = append(e.labels, l)
	for i := range e.hosts {
		e.hosts[i].values = append(e.hosts[i].values, uint16(r.below(n)))
	}
}
