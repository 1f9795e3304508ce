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

// box is flows of one kind while they are joined.
type box struct {
	kind     string
	wider    bool
	point    string
	hook     string
	src, dst packet.Addrs
	services packet.Services
	run      ports
}

// residue enumerates where the effect is not what it must be. What is told alike is told
// once.
func (e *effects) residue() []driver.Residue {
	w := e.w
	index := map[string]*box{}
	var list []*box
	for _, hook := range []string{compile.HookInput, compile.HookOutput} {
		for _, run := range w.runs {
			for dst := range w.parts {
				for src := range w.parts {
					if w.four(src) != w.four(dst) || src == dst && w.parts[src].Single() {
						continue
					}
					exact, effect := w.exact(hook, src, dst, run), e.of(src, dst, run)
					if exact.Equal(effect) {
						continue
					}
					for _, p := range e.kindsOf(hook, src, dst, run, exact, effect) {
						b := box{p.kind, p.wider, w.seer(hook, src, dst), hook, w.parts[src], w.parts[dst], p.services, run}
						k := fmt.Sprintf("%s %v %q %s %d %d %s", b.kind, b.wider, b.point, hook, dst, run.lo, b.services)
						if o := index[k]; o != nil {
							o.src = o.src.Union(b.src)
							continue
						}
						index[k] = &b
						list = append(list, &b)
					}
				}
			}
		}
	}
	list = joined(list, func(b *box) string {
		return fmt.Sprintf("%s %v %q %s %s %s %d", b.kind, b.wider, b.point, b.hook, b.src.Key(), b.services, b.run.lo)
	}, func(a, b *box) bool { a.dst = a.dst.Union(b.dst); return true })
	list = joined(list, func(b *box) string {
		return fmt.Sprintf("%s %v %q %s %s %s %s", b.kind, b.wider, b.point, b.hook, b.src.Key(), b.dst.Key(), b.services)
	}, func(a, b *box) bool {
		if int(a.run.hi)+1 != int(b.run.lo) {
			return false
		}
		a.run.hi = b.run.hi
		return true
	})
	return byKind(list)
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

func byKind(list []*box) []driver.Residue {
	var out []driver.Residue
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
		out[i].Flows = append(out[i].Flows, driver.Flows{Hook: b.hook, Src: b.src, Dst: b.dst, Services: b.services, SrcPortLo: b.run.lo, SrcPortHi: b.run.hi})
	}
	slices.SortStableFunc(out, func(a, b driver.Residue) int {
		return cmp.Or(cmp.Compare(a.Point, b.Point), cmp.Compare(a.Kind, b.Kind))
	})
	return out
}
