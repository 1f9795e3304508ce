package render

import (
	"net/netip"
	"slices"
	"sort"

	"bulkhead/drivers/nftables/ruleset"
	"bulkhead/pkg/packet"
)

func hostRange(key []byte) (packet.Range, bool) {
	a, ok := netip.AddrFromSlice(key)
	return packet.Range{From: a, To: a}, ok
}

// intervals reads a map of plain intervals back: value -> runs. An end element
// holds the first key after its run; a run without one reaches the last key.
func intervals(es []ruleset.Element) map[uint32][]packet.Range {
	sorted := slices.Clone(es)
	slices.SortFunc(sorted, func(a, b ruleset.Element) int {
		if c := slices.Compare(a.Key, b.Key); c != 0 {
			return c
		}
		// An end comes before the start of the next run at the same key.
		return int(b.Flags&ruleset.ElemIntervalEnd) - int(a.Flags&ruleset.ElemIntervalEnd)
	})
	out := map[uint32][]packet.Range{}
	for i, e := range sorted {
		from, ok := netip.AddrFromSlice(e.Key)
		if !ok || e.Flags&ruleset.ElemIntervalEnd != 0 {
			continue
		}
		to := lastOf(from)
		if i+1 < len(sorted) {
			if next, ok := netip.AddrFromSlice(sorted[i+1].Key); ok {
				to = next.Prev()
			}
		}
		out[word(e.Data)] = append(out[word(e.Data)], packet.Range{From: from, To: to})
	}
	return out
}

func lastOf(a netip.Addr) netip.Addr {
	return packet.PrefixRange(netip.PrefixFrom(a, 0)).To
}

// intervalElements writes runs as a set of plain intervals holds them.
func intervalElements(runs []packet.Range, data []byte) []ruleset.Element {
	var out []ruleset.Element
	for _, r := range runs {
		out = append(out, ruleset.Element{Key: r.From.AsSlice(), Data: data})
		if next := r.To.Next(); next.IsValid() {
			out = append(out, ruleset.Element{Key: next.AsSlice(), Flags: ruleset.ElemIntervalEnd})
		}
	}
	return out
}

// runsOf gives the runs of one family: those of IPv4 come first. They are the
// set's own, and not to be written to.
func runsOf(a packet.Addrs, four bool) []packet.Range {
	runs := a.Runs()
	n := sort.Search(len(runs), func(i int) bool { return !runs[i].From.Is4() })
	if four {
		return slices.Clip(runs[:n])
	}
	return runs[n:]
}

// classElements writes the address maps: single addresses into hash maps, and
// everything else into interval maps that cover the whole space, so that every
// packet finds a word. A single address is looked up last and wins; the interval
// maps therefore treat it as part of what surrounds it, which keeps them small.
func classElements(words []uint32, classes []packet.Addrs, four bool) (hosts, nets []ruleset.Element) {
	type owned struct {
		packet.Range
		word uint32
	}
	var all []owned
	for i, c := range classes {
		for _, r := range runsOf(c, four) {
			all = append(all, owned{r, words[i]})
		}
	}
	slices.SortFunc(all, func(a, b owned) int { return a.From.Compare(b.From) })
	var wide []owned
	for _, o := range all {
		if o.From == o.To {
			hosts = append(hosts, ruleset.Element{Key: o.From.AsSlice(), Data: native(o.word)})
			continue
		}
		wide = append(wide, o)
	}
	if len(wide) == 0 {
		return hosts, nil
	}
	// Stretch each run over the single addresses after it, and the first one over
	// those before it.
	first := packet.PrefixRange(netip.PrefixFrom(wide[0].From, 0))
	wide[0].From = first.From
	for i := range wide {
		if i+1 < len(wide) {
			wide[i].To = wide[i+1].From.Prev()
		} else {
			wide[i].To = first.To
		}
	}
	merged := wide[:1]
	for _, o := range wide[1:] {
		if last := &merged[len(merged)-1]; last.word == o.word {
			last.To = o.To
		} else {
			merged = append(merged, o)
		}
	}
	for _, o := range merged {
		nets = append(nets, intervalElements([]packet.Range{o.Range}, native(o.word))...)
	}
	return hosts, nets
}
