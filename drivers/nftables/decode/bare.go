package decode

import (
	"fmt"

	"bulkhead/pkg/driver"
	"bulkhead/pkg/packet"
)

// bare looks at flows that this program takes out of connection tracking and lets
// through. Their replies belong to no entry: tracking takes them for the first
// packets of flows of their own, so they must pass as such, or the flow is cut.
func (d *decoder) bare(m *machine, hook string) {
	back := map[string]string{"forward": "forward", "input": "output", "output": "input"}[hook]
	if _, ok := m.prog.starts[back]; !ok || !takesOut(m.prog) {
		return
	}
	v := newView(m)
	var replies [2][]state
	for fam := range replies {
		replies[fam] = []state{m.start(back, domOf(fam), true, packet.AllServices(), ctNew, 0)}
	}
	v.addRoot(m.starts(hook, driver.TrackNew, nil))
	v.addRoot(replies)
	v.walk(nil, func(fam, i, j int, vals []int32) bool {
		for p := range v.nPorts {
			var out, in packet.Services
			for k := range v.ifs {
				at := k*v.nPorts + p
				there, back := m.results.list[m.results.pick(vals[0], at)], m.results.list[m.results.pick(vals[1], at)]
				out = out.Union(m.svc.sets[there.bare])
				for _, e := range m.results.opens[there.open] {
					out = out.Union(m.endsOf(e.node).bare.Intersect(m.svc.sets[e.svc]))
				}
				// A reply comes in by another interface than its flow; by which, is not
				// known here. One must do.
				in = in.Union(m.svc.sets[back.accept])
				for _, e := range m.results.opens[back.open] {
					if ends := m.endsOf(e.node); len(ends.drop) == 0 {
						in = in.Union(ends.accept.Intersect(m.svc.sets[e.svc]))
					}
				}
			}
			// An ICMP message is answered by another type, if at all, and the answer is a
			// flow of its own in the relations.
			out = out.Subtract(icmpServices())
			if cut := out.Subtract(in); len(cut) > 0 {
				d.blame(driver.Finding{Object: m.table}, "flows are taken out of tracking (notrack) and their replies do not pass",
					fmt.Sprintf("%s, %s to %s, %s", hook, v.classes[fam][axisSrc].addrs[i].First(),
						v.classes[fam][axisDst].addrs[j].First(), cut[:1]))
				return false
			}
		}
		return true
	})
}

// takesOut reports whether a rule says notrack.
func takesOut(p *program) bool {
	found := false
	each(p, func(r *rule) { found = found || loads(r, opNotrack, 0) })
	return found
}
