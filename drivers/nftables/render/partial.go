package render

import (
	"fmt"

	"bulkhead/drivers/nftables/ruleset"
	"bulkhead/pkg/compile"
	"bulkhead/pkg/policy"
)

// sided reports whether what an outcome means for a flow depends on what earlier
// spaces decided: one side is open, or the two sides differ.
func (v *verdicts) sided(o *compile.Outcome) bool {
	if o.EgressOpen || o.IngressOpen {
		return true
	}
	return o.Partial && v.allows(o.Egress) != v.allows(o.Ingress)
}

func (v *verdicts) allows(p int) bool { return v.m.Policies[p].Action == policy.Allow }

// partial gives the id of an outcome that decides less than the whole flow.
func (v *verdicts) partial(outcome int) uint32 {
	// The list of outcomes may move while ids are given.
	o := v.m.Outcomes[outcome]
	var stand [3]uint32
	flags := uint32(0)
	if !o.EgressOpen {
		stand[1] = v.id(v.m.OneSide(o.Egress))
	}
	if !o.IngressOpen {
		stand[2] = v.id(v.m.OneSide(o.Ingress))
	}
	switch {
	case !o.EgressOpen && !v.allows(o.Egress):
		stand[0] = stand[1]
	case !o.IngressOpen && !v.allows(o.Ingress):
		stand[0] = stand[2]
	case o.IngressOpen:
		flags = partialEgress
	default:
		flags = partialIngress
	}
	id, ok := v.ids.partials[partialKey(stand)]
	if !ok {
		limit := partialIngress - 1
		n := v.ids.take(keepPartial, min(limit, numberMask), func(n uint32) bool { return v.halfUsed[partialBits|flags|n] })
		id = partialBits | flags | n
		v.halfUsed[id] = true
		v.ids.partials[partialKey(stand)] = id
	}
	v.halves[id] = stand
	return id
}

// partialKey names a partial verdict by what stands for it.
func partialKey(stand [3]uint32) string { return fmt.Sprint(stand) }

// partialSets write what stands for each partial verdict: where nothing is decided
// yet, where the egress side is allowed already, and where the ingress side is.
func (v *verdicts) partialSets() []ruleset.Set {
	var elems [3][]ruleset.Element
	for id, stand := range v.halves {
		for i, s := range stand {
			if s != 0 {
				elems[i] = append(elems[i], ruleset.Element{Key: native(id), Data: native(s)})
			}
		}
	}
	var out []ruleset.Set
	for i, name := range []string{setPartial, setOut, setIn} {
		out = append(out, hashSet(name, kindMarkMap, 0, elems[i]))
	}
	return out
}
