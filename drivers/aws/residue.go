package aws

import (
	"cmp"
	"fmt"
	"slices"

	"bulkhead/pkg/compile"
	"bulkhead/pkg/driver"
	"bulkhead/pkg/packet"
)

// residueTexts say what each kind is.
var residueTexts = map[string][2]string{ // narrower, wider
	"no-multicast":        {"a VPC carries no multicast: what goes to group addresses is dropped, and IGMP and MLD with it", ""},
	"provider-link-local": {"", "services of AWS pass whatever security groups say: the metadata service, the clock and DNS of the VPC at their addresses, DHCP, neighbour discovery"},
	"icmp-family":         {"ICMP in packets of IPv6 and ICMPv6 in packets of IPv4, which no machine sends, cannot be said, and are dropped", ""},
	"source-port":         {"what passes only from certain source ports (DHCP between machines, answers of failsafe flows that are not tracked) is dropped: security groups know no source ports", "what passes only from certain source ports (answers of failsafe flows) passes from all, and a protocol of which some ports pass passes with all: security groups know neither"},
	"protocol-ports":      {"some ports of SCTP, DCCP or UDP-Lite are permitted; security groups know no ports of them, and drop all", ""},
	"mixed-interface":     {"interfaces have several addresses that policy treats differently; security groups know no addresses of an interface's own, so that only what all of them may have passes", ""},
	"no-interface":        {"", "addresses that the point protects are on no interface whose security groups are ours to change; only the other end of a flow drops it"},
}

// box is flows of one kind while they are joined. Ends are sets of parts: as addresses,
// those of a large site would be compared and joined by the hundred thousand.
type box struct {
	kind     string
	wider    bool
	point    string
	hook     string
	src, dst packet.Bits
	services packet.Services
	run      ports
}

// residue enumerates where the effect is not what it must be. What is told alike is told
// once.
func (e *effects) residue() []driver.Residue {
	w := e.w
	type id struct {
		kind, point, hook, services string
		wider                       bool
		dst                         int
		lo                          uint16
	}
	index := map[id]*box{}
	var list []*box
	pairs := e.pairs()
	for _, hook := range []string{compile.HookInput, compile.HookOutput} {
		for _, run := range w.runs {
			memo := map[alike][]lapse{}
			for dst := range w.parts {
				for src := range w.parts {
					a, ok := pairs.of(src, dst)
					if !ok {
						continue
					}
					kinds, known := memo[a]
					if !known {
						e.compared++
						kinds = e.lapses(hook, src, dst, run)
						memo[a] = kinds
					}
					for _, p := range kinds {
						k := id{p.kind, p.point, hook, p.text, p.wider, dst, run.lo}
						b := index[k]
						if b == nil {
							b = &box{p.kind, p.wider, p.point, hook, packet.NewBits(len(w.parts)), packet.NewBits(len(w.parts)), p.services, run}
							b.dst.Set(dst)
							index[k] = b
							list = append(list, b)
						}
						b.src.Set(src)
					}
				}
			}
		}
	}
	list = joined(list, func(b *box) string {
		return fmt.Sprintf("%s %v %q %s %s %s %d", b.kind, b.wider, b.point, b.hook, b.src.Key(), b.services, b.run.lo)
	}, func(a, b *box) bool { b.dst.Each(a.dst.Set); return true })
	list = joined(list, func(b *box) string {
		return fmt.Sprintf("%s %v %q %s %s %s %s", b.kind, b.wider, b.point, b.hook, b.src.Key(), b.dst.Key(), b.services)
	}, func(a, b *box) bool {
		if int(a.run.hi)+1 != int(b.run.lo) {
			return false
		}
		a.run.hi = b.run.hi
		return true
	})
	return e.byKind(list)
}

// lapse is a part of what is wrong between two parts, with whose it is.
type lapse struct {
	part
	point, text string
}

// lapses says what is wrong between two parts.
func (e *effects) lapses(hook string, src, dst int, run ports) []lapse {
	exact, effect := e.w.exact(hook, src, dst, run), e.of(src, dst, run)
	if exact.Equal(effect) {
		return nil
	}
	var out []lapse
	for _, p := range e.kindsOf(hook, src, dst, run, exact, effect) {
		out = append(out, lapse{p, e.w.seer(hook, src, dst), p.services.String()})
	}
	return out
}

// joined joins boxes of one key into the last of that key, if they let themselves.
func joined(list []*box, key func(*box) string, join func(a, b *box) bool) []*box {
	last := map[string]*box{}
	var out []*box
	for _, b := range list {
		k := key(b)
		if a := last[k]; a != nil && join(a, b) {
			continue
		}
		last[k] = b
		out = append(out, b)
	}
	return out
}

func (e *effects) byKind(list []*box) []driver.Residue {
	var out []driver.Residue
	sets := map[string]packet.Addrs{}
	addrs := func(in packet.Bits) packet.Addrs {
		k := in.Key()
		a, ok := sets[k]
		if !ok {
			var b packet.Builder
			in.Each(func(p int) { b.AddSet(e.w.parts[p]) })
			a = b.Addrs()
			sets[k] = a
		}
		return a
	}
	for _, b := range list {
		i := slices.IndexFunc(out, func(r driver.Residue) bool { return r.Point == b.point && r.Kind == b.kind && r.Wider == b.wider })
		if i < 0 {
			text := residueTexts[b.kind][0]
			if b.wider {
				text = residueTexts[b.kind][1]
			}
			i = len(out)
			out = append(out, driver.Residue{Point: b.point, Kind: b.kind, Wider: b.wider, Text: text})
		}
		out[i].Flows = append(out[i].Flows, driver.Flows{Hook: b.hook, Src: addrs(b.src), Dst: addrs(b.dst), Services: b.services, SrcPortLo: b.run.lo, SrcPortHi: b.run.hi})
	}
	slices.SortStableFunc(out, func(a, b driver.Residue) int {
		return cmp.Or(cmp.Compare(a.Point, b.Point), cmp.Compare(a.Kind, b.Kind))
	})
	return out
}
