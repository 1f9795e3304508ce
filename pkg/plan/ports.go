package plan

import (
	"maps"
	"slices"

	"bulkhead/pkg/compile"
	"bulkhead/pkg/driver"
	"bulkhead/pkg/packet"
)

// acrossPorts puts together what a switch does at all of its ports: a flow meets the port that
// its sender hangs on at the output hook, and that of its receiver at the input hook. What is
// sent to a group comes out of many ports, and passes if it does at one.
func acrossPorts(now *driver.Decoded, hook string, points []*compile.Point) driver.Relation {
	type place struct {
		on       packet.Addrs
		rel      driver.Relation
		src, dst *driver.Parts
	}
	byPort := map[string]packet.Addrs{}
	for _, p := range points {
		for port, on := range p.Ports {
			byPort[port] = byPort[port].Union(on.Intersect(p.Protects))
		}
	}
	newPlace := func(on packet.Addrs, r driver.Relation) place {
		return place{on, r, &driver.Parts{Addrs: r.Src}, &driver.Parts{Addrs: r.Dst}}
	}
	rest := newPlace(packet.Addrs{}, relationAt(now, hook, "", ""))
	var places []place
	sets := [2][]packet.Addrs{{compile.Multicast()}, {compile.Multicast()}}
	for _, port := range slices.Sorted(maps.Keys(byPort)) {
		named := slices.ContainsFunc(now.Relations, func(r driver.Relation) bool { return r.Situation.Hook == hook && r.Situation.Port == port })
		if !named || byPort[port].IsEmpty() {
			continue
		}
		p := newPlace(byPort[port], relationAt(now, hook, "", port))
		places = append(places, p)
		for i := range sets {
			sets[i] = append(sets[i], p.on)
		}
		sets[0], sets[1] = append(sets[0], p.rel.Src...), append(sets[1], p.rel.Dst...)
	}
	out := driver.Relation{Situation: rest.rel.Situation, Src: packet.PartitionAddrs(sets[0]), Dst: packet.PartitionAddrs(sets[1])}
	out.Permit = func(i, j int) packet.Services {
		src, dst := out.Src[i].First(), out.Dst[j].First()
		end := src
		if hook == compile.HookInput {
			end = dst
		}
		group := hook == compile.HookInput && compile.Multicast().Contains(dst)
		var passes packet.Services
		met := false
		for k := range places {
			if p := &places[k]; group || p.on.Contains(end) {
				passes, met = passes.Union(p.rel.Permit(p.src.Find(src), p.dst.Find(dst))), true
			}
		}
		if !met {
			return rest.rel.Permit(rest.src.Find(src), rest.dst.Find(dst))
		}
		return passes
	}
	return out
}
