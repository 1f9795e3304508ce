package estate

import (
	"fmt"
	"net/netip"
	"strings"

	"bulkhead/pkg/policy"
)

// The cells of a site with many points.
const (
	cellSize  = 100 // addresses
	cellRoles = 10
)

// Cells generates a site of many small networks, as of branches or of the cells of a
// plant: 100 addresses each in a /24 of its own, ten of every role, and a gateway for
// each that is a point of its own, of the given driver. Roles may reach each other
// within a cell (20 policies with `same`), all may reach the services that the first
// cell gives, and its operators may reach everybody.
func Cells(cells int, driver string) *Estate {
	e := &Estate{Name: "cells", Book: &policy.Rulebook{}, groups: map[string]*members{}, policyText: map[string]string{}}
	cell, role := label{name: "cell"}, label{name: "role"}
	for r := range cellRoles {
		role.values = append(role.values, numbered("r", r, 2))
	}
	points := newPage(settingsFile, "points")
	for c := range cells {
		cell.values = append(cell.values, numbered("c", c, 4))
		points.put("  %s:", numbered("gw", c, 4))
		points.put("    driver: %s", driver)
		points.put("    zones:")
		points.put("      inside: {interfaces: [eth1], prefixes: [10.%d.%d.0/24], antispoof: \"off\"}", c>>8, c&255)
		points.put("      outside: {interfaces: [eth2], prefixes: [0.0.0.0/0], antispoof: \"off\"}")
		for i := range cellSize {
			n := c*cellSize + i
			e.hosts = append(e.hosts, host{id: numbered("h", n, len(digits(cells*cellSize-1))),
				addr:   netip.AddrFrom4([4]byte{10, byte(c >> 8), byte(c), byte(10 + i)}),
				values: []uint16{uint16(c), uint16(i % cellRoles)}})
		}
	}
	e.labels = []label{cell, role}
	points.put("name: cells")
	points.put("observe_learn: 0s")
	points.put("limits: {first_enforcement: accept}")
	e.policyText[settingsFile] = points.text.String()

	p := e.newGroups()
	for r := range role.values {
		p.equal(role.values[r], map[int]uint16{1: uint16(r)})
	}
	p.equal("services", map[int]uint16{0: 0, 1: 0})
	p.equal("operators", map[int]uint16{0: 0, 1: 1})
	p.done(true)

	r := stream(Seed, "cells")
	out := e.newPolicies()
	allow := func(name, from, to string, same []string, ports ...int) {
		var services []service
		for _, port := range ports {
			services = append(services, literal("tcp", tcp, port))
		}
		out.put(policy.Policy{Name: name, From: []string{from}, To: []string{to}, Same: same,
			Action: policy.Allow, Tier: policy.Application, Order: 100, Direction: policy.Both}, services)
	}
	for i := range 2 * cellRoles {
		allow(numbered("within-", i, 2), role.values[r.below(cellRoles)], role.values[r.below(cellRoles)], []string{"cell"}, 1+r.below(maxPort), 1+r.below(maxPort))
	}
	for i, name := range role.values {
		allow(fmt.Sprintf("serve-%s", strings.TrimPrefix(name, "r")), name, "services", nil, 53, 123, 8000+i)
		allow(fmt.Sprintf("operate-%s", strings.TrimPrefix(name, "r")), "operators", name, nil, 22)
	}
	out.done()
	return e.finish()
}
