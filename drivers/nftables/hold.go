package nftables

import (
	"net/netip"

	"bulkhead/drivers/nftables/kernel"
	"bulkhead/drivers/nftables/render"
	"bulkhead/drivers/nftables/ruleset"
	"bulkhead/pkg/packet"
)

// hold says which live flows a change concerns. A change of classes, pairs or
// services can take a verdict away from flows that bear it while others keep it:
// from the commit on, until the sweep is done, packets of these are judged one by
// one.
type hold struct {
	all    bool
	moved4 []ruleset.Element // ends of the flows, if not all
	moved6 []ruleset.Element
}

var setHold, setHoldAll, setMoved4, setMoved6 = render.HoldSets()

func isHold(set string) bool {
	return set == setHold || set == setHoldAll || set == setMoved4 || set == setMoved6
}

// anyHeld reports whether a table holds flows: the sweep of the change that did it
// was not finished.
func anyHeld(t *ruleset.Table) bool {
	for i := range t.Sets {
		if isHold(t.Sets[i].Name) && len(t.Sets[i].Elements) > 0 {
			return true
		}
	}
	return false
}

// holds works out whom a change concerns. Above some addresses, judging every
// packet for a moment costs less than telling flows apart.
func (d *delta) holds() hold {
	h := hold{all: d.left} // whom that concerned is not known any more
	for i := range d.elements {
		e := &d.elements[i]
		if !render.Judges(e.set.Name) {
			continue
		}
		if !render.HostSet(e.set.Name) {
			return hold{all: true}
		}
		h.add(e.del, e.add)
	}
	if h.all || len(h.moved4)+len(h.moved6) > render.MovedAtMost {
		return hold{all: true}
	}
	return h
}

func (h *hold) add(lists ...[]ruleset.Element) {
	seen := map[string]bool{}
	for _, list := range lists {
		for i := range list {
			key := list[i].Key
			if seen[string(key)] {
				continue
			}
			seen[string(key)] = true
			if len(key) == 4 {
				h.moved4 = append(h.moved4, ruleset.Element{Key: key})
			} else {
				h.moved6 = append(h.moved6, ruleset.Element{Key: key})
			}
		}
	}
}

func (h *hold) none() bool { return !h.all && len(h.moved4)+len(h.moved6) == 0 }

// put holds the flows, those left out that the table holds already.
func (h hold) put(b *kernel.Batch, table string, have *ruleset.Table) {
	if h.none() {
		return
	}
	add := func(set string, elems []ruleset.Element) {
		there := map[string]bool{}
		if s := have.Set(set); s != nil {
			for i := range s.Elements {
				there[string(s.Elements[i].Key)] = true
			}
		}
		var out []ruleset.Element
		for _, e := range elems {
			if !there[string(e.Key)] {
				out = append(out, e)
			}
		}
		if len(out) > 0 {
			b.AddElements(ruleset.FamilyInet, table, set, out)
		}
	}
	if h.all {
		add(setHoldAll, families())
	}
	add(setMoved4, h.moved4)
	add(setMoved6, h.moved6)
	add(setHold, families())
}

// concerns gives the addresses of which one is an end of every flow that is held.
func (h *hold) concerns() packet.Addrs {
	if h.all {
		return packet.AllAddrs()
	}
	var runs []packet.Range
	for _, e := range append(h.moved4[:len(h.moved4):len(h.moved4)], h.moved6...) {
		if a, ok := netip.AddrFromSlice(e.Key); ok {
			runs = append(runs, packet.Range{From: a, To: a})
		}
	}
	return packet.AddrRanges(runs)
}
