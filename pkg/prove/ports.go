package prove

import (
	"fmt"
	"slices"

	"bulkhead/pkg/compile"
	"bulkhead/pkg/driver"
	"bulkhead/pkg/packet"
)

// pieces cuts a relation's run of source ports where the points tell source ports
// apart, or what the device cannot express does. A device that lost everything that looks at source ports decodes to one
// run of all of them; compared whole, the flows that must pass from one port only
// would go unasked for.
func pieces(rel *driver.Relation, points []*compile.Point, residue []driver.Residue) []driver.Relation {
	cuts := []int{0, 1 << 16}
	for i := range residue {
		for k := range residue[i].Flows {
			cuts = append(cuts, int(residue[i].Flows[k].SrcPortLo), int(residue[i].Flows[k].SrcPortHi)+1)
		}
	}
	for _, p := range points {
		if rel.Situation.Hook != compile.HookForward || !p.DHCPServers.IsEmpty() {
			cuts = append(cuts, 67, 68, 69, 546, 547, 548)
		}
		for _, f := range p.Failsafe {
			for _, span := range f.Services {
				for proto := span.Lo >> 16; proto <= span.Hi>>16; proto++ {
					if !packet.HasPorts(uint8(proto)) {
						continue
					}
					lo, hi := max(span.Lo, proto<<16), min(span.Hi, proto<<16|0xffff)
					cuts = append(cuts, int(lo&0xffff), int(hi&0xffff)+1)
				}
			}
		}
	}
	slices.Sort(cuts)
	cuts = slices.Compact(cuts)
	var out []driver.Relation
	for i := range len(cuts) - 1 {
		lo, hi := max(cuts[i], int(rel.Situation.SrcPortLo)), min(cuts[i+1]-1, int(rel.Situation.SrcPortHi))
		if lo > hi {
			continue
		}
		piece := *rel
		piece.Situation.SrcPortLo, piece.Situation.SrcPortHi = uint16(lo), uint16(hi)
		out = append(out, piece)
	}
	return out
}

// incomplete finds what a decoded state says nothing of. What is not said is not
// proved: a decoder that leaves out a source port, a part of the address space or
// the first packets of flows would otherwise be right about it by silence.
func incomplete(d *driver.Decoded) []driver.Finding {
	type key struct {
		hook, in, port string
		tracking       driver.Tracking
		expired        bool
	}
	ports := map[key]packet.Services{}
	fresh := map[string]bool{}
	var out []driver.Finding
	var order []key
	for i := range d.Relations {
		r := &d.Relations[i]
		s := r.Situation
		k := key{s.Hook, s.In, s.Port, s.Tracking, s.Expired}
		if _, ok := ports[k]; !ok {
			order = append(order, k)
		}
		ports[k] = ports[k].Union(packet.Services{{Lo: uint32(s.SrcPortLo), Hi: uint32(s.SrcPortHi)}})
		fresh[s.Hook] = fresh[s.Hook] || s.Tracking == driver.TrackNew
		if !covers(r.Src) || !covers(r.Dst) {
			out = append(out, driver.Finding{Object: s.Hook, Text: fmt.Sprintf("what it does with %s packets is not known for every address", s.Tracking)})
		}
	}
	for _, k := range order {
		if !ports[k].Equal(packet.Services{{Lo: 0, Hi: 0xffff}}) {
			out = append(out, driver.Finding{Object: k.hook, Text: fmt.Sprintf("what it does with %s packets is not known for every source port", k.tracking)})
		}
		if !fresh[k.hook] {
			fresh[k.hook] = true // said once
			out = append(out, driver.Finding{Object: k.hook, Text: "what it does with the first packets of flows is not known"})
		}
	}
	return out
}

func covers(parts []packet.Addrs) bool {
	var runs []packet.Range
	for _, p := range parts {
		runs = append(runs, p.Runs()...)
	}
	return packet.AddrRanges(runs).Equal(packet.AllAddrs())
}
