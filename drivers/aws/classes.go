package aws

import (
	"fmt"
	"slices"
	"strings"

	"bulkhead/pkg/compile"
	"bulkhead/pkg/driver/want"
	"bulkhead/pkg/packet"
)

// unit is the interfaces of one VPC whose addresses are in the same parts, family by
// family: they carry the same groups.
type unit struct {
	vpc     string
	members []*Interface
	addrs   packet.Addrs
	points  []string
	parts   []int // of the final partition, that its addresses are in
	rules   []Rule
	refs    []reference // rules that name other units; their groups' keys are not known at first
	key     string      // of its identity group, where units name each other

	function string // ARN, of a function's own interfaces: they share a group whatever they are
}

// units sorts the interfaces that points protect. Addresses that nobody here protects are
// as good as a part of their own: whatever the other end permits passes.
func units(s *State, view *compile.View, points []compile.Point, fixed []packet.Addrs) (*want.Ends, []*unit) {
	w := want.NewEnds(view, points, fixed)
	if w.First == "" {
		return w, nil
	}
	index := map[string]*unit{}
	var out []*unit
	for i := range s.Interfaces {
		n := &s.Interfaces[i]
		set := n.set()
		if n.Out != "" || !set.Overlaps(w.All) {
			continue
		}
		var in []string
		for k := range w.Parts {
			if w.Parts[k].Overlaps(set) {
				in = append(in, fmt.Sprint(k))
			}
		}
		k := n.VPC + " " + strings.Join(in, " ")
		if n.Function != "" {
			k = n.Function
		}
		if index[k] == nil {
			index[k] = &unit{vpc: n.VPC, function: n.Function}
			out = append(out, index[k])
		}
		u := index[k]
		u.members = append(u.members, n)
		u.addrs = u.addrs.Union(set)
	}
	slices.SortFunc(out, func(a, b *unit) int {
		if c := strings.Compare(a.vpc, b.vpc); c != 0 {
			return c
		}
		return a.addrs.First().Compare(b.addrs.First())
	})
	sets := slices.Clone(fixed)
	for _, u := range out {
		sets = append(sets, u.addrs)
	}
	w = want.NewEnds(view, points, sets)
	for _, u := range out {
		for k := range w.Parts {
			if w.Parts[k].Overlaps(u.addrs) {
				u.parts = append(u.parts, k)
			}
		}
		for _, p := range w.Points {
			if p.Protects.Overlaps(u.addrs) {
				u.points = append(u.points, p.Name)
			}
		}
	}
	return w, out
}

// holders tells for each part the units whose interfaces hold it. An address is held in
// several VPCs at most where networks overlap.
func holders(w *want.Ends, list []*unit) [][]*unit {
	out := make([][]*unit, len(w.Parts))
	for _, u := range list {
		for _, k := range u.parts {
			out[k] = append(out[k], u)
		}
	}
	return out
}
