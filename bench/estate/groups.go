package estate

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"bulkhead/inventory"
	"bulkhead/pkg/diag"
	"bulkhead/pkg/policy"
)

// groupPage is the file of groups in the making.
type groupPage struct {
	*page
	e *Estate
}

func (e *Estate) newGroups() *groupPage {
	return &groupPage{newPage(groupsFile, "groups"), e}
}

// done adds the built-in groups and keeps the text. isolated isolates `any`, and
// with it every address there is.
func (p *groupPage) done(isolated bool) {
	for _, name := range []string{policy.GroupAny, policy.GroupUnknown, policy.GroupUnidentified} {
		g := policy.Group{Name: name, Isolate: policy.IsolateNone}
		if name == policy.GroupAny && isolated {
			g.Isolate = policy.IsolateBoth
			g.Pos = right(p.put("  %s: {isolate: both}", name), 2)
		}
		p.e.Book.Groups = append(p.e.Book.Groups, g)
	}
	p.e.groups[policy.GroupAny] = &members{want: map[int][]uint16{}}
	p.e.policyText[groupsFile] = p.text.String()
}

// where adds a group by an expression.
func (p *groupPage) where(name, expr string, want map[int][]uint16) {
	head := fmt.Sprintf("  %s: {where: '", name)
	at := p.put("%s%s', isolate: both}", head, expr)
	p.add(policy.Group{Name: name, Where: expr, WherePos: right(at, len(head))}, at, &members{want: want})
}

// is is the expression for one value of one label.
func (p *groupPage) is(label int, value uint16) string {
	l := &p.e.labels[label]
	return fmt.Sprintf("labels.%s == %q", l.name, l.values[value])
}

// equal adds a group of those whose labels have the given values.
func (p *groupPage) equal(name string, values map[int]uint16) {
	want := map[int][]uint16{}
	var terms []string
	for l := len(p.e.labels) - 1; l >= 0; l-- {
		if v, ok := values[l]; ok {
			want[l] = []uint16{v}
			terms = append(terms, p.is(l, v))
		}
	}
	p.where(name, strings.Join(terms, " && "), want)
}

// list adds a group of hosts by their IDs.
func (p *groupPage) list(name string, hosts []int) {
	ids := make([]string, len(hosts))
	for i, h := range hosts {
		ids[i] = p.e.hosts[h].id
	}
	slices.Sort(ids)
	at := p.put("  %s: {members: [%s], isolate: both}", name, strings.Join(ids, ", "))
	p.add(policy.Group{Name: name, Members: ids}, at, &members{list: hosts})
}

// slice adds a group of everything from the first of some hosts to the last.
func (p *groupPage) slice(name string, hosts []int) {
	first, last := p.e.hosts[hosts[0]].addr, p.e.hosts[hosts[len(hosts)-1]].addr
	prefixes := cover(first, last)
	text := make([]string, len(prefixes))
	for i, x := range prefixes {
		text[i] = quoted(x)
	}
	at := p.put("  %s: {prefixes: [%s], isolate: both}", name, strings.Join(text, ", "))
	p.add(policy.Group{Name: name, Prefixes: prefixes}, at, &members{list: hosts})
}

// quoted writes a prefix as YAML: the colons of IPv6 need quotes.
func quoted(p netip.Prefix) string {
	s := inventory.FormatPrefix(p)
	if p.Addr().Is6() {
		s = `"` + s + `"`
	}
	return s
}

func (p *groupPage) add(g policy.Group, at diag.Pos, m *members) {
	g.Isolate, g.Pos = policy.IsolateBoth, right(at, 2)
	p.e.Book.Groups = append(p.e.Book.Groups, g)
	p.e.groups[g.Name] = m
}

// The names of the estate's groups.
func roleName(r int) string               { return numbered("role-", r, 2) }
func siteName(s int) string               { return numbered("site-", s, 2) }
func environmentName(v int) string        { return numbered("env-", v, 1) }
func roleEnvironmentName(r, v int) string { return roleName(r) + "-" + environmentName(v) }
func siteEnvironmentName(s, v int) string { return siteName(s) + "-" + environmentName(v) }
func listName(n int) string               { return numbered("list-", n, 2) }
func sliceName(n int) string              { return numbered("slice-", n, 2) }

// addEstateGroups adds the 500 groups of the estate: 25 roles, 50 sites, 4
// environments, 100 roles in an environment, 200 sites in an environment, and 121
// that follow no label: 61 lists of 50 random hosts, and 60 runs of 256 hosts whose
// addresses follow each other in one family, given by the prefixes from the
// first to the last, the gaps between them included.
func (e *Estate) addEstateGroups(seed uint64) {
	p := e.newGroups()
	for r := range roles {
		p.equal(roleName(r), map[int]uint16{byRole: uint16(r)})
	}
	for s := range sites {
		p.equal(siteName(s), map[int]uint16{bySite: uint16(s)})
	}
	for v := range environments {
		p.equal(environmentName(v), map[int]uint16{byEnvironment: uint16(v)})
		for r := range roles {
			p.equal(roleEnvironmentName(r, v), map[int]uint16{byRole: uint16(r), byEnvironment: uint16(v)})
		}
		for s := range sites {
			p.equal(siteEnvironmentName(s, v), map[int]uint16{bySite: uint16(s), byEnvironment: uint16(v)})
		}
	}
	r := stream(seed, "lists")
	for n := range lists {
		p.list(listName(n), r.sample(len(e.hosts), listSize))
	}
	e.addSlices(p, stream(seed, "slices"))
	p.done(false)
}

// addSlices draws runs of hosts. The first host of a run is any of those that
// enough others follow, so a family gets as many runs as its share of the hosts.
func (e *Estate) addSlices(p *groupPage, r *random) {
	var families [2][]int
	for i := range e.hosts {
		f := 0
		if e.hosts[i].addr.Is6() {
			f = 1
		}
		families[f] = append(families[f], i)
	}
	size := min(sliceSize, len(families[0])) // less than that is for trials alone
	starts := func(f int) int { return max(0, len(families[f])-size+1) }
	for n := range slicesOf {
		f, at := 0, r.below(starts(0)+starts(1))
		if at >= starts(0) {
			f, at = 1, at-starts(0)
		}
		p.slice(sliceName(n), families[f][at:at+size])
	}
}
