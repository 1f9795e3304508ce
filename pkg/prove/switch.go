package prove

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"bulkhead/pkg/compile"
	"bulkhead/pkg/driver"
	"bulkhead/pkg/packet"
	"bulkhead/pkg/policy"
)

// byPort gives the relations to compare at points that judge at ports: one that speaks of no
// port once for each port that has none of its own. A port that nobody protects anything at is
// none of their business.
func byPort(rels []driver.Relation, points []*compile.Point, d *driver.Decoded) []driver.Relation {
	ports, asked := portsOf(points)
	if !asked {
		return rels
	}
	var out []driver.Relation
	for _, r := range rels {
		for _, port := range ports {
			switch s := r.Situation; {
			case s.Port == port:
				out = append(out, r)
			case s.Port == "" && !slices.ContainsFunc(d.Relations, func(o driver.Relation) bool {
				return o.Situation.Hook == s.Hook && o.Situation.Tracking == s.Tracking && o.Situation.Port == port
			}):
				r := r
				r.Situation.Port = port
				out = append(out, r)
			}
		}
	}
	return out
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

// comesBy reports whether a packet goes through the situation's port in the hook's direction.
// What comes in by a port with the source of somebody who does not hang there is not what the
// source may do. The situation has a port.
func (e *Expected) comesBy(src, dst netip.Addr) bool {
	if e.here == nil {
		here, all := packet.Addrs{}, packet.Addrs{}
		for _, p := range e.points {
			if p.Mode == policy.Observe {
				continue
			}
			here = here.Union(p.Ports[e.s.Port].Intersect(p.Protects))
			for _, port := range slices.Sorted(maps.Keys(p.Ports)) {
				all = all.Union(p.Ports[port].Intersect(p.Protects))
			}
		}
		e.here, e.attached = &here, all
	}
	if e.s.Hook == compile.HookOutput {
		return e.here.Contains(src)
	}
	return (e.here.Contains(dst) || compile.Multicast().Contains(dst)) && !(e.open && e.attached.Contains(src))
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
