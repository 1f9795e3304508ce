package want

import (
	"slices"

	"bulkhead/pkg/packet"
)

// Shared is a set of services with exactly the peers that have them.
type Shared struct {
	Services packet.Services
	Peers    packet.Addrs
}

// Gather turns the services of each peer (a part of h) into sets of services with
// their peers, so that peers share rules. What nobody has is left out.
func Gather(h *Hook, peers []int, services []packet.Services) []Shared {
	var cuts []uint32
	for _, s := range services {
		for _, span := range s {
			cuts = append(cuts, span.Lo, span.Hi+1)
		}
	}
	slices.Sort(cuts)
	cuts = slices.Compact(cuts)
	index := map[string]int{}
	var out []Shared
	for i, lo := range cuts {
		if i+1 == len(cuts) {
			break
		}
		var who packet.Addrs
		for k, s := range services {
			if s.Contains(lo) {
				who = who.Union(h.Parts[peers[k]])
			}
		}
		if who.IsEmpty() {
			continue // nobody has it; an empty set must never reach a rule
		}
		key := key(who)
		n, ok := index[key]
		if !ok {
			n = len(out)
			index[key] = n
			out = append(out, Shared{Peers: who})
		}
		out[n].Services = out[n].Services.Union(packet.Services{{Lo: lo, Hi: cuts[i+1] - 1}})
	}
	return out
}

// key is equal for equal sets.
func key(a packet.Addrs) string {
	var out []byte
	for _, r := range a.Runs() {
		from, to := r.From.As16(), r.To.As16()
		out = append(append(out, from[:]...), to[:]...)
	}
	return string(out)
}
