package render

import (
	"golang.org/x/sys/unix"

	"bulkhead/drivers/nftables/ruleset"
	"bulkhead/pkg/compile"
	"bulkhead/pkg/packet"
)

// Failsafe flows are matched by three sets a family: by ports, with the client's
// end first; ICMP by its type, with the sender first; other protocols by their
// two ends. Each is matched both ways without tracking.
type failsafeSets struct {
	ports, types, ends [2][]ruleset.Element // IPv4, IPv6
}

func failsafeName(kind string, four bool) string {
	if four {
		return "fs_" + kind + "4"
	}
	return "fs_" + kind + "6"
}

func newFailsafe(list []compile.Failsafe) *failsafeSets {
	f := &failsafeSets{}
	for _, fs := range list {
		for i, four := range []bool{true, false} {
			for _, from := range runsOf(fs.From, four) {
				for _, to := range runsOf(fs.To, four) {
					f.add(i, from, to, fs)
				}
			}
		}
	}
	return f
}

func (f *failsafeSets) add(fam int, from, to packet.Range, fs compile.Failsafe) {
	for _, span := range fs.Services {
		for lo := span.Lo; ; {
			hi := min(span.Hi, lo|0xffff)
			proto := uint8(lo >> 16)
			switch {
			case packet.HasPorts(proto):
				f.ports[fam] = append(f.ports[fam], rangeOf(from, to, proto, uint16(lo), uint16(hi), true))
			case packet.IsICMP(proto):
				f.types[fam] = append(f.types[fam], rangeOf(from, to, proto, uint16(lo), uint16(hi), true))
			default:
				f.ends[fam] = append(f.ends[fam], rangeOf(from, to, proto, 0, 0, false))
			}
			if hi >= span.Hi {
				break
			}
			lo = hi + 1
		}
	}
	for _, span := range compile.Replies(fs.Services) {
		f.types[fam] = append(f.types[fam], rangeOf(to, from, uint8(span.Lo>>16), uint16(span.Lo), uint16(span.Hi), true))
	}
	for _, span := range compile.ICMPErrors() {
		if (span.Lo>>16 == unix.IPPROTO_ICMP) != (fam == 0) {
			continue
		}
		f.types[fam] = append(f.types[fam], rangeOf(from, to, uint8(span.Lo>>16), uint16(span.Lo), uint16(span.Hi), true))
		f.types[fam] = append(f.types[fam], rangeOf(to, from, uint8(span.Lo>>16), uint16(span.Lo), uint16(span.Hi), true))
	}
}

// rangeOf writes an element of a concatenation with ranges.
func rangeOf(a, b packet.Range, proto uint8, lo, hi uint16, numbered bool) ruleset.Element {
	e := ruleset.Element{
		Key:    join(a.From.AsSlice(), b.From.AsSlice(), byte4(proto)),
		KeyEnd: join(a.To.AsSlice(), b.To.AsSlice(), byte4(proto)),
	}
	if numbered {
		e.Key, e.KeyEnd = join(e.Key, big16(lo)), join(e.KeyEnd, big16(hi))
	}
	return e
}

// sets writes the sets. Overlapping elements are cut apart, because the kernel
// refuses some overlaps and stores others twice.
func (f *failsafeSets) sets() []ruleset.Set {
	var out []ruleset.Set
	for i, four := range []bool{true, false} {
		flow, ends := kindFlow4, kindEnds4
		if !four {
			flow, ends = kindFlow6, kindEnds6
		}
		out = append(out,
			intervalSet(failsafeName("port", four), flow, disjoint(f.ports[i])),
			intervalSet(failsafeName("type", four), flow, disjoint(f.types[i])),
			intervalSet(failsafeName("ends", four), ends, disjoint(f.ends[i])))
	}
	return out
}

// failsafeChains accept and untrack the failsafe flows. Sets without elements are not
// asked, and where there is no failsafe flow at all nothing hooks in before
// tracking: every packet would pay for it.
func failsafeChains(f *failsafeSets) []*chain {
	fill := func(name string, verdict frag) *chain {
		c := newChain(name)
		for i, four := range []bool{true, false} {
			s, d := saddr4, daddr4
			if !four {
				s, d = saddr6, daddr6
			}
			if len(f.ports[i]) > 0 {
				c.add(in(failsafeName("port", four), true, s, d, metaL4, thDport), verdict)
				c.add(in(failsafeName("port", four), true, d, s, metaL4, thSport), verdict)
			}
			if len(f.types[i]) > 0 {
				c.add(in(failsafeName("type", four), true, s, d, metaL4, thSport), verdict)
			}
			if len(f.ends[i]) > 0 {
				c.add(in(failsafeName("ends", four), true, s, d, metaL4), verdict)
				c.add(in(failsafeName("ends", four), true, d, s, metaL4), verdict)
			}
		}
		return c
	}
	accepting := fill(chainFailsafe, accept())
	if len(accepting.Rules) == 0 {
		return []*chain{accepting} // jumped to, and empty
	}
	return []*chain{
		accepting,
		fill(chainRaw, notrack()),
		baseChain("raw_prerouting", hookPrerouting, priorityRaw, policyAccept).add(jump(chainRaw)),
		baseChain("raw_output", hookOutput, priorityRaw, policyAccept).add(jump(chainRaw)),
	}
}
