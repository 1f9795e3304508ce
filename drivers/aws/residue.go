package aws

import (
	"bulkhead/pkg/compile"
	"bulkhead/pkg/driver"
	"bulkhead/pkg/driver/want"
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

// residue enumerates where the effect is not what it must be. What is told alike is told
// once.
func (e *effects) residue() []driver.Residue {
	w := e.w
	out := want.NewLapses(w.Parts)
	pairs := e.pairs()
	for _, hook := range []string{compile.HookInput, compile.HookOutput} {
		for _, run := range w.Runs {
			memo := map[alike][]lapse{}
			for dst := range w.Parts {
				for src := range w.Parts {
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
					for _, l := range kinds {
						out.Add(l.point, hook, src, dst, l.Lapse)
					}
				}
			}
		}
	}
	return out.Residue(residueTexts)
}

// lapse is a part of what is wrong between two parts, with whose it is.
type lapse struct {
	want.Lapse
	point string
}

// lapses says what is wrong between two parts.
func (e *effects) lapses(hook string, src, dst int, run want.Ports) []lapse {
	exact, effect := e.w.Exact(hook, src, dst, run), e.of(src, dst, run)
	if exact.Equal(effect) {
		return nil
	}
	var out []lapse
	for _, p := range e.kindsOf(hook, src, dst, run, exact, effect) {
		out = append(out, lapse{want.NewLapse(p.kind, p.wider, "", run, p.services), e.w.Seer(hook, src, dst)})
	}
	return out
}
