package render

import (
	"fmt"
	"net/netip"
	"sort"

	"bulkhead/drivers/nftables/ruleset"
	"bulkhead/pkg/compile"
	"bulkhead/pkg/packet"
	"bulkhead/pkg/policy"
)

// antiSpoof writes the check of sources against the interface that they came in
// by. It reports whether there is anything to check.
//
// Two lookups say by which zone the packet came in and which zones its source
// belongs to; two sets of such pairs say what to do. Zones are numbered from 1 in
// their order, 0 is an interface in no zone; sources that belong to the same
// zones share a number.
func (out *pointParts) antiSpoof(p *compile.Point) bool {
	masks := []packet.Addrs{packet.AddrsOf(netip.MustParsePrefix("0.0.0.0/0"))}
	for _, z := range p.Zones {
		for _, m := range z.Masks {
			masks = append(masks, packet.AddrsOf(m))
		}
	}
	for _, m := range []string{"169.254.0.0/16", "fe80::/10", "0.0.0.0/32", "::/128"} {
		masks = append(masks, packet.AddrsOf(netip.MustParsePrefix(m)))
	}
	// Each part of the sources is told apart by what it meets at each interface.
	ifaces := []string{""}
	for _, z := range p.Zones {
		ifaces = append(ifaces, z.Interfaces[:min(1, len(z.Interfaces))]...)
	}
	index := map[string]uint32{}
	runs := map[uint32][]packet.Range{}
	var dropped, seen []ruleset.Element
	for _, part := range packet.PartitionAddrs(masks) {
		key, found := "", false
		checks := make([]compile.Spoof, len(ifaces))
		for i, name := range ifaces {
			checks[i] = p.CheckSpoof(name, part.First())
			key += fmt.Sprint(checks[i], ";")
			found = found || checks[i].Action != compile.SpoofOff
		}
		if !found {
			key = ""
		}
		n, ok := index[key]
		if !ok {
			n = uint32(len(index))
			if key == "" {
				n = 0
			} else if _, zero := index[""]; !zero {
				n++ // 0 is kept for sources that nothing is held against
			}
			index[key] = n
			for i, c := range checks {
				e := ruleset.Element{Key: join(native(zoneNumber(p, ifaces[i])), native(n)), HasCounter: true,
					UserData: commentData(fmt.Sprintf("in=%s of=%s", orDash(c.In), orDash(c.Of)))}
				switch c.Action {
				case compile.SpoofEnforce:
					dropped = append(dropped, e)
				case compile.SpoofObserve:
					seen = append(seen, e)
				}
			}
		}
		runs[n] = append(runs[n], part.Runs()...)
	}
	if len(dropped)+len(seen) == 0 {
		return false
	}
	out.spoofSets(p, runs, dropped, seen)
	out.spoofChain(p)
	return true
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func zoneNumber(p *compile.Point, iface string) uint32 {
	for i := range p.Zones {
		for _, n := range p.Zones[i].Interfaces {
			if n == iface {
				return uint32(i) + 1
			}
		}
	}
	return 0
}

func (out *pointParts) spoofSets(p *compile.Point, runs map[uint32][]packet.Range, dropped, seen []ruleset.Element) {
	var src4, src6, zif []ruleset.Element
	numbers := make([]uint32, 0, len(runs))
	for n := range runs {
		numbers = append(numbers, n)
	}
	sort.Slice(numbers, func(i, j int) bool { return numbers[i] < numbers[j] })
	for _, n := range numbers {
		if n == 0 {
			continue
		}
		set := packet.AddrRanges(runs[n])
		src4 = append(src4, intervalElements(runsOf(set, true), native(n))...)
		src6 = append(src6, intervalElements(runsOf(set, false), native(n))...)
	}
	for i, z := range p.Zones {
		for _, name := range z.Interfaces {
			k := make([]byte, 16)
			copy(k, name)
			zif = append(zif, ruleset.Element{Key: k, Data: native(uint32(i) + 1)})
		}
	}
	out.sets = append(out.sets,
		hashSet(pointChain("zone", p.Name), kindIfname, 0, zif),
		intervalSet(pointChain("source4", p.Name), kindAddr4Word, src4),
		intervalSet(pointChain("source6", p.Name), kindAddr6Word, src6),
		countedSet(pointChain("spoofed", p.Name), kindPairSet, 0, dropped),
		countedSet(pointChain("spoof_seen", p.Name), kindPairSet, 0, seen))
}

func (out *pointParts) spoofChain(p *compile.Point) {
	spoofed, seen := pointChain("spoofed", p.Name), pointChain("spoof_seen", p.Name)
	note := logged("bulkhead " + p.Name + " spoof ")
	c := newChain(pointChain("spoof", p.Name)).
		add(setMark(0)).
		add(clearPriority()).
		add(markFrom(pointChain("zone", p.Name), false, metaIifname)).
		add(priorityFrom(pointChain("source4", p.Name), saddr4)).
		add(priorityFrom(pointChain("source6", p.Name), saddr6)).
		add(in(seen, false, metaMark, metaPriority), limited(), note)
	if p.Mode != policy.Observe {
		drops := newChain(pointChain("spoof_drop", p.Name)).
			add(limited(), note).
			add(in(pointChain(setLearning, p.Name), false, metaNfproto), ret()).
			add(drop())
		out.chains = append(out.chains, drops)
		c.add(in(spoofed, false, metaMark, metaPriority), jump(drops.Name))
	}
	c.add(setMark(0)).add(clearPriority())
	out.chains = append(out.chains, c)
}
