package prove

import (
	"fmt"
	"maps"
	"slices"

	"bulkhead/pkg/compile"
	"bulkhead/pkg/driver"
	"bulkhead/pkg/packet"
	"bulkhead/pkg/policy"
)

// spoken lists those of some ports that a relation speaks of: its own, or, where it names none,
// those of which no other relation of its kind speaks.
func spoken(rel *driver.Relation, ports []string, d *driver.Decoded) []string {
	s := rel.Situation
	if s.Port != "" {
		if !slices.Contains(ports, s.Port) {
			return nil // nobody protects anything there
		}
		return []string{s.Port}
	}
	others := map[string]bool{}
	for i := range d.Relations {
		if o := &d.Relations[i].Situation; o.Hook == s.Hook && o.Tracking == s.Tracking {
			others[o.Port] = true
		}
	}
	return slices.DeleteFunc(slices.Clone(ports), func(p string) bool { return others[p] })
}

// portsOf lists the ports at which points that enforce judge; ok is not set if they know none.
func portsOf(points []*compile.Point) (ports []string, ok bool) {
	for _, p := range points {
		if p.Ports == nil {
			continue
		}
		ok = true
		if p.Mode == policy.Observe {
			continue
		}
		for _, port := range slices.Sorted(maps.Keys(p.Ports)) {
			if !p.Ports[port].Intersect(p.Protects).IsEmpty() {
				ports = append(ports, port)
			}
		}
	}
	slices.Sort(ports)
	return slices.Compact(ports), ok
}

// adrift finds protected addresses of a switch's point that hang on no port of it: nothing is
// known of them there.
func (r *Result) adrift(p *compile.Point) {
	if p.Ports == nil || p.Mode == policy.Observe {
		return
	}
	var on packet.Addrs
	for _, a := range p.Ports {
		on = on.Union(a)
	}
	if off := p.Protects.Subtract(on); !off.IsEmpty() {
		r.Proved = false
		r.Findings = append(r.Findings, driver.Finding{Point: p.Name, Object: "attachments", Text: fmt.Sprintf("%s is protected, and hangs on no port that is known", off)})
	}
}
