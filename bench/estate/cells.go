package estate

import (
	"fmt"
	"strings"

	"bulkhead/pkg/policy"
)

// The cells of a site with many points.
const (
	cellSize  = 100 // addresses
	cellRoles = 4
)

// Cells generates a site of many small devices, as of the ports of switches or the
// interfaces of instances: each protects 100 addresses, 25 of each of four roles, and is a
// point of its own, of the given driver. Addresses go by role, as in a plant whose
// subnets do. Eight policies lead from role to role; all may reach the services of the
// first cell, and its operators may reach everybody.
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
		points.put("    protects: 'labels.cell == %q'", cell.values[c])
		for i := range cellSize {
			n := c*cellSize + i
			e.hosts = append(e.hosts, host{id: numbered("h", n, len(digits(cells*cellSize-1))),
				addr:   addr4(10<<24 | uint64(i%cellRoles)<<16 | uint64(c*cellSize/cellRoles+i/cellRoles)),
				values: []uint16{uint16(c), uint16(i % cellRoles)}})
		}
	}
	e.labels = []label{cell, role}
	points.put("name: cells")
	points.put("essential: {off: [dhcp]}") // of what the rules of such devices know no source ports
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
	allow := func(name, from, to string, ports ...int) {
		var services []service
		for _, port := range ports {
			services = append(services, literal("tcp", tcp, port))
		}
		out.put(policy.Policy{Name: name, From: []string{from}, To: []string{to},
			Action: policy.Allow, Tier: policy.Application, Order: 100, Direction: policy.Both}, services)
	}
	for i := range 2 * cellRoles {
		allow(numbered("within-", i, 2), role.values[r.below(cellRoles)], role.values[r.below(cellRoles)], 1+r.below(maxPort), 1+r.below(maxPort))
	}
	for i, name := range role.values {
		allow(fmt.Sprintf("serve-%s", strings.TrimPrefix(name, "r")), name, "services", 53, 123, 8000+i)
		allow(fmt.Sprintf("operate-%s", strings.TrimPrefix(name, "r")), "operators", name, 22)
	}
	out.done()
	return e.finish()
}
